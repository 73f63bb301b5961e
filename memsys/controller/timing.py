"""The rules of time of `memsys.constraints` as counters and flags: which command is ready for which bank (S4).

Commands after which the same must wait for the same time share a counter, one for each instance of their scope. It starts with
the command and stops when the longest wait of its rules is over. Beside it stands a flag for each different wait, set with the
command and cleared in the last cycle of that wait: a command is ready when none of its flags stands, so that nothing is compared
or added between a register and the decision. A rule over the last n commands has n such counters that take turns; it forbids as
long as all of them run. Rules that others imply cost nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from functools import reduce
from operator import and_
from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from memsys.constraints import Constraint, Scope, constraints
from memsys.controller.order import any_of
from memsys.part import Command, Part

RANK_COMMANDS = (Command.PREA, Command.REFAB)
"""Commands that go to a rank, not to a bank."""


class Timer(NamedTuple):
    """After ``window`` of the commands ``before`` in one instance of ``scope``: what waits, by how many cycles it waits."""

    scope: Scope
    before: tuple[Command, ...]
    window: int
    waits: dict[int, tuple[Command, ...]]


def timers(part: Part, commands: Collection[Command]) -> list[Timer]:
    """What has to be counted for ``commands`` of ``part``: no rule that another implies, nor of the very next cycle."""
    known = [row for row in constraints(part) if row.before in commands and row.after in commands]
    after: defaultdict[tuple[Scope, Command, int], dict[Command, int]] = defaultdict(dict)
    for row in known:
        if row.cycles > 1 and not any(_implies(other, row) for other in known):
            after[row.scope, row.before, row.window][row.after] = row.cycles
    shared: defaultdict[tuple[Scope, int, Command | None, tuple[tuple[Command, int], ...]], list[Command]] = defaultdict(list)
    for (scope, before, window), waits in after.items():
        alone = before if window > 1 else None  # the last n of two commands together are not the last n of each
        shared[scope, window, alone, tuple(sorted(waits.items()))].append(before)
    return [Timer(scope, tuple(together), window, _by_cycles(waits)) for (scope, window, _, waits), together in shared.items()]


def _by_cycles(waits: tuple[tuple[Command, int], ...]) -> dict[int, tuple[Command, ...]]:
    return {cycles: tuple(c for c, n in waits if n == cycles) for cycles in sorted({n for _, n in waits})}


def _implies(other: Constraint, row: Constraint) -> bool:
    """Whether ``other`` holds wherever ``row`` does and is as strict; n commands in a row are n times as far apart as two."""
    if other == row or (other.before, other.after, other.window) != (row.before, row.after, 1):
        return False
    if row.scope is Scope.OTHER_RANK:
        holds = other.scope in (Scope.CHANNEL, Scope.PSEUDO_CHANNEL)
    else:
        holds = other.scope < row.scope + (row.window > 1)
    return holds and other.cycles * row.window >= row.cycles


class Timing(wiring.Component):
    """For each of ``commands``: ``issued_X``, where it is issued in this cycle, and ``ready_X``, where no rule forbids it.

    One bit for each bank of the channel, or for each rank in the case of PREA and REFAB.
    """

    def __init__(self, part: Part, commands: Collection[Command]):
        self.part, self.known = part, tuple(commands)
        o = part.organisation
        self.ranks = o.pseudo_channels * o.ranks
        widths = {c: self.ranks if c in RANK_COMMANDS else part.banks_per_channel for c in self.known}
        super().__init__(
            {
                **{f"issued_{c.name}": In(width) for c, width in widths.items()},
                **{f"ready_{c.name}": Out(width) for c, width in widths.items()},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        waiting: dict[Command, list[Value]] = {command: [] for command in self.known}
        for number, timer in enumerate(timers(self.part, self.known)):
            happens = Signal(self._instances(timer.scope), name=f"happens_{number}")
            m.d.comb += happens.eq(any_of([self._at(timer.scope, command) for command in timer.before]))
            for cycles, flags in self._flags(m, f"{number}", happens, timer).items():
                for command in timer.waits[cycles]:
                    waiting[command].append(self._spread(timer.scope, flags, command))
        for command, forbids in waiting.items():
            ready = getattr(self, f"ready_{command.name}")
            m.d.comb += ready.eq(~any_of(forbids)) if forbids else ready.eq(~0)
        return m

    def _flags(self, m: Module, name: str, happens: Value, timer: Timer) -> dict[int, Value]:
        if timer.window == 1:
            return dict(_count(m, name, happens, timer.waits))
        turns = [
            Signal(len(happens), name=f"turn_{name}_{i}", init=0 if i else (1 << len(happens)) - 1) for i in range(timer.window)
        ]
        m.d.sync += [turn.eq((happens & turns[i - 1]) | (~happens & turn)) for i, turn in enumerate(turns)]
        each = [_count(m, f"{name}_{i}", happens & turn, timer.waits) for i, turn in enumerate(turns)]
        return {cycles: reduce(and_, (flags[cycles] for flags in each)) for cycles in timer.waits}

    def _instances(self, scope: Scope) -> int:
        """How many of a scope the channel has."""
        o = self.part.organisation
        return {
            Scope.CHANNEL: 1,
            Scope.PSEUDO_CHANNEL: o.pseudo_channels,
            Scope.RANK: self.ranks,
            Scope.OTHER_RANK: self.ranks,
            Scope.BANK_GROUP: self.ranks * o.bank_groups,
            Scope.BANK: self.part.banks_per_channel,
        }[scope]

    def _at(self, scope: Scope, command: Command) -> Value:
        """In which instances of ``scope`` the command is issued; of OTHER_RANK, in another rank of the pseudo channel."""
        issued, instances = getattr(self, f"issued_{command.name}"), self._instances(scope)
        size = len(issued) // instances
        each = [issued[i * size : (i + 1) * size].any() for i in range(instances)]
        if scope is Scope.OTHER_RANK:
            ranks = self.part.organisation.ranks
            start = [i - i % ranks for i in range(instances)]
            each = [any_of([each[j] for j in range(start[i], start[i] + ranks) if j != i]) for i in range(instances)]
        return Cat(each)

    def _spread(self, scope: Scope, flags: Value, command: Command) -> Value:
        """The flags of instances of ``scope`` for each bank or rank that ``command`` may go to."""
        copies = len(getattr(self, f"ready_{command.name}")) // self._instances(scope)
        return Cat(flag.replicate(copies) for flag in flags)


def _count(m: Module, name: str, starts: Value, waits: Collection[int]) -> dict[int, Signal]:
    """For each of ``waits`` n, flags that stand from the cycle after ``starts`` to n - 1 cycles after it."""
    longest = max(waits)
    flags = {n: Signal(len(starts), name=f"wait_{name}_{n}") for n in waits}
    ends = {n: Signal(len(starts), name=f"end_{name}_{n}") for n in waits}
    for i, start in enumerate(starts):
        elapsed = Signal(range(longest), name=f"elapsed_{name}_{i}")
        with m.If(start):
            m.d.sync += elapsed.eq(1)
        with m.Elif(elapsed != 0):
            m.d.sync += elapsed.eq(Mux(elapsed == longest - 1, 0, elapsed + 1))
        m.d.comb += [end[i].eq(elapsed == n - 1) for n, end in ends.items()]
    m.d.sync += [flags[n].eq(starts | (flags[n] & ~ends[n])) for n in waits]
    return flags
