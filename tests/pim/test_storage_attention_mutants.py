"""Does conformance find what can go wrong in the attention engine: a filter that leaks, ties in another order, events lost?"""

import re

import numpy as np
import pytest
from amaranth.hdl import Signal

from accel.base import simulation
from accel.base.conformance import conform, golden_kernel
from accel.base.judge import difference
from accel.base.script import Pass, Run
from kernels_ref.inputs import inputs
from pim.storage_attention import StorageAttention, page_streams, shared
from pim.storage_attention.page_filter import PageFilter
from pim.storage_attention.pages import pages_touched
from pim.storage_attention.rank import Rank
from pim.storage_attention.rtl import EngineRtl

SMALL = {"head_dim": 8, "lanes": 2, "page_bytes": 64, "page_channels": 2, "flash_channels": 2, "max_tokens": 64}
FOUND = r"result \d at .* should be \d+ \(storage_attention.storage_attention\)|of event '\w+', the RTL counted|hangs|untaken"
"""Values that differ, events that do, or pages that nobody takes."""


def mutated(mutate=lambda m, s: None):
    """The engine with ``mutate`` applied: of two drivers of a signal in one module, the later one wins."""

    class Mutant(EngineRtl):
        def _events(self, m, s):
            super()._events(m, s)
            mutate(m, s)

    class Mutated(StorageAttention):
        """Another class, as components are remembered by their unit."""

        def component(self):
            return Mutant(self.layout, self.lanes, self.flash_channels, self.max_tokens)

    return Mutated(**SMALL)


def failure_of(mutate=lambda m, s: None):
    unit = mutated(mutate)
    (row,) = conform([(unit, unit.op(tokens=21, channels=3, selected=6, recent=1))], artifacts=None).rows
    return row.failure or "passed"


def test_the_engine_that_the_mutants_come_from_passes():
    assert failure_of() == "passed"


class Leaks(PageFilter):
    """Rows that are not selected pass."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.keep.eq(1)
        return m


class DropsLast(PageFilter):
    """The last row of a page is dropped."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        with m.If(self.row == self.tokens - 1):
            m.d.comb += self.keep.eq(0)
        return m


@pytest.mark.parametrize("mutant", [Leaks, DropsLast])
def test_a_filter_that_leaks_or_drops_too_much_fails(monkeypatch, mutant):
    monkeypatch.setattr(page_streams, "PageFilter", mutant)
    assert re.search(FOUND, failure_of())


class LastFirst(Rank):
    """Of equal keys in a word the highest index comes first."""

    def _before(self, hits, i):
        return hits[i + 1 :]


def test_ties_in_another_order_fail(monkeypatch):
    monkeypatch.setattr(shared, "Rank", LastFirst)
    assert re.search(FOUND, failure_of())


def every_page_is_asked_for(m, s):
    m.d.comb += s.ports.directives.payload.eq(1)


def no_token_is_recent(m, s):
    m.d.comb += s.rank.recent.eq(SMALL["max_tokens"])


def the_mean_is_forgotten(m, s):
    m.d.sync += s.rest.eq(0)


def a_sum_starts_from_the_one_before(m, s):
    m.d.sync += s.fresh.eq(0)


@pytest.mark.parametrize(
    "mutate", [every_page_is_asked_for, no_token_is_recent, the_mean_is_forgotten, a_sum_starts_from_the_one_before]
)
def test_what_changes_pages_or_values_fails(mutate):
    assert re.search(FOUND, failure_of(mutate))


def a_third_of_all_events(m, s):
    """Events are counted in every third cycle alone."""
    turn = Signal(range(3))
    m.d.sync += turn.eq((turn == 0) + (turn == 1) * 2)
    with m.If(turn != 2):
        m.d.comb += s.ports.events.eq(0)


def test_an_event_that_is_not_counted_every_time_fails():
    unit = mutated(a_third_of_all_events)
    rng = np.random.default_rng(3)
    op = unit.op(tokens=45, channels=3, selected=6, recent=1)
    arrays = inputs(op, rng)
    touched = pages_touched(unit.layout, op, arrays[0][0], arrays[1][0])
    known = op.resized(channel_pages=int(touched.channel_pages.sum()), token_pages=int(touched.token_pages.sum()))
    face, some = simulation.interface(unit), Pass("events", "free", [Run(known, [arrays])], 0)
    script = some.script(unit, *([name for name, _ in streams] for streams in (face.inputs, face.outputs)))
    ((seen,),) = simulation.run(unit, [[script]], simulator="icarus", timeout_s=300)
    priced, ((_, _, counts),) = unit.tile_cost(known).events, seen["runs"]
    assert "of event" in difference(unit, face, some, seen, golden_kernel(unit))
    for (name, _, _), counted in zip(face.events, counts, strict=True):
        assert 0 < priced[name] != counted, name
