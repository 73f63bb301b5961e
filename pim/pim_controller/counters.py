"""The rules of time of a PIM channel as counters: how long each command still has to wait, for each bank.

For each command and place that it may go to stands a counter of the cycles that it has to wait. A command that goes out loads
each with the wait of its rule, if that is longer than what is left; which rules those are comes from `pim.rules`. A GEMV loads
what its last COMP and its READRES ask for, by its bursts. What READRES asks of reads and writes begins when it is on the data
bus, and until then they must keep away: ``result_in`` counts down to it.
"""

from __future__ import annotations

from collections import defaultdict
from functools import reduce
from operator import or_

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from memsys.part import COLUMN_COMMANDS, Command, Part
from pim.channel import around_results, waits
from pim.commands import AnyCommand, comp_cycles, reach, result_cycles
from pim.rules import COMP, GEMV, GWRITE, HEADER, PACT, PPRE, READRES, rules

SENT: tuple[AnyCommand, ...] = (Command.ACT, Command.PRE, Command.RD, Command.WR, GWRITE, PPRE, Command.REFAB, PACT, HEADER, GEMV)
"""What the controller sends."""
READ_OR_WRITE = (Command.RD, Command.WR)


def places(part: Part, command: AnyCommand) -> list[range]:
    """The banks that ``command`` reaches at each of the places where it may go."""
    starts = range(part.banks_per_channel)
    return [reach(part, command, bank) for bank in starts if reach(part, command, bank).start == bank]


class Counters(wiring.Component):
    """``sent_X`` to ``bank`` (the first one reached), a GEMV with its ``bursts``; ``ready_X``: one bit for each of its places.

    ``left``: cycles until a PPRE may go to any bank, and a HEADER out, which is when the operation before has ended.
    """

    def __init__(self, part: Part, dual: bool, most_bursts: int):
        self.part, self.dual, self.most_bursts = part, dual, most_bursts
        self.longest = max(rule.cycles for rule in rules(part, dual)) + result_cycles(part, most_bursts)
        super().__init__(
            {
                **{f"sent_{c.name}": In(1) for c in SENT},
                "bank": In(range(part.banks_per_channel)),
                "bursts": In(range(most_bursts + 1)),
                **{f"ready_{c.name}": Out(len(places(part, c))) for c in SENT},
                "left": Out(range(self.longest + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        part = self.part
        self.target = Signal(part.banks_per_channel)
        m.d.comb += self.target.eq(1 << self.bank)
        self.conditions: dict[tuple[AnyCommand, tuple[int, ...]], Signal] = {}
        self.tables: dict[tuple[int, ...], Signal] = {}
        result_in = Signal(range(result_cycles(part, self.most_bursts)))
        arrives = Signal()
        m.d.sync += [arrives.eq(result_in == 1), result_in.eq(Mux(result_in == 0, 0, result_in - 1))]
        with m.If(self.sent_GEMV):
            m.d.sync += result_in.eq(self._by_bursts(m, tuple(result_cycles(part, n) - 1 for n in self._range())))
        for command in SENT:
            ready = getattr(self, f"ready_{command.name}")
            clear = Const(1)
            if command in READ_OR_WRITE:
                before, _ = around_results(part, self.dual)[Command(command)]
                clear = ~arrives & ((result_in == 0) | (result_in >= before))
            for i, banks in enumerate(places(part, command)):
                counter = self._counter(m, f"wait_{command.name}_{i}", [(command, banks)], arrives)
                m.d.comb += ready[i].eq((counter == 0) & clear)
        self._windows(m)
        every = range(part.banks_per_channel)
        m.d.comb += self.left.eq(self._counter(m, "left", [(PPRE, every), (HEADER, every)], arrives))
        return m

    def _range(self) -> range:
        return range(1, self.most_bursts + 1)

    def _counter(self, m: Module, name: str, after: list[tuple[AnyCommand, range]], arrives: Signal) -> Signal:
        """Cycles until all of ``after``, commands to any of some banks, may go out."""
        loads: list[Value] = []
        for command in SENT:
            if command is not GEMV:
                by_wait: defaultdict[int, list[int]] = defaultdict(list)
                for banks in places(self.part, command):
                    wait = max(self._wait(command, banks.start, *each) for each in after)
                    if wait > 1:
                        by_wait[wait].append(banks.start)
                loads += [Mux(self._goes(m, command, tuple(starts)), wait - 1, 0) for wait, starts in by_wait.items()]
        dynamic = tuple(max(max(self._after_gemv(n, *each) for each in after) - 1, 0) for n in self._range())
        if any(dynamic):
            loads.append(Mux(self.sent_GEMV, self._by_bursts(m, dynamic), 0))
        counter = Signal(range(self.longest + 1), name=name)
        following: Value = Mux(counter == 0, 0, counter - 1)
        if loads:
            load = Signal.like(counter, name=f"{name}_load")
            m.d.comb += load.eq(reduce(or_, loads))
            following = Mux(load > following, load, following)
        wait = max((self._wait(READRES, 0, *each) for each in after if each[0] in READ_OR_WRITE), default=0)
        if wait > 1:  # a READRES in this cycle
            following = Mux(arrives & (following < wait - 1), wait - 1, following)
        m.d.sync += counter.eq(following)
        return counter

    def _wait(self, before: AnyCommand, start: int, after: AnyCommand, banks: range) -> int:
        """Cycles from ``before``, whose first bank is ``start``, to ``after``, which reaches ``banks``."""
        found = waits(self.part, self.dual)[before, start]
        if after is GEMV:
            filled = int(found[READRES].max()) - result_cycles(self.part, 1)
            return max(int(found[GEMV].max()), int(found[COMP].max()), filled)
        return int(found[after, banks.start : banks.stop].max())

    def _after_gemv(self, bursts: int, after: AnyCommand, banks: range) -> int:
        last, result = (bursts - 1) * comp_cycles(self.part), result_cycles(self.part, bursts)
        found = max(self._wait(GEMV, 0, after, banks), last + self._wait(COMP, 0, after, banks))
        return found if after in COLUMN_COMMANDS else max(found, result + self._wait(READRES, 0, after, banks))

    def _goes(self, m: Module, command: AnyCommand, starts: tuple[int, ...]) -> Signal:
        """Whether ``command`` goes out to one of the places that start so."""
        if (command, starts) not in self.conditions:
            signal = Signal(name=f"goes_{command.name}_{len(self.conditions)}")
            mask = sum(1 << start for start in starts)
            everywhere = len(starts) == len(places(self.part, command))
            m.d.comb += signal.eq(getattr(self, f"sent_{command.name}") & (everywhere | (self.target & mask).any()))
            self.conditions[command, starts] = signal
        return self.conditions[command, starts]

    def _by_bursts(self, m: Module, values: tuple[int, ...]) -> Signal:
        """The entry of ``values`` for ``bursts`` from 1 on."""
        if values not in self.tables:
            signal = Signal(range(max(values) + 1), name=f"by_bursts_{len(self.tables)}")
            m.d.comb += signal.eq(Array([0, *values])[self.bursts])
            self.tables[values] = signal
        return self.tables[values]

    def _windows(self, m: Module) -> None:
        """At most four ACT in tFAW: a counter for each of the last four, by rank; ready while one of them has run out."""
        size = self.part.banks_per_rank
        for rule in rules(self.part, self.dual):
            if rule.window == 1:
                continue
            for rank in range(self.part.banks_per_channel // size):
                starts = tuple(range(rank * size, (rank + 1) * size))
                happens = self._goes(m, rule.before, starts)
                turn = Signal(range(rule.window), name=f"turn_{rank}")
                last = [Signal(range(rule.cycles), name=f"window_{rank}_{i}") for i in range(rule.window)]
                m.d.sync += [each.eq(Mux(each == 0, 0, each - 1)) for each in last]
                with m.If(happens):
                    m.d.sync += turn.eq(Mux(turn == rule.window - 1, 0, turn + 1))
                    with m.Switch(turn):
                        for i, each in enumerate(last):
                            with m.Case(i):
                                m.d.sync += each.eq(rule.cycles - 1)
                full = reduce(lambda a, b: a & b, (each != 0 for each in last))
                with m.If(full):
                    ready = getattr(self, f"ready_{rule.after.name}")
                    m.d.comb += ready[rank * size : (rank + 1) * size].eq(0)
