"""Does conformance bite? Every mutant of the RTL of a unit that passes must fail, with a message that names the difference."""

import re

import pytest
from amaranth.hdl import Mux, Signal
from wrapped import OP, Wrapped, failure_of

from accel.base.conformance import conform
from accel.table_precompute import TablePrecomputeUnit


def test_the_unit_that_the_mutants_come_from_passes():
    conform([(TablePrecomputeUnit(rows=1, group=2), OP)], artifacts=None).assert_passed()


class EventGated(Wrapped):
    """The event's enable is gated by the back-pressure."""

    def mutate(self, m, inner, outer):
        m.d.comb += outer.events.eq(Mux(outer.tables.ready, inner.events.as_value(), 0))


class EventEveryCycle(Wrapped):
    """The event counts cycles in which a word could be loaded, which differs only where the input has gaps."""

    def mutate(self, m, inner, outer):
        m.d.comb += outer.events.table_write.eq(Mux(inner.activations.ready, self.rows * 2, 0))


class EventAfterTheEnd(Wrapped):
    """One event too many, long after the run."""

    def mutate(self, m, inner, outer):
        with m.If(_long_after(m, outer)):
            m.d.comb += outer.events.table_write.eq(1)


def _long_after(m, outer):
    """High in one cycle, when nothing has been offered for some time."""
    idle = Signal(6)
    m.d.sync += idle.eq(Mux(outer.config.valid | outer.tables.valid | idle.all(), 0, idle + 1))
    return idle == 20


class WordDropped(Wrapped):
    """An input handshake that never reaches the unit."""

    def mutate(self, m, inner, outer):
        count = Signal(3)
        m.d.sync += count.eq(count + (outer.activations.valid & outer.activations.ready))
        with m.If(count == 5):
            m.d.comb += [inner.activations.valid.eq(0), outer.activations.ready.eq(1)]


class PayloadMoves(Wrapped):
    """The output word changes while it waits."""

    def mutate(self, m, inner, outer):
        waited = Signal()
        m.d.sync += waited.eq(outer.tables.valid & ~outer.tables.ready)
        m.d.comb += outer.tables.payload.eq(inner.tables.payload.as_value() ^ waited)


class Withdraws(Wrapped):
    """An offered word is withdrawn for a cycle when it is not taken at once."""

    def mutate(self, m, inner, outer):
        waited = Signal()
        m.d.sync += waited.eq(outer.tables.valid & ~outer.tables.ready)
        with m.If(waited):
            m.d.comb += [outer.tables.valid.eq(0), inner.tables.ready.eq(0)]


class WaitsForReady(Wrapped):
    """A word is offered only to who is ready."""

    def mutate(self, m, inner, outer):
        m.d.comb += outer.tables.valid.eq(inner.tables.valid & outer.tables.ready)


class WordTooMany(Wrapped):
    """The last word of a run is sent twice."""

    def mutate(self, m, inner, outer):
        again = Signal()
        m.d.sync += again.eq(inner.tables.valid & inner.tables.ready & ~again)
        with m.If(again & ~inner.tables.valid):
            m.d.comb += [outer.tables.valid.eq(1), outer.config.ready.eq(0), inner.config.valid.eq(0)]


class WordAfterTheEnd(Wrapped):
    """One word appears when everything is over."""

    def mutate(self, m, inner, outer):
        with m.If(_long_after(m, outer)):
            m.d.comb += outer.tables.valid.eq(1)


class OutputLate(Wrapped):
    """One more register behind the output, which the cost does not know."""

    def mutate(self, m, inner, outer):
        m.d.comb += [inner.tables.ready.eq(~outer.tables.valid | outer.tables.ready), outer.tables.valid.eq(0)]
        valid, payload = Signal(), Signal(outer.tables.payload.as_value().shape())
        with m.If(inner.tables.ready):
            m.d.sync += [valid.eq(inner.tables.valid), payload.eq(inner.tables.payload)]
        m.d.comb += [outer.tables.valid.eq(valid), outer.tables.payload.eq(payload)]


class ConfigEarly(Wrapped):
    """The next config word is put aside while a run is open."""

    def mutate(self, m, inner, outer):
        held, payload = Signal(), Signal(outer.config.payload.shape())
        m.d.comb += [outer.config.ready.eq(~held), inner.config.valid.eq(held | outer.config.valid)]
        m.d.comb += inner.config.payload.eq(Mux(held, payload, outer.config.payload))
        with m.If(inner.config.ready):
            m.d.sync += held.eq(0)
        with m.Elif(outer.config.valid & ~held):
            m.d.sync += [held.eq(1), payload.eq(outer.config.payload)]


class ConfigLate(Wrapped):
    """The next config word waits for one cycle."""

    def mutate(self, m, inner, outer):
        before = Signal()
        m.d.sync += before.eq(inner.config.ready)
        with m.If(~before):
            m.d.comb += [outer.config.ready.eq(0), inner.config.valid.eq(0)]


class Bubble(Wrapped):
    """A pause of one cycle after every eighth word, so that only longer runs are slower."""

    def mutate(self, m, inner, outer):
        count = Signal(3)
        m.d.sync += count.eq(Mux(outer.config.ready, 0, count + (outer.tables.valid & outer.tables.ready)))
        paused = Signal()
        m.d.sync += paused.eq(count == 7)
        with m.If((count == 7) & ~paused):
            m.d.comb += [outer.activations.ready.eq(0), inner.activations.valid.eq(0)]


class BubbleInLongRuns(Wrapped):
    """A pause of one cycle after every 512th word of a run."""

    def mutate(self, m, inner, outer):
        count, paused = Signal(9), Signal()
        moved = outer.tables.valid & outer.tables.ready
        m.d.sync += [count.eq(Mux(outer.config.ready, 0, count + moved)), paused.eq(count == 511)]
        with m.If((count == 511) & ~paused):
            m.d.comb += [outer.activations.ready.eq(0), inner.activations.valid.eq(0)]


class CountsTooFew(Wrapped):
    """The counter of a run's words has nine bits."""

    def mutate(self, m, inner, outer):
        m.d.comb += inner.config.payload.eq(outer.config.payload[:9])


class Hangs(Wrapped):
    """Takes no more words after the third."""

    def mutate(self, m, inner, outer):
        count = Signal(2)
        m.d.sync += count.eq(count + (outer.activations.valid & outer.activations.ready))
        with m.If(count == 3):
            m.d.comb += [outer.activations.ready.eq(0), inner.activations.valid.eq(0)]


class LooksAfterTheHandshake(Wrapped):
    """A register before the unit, bypassed by the input's payload where no next word is offered."""

    def mutate(self, m, inner, outer):
        full, saved = Signal(), Signal(outer.activations.payload.as_value().shape())
        m.d.comb += [outer.activations.ready.eq(~full | inner.activations.ready), inner.activations.valid.eq(full)]
        m.d.comb += inner.activations.payload.eq(Mux(outer.activations.valid, saved, outer.activations.payload.as_value()))
        with m.If(outer.activations.ready):
            m.d.sync += [full.eq(outer.activations.valid), saved.eq(outer.activations.payload)]


class WrongAtOneCorner(Wrapped):
    """Wrong only for the single input -128, -128, as if a sum had been clipped."""

    def mutate(self, m, inner, outer):
        with m.If(inner.tables.payload[0][0] == -256):
            m.d.comb += outer.tables.payload[0][0].eq(-255)


@pytest.mark.parametrize(
    ("mutant", "message"),
    [
        (EventGated, r"pass '(stalls|patient)': run \d+ .*cost says \d+ of event 'table_write', the RTL counted \d+"),
        (EventEveryCycle, r"pass 'stalls': run \d+ .*cost says \d+ of event 'table_write', the RTL counted \d+"),
        (EventAfterTheEnd, r"cycle \d+: counted 1 more of event 'table_write' since the last word"),
        (
            WordDropped,
            r"hangs, nothing moved for \d+ cycles \(run open, owes 1 on 'tables'\); .*activations: \d+ of \d+ words taken",
        ),
        (PayloadMoves, r"cycle \d+, run \d+: changed or withdrew the word on 'tables' while valid was high and ready low"),
        (Withdraws, r"cycle \d+, run \d+: changed or withdrew the word on 'tables' while valid was high and ready low"),
        (WaitsForReady, r"pass 'patient': .*hangs.*tables: 0 words sent, valid=0 ready=0"),
        (WordTooMany, r"cycle \d+, run \d+: sent a word too many on 'tables'"),
        (WordAfterTheEnd, r"cycle \d+: sent a word on 'tables' after the last word of the last run"),
        (OutputLate, r"run 0 \(n=3, .*cost says 14 cycles \(latency 6 \+ 2 \* interval 4\), the RTL took 15 \(cycles 0 to 14\)"),
        (ConfigEarly, r"took the next config word before its own last output word: owes \d+ on 'tables'"),
        (ConfigLate, r"its config word should be taken in cycle \d+, the RTL took it in cycle \d+"),
        (Bubble, r"cost says (\d+) cycles .*, the RTL took \d+"),
        (BubbleInLongRuns, r"pass 'long': .*cost says (\d+) cycles .*, the RTL took \d+"),
        (CountsTooFew, r"pass 'long': .*hangs, nothing moved for \d+ cycles"),
        (Hangs, r"hangs, nothing moved for \d+ cycles \(run open, .*activations: 3 of \d+ words taken, valid=1 ready=0"),
        (LooksAfterTheHandshake, r"should be -?\d+ \(tables.half_table\), the RTL gave"),
        (WrongAtOneCorner, r"should be 256 \(tables.half_table\), the RTL gave 255"),
    ],
)
def test_a_wrong_rtl_fails(mutant, message):
    failure = failure_of(mutant())
    assert re.search(message, failure, re.DOTALL), failure
