"""Does conformance find what can go wrong in a systolic array: partial sums, the two weight registers, the hold of the drain?"""

import dataclasses
import re

import pytest
from amaranth.hdl import Signal
from wrapped import Wrapper, gated

from accel.base.conformance import conform
from accel.systolic_array import SystolicArray, output_stationary, weight_stationary
from accel.systolic_array.cell import OutputStationaryCell, WeightStationaryCell
from workloads.formats import FORMATS
from workloads.ops import Linear

INT8 = FORMATS["int8"]
FLOWS = ("output_stationary", "weight_stationary")


def failure_of(unit, **extents):
    op = Linear(weights=INT8, activations=INT8, output=FORMATS["int32"], **extents)
    (row,) = conform([(unit, op)], artifacts=None).rows
    return row.failure or "passed"


class PartialIgnored(SystolicArray):
    """Its partial sums read as zero."""

    def component(self):
        return Wrapper(self, super().component())

    def mutate(self, m, inner, outer):
        m.d.comb += inner.partial.payload.eq(0)


@pytest.mark.parametrize("flow", FLOWS)
def test_partial_sums_that_are_ignored_fail(flow):
    failure = failure_of(PartialIgnored(rows=2, columns=2, dataflow=flow), m=3, n=2, k=5)
    assert re.search(r"accumulate=True\).*should be -?\d+ \(systolic.systolic_linear\), the RTL gave", failure), failure


class SwappedLate(WeightStationaryCell):
    """Weights come into use one tile late."""

    def elaborate(self, platform):
        made = []
        make = self.pe.make
        self.pe = dataclasses.replace(self.pe, make=lambda kind: made.append(make(kind)) or made[-1])
        m = super().elaborate(platform)
        current, late = Signal(8), Signal(8)
        with m.If(self.weight_swap):
            m.d.sync += [current.eq(self.weight_below), late.eq(current)]
        m.d.comb += made[0].weight.eq(late)  # of two drivers of a signal in one module, the later one wins
        return m


def test_weights_swapped_one_tile_late_fail(monkeypatch):
    monkeypatch.setattr(weight_stationary, "WeightStationaryCell", SwappedLate)

    class Late(SystolicArray):
        """Another class, as components are remembered by their unit."""

    failure = failure_of(Late(rows=2, columns=2, dataflow="weight_stationary"), m=3, n=2, k=2)
    assert re.search(r"should be -?\d+ \(systolic.systolic_linear\), the RTL gave", failure), failure


class Overwritten(OutputStationaryCell):
    """The drain register does not wait for the sums of all cells, but moves on as soon as its own is there."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.drain.eq(self.advance)
        return m


def test_sums_that_move_too_soon_fail(monkeypatch):
    monkeypatch.setattr(output_stationary, "OutputStationaryCell", Overwritten)

    class Soon(SystolicArray):
        """Another class, as components are remembered by their unit."""

    failure = failure_of(Soon(rows=2, columns=2), m=2, n=2, k=3)
    assert re.search(r"should be -?\d+ \(systolic.systolic_linear\), the RTL gave|event 'drain'", failure), failure


@pytest.mark.parametrize("event", ["padding", "activation_skew", "weight_shift", "weight_swap", "partial_skew", "deskew"])
def test_an_event_whose_enable_is_gated_fails(event):
    unit = gated(SystolicArray(rows=2, columns=2, dataflow="weight_stationary"), event)
    failure = failure_of(unit, m=3, n=3, k=5)
    assert re.search(rf"cost says (\d+) of event '{event}', the RTL counted (?!\1\b)\d+", failure), failure
