"""Mutants: a unit whose right component has one thing changed on its way out, and the message that must follow."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from accel.base.conformance import conform
from accel.table_precompute import TablePrecomputeUnit
from workloads.ops import TablePrecompute

OP = TablePrecompute(m=3, k=7, group=2)


def failure_of(unit, op=OP, **kwargs) -> str:
    """The message of the one case, which must fail."""
    (row,) = conform([(unit, op)], artifacts=None, **kwargs).rows
    assert row.failure is not None, f"{type(unit).__name__} passed"
    assert unit.kind() in row.failure
    assert "rows=1" in row.failure
    assert "seed 0" in row.failure
    return row.failure


class Wrapped(TablePrecomputeUnit):
    """The unit inside a wrapper that passes everything through, until ``mutate`` changes something."""

    rows: int = 1
    group: int = 2

    def component(self):
        return Wrapper(self, super().component())

    def mutate(self, m, inner, outer):
        raise NotImplementedError


class Wrapper(wiring.Component):
    def __init__(self, unit, inner):
        self.unit, self.inner = unit, inner
        super().__init__(inner.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.inner
        connect(m, flipped(self), self.inner)
        self.unit.mutate(m, self.inner, self)  # of two drivers of a signal in one module, the later one wins
        return m


def gated(unit, event):
    """``unit`` with every second occurrence of ``event`` not counted."""

    class EventHalved(type(unit)):
        def component(self):
            return Wrapper(self, super().component())

        def mutate(self, m, inner, outer):
            skip, now = Signal(init=1), inner.events[event]
            m.d.sync += skip.eq(skip ^ (now != 0))
            with m.If(skip):
                m.d.comb += outer.events[event].eq(0)

    return EventHalved(**unit.model_dump(mode="json"))
