"""State of a PIM channel under its rules: which rows are open, and the first cycle in which a command is legal.

Each rule is kept as the earliest cycle of its ``after`` in every bank, so that issuing a command is one maximum over an array.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from memsys.constraints import Scope
from memsys.part import COLUMN_COMMANDS, Command, Part
from pim.commands import COMMANDS, AnyCommand, Issued, comp_cycles, reach, result_cycles
from pim.rules import COMP, GEMV, PACT, PPRE, READRES, Rule, rules

NEVER = -(1 << 40)
"""Long before anything was issued."""
CLOSED = -1
Cycles = NDArray[np.int64]


class Practice(Enum):
    """Whose practice a channel follows where that of the NeuPIMs simulator cannot be built."""

    SOUND = "sound"
    """The rules hold for every COMP and READRES, and a refresh is reserved against by what a tile really takes."""
    NEUPIMS = "neupims"
    """The rules of a GEMV but its length count from its first COMP; reservation by the simulator's estimate."""


class Channel:
    """One channel of ``part``, nothing issued yet, all rows closed."""

    def __init__(self, part: Part, dual: bool = True, practice: Practice = Practice.SOUND):
        self.part, self.dual, self.practice = part, dual, practice
        self.allowed: Cycles = np.full((len(COMMANDS), part.banks_per_channel), NEVER, np.int64)
        """The first cycle in which each command may go to each bank, but for the last READRES and the data bus."""
        self.row = [CLOSED] * part.banks_per_channel
        """The row in each bank's (memory) row buffer."""
        self.pim_row = [CLOSED] * part.banks_per_channel
        """The row in each bank's PIM row buffer."""
        self.result = NEVER
        """The cycle of the last READRES."""
        self.recent = {key: deque[int](maxlen=rule.window) for key, rule, _ in _windows(part, dual)}

    def copy(self) -> Channel:
        """The same state, to go on from."""
        twin = Channel.__new__(Channel)
        twin.part, twin.dual, twin.practice, twin.result = self.part, self.dual, self.practice, self.result
        twin.allowed, twin.row, twin.pim_row = self.allowed.copy(), list(self.row), list(self.pim_row)
        twin.recent = {key: times.copy() for key, times in self.recent.items()}
        return twin

    def earliest(self, command: AnyCommand, bank: int = 0, bursts: int = 0, since: int = NEVER) -> int:
        """The first cycle from ``since`` on in which ``command`` to ``bank`` breaks no rule of time."""
        banks = reach(self.part, command, bank)
        if command is GEMV:
            result = int(self.allowed[READRES].max()) - result_cycles(self.part, bursts)
            return max(int(self.allowed[COMP].max()), int(self.allowed[GEMV].max()), result, since)
        first = max(int(self.allowed[command, banks.start : banks.stop].max()), since)
        if command in COLUMN_COMMANDS:  # on the data bus before the last READRES, or after it
            before, after = around_results(self.part, self.dual)[Command(command)]
            if self.result - before < first < self.result + after:
                first = self.result + after
        return first

    def issue(self, issued: Issued) -> None:
        """Take note of a command that is legal in its cycle."""
        command, cycle, bank = issued.command, issued.cycle, issued.bank
        if command is GEMV:
            self._gemv(cycle, issued.bursts)
            return
        banks = reach(self.part, command, bank)
        np.maximum(self.allowed, waits(self.part, self.dual)[command, banks.start] + cycle, out=self.allowed)
        for key, rule, within in _windows(self.part, self.dual):
            if command is rule.before and bank in within:
                times = self.recent[key]
                times.append(cycle)
                if len(times) == rule.window:
                    waiting = self.allowed[rule.after, within.start : within.stop]
                    np.maximum(waiting, times[0] + rule.cycles, out=waiting)
        for each in banks:
            if command is Command.ACT:
                self.row[each] = issued.row
            elif command is PACT:
                self.pim_row[each] = issued.row
            elif command is PPRE:
                self.pim_row[each] = CLOSED
            elif command in (Command.PRE, Command.PREA, Command.RDA, Command.WRA):
                self.row[each] = CLOSED

    def _gemv(self, cycle: int, bursts: int) -> None:
        table = waits(self.part, self.dual)
        result = cycle + result_cycles(self.part, bursts)
        sound = self.practice is Practice.SOUND
        last = cycle + (bursts - 1) * comp_cycles(self.part)
        columns = list(COLUMN_COMMANDS)
        held = self.allowed[columns]
        np.maximum(held, table[READRES, 0][columns] + self.result, out=held)  # of the READRES before this one
        np.maximum(self.allowed, table[GEMV, 0] + cycle, out=self.allowed)
        np.maximum(self.allowed, table[COMP, 0] + (last if sound else cycle), out=self.allowed)
        after = table[READRES, 0] + (result if sound else cycle)
        after[[COMP, READRES]] = table[READRES, 0][[COMP, READRES]] + result
        after[columns] = held
        np.maximum(self.allowed, after, out=self.allowed)
        self.result = result

    def key(self, now: int) -> bytes:
        """Equal for channels that behave alike from ``now`` on, but for the rows open for PIM and for the last READRES."""
        recent = (max(time - now, -rule.cycles) for (rule, _), times in self.recent.items() for time in times)
        return b"".join(
            (
                np.maximum(self.allowed - now, 0).tobytes(),
                bytes(row != CLOSED for row in self.pim_row),
                repr((self.row, *recent)).encode(),
            )
        )

    def shift(self, cycles: int) -> None:
        """Move all that was issued by ``cycles`` in time."""
        self.allowed += cycles
        self.result += cycles
        for times in self.recent.values():
            moved = [time + cycles for time in times]
            times.clear()
            times.extend(moved)


@cache
def waits(part: Part, dual: bool) -> dict[tuple[AnyCommand, int], Cycles]:
    """By command and the first bank that it reaches: cycles [commands, banks] until each may follow in each bank."""
    found: dict[tuple[AnyCommand, int], Cycles] = {}
    banks = np.arange(part.banks_per_channel)
    for command in COMMANDS:
        for bank in range(part.banks_per_channel):
            first = reach(part, command, bank)
            if first.start != bank:
                continue
            table = np.full((len(COMMANDS), len(banks)), NEVER, np.int64)
            for rule in rules(part, dual):
                if rule.before is command and rule.window == 1:
                    near = meeting(part, rule.scope, first)
                    table[rule.after, near] = np.maximum(table[rule.after, near], rule.cycles)
            found[command, bank] = table
    return found


def meeting(part: Part, scope: Scope, reached: range) -> NDArray[np.bool_]:
    """Which banks of the channel lie in one instance of ``scope`` with one of ``reached``; OTHER_RANK: in another rank."""
    o = part.organisation
    size = {
        Scope.BANK: 1,
        Scope.BANK_GROUP: o.banks,
        Scope.RANK: part.banks_per_rank,
        Scope.OTHER_RANK: part.banks_per_rank,
    }.get(scope, part.banks_per_channel)
    own = np.arange(part.banks_per_channel) // size
    mine = own[list(reached)]
    if scope is Scope.OTHER_RANK:
        return ~np.isin(own, mine) if len(set(mine)) == 1 else np.ones(len(own), bool)
    found: NDArray[np.bool_] = np.isin(own, mine)
    return found


@cache
def _windows(part: Part, dual: bool) -> tuple[tuple[tuple[Rule, int], Rule, range], ...]:
    """The rules over more than one command before, for each instance: a key, the rule, the banks of the instance."""
    found = []
    for rule in rules(part, dual):
        if rule.window > 1:
            size = {Scope.RANK: part.banks_per_rank}.get(rule.scope, part.banks_per_channel)
            starts = range(0, part.banks_per_channel, size)
            found += [((rule, start), rule, range(start, start + size)) for start in starts]
    return tuple(found)


@cache
def around_results(part: Part, dual: bool) -> dict[Command, tuple[int, int]]:
    """For RD and WR: how long before a READRES they must come, and how long after it."""
    found = dict.fromkeys(COLUMN_COMMANDS, (0, 0))
    for rule in rules(part, dual):
        for command, (before, after) in found.items():
            if (rule.before, rule.after) == (command, READRES):
                found[command] = (rule.cycles, after)
            elif (rule.before, rule.after) == (READRES, command):
                found[command] = (before, rule.cycles)
    return found
