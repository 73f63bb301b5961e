"""Plays one operation of a PIM channel: its commands, each in the first cycle that is legal.

Commands have their order, and those to several banks go out as their banks are ready:

    GWRITE     PRE if another row is open, ACT if the page's row is not, GWRITE
    tile       PPRE to every bank with a row open, HEADER, PACT to every bank group, the GEMVs
    refresh    of a rank: PPRE and PRE to every bank with a row open, REFAB

With a single row buffer, a bank is closed for memory before it is opened for PIM, and the reverse; with two, if the row is the
same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from memsys.part import Command
from pim.channel import CLOSED, Channel, Practice
from pim.commands import AnyCommand, Issued
from pim.rules import GEMV, GWRITE, HEADER, PACT, PPRE, gwrite_cycles
from pim.tiles import Gwrite, Operation, Tile

ANY_ROW = -2
"""In the place of a tile's row: tiles on different rows take the same time."""
Pending = list[tuple[AnyCommand, int, int]]
"""Commands that may go out next, each with its bank and the bursts of a GEMV."""
Between = Callable[[Channel, int, Pending], None]


@dataclass(frozen=True)
class Refresh:
    """Of all banks of a rank."""

    rank: int


class Player:
    """Plays operations on ``channel``, from cycle ``now`` on.

    ``between`` is called for every cycle in which no command of an operation is legal, with those that are pending.
    """

    def __init__(self, channel: Channel, now: int, between: Between | None = None):
        self.channel, self.now, self.between = channel, now, between
        self.part = channel.part
        self.commands: list[Issued] = []

    def run(self, operation: Operation | Refresh) -> int:
        """Play ``operation``; the cycle in which its result, or the vector, or the rank, is there."""
        if isinstance(operation, Gwrite):
            return self._gwrite(operation) + gwrite_cycles(self.part)
        if isinstance(operation, Tile):
            return self._tile(operation) + self.part.timing.cl + self.part.burst_cycles
        return self._refresh(operation.rank) + self.part.timing.trfc

    def send(self, pending: Pending, row: int = CLOSED) -> int:
        """All of ``pending``, the first that is legal first; the cycle of the last one."""
        while pending:
            first, cycle = self._next(pending)
            while self.between and self.now < cycle:
                self.between(self.channel, self.now, pending)
                self.now += 1
                first, cycle = self._next(pending)
            pending.remove(first)
            command, bank, bursts = first
            issued = Issued(cycle, command, bank, row, bursts)
            self.channel.issue(issued)
            self.commands.append(issued)
            self.now = cycle + 1
        return self.now - 1

    def _next(self, pending: Pending) -> tuple[tuple[AnyCommand, int, int], int]:
        cycle, _, first = min((self.channel.earliest(*each, self.now), each[1], each) for each in pending)
        return first, cycle

    def _gwrite(self, operation: Gwrite) -> int:
        channel, bank, row = self.channel, operation.bank, operation.row
        if channel.row[bank] not in (row, CLOSED):
            self.send([(Command.PRE, bank, 0)])
        if channel.row[bank] == CLOSED:
            if channel.pim_row[bank] != CLOSED and (not channel.dual or channel.pim_row[bank] == row):
                self.send([(PPRE, bank, 0)])
            self.send([(Command.ACT, bank, 0)], row)
        return self.send([(GWRITE, bank, 0)], row)

    def _tile(self, operation: Tile) -> int:
        channel, part, row = self.channel, self.part, operation.row
        taken = [not channel.dual or each == row for each in channel.row]
        self.send(self._closings(range(part.banks_per_channel), taken))
        self.send([(HEADER, 0, operation.bursts * operation.results)], row)
        self.send([(PACT, bank, 0) for bank in range(0, part.banks_per_channel, part.organisation.banks)], row)
        cycle = 0
        for _ in range(operation.results):
            cycle = self.send([(GEMV, 0, operation.bursts)], row)
        return cycle if channel.practice is Practice.NEUPIMS else channel.result

    def _refresh(self, rank: int) -> int:
        size = self.part.banks_per_rank
        banks = range(rank * size, (rank + 1) * size)
        self.send(self._closings(banks, [True] * self.part.banks_per_channel))
        return self.send([(Command.REFAB, banks.start, 0)])

    def _closings(self, banks: range, memory: list[bool]) -> Pending:
        """To close all PIM rows of ``banks``, and the memory rows of those where ``memory`` says so."""
        pim: Pending = [(PPRE, bank, 0) for bank in banks if self.channel.pim_row[bank] != CLOSED]
        return pim + [(Command.PRE, bank, 0) for bank in banks if memory[bank] and self.channel.row[bank] != CLOSED]
