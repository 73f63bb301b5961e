"""Are blocks counted right, and are the aggregates of decoding and waiting requests those of the requests one by one?"""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.decodes import Decodes
from sim.errors import BadInput, CheckFailed
from sim.gaps import RELATIVE_ERROR, GapHistogram
from sim.kv_cache import KVCache
from sim.request import Queue, Request


def test_a_remainder_of_a_block_is_not_used():
    cache = KVCache(100, 16)
    assert (cache.total, cache.free) == (6, 6)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 40))
def test_growth_is_the_difference_of_blocks(cached, new, block):
    cache = KVCache(block, block)
    assert cache.growth(cached, new) == cache.blocks(cached + new) - cache.blocks(cached)
    assert (cache.blocks(cached) - 1) * block < max(cached, 1) <= max(cache.blocks(cached), 1) * block


def test_takes_and_gives():
    cache = KVCache(64)
    cache.take(3)
    cache.give(2)
    cache.take(1)
    assert (cache.free, cache.least_free) == (2, 1)
    with pytest.raises(CheckFailed, match="3 blocks taken, 2 of 4 free"):
        cache.take(3)
    with pytest.raises(CheckFailed, match="5 blocks free of 4"):
        cache.give(3)


def test_bad_sizes_are_refused():
    with pytest.raises(BadInput, match="at least one block of 16 tokens, got 3 tokens"):
        KVCache(3)
    with pytest.raises(BadInput, match="at least 1 token, got 0"):
        KVCache(3, 0)


@given(
    block=st.sampled_from([1, 3, 16]),
    actions=st.lists(st.tuples(st.sampled_from(["join", "leave", "run"]), st.integers(1, 60), st.integers(2, 60)), max_size=25),
    free=st.integers(0, 40),
)
def test_decodes_know_what_each_request_would_say(block, actions, free):
    """Against a list of (request, cached tokens, tokens left)."""
    decodes, each = Decodes(block), []
    for action, a, b in actions:
        if action == "join":
            request = Request(len(each), a, b)
            request.emitted = 1
            decodes.join(request)
            each.append([request, a, b - 1])
        elif action == "leave" and each:
            request, cached, left = each.pop(a % len(each))
            assert decodes.leave(request) == cached
            assert request.emitted == request.output - left
        elif action == "run" and each:
            run = min(a, min(left for _, _, left in each))
            decodes.advance(run)
            each = [[request, cached + run, left - run] for request, cached, left in each]
            while (request := decodes.pop_finished()) is not None:
                item = next(item for item in each if item[0] is request)
                assert (item[1], item[2]) == (decodes.leave(request), 0)
                each.remove(item)
            assert all(left for _, _, left in each)
        assert decodes.count == len(each)
        assert decodes.cached == sum(cached for _, cached, _ in each)
        if each:
            need = [sum(-(-(c + i) // block) - -(-(c + i - 1) // block) for _, c, _ in each) for i in range(1, 70)]
            assert decodes.next_finish() == min(left for _, _, left in each)
            assert decodes.demand() == need[0]
            assert [decodes.demand_of(i) for i in range(70)] == [0, *np.cumsum(need)]
            fit = int(np.searchsorted(np.cumsum(need), free, side="right"))
            for limit in (1, 7, 69):
                assert decodes.horizon(limit, free) == min(limit, fit)


def test_a_queue_makes_objects_only_for_those_looked_at():
    queue = Queue(array("q", [5, 6, 7, 8]), array("q", [1, 1, 1, 1]))
    for index in range(3):
        queue.append(index)
    head = queue.peek(0)
    assert (head.index, head.prompt, queue.length) == (0, 5, 3)
    assert queue.peek(3) is None
    second = queue.peek(1)
    queue.remove(second)
    assert [queue.peek(i).index for i in range(2)] == [0, 2]
    queue.push_front(second)
    queue.append(3)
    assert [queue.peek(i).index for i in range(4)] == [1, 0, 2, 3]
    assert (queue.length, queue.most) == (4, 4)


@given(
    st.lists(st.tuples(st.integers(1, 2**55), st.integers(1, 300)), min_size=1, max_size=60),
    st.lists(st.floats(0, 100), min_size=1, max_size=5),
)
def test_percentiles_of_gaps_are_within_the_stated_error(samples, wanted):
    gaps = GapHistogram()
    for value, weight in samples:
        gaps.add(value, weight)
    everything = np.sort(np.repeat([v for v, _ in samples], [w for _, w in samples]))
    assert gaps.count == len(everything)
    for q, found in zip(wanted, gaps.percentiles(wanted), strict=True):
        exact = everything[max(int(np.ceil(q / 100 * len(everything))), 1) - 1]
        assert abs(found - exact) <= exact * RELATIVE_ERROR * 1.0001


def test_gaps_do_not_depend_on_how_they_are_added():
    rng = np.random.default_rng(1)
    values = rng.integers(1, 10**12, 200_000)
    one, other = GapHistogram(), GapHistogram()
    one.add_run(values, 3)
    for part in np.array_split(rng.permutation(values), 300):
        other.add_run(part, 1)
        other.add_run(part.tolist(), 2)
    for mine, theirs in zip(one.bins(), other.bins(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(other._values) + other._held < 1 << 17


def test_no_gaps_no_percentiles():
    assert GapHistogram().percentiles([50, 99]) == [None, None]
    assert GapHistogram().count == 0


@pytest.mark.parametrize("gap", [0, -4])
def test_a_gap_takes_time(gap):
    gaps = GapHistogram()
    gaps.add(gap, 1)
    with pytest.raises(CheckFailed, match=f"more than 0 ps; the pricer returned {gap}"):
        gaps.percentiles([50])
