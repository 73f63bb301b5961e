"""Is the price of a PIM channel its schedule, and does its range hold whatever else goes on?"""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memsys.part import COLUMN_COMMANDS, Command
from memsys.standard import load_part
from pim import channel as channel_module
from pim.mixed import PATIENCE, alone, play_beside
from pim.monitor import late_refreshes, violations
from pim.price import PimPrice
from pim.rules import GEMV, GWRITE, HEADER, PACT, PPRE
from pim.schedule import closed_within, play
from pim.tiles import attend, layout_on, logits
from pim.traffic import Access, Traffic

PARTS = [load_part(name) for name in ("hbm2/neupims_8gb_2000", "hbm2/dramsim3_8gb_2000", "ddr4/dramsim3_8gb_x8_3200")]
PART = PARTS[0]
REFRESHED_WITHIN = closed_within(PART) + 2 * PART.banks_per_rank + PART.timing.trp + 1
OPERATIONS = {"logits": logits, "attend": attend}

shapes = st.tuples(st.sampled_from(PARTS), st.integers(1, 9), st.sampled_from([32, 64, 128, 256]), st.booleans())


def work_of(kind, layout, context, requests=1):
    return [o for _ in range(requests) for o in OPERATIONS[kind](layout, context)]


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(1, 1300), st.sampled_from(list(OPERATIONS)), st.integers(1, 3))
@example((PART, 8, 128, True), 6884, "logits", 1)
@example((PARTS[2], 1, 128, False), 1, "attend", 1)
def test_alone_the_price_is_the_schedule(shape, context, kind, requests):
    part, heads, head_dim, dual = shape
    layout = layout_on(part, heads, head_dim, full_rows=False)
    cost = getattr(PimPrice(part, layout, dual), kind)(context).run(requests)
    found = play(part, work_of(kind, layout, context, requests), dual=dual, refresh=False)
    assert cost.cycles == found.cycles
    counts = {"gwrite": GWRITE, "header": HEADER, "grouped_act": PACT, "read_result": GEMV}
    for name, command in counts.items():
        assert cost.events[name] == sum(c.command is command for c in found.commands)
    assert cost.events["comp"] == sum(c.bursts for c in found.commands if c.command is GEMV)
    closed = sum(c.command is PPRE for c in found.commands)
    assert 0 <= cost.events["pim_precharge"] - closed <= part.banks_per_channel  # but for rows that stay open at the end


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(list(OPERATIONS)), st.integers(1, 3000), st.integers(0, 8000), st.booleans())
def test_with_refresh_the_time_lies_in_the_range(kind, context, start, dual):
    layout = layout_on(PART, 8, 128)
    cost = getattr(PimPrice(PART, layout, dual), kind)(context, 0)
    found = play(PART, work_of(kind, layout, context), dual=dual, start=start, keep=False)
    assert cost.least.cycles <= found.cycles <= cost.cycles


accesses = st.lists(
    st.builds(Access, st.integers(0, 3000), st.integers(0, 31), st.integers(20_000, 20_003), st.booleans()),
    min_size=1,
    max_size=60,
)


@settings(max_examples=25, deadline=None)
@given(accesses, st.sampled_from(list(OPERATIONS)), st.integers(1, 200), st.booleans(), st.integers(0, 4000))
def test_beside_reads_and_writes_nothing_is_broken_and_the_time_lies_in_the_range(some, kind, context, dual, start):
    layout = layout_on(PART, 4, 128)
    traffic = Traffic.of([a._replace(arrival=a.arrival + start) for a in some])
    found = play_beside(PART, work_of(kind, layout, context), traffic, dual=dual, start=start)
    assert violations(PART, found.commands, dual) == []
    assert late_refreshes(PART, found.commands, start, found.commands[-1].cycle, REFRESHED_WITHIN) == []
    cost = getattr(PimPrice(PART, layout, dual), kind)(context, len(some))
    assert cost.least.cycles <= found.cycles <= cost.cycles
    served = [c for c in found.commands if c.command in (Command.RD, Command.WR)]
    assert len(served) == len(some) - len(traffic.waiting) == len(traffic.latencies)


def storm(count, seed, every=1):
    rng = np.random.default_rng(seed)
    return [
        Access(int(i) * every, int(rng.integers(32)), 20_000 + int(rng.integers(64)), bool(rng.integers(2))) for i in range(count)
    ]


def drawn(seed):
    """A channel under load: the arguments of `play_beside`, the request's kind, layout and context, and the accesses."""
    rng = np.random.default_rng(seed)
    kind, context = str(rng.choice(list(OPERATIONS))), int(rng.integers(1, 400))
    layout = layout_on(PART, int(rng.integers(1, 6)), int(rng.choice([32, 64, 128])), full_rows=False)
    start, every = int(rng.integers(4000)), int(rng.choice([0, 1, 5, 40]))
    banks, rows = int(rng.choice([1, 4, 32])), int(rng.choice([1, 3, 100]))
    some = [
        Access(start + i * every, int(rng.integers(banks)), 20_000 + int(rng.integers(rows)), bool(rng.integers(2)))
        for i in range(int(rng.integers(1, 120)))
    ]
    arguments = {"dual": bool(rng.integers(2)), "start": start, "patience": int(rng.choice([1, 50, 512]))}
    return arguments, kind, layout, context, some


@pytest.mark.parametrize("seed", range(24))
def test_under_load_nothing_is_broken_and_the_time_lies_in_the_range(seed):
    arguments, kind, layout, context, some = drawn(seed)
    found = play_beside(PART, work_of(kind, layout, context), Traffic.of(some), **arguments)
    assert violations(PART, found.commands, arguments["dual"]) == []
    assert late_refreshes(PART, found.commands, arguments["start"], found.commands[-1].cycle, REFRESHED_WITHIN) == []
    cost = getattr(PimPrice(PART, layout, arguments["dual"]), kind)(context, len(some))
    assert cost.least.cycles <= found.cycles <= cost.cycles


def test_reads_and_writes_that_forget_the_results_on_the_bus_are_seen(monkeypatch):
    monkeypatch.setattr(channel_module, "around_results", lambda part, dual: dict.fromkeys(COLUMN_COMMANDS, (0, 0)))
    lines = []
    for seed in range(12):
        arguments, kind, layout, context, some = drawn(seed)
        found = play_beside(PART, work_of(kind, layout, context), Traffic.of(some), **arguments)
        lines += violations(PART, found.commands, arguments["dual"])
    assert any("READRES" in line for line in lines)


@pytest.mark.parametrize("dual", [True, False])
def test_nobody_starves_under_a_storm_of_accesses(dual):
    """One access is served before every operation once the oldest has lost patience: n wait for n operations at most."""
    layout = layout_on(PART, 4, 128)
    count = 40
    traffic = Traffic.of(storm(count, seed=3))
    work = work_of("logits", layout, 32 * 120)
    found = play_beside(PART, work, traffic, dual=dual)
    assert violations(PART, found.commands, dual) == []
    assert not traffic.waiting
    cost = PimPrice(PART, layout, dual).logits(32 * count, count)
    assert max(traffic.latencies) <= PATIENCE + cost.cycles


def test_two_row_buffers_serve_memory_beside_pim_where_one_serves_it_between():
    layout = layout_on(PART, 4, 128)
    work = work_of("logits", layout, 32 * 60)
    waits, times = {}, {}
    for dual in (True, False):
        traffic = Traffic.of(storm(60, seed=4, every=100))
        found = play_beside(PART, work, traffic, dual=dual)
        waits[dual], times[dual] = np.mean(traffic.latencies), found.cycles
    assert waits[True] < 0.5 * waits[False]
    assert times[True] < times[False]


def test_an_access_to_the_row_of_a_tile_waits_or_is_closed_for_it():
    """As where new keys are written to a row that is computed on next."""
    layout = layout_on(PART, 4, 128)
    work = work_of("logits", layout, 32 * 12)
    some = [Access(40 * i, bank, 1 + i % 12, write=True) for i, bank in enumerate([*range(32), *range(32)])]
    found = play_beside(PART, work, Traffic.of(some))
    assert violations(PART, found.commands) == []


def test_prices_take_arrays_of_contexts():
    price = PimPrice(PART, layout_on(PART, 8, 128))
    contexts = np.array([1, 32, 33, 512, 513, 1024, 5000])
    for kind in OPERATIONS:
        for accesses in (None, 0, 7):
            together = getattr(price, kind)(contexts, accesses)
            for i, context in enumerate(contexts):
                one = getattr(price, kind)(int(context), accesses)
                assert type(one.latency) is int
                assert (together.latency[i], together.interval[i]) == (one.latency, one.interval)
                assert all(np.broadcast_to(together.events[name], 7)[i] == count for name, count in one.events.items())


def test_a_layout_that_does_not_map_is_refused_with_the_nearest_that_does():
    with pytest.raises(ValueError, match="the nearest that maps is"):
        layout_on(PART, 8, 80)


def test_no_bound_is_claimed_where_refreshes_leave_no_time():
    slow = PART.timing.model_copy(update={"trefi": 1400})
    part = PART.model_copy(update={"timing": slow})
    with pytest.raises(ValueError, match=r"no bound, as a refresh may cost \d+ cycles and comes every 700"):
        PimPrice(part, layout_on(part, 8, 128)).logits(512, 0)


def test_an_access_served_alone_takes_no_longer_than_its_bound():
    assert alone(PART) < PART.timing.trefi // PART.organisation.ranks
