"""Does conformance find what can go wrong in the flash core: a vote, a code, an order, a threshold that are not as declared?"""

import re

import pytest
from amaranth.hdl import Const, Signal
from wrapped_part import WrappedPart

from accel.base.conformance import conform
from pim.flash_compute import FlashCompute, rtl
from pim.flash_compute.buffer import Buffer
from pim.flash_compute.rtl import FlashComputeRtl
from pim.flash_compute.spare import Spare, Vote
from workloads.page_gemv import PageGemv

SMALL = {"macs": 2, "page_values": 128, "spare_bytes": 256, "buffer_bytes": 32, "permille": 150}
OP = PageGemv(rows=5, columns=19, flips=120)


class NoVote(WrappedPart):
    """The stored value counts alone."""

    part = Vote

    def mutate(self, m, inner):
        m.d.comb += self.voted.eq(self.stored)


class FirstCopy(WrappedPart):
    """The first copy counts alone."""

    part = Vote

    def mutate(self, m, inner):
        m.d.comb += self.voted.eq(self.first)


class NoDoubt(WrappedPart):
    """Votes in doubt are not counted: silent."""

    part = Vote

    def mutate(self, m, inner):
        m.d.comb += self.doubtful.eq(0)


class ClipsOneLess(WrappedPart):
    """Values one above the threshold stay."""

    part = Spare

    def mutate(self, m, inner):
        m.d.comb += self.threshold.eq(inner.threshold + 1)


class ClipsOneMore(WrappedPart):
    """Values at the threshold are cut too."""

    part = Spare

    def mutate(self, m, inner):
        m.d.comb += self.threshold.eq(inner.threshold - 1)


class NoHamming(Spare):
    """The address is taken as it is stored."""

    def _address(self, m, fetch, follower):
        super()._address(m, fetch, follower)
        with m.If(fetch):
            m.d.sync += follower.address.eq(self.words.payload.address)


class AnyOrder(Spare):
    """An entry counts wherever its address lies."""

    def _order(self, m, follower, follower_full):
        super()._order(m, follower, follower_full)
        m.d.comb += self.counts.eq(self.head.known)


class NoLookAhead(Spare):
    """An entry that is too far is believed, so that those after it are lost."""

    def _order(self, m, follower, follower_full):
        super()._order(m, follower, Const(0))


class LastCopyOfThreshold(Spare):
    """The threshold is the last copy alone."""

    def _threshold(self, m, copies):
        super()._threshold(m, copies)
        last = Signal(8)
        with m.If(self.taken & (copies != 0)):
            m.d.sync += last.eq(self.words.payload.as_value()[:8])
        m.d.comb += self.threshold.eq(last)


class NeverHome(WrappedPart):
    """The pointer of a buffer goes round instead of back to the first word."""

    part = Buffer

    def __init__(self, words, bits):
        super().__init__(words, bits)
        self.words = words

    def mutate(self, m, inner):
        m.d.comb += inner.home.eq(0)


def failure_of(component=FlashComputeRtl):
    class Mutated(FlashCompute):
        """Another class, as components are remembered by their unit."""

        def component(self):
            return component(self.code, self.macs, self.buffer_bytes)

    (row,) = conform([(Mutated(**SMALL), OP)], artifacts=None).rows
    return row.failure or "passed"


def test_the_core_that_the_mutants_come_from_passes():
    assert failure_of() == "passed"


VALUES = r"result [01] at \[\d+\] should be -?\d+ \(flash_compute.page_gemv\), the RTL gave -?\d+"


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("Vote", NoVote),
        ("Vote", FirstCopy),
        ("Vote", NoDoubt),
        ("Spare", ClipsOneLess),
        ("Spare", ClipsOneMore),
        ("Spare", NoHamming),
        ("Spare", LastCopyOfThreshold),
        ("Spare", NoLookAhead),
        ("Buffer", NeverHome),
    ],
)
def test_a_part_that_does_something_else_fails(monkeypatch, name, mutant):
    monkeypatch.setattr(rtl, name, mutant)
    failure = failure_of()
    assert re.search(VALUES, failure), failure


def test_entries_in_any_order_stop_the_core(monkeypatch):
    """One that is behind the words that have passed waits for ever."""
    monkeypatch.setattr(rtl, "Spare", AnyOrder)
    failure = failure_of()
    assert re.search(r"hangs|cost says \d+ cycles|" + VALUES, failure), failure


@pytest.mark.parametrize("event", ["vector_in", "page_in", "spare_in", "entry", "mac", "padding", "result"])
def test_an_event_that_is_not_counted_every_time_fails(event):
    class Halved(FlashComputeRtl):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            skip, now = Signal(init=1), Signal()
            m.d.comb += now.eq(self.events[event] != 0)
            m.d.sync += skip.eq(skip ^ now)
            with m.If(skip):
                m.d.comb += self.events[event].eq(0)
            return m

    failure = failure_of(Halved)
    assert re.search(rf"of event '{event}', the RTL counted", failure), failure
