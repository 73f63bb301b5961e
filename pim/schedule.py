"""The commands of a PIM channel that nothing else uses: each goes out in the first legal cycle, refresh included.

Operations follow one another; in each, the commands have their order, and those to several banks go out as their banks are ready:

    GWRITE    PRE if another row is open, ACT if the page's row is not, GWRITE
    tile      PPRE to every bank with a row open, HEADER, PACT to every bank group, the GEMVs

Every tREFI / ranks cycles one rank is due for a refresh, in turn (as in the NeuPIMs simulator). It is refreshed between two
operations: PPRE and PRE to its open banks, REFAB. That is why the HEADER announces what comes: an operation starts only if it
ends before the next refresh is due, so that a refresh waits for nobody and never falls into a GEMV.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from memsys.part import Command, Part
from pim.channel import CLOSED, Channel, Practice
from pim.commands import AnyCommand, Issued, comp_cycles
from pim.rules import GEMV, GWRITE, HEADER, PACT, PPRE, gwrite_cycles
from pim.tiles import Gwrite, Operation, Tile


@dataclass
class Schedule:
    """``commands`` in the order of their cycles; ``cycles`` from the start until the last result, or vector, is there."""

    cycles: int = 0
    refreshes: int = 0
    operations: int = 0
    waited: int = 0
    """Cycles in which the next operation waited for a refresh that was not due yet."""
    commands: list[Issued] = field(default_factory=list)


def play(
    part: Part,
    operations: Iterable[Operation],
    *,
    dual: bool = True,
    practice: Practice = Practice.SOUND,
    refresh: bool = True,
    start: int = 0,
    keep: bool = True,
) -> Schedule:
    """Run ``operations`` from cycle ``start`` on; commands are kept if ``keep``.

    Raises ValueError where an operation does not fit between two refreshes.
    """
    channel, found = Channel(part, dual, practice), Schedule()
    interval, ranks = part.timing.trefi // part.organisation.ranks, part.organisation.ranks
    due, now, end = (start // interval + 1) * interval, start, start
    for operation in operations:
        waited = None
        while refresh:
            done = _performed(channel, operation, now)
            fits = now + _reserved(channel, operation, done) < due
            if fits and now < due:
                break
            if waited is not None:
                raise ValueError(f"{part}: {operation} takes {done.end} cycles, which do not fit between two refreshes")
            waited = max(due - now, 0)
            found.waited += waited
            done = _performed(channel, _Refresh((due // interval - 1) % ranks), max(now, due))
            channel, now = _apply(found, done, max(now, due), operation, keep)
            due += interval
            found.refreshes += 1
        done = _performed(channel, operation, now)
        end = now + done.end
        channel, now = _apply(found, done, now, operation, keep)
        found.operations += 1
    found.cycles = end - start
    return found


@dataclass(frozen=True)
class _Refresh:
    """Of all banks of a rank."""

    rank: int


@dataclass(frozen=True)
class _Done:
    """What an operation did, in cycles from its start: commands, the next free cycle, when its result is there."""

    commands: tuple[Issued, ...]
    free: int
    end: int
    after: Channel


def _apply(found: Schedule, done: _Done, now: int, operation: Operation, keep: bool) -> tuple[Channel, int]:
    if keep:
        found.commands += [
            c._replace(cycle=c.cycle + now, row=operation.row if c.row == _ANY_ROW else c.row) for c in done.commands
        ]
    channel = done.after.copy()
    channel.shift(now)
    return channel, now + done.free


MOST_REMEMBERED = 10_000
"""Operations in states of a channel; a run of hundreds of requests meets about a thousand."""
_ANY_ROW = -2
"""In the place of a tile's row: tiles on different rows take the same time."""
_memory: dict[tuple[object, ...], _Done] = {}


def _performed(channel: Channel, operation: Operation | _Refresh, now: int) -> _Done:
    """``operation`` from cycle ``now`` on. Equal operations in equal states are played once."""
    shape = operation._replace(row=_ANY_ROW) if isinstance(operation, Tile) else operation
    key = (channel.part, channel.dual, channel.practice, shape, channel.key(now))
    found = _memory.get(key)
    if found is None:
        if len(_memory) >= MOST_REMEMBERED:
            _memory.clear()
        found = _memory[key] = _Player(channel, now).run(shape)
    return found


class _Player:
    """Plays one operation on a copy of a channel."""

    def __init__(self, channel: Channel, now: int):
        self.channel, self.now = channel.copy(), 0
        self.channel.shift(-now)
        self.part = channel.part
        self.commands: list[Issued] = []

    def run(self, operation: Operation | _Refresh) -> _Done:
        read = self.part.timing.cl + self.part.burst_cycles
        if isinstance(operation, Gwrite):
            end = self._gwrite(operation) + gwrite_cycles(self.part)
        elif isinstance(operation, Tile):
            end = self._tile(operation) + read
        else:
            end = self._refresh(operation.rank)
        return _Done(tuple(self.commands), self.now, end, self.channel)

    def _send(self, command: AnyCommand, bank: int = 0, row: int = CLOSED, bursts: int = 0) -> int:
        cycle = max(self.now, self.channel.earliest(command, bank, bursts))
        issued = Issued(cycle, command, bank, row, bursts)
        self.channel.issue(issued)
        self.commands.append(issued)
        self.now = cycle + 1
        return cycle

    def _send_all(self, commands: list[tuple[AnyCommand, int]], row: int = CLOSED) -> None:
        """Each to its bank, the first that is ready first."""
        while commands:
            first = min(commands, key=lambda c: (max(self.now, self.channel.earliest(*c)), c[1]))
            commands.remove(first)
            self._send(*first, row=row)

    def _gwrite(self, operation: Gwrite) -> int:
        channel, bank = self.channel, operation.bank
        if channel.row[bank] not in (operation.row, CLOSED):
            self._send(Command.PRE, bank)
        if channel.row[bank] == CLOSED:
            if not channel.dual and channel.pim_row[bank] != CLOSED:
                self._send(PPRE, bank)
            self._send(Command.ACT, bank, operation.row)
        return self._send(GWRITE, bank, operation.row)

    def _tile(self, operation: Tile) -> int:
        channel, part = self.channel, self.part
        self._send_all(self._closings(range(part.banks_per_channel), memory=not channel.dual))
        self._send(HEADER, row=operation.row, bursts=operation.bursts * operation.results)
        self._send_all([(PACT, bank) for bank in range(0, part.banks_per_channel, part.organisation.banks)], operation.row)
        cycle = 0
        for _ in range(operation.results):
            cycle = self._send(GEMV, row=operation.row, bursts=operation.bursts)
        return cycle if channel.practice is Practice.NEUPIMS else channel.result

    def _refresh(self, rank: int) -> int:
        size = self.part.banks_per_rank
        self._send_all(self._closings(range(rank * size, (rank + 1) * size), memory=True))
        return self._send(Command.REFAB, rank * size) + self.part.timing.trfc

    def _closings(self, banks: range, memory: bool) -> list[tuple[AnyCommand, int]]:
        pim: list[tuple[AnyCommand, int]] = [(PPRE, bank) for bank in banks if self.channel.pim_row[bank] != CLOSED]
        return pim + [(Command.PRE, bank) for bank in banks if memory and self.channel.row[bank] != CLOSED]


def _reserved(channel: Channel, operation: Operation, done: _Done) -> int:
    """Cycles that must be left until the next refresh is due."""
    if channel.practice is Practice.SOUND:
        return done.end
    t, part = channel.part.timing, channel.part
    if isinstance(operation, Gwrite):
        opened = 0 if channel.row[operation.bank] == operation.row else t.trp + t.trcd_rd
        return 1 + opened + gwrite_cycles(part)
    groups = part.banks_per_channel // part.organisation.banks
    closings = sum(row != CLOSED for row in channel.pim_row) * t.trtp
    total = 1 << (operation.bursts - 1).bit_length()
    results = operation.results
    compute = comp_cycles(part) * max(total * results, 6) + max(part.burst_cycles, t.tccd_l) * (results - 1)
    return 1 + closings + t.tfaw * (groups // 2 - 1) + t.trcd_rd + compute
