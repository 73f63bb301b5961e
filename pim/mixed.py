"""A PIM channel with reads and writes beside its tiles, command by command.

PIM goes first. Reads and writes (`pim.traffic`) take the cycles of the command bus that it leaves free, unless their command
would hold up a PIM command that is pending, or goes to a bank that the operation is about to use: the bank of a GWRITE, the rank
of a refresh, with a single row buffer every bank of a tile; or opens the row of the tile.

Nobody starves: before an operation starts, the oldest access is served alone if it has waited for ``patience`` cycles or more. A
refresh is never late: an operation, or an access, starts only if it ends before the next refresh is due, whatever else goes out
(`pim.schedule.reserved`, `alone`).
"""

from __future__ import annotations

from collections.abc import Iterable

from memsys.part import Command, Part
from pim.channel import CLOSED, Channel
from pim.checks import whole
from pim.commands import Issued
from pim.player import Pending, Player, Refresh
from pim.rules import PPRE
from pim.schedule import Schedule, check_length, closed_within, reserved
from pim.tiles import Gwrite, Operation, Tile, check
from pim.traffic import Access, Traffic

PATIENCE = 512
"""Cycles after which an access is served before the next operation."""


def held_up(part: Part) -> int:
    """Cycles by which commands that go out during an operation can hold it up at most: an ACT its PACTs, a WR its GWRITE."""
    t = part.timing
    return t.tfaw + t.cwl + part.burst_cycles + t.twtr_l


def alone(part: Part) -> int:
    """Cycles that an access takes at most that is served alone: PPRE, PRE, ACT and its burst, each after whatever command."""
    t = part.timing
    turn = max(part.read_to_write, t.cwl + part.burst_cycles + t.twtr_l)
    return 2 * closed_within(part) + max(t.trc, t.trp + t.tfaw) + max(t.trcd_rd, t.trcd_wr) + turn + part.banks_per_rank


def play_beside(
    part: Part, operations: Iterable[Operation], traffic: Traffic, *, dual: bool = True, start: int = 0, patience: int = PATIENCE
) -> Schedule:
    """Run ``operations`` from cycle ``start`` on, beside ``traffic``, whose accesses served leave it.

    Raises ValueError where the channel has no such operation, or access, or an operation does not fit between two refreshes.
    """
    start, patience = whole("start", start, 0), whole("patience", patience, 0)
    for access in traffic.waiting:
        whole("arrival", access.arrival, 0)
        whole("bank", access.bank, 0, part.banks_per_channel - 1)
        whole("row", access.row, 0, part.organisation.rows - 1)
    return _Beside(part, traffic, dual, start, patience).run(operations)


class _Beside:
    def __init__(self, part: Part, traffic: Traffic, dual: bool, start: int, patience: int):
        self.part, self.traffic, self.start, self.patience = part, traffic, start, patience
        self.channel, self.found = Channel(part, dual), Schedule()
        self.player = Player(self.channel, start, self._between)
        self.player.commands = self.found.commands
        self.interval = part.timing.trefi // part.organisation.ranks
        self.due = (start // self.interval + 1) * self.interval
        self.blocked: range | tuple[int, ...] = ()
        self.row = CLOSED

    def run(self, operations: Iterable[Operation]) -> Schedule:
        end = self.start
        for operation in operations:
            self._serve_the_oldest()
            check(self.part, operation)
            check_length(self.part, operation, self.channel.dual)
            while self.player.now + reserved(self.channel, operation, self.player.now) >= self.due:
                self._refresh()
                self._serve_the_oldest()
            self._block(operation)
            end = self.player.run(operation)
            self.found.operations += 1
        self.found.cycles = end - self.start
        return self.found

    def _refresh(self) -> None:
        self._idle_until(self.due)
        rank = (self.due // self.interval - 1) % self.part.organisation.ranks
        size = self.part.banks_per_rank
        self.blocked, self.row = range(rank * size, (rank + 1) * size), CLOSED
        self.player.run(Refresh(rank))
        self.due += self.interval
        self.found.refreshes += 1

    def _idle_until(self, cycle: int) -> None:
        self.found.waited += max(cycle - self.player.now, 0)
        self.blocked, self.row = (), CLOSED
        while self.player.now < cycle:
            self._between(self.channel, self.player.now, [])
            self.player.now += 1

    def _serve_the_oldest(self) -> None:
        """If it has lost patience, and there is time before the next refresh."""
        access, now = self.traffic.oldest(self.player.now), self.player.now
        if access is None or now - access.arrival < self.patience or now + alone(self.part) >= self.due:
            return
        taken = self.channel.pim_row[access.bank]
        if taken != CLOSED and (taken == access.row or not self.channel.dual):
            self.player.between = None
            self.player.send([(PPRE, access.bank, 0)])
            self.player.between = self._between
        while access in self.traffic.waiting:
            self._try(access)
            self.player.now += 1
        self.found.yielded += self.player.now - now

    def _try(self, access: Access) -> None:
        issued = self.traffic.wanted(self.channel, access, self.player.now)
        if issued is not None and self.channel.earliest(issued.command, issued.bank, since=self.player.now) == self.player.now:
            self._send(access, issued)

    def _block(self, operation: Operation) -> None:
        """Banks, and a row, that reads and writes may not go to during ``operation``."""
        self.row = CLOSED
        if isinstance(operation, Gwrite):
            self.blocked = (operation.bank,)
        elif isinstance(operation, Tile):
            self.blocked = () if self.channel.dual else range(self.part.banks_per_channel)
            self.row = operation.row

    def _between(self, channel: Channel, now: int, pending: Pending) -> None:
        for access, issued in self.traffic.offers(channel, now, self.blocked):
            opens = issued.command is Command.ACT and access.row == self.row
            if not opens and not _holds_up(channel, issued, pending):
                self._send(access, issued)
                return

    def _send(self, access: Access, issued: Issued) -> None:
        self.traffic.issue(self.channel, access, issued)
        self.found.commands.append(issued)


def _holds_up(channel: Channel, issued: Issued, pending: Pending) -> bool:
    """Whether a ``pending`` command could come later for ``issued``."""
    trial = channel.copy()
    trial.issue(issued)
    return any(trial.earliest(*each) > max(channel.earliest(*each), issued.cycle + 1) for each in pending)
