"""The commands of a PIM channel that nothing else uses: each goes out in the first legal cycle, refresh included.

Operations (`pim.tiles`) follow one another, each played by `pim.player`.

Every tREFI / ranks cycles one rank is due for a refresh, in turn (as in the NeuPIMs simulator). It is refreshed between two
operations: PPRE and PRE to its open banks, REFAB. That is why the HEADER announces what comes: an operation starts only if it
ends before the next refresh is due, so that a refresh waits for nobody and never falls into a GEMV.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from memsys.part import Part
from pim.channel import CLOSED, Channel, Practice
from pim.checks import whole
from pim.commands import ADDER_TREE, Issued, comp_cycles, result_cycles
from pim.player import ANY_ROW, Player, Refresh
from pim.rules import HEADER, PPRE, gwrite_cycles
from pim.tiles import Gwrite, Operation, Tile, check


@dataclass
class Schedule:
    """``commands`` in the order of their cycles; ``cycles`` from the start until the last result, or vector, is there."""

    cycles: int = 0
    refreshes: int = 0
    operations: int = 0
    waited: int = 0
    """Cycles in which the next operation waited for a refresh that was not due yet."""
    yielded: int = 0
    """Cycles in which the next operation waited for reads and writes (`pim.mixed`)."""
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

    Raises ValueError where the channel has no such operation, or one does not fit between two refreshes.
    """
    start = whole("start", start, 0)
    channel, found = Channel(part, dual, practice), Schedule()
    interval, ranks = part.timing.trefi // part.organisation.ranks, part.organisation.ranks
    due, now, end = (start // interval + 1) * interval, start, start
    for operation in operations:
        check(part, operation)
        check_length(part, operation, dual)
        while refresh and now + reserved(channel, operation, now) >= due:
            found.waited += max(due - now, 0)
            done = _performed(channel, Refresh((due // interval - 1) % ranks), max(now, due))
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
class Done:
    """What an operation did, in cycles from its start: commands, the next free cycle, when its result is there."""

    commands: tuple[Issued, ...]
    free: int
    end: int
    after: Channel


def _apply(found: Schedule, done: Done, now: int, operation: Operation, keep: bool) -> tuple[Channel, int]:
    if keep:
        found.commands += [
            c._replace(cycle=c.cycle + now, row=operation.row if c.row == ANY_ROW else c.row) for c in done.commands
        ]
    channel = done.after.copy()
    channel.shift(now)
    return channel, now + done.free


MOST_REMEMBERED = 10_000
"""Operations in states of a channel; a run of hundreds of requests meets about a thousand."""
_memory: dict[tuple[object, ...], Done] = {}


def _performed(channel: Channel, operation: Operation | Refresh, now: int) -> Done:
    """``operation`` from cycle ``now`` on. Equal operations in equal states are played once."""
    shape = operation._replace(row=ANY_ROW) if isinstance(operation, Tile) else operation
    key = (channel.part, channel.dual, channel.practice, shape, channel.key(now))
    found = _memory.get(key)
    if found is None:
        if len(_memory) >= MOST_REMEMBERED:
            _memory.clear()
        player = Player(channel.copy(), 0)
        player.channel.shift(-now)
        end = player.run(shape)
        found = _memory[key] = Done(tuple(player.commands), player.now, end, player.channel)
    return found


def reserved(channel: Channel, operation: Operation, now: int) -> int:
    """Cycles before the next refresh is due in which ``operation`` may still start in cycle ``now``: as many as it takes at most.

    The cycles until the operation before has ended, which decide when a row can close and a HEADER come, and a sum over the
    commands, of which each waits for all that were before it.
    """
    if channel.practice is Practice.NEUPIMS:
        return _estimated(channel, operation)
    left = max(int(channel.allowed[[PPRE, HEADER]].max()) - now, 0)
    if isinstance(operation, Gwrite):
        return left + fixed_of_gwrite(channel.part)
    return left + fixed_of_tile(channel.part, channel.dual) + operation.results * per_result(channel.part, operation.bursts)


def fixed_of_gwrite(part: Part) -> int:
    """PRE, ACT and GWRITE, each after whatever read or write."""
    t = part.timing
    return closed_within(part) + t.trp + t.tfaw + t.trcd_rd + t.cwl + part.burst_cycles + t.twtr_l + gwrite_cycles(part)


def fixed_of_tile(part: Part, dual: bool) -> int:
    """All of a tile but its GEMVs: a PPRE, and with a single row buffer a PRE, to each bank, HEADER, PACTs, and the last data."""
    t, banks = part.timing, part.banks_per_channel
    closing = banks if dual else 2 * banks + closed_within(part)
    opening = t.trp + t.tfaw * (part.banks_per_rank // part.organisation.banks) + part.organisation.ranks + t.trcd_rd
    return closing + 1 + opening + t.cl + part.burst_cycles


def per_result(part: Part, bursts: int) -> int:
    """Cycles from one GEMV to the next."""
    return result_cycles(part, bursts) + comp_cycles(part)


def closed_within(part: Part) -> int:
    """Cycles until a bank can be closed at most, after whatever read or write."""
    return max(part.timing.tras, part.write_recovery, part.timing.trtp)


def check_length(part: Part, operation: Operation, dual: bool) -> None:
    """Raise ValueError where ``operation`` does not fit between two refreshes."""
    t, interval = part.timing, part.timing.trefi // part.organisation.ranks
    most = interval - t.trfc - closed_within(part) - 2 * part.banks_per_rank - t.trp
    tile = isinstance(operation, Tile)
    takes = fixed_of_gwrite(part) if isinstance(operation, Gwrite) else fixed_of_tile(part, dual)
    takes += operation.results * per_result(part, operation.bursts) if isinstance(operation, Tile) else 0
    if takes >= most:
        raise ValueError(
            f"{part}: {operation} may take {takes} cycles, and {most} fit between two refreshes"
            f"{'; wanted fewer results in a tile' if tile else ''}"
        )


def _estimated(channel: Channel, operation: Operation) -> int:
    """What the NeuPIMs simulator reserves."""
    t, part = channel.part.timing, channel.part
    if isinstance(operation, Gwrite):
        opened = 0 if channel.row[operation.bank] == operation.row else t.trp + t.trcd_rd
        return 1 + opened + gwrite_cycles(part)
    groups = part.banks_per_channel // part.organisation.banks
    closings = sum(row != CLOSED for row in channel.pim_row) * t.trtp
    bursts, results = 1 << (operation.bursts - 1).bit_length(), operation.results
    compute = comp_cycles(part) * max(bursts * results, ADDER_TREE) + max(part.burst_cycles, t.tccd_l) * (results - 1)
    return 1 + closings + t.tfaw * (groups // 2 - 1) + t.trcd_rd + compute
