"""Does conformance find what can go wrong in a PIM bank: a side that spoils the other, sums that are not those asked for?"""

import re

import pytest
from amaranth.hdl import Signal
from wrapped_part import WrappedPart

from accel.base.conformance import conform
from pim.pim_bank import PimBank, rtl
from pim.pim_bank.dot_product import DotProduct
from pim.pim_bank.rtl import BankRtl, MemoryCode, PimCode

SMALL = {"multipliers": 2, "row_bytes": 16}


class Mutant(BankRtl):
    """The bank's RTL with one thing changed: of two drivers of a signal in one module, the later one wins."""

    def _memory_side(self, m, side):
        super()._memory_side(m, side)
        self.memory_side = side

    def _pim_side(self, m, side):
        super()._pim_side(m, side)
        self.mutate(m, self.memory_side, side)


class PimActSpoilsMemory(Mutant):
    """A row that comes for PIM goes into the memory row buffer too."""

    def mutate(self, m, memory, pim):
        with m.If(pim.fill):
            m.d.comb += [memory.load.eq(1), memory.burst.eq(pim.burst)]


class CompMovesColumn(Mutant):
    """While the PIM side multiplies, the memory side finds the column of COMP."""

    def mutate(self, m, memory, pim):
        with m.If(pim.take & (self.pim.payload.code == PimCode.COMP)):
            m.d.comb += memory.column.eq(pim.column)


class WriteSpoilsPim(Mutant):
    """WR goes into the PIM row buffer too."""

    def mutate(self, m, memory, pim):
        with m.If(memory.take & (self.memory.payload.code == MemoryCode.WR)):
            m.d.comb += [pim.load.eq(1), pim.burst.eq(memory.burst)]


class PreClosesBoth(Mutant):
    """PRE of the memory side closes the PIM row too, as in a bank with one row buffer."""

    def mutate(self, m, memory, pim):
        with m.If(memory.take & (self.memory.payload.code == MemoryCode.PRE)):
            m.d.sync += pim.open.eq(0)


class WriteLost(Mutant):
    """WR takes its data, but does not write."""

    def mutate(self, m, memory, pim):
        with m.If(memory.take & (self.memory.payload.code == MemoryCode.WR)):
            m.d.comb += memory.load.eq(0)


def failure_of(component, **parameters):
    class Mutated(PimBank):
        """Another class, as components are remembered by their unit."""

        def component(self):
            return component(self.format, self.multipliers, self.columns, self.dual_row_buffer)

    unit = Mutated(**SMALL | parameters)
    (row,) = conform([(unit, unit.op(rows=4, slots=2, length=3, pages=3, reads=3, writes=3))], artifacts=None).rows
    return row.failure or "passed"


MEMORY = r"result [12] at .* should be \d+ \(pim.bank_gemv\), the RTL gave \d+"
SUMS = r"result 0 at .* should be -?\d+ \(pim.bank_gemv\), the RTL gave -?\d+"


@pytest.mark.parametrize(
    ("mutant", "message"),
    [
        (PimActSpoilsMemory, MEMORY),
        (CompMovesColumn, MEMORY),
        (WriteLost, MEMORY),
        (WriteSpoilsPim, SUMS),
        (PreClosesBoth, r"hangs|cost says \d+ cycles"),
    ],
)
def test_a_side_that_spoils_the_other_fails(mutant, message):
    failure = failure_of(mutant)
    assert re.search(message, failure), failure


def test_the_bank_that_the_mutants_come_from_passes():
    assert failure_of(BankRtl) == "passed"


class Inner(WrappedPart):
    """A dot product whose inputs pass a wrapper, which changes one."""

    part = DotProduct

    def __init__(self, fmt, multipliers):
        super().__init__(fmt, multipliers)
        self.depth = self.inner.depth


class NeverFirst(Inner):
    """A sum starts from the one before it."""

    def mutate(self, m, inner):
        m.d.comb += inner.first.eq(0)


class AllLanes(Inner):
    """Lanes that are not used count too."""

    def mutate(self, m, inner):
        m.d.comb += inner.lanes.eq(inner.multipliers)


class ReadTooSoon(Inner):
    """A result is taken while its last sum is still on the way."""

    def mutate(self, m, inner):
        asked = Signal()
        m.d.sync += asked.eq(self.read)
        m.d.comb += [self.ends.eq(asked), inner.read.eq(0)]


@pytest.mark.parametrize("mutant", [NeverFirst, AllLanes, ReadTooSoon])
@pytest.mark.parametrize("operands", ["fp16", "int8"])
def test_sums_that_are_not_those_asked_for_fail(monkeypatch, mutant, operands):
    monkeypatch.setattr(rtl, "DotProduct", mutant)
    failure = failure_of(BankRtl, operands=operands)
    assert re.search(f"{SUMS}|cost says", failure), failure


@pytest.mark.parametrize("event", ["memory_fill", "read", "write", "restore", "pim_fill", "comp", "read_result"])
def test_an_event_that_is_not_counted_every_time_fails(event):
    class Halved(Mutant):
        def mutate(self, m, memory, pim):
            skip, now = Signal(init=1), Signal()
            m.d.comb += now.eq(self.events[event])
            m.d.sync += skip.eq(skip ^ now)
            with m.If(skip):
                m.d.comb += self.events[event].eq(0)

    failure = failure_of(Halved)
    assert re.search(rf"of event '{event}', the RTL counted", failure), failure
