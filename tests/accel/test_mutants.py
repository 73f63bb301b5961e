"""Does conformance bite? Every mutant of a unit that passes must fail, with a message that names the difference."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

import kernels_ref.tables
from accel.base.conformance import PACKAGES, conform
from accel.base.cost import Cost
from accel.base.spec import discover
from accel.base.unit import RtlUnit
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


def test_the_unit_that_the_mutants_come_from_passes():
    conform([(TablePrecomputeUnit(rows=1, group=2), OP)], artifacts=None).assert_passed()


# The price is wrong


class Priced(TablePrecomputeUnit):
    """The unit with its cost off by the given amounts."""

    rows: int = 1
    group: int = 2
    latency: int = 0
    interval: int = 0
    writes: int = 0

    def tile_cost(self, tile):
        cost = super().tile_cost(tile)
        events = {"table_write": cost.events["table_write"] + self.writes}
        return Cost(cost.latency + self.latency, cost.interval + self.interval, events)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latency": 1}, r"cost says (\d+) cycles \(latency \d+ \+ \d+ \* interval \d+\), the RTL took (\d+)"),
        ({"latency": -1}, r"cost says (\d+) cycles .* the RTL took (\d+)"),
        ({"interval": 1}, r"run \d+ \(n=[2-9].*cost says (\d+) cycles .* the RTL took (\d+)"),
        ({"writes": 1}, r"cost says (\d+) of event 'table_write', the RTL counted (\d+)"),
    ],
)
def test_a_wrong_price_fails(wrong, message):
    failure = failure_of(Priced(**wrong))
    match = re.search(message, failure)
    assert match, failure
    assert match[1] != match[2]


class Renamed(TablePrecomputeUnit):
    """Its cost names an event that the RTL does not have."""

    def tile_cost(self, tile):
        cost = super().tile_cost(tile)
        return Cost(cost.latency, cost.interval, {"table_writes": cost.events["table_write"]})


def test_events_of_other_names_fail():
    assert "cost states the events ['table_writes'], the RTL has ['table_write']" in failure_of(Renamed(rows=1, group=2))


class PricedInHalves(TablePrecomputeUnit):
    """Its cost forgets to round up, which cutting off the half hides."""

    def tile_cost(self, tile):
        cost = super().tile_cost(tile)
        return Cost(cost.latency + 0.5, cost.interval, cost.events)


def test_a_price_that_is_not_whole_fails():
    message = r"price of table_precompute .*: wanted a whole number for latency, cost says \d+\.5"
    assert re.search(message, failure_of(PricedInHalves(rows=1, group=2)))


class PricedApart(TablePrecomputeUnit):
    """Its cost of arrays is another formula."""

    def tile_cost(self, tile):
        cost = super().tile_cost(tile)
        return cost if isinstance(tile.k, int) else Cost(cost.latency, np.maximum(cost.interval, 2), cost.events)


def test_a_price_that_differs_for_arrays_fails():
    message = r"price of table_precompute .*: cost says 1 for interval, and np\.int64\(2\) where the extents are arrays"
    assert re.search(message, failure_of(PricedApart(rows=1, group=2)))


class PricedAlone(TablePrecomputeUnit):
    """Its cost takes no arrays."""

    def tile_cost(self, tile):
        return super().tile_cost(tile) if tile.k > 0 else None


def test_a_price_that_takes_no_arrays_fails():
    message = "wanted a price also where the extents are arrays, got ValueError: The truth value of an array"
    assert message in failure_of(PricedAlone(rows=1, group=2))


# The reference, or the values, are wrong


@pytest.mark.parametrize("index", [(0, 0, 0), (0, -1, 1)])
def test_a_wrong_reference_fails(monkeypatch, index):
    right = kernels_ref.tables.half_table

    def wrong(op, activations):
        tables = right(op, activations)
        tables[index] += 1
        return tables

    monkeypatch.setattr(kernels_ref.tables, "half_table", wrong)
    failure = failure_of(TablePrecomputeUnit(rows=1, group=2))
    match = re.search(r"result 0 at \[.*\] should be (-?\d+) \(tables.half_table\), the RTL gave (-?\d+) \(1 of", failure)
    assert match, failure
    assert int(match[1]) == int(match[2]) + 1


def test_a_reference_of_another_shape_fails(monkeypatch):
    monkeypatch.setattr(kernels_ref.tables, "half_table", lambda op, activations: np.zeros((1, 1), np.int64))
    assert "should have the shape (1, 1)" in failure_of(TablePrecomputeUnit(rows=1, group=2))


# The RTL is wrong: the right component, with one thing changed on its way out


class Wrapped(TablePrecomputeUnit):
    """The unit inside a wrapper that passes everything through, until ``mutate`` changes something."""

    rows: int = 1
    group: int = 2

    def component(self):
        return _Wrapper(self, super().component())

    def mutate(self, m, inner, outer):
        raise NotImplementedError


class _Wrapper(wiring.Component):
    def __init__(self, unit, inner):
        self.unit, self.inner = unit, inner
        super().__init__(inner.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.inner
        connect(m, flipped(self), self.inner)
        self.unit.mutate(m, self.inner, self)  # of two drivers of a signal in one module, the later one wins
        return m


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
        idle = Signal(6)
        m.d.sync += idle.eq(Mux(outer.config.valid | outer.tables.valid | idle.all(), 0, idle + 1))
        with m.If(idle == 20):
            m.d.comb += outer.events.table_write.eq(1)


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
        idle = Signal(6)
        m.d.sync += idle.eq(Mux(outer.config.valid | outer.tables.valid | idle.all(), 0, idle + 1))
        with m.If(idle == 20):
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


# The counting is wrong: every event of every unit, on the cheapest of the unit's examples that has it


def gated(unit, event):
    """``unit`` with every second occurrence of ``event`` not counted."""

    class EventHalved(type(unit)):
        def component(self):
            return _Wrapper(self, super().component())

        def mutate(self, m, inner, outer):
            skip, now = Signal(init=1), inner.events[event]
            m.d.sync += skip.eq(skip ^ (now != 0))
            with m.If(skip):
                m.d.comb += outer.events[event].eq(0)

    return EventHalved(**unit.model_dump(mode="json"))


def every_event():
    for package in PACKAGES:
        for kind, cls in discover(package, RtlUnit).items():
            cheapest = sorted(cls.examples(), key=lambda e: np.prod([v for v in vars(e[0]).values() if type(v) is int and v]))
            for event in dict.fromkeys(event for unit, op in cheapest for event in unit.cost(op).events):
                unit, op = next((unit, op) for unit, op in cheapest if unit.cost(op).events.get(event))
                yield pytest.param(unit, op, event, id=f"{kind}-{event}")


@pytest.mark.parametrize(("unit", "op", "event"), [*every_event()])
def test_an_event_whose_enable_is_gated_fails(unit, op, event):
    (row,) = conform([(gated(unit, event), op)], artifacts=None).rows
    assert re.search(rf"cost says (\d+) of event '{event}', the RTL counted (?!\1\b)\d+", row.failure or "passed"), row


def test_a_failure_leaves_its_waves_and_a_command_that_repeats_it(tmp_path):
    (row,) = conform([(Priced(latency=1), OP)], artifacts=tmp_path / "failed cases").rows
    (folder,) = (tmp_path / "failed cases").iterdir()
    assert (folder / "waves.fst").stat().st_size > 1000
    assert str(folder / "case.json") in row.reproduce
    assert "seed 0" in row.reproduce
    command = row.reproduce.replace("python", shlex.quote(sys.executable), 1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 1, done.stderr
    assert done.stdout.strip() == row.failure
