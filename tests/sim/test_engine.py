"""Is the engine right: equal to a naive reference, whether it runs ahead or not, and honest about what it cannot serve?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import reference_serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.engine import COMPLETED, REJECTED_CONTEXT, REJECTED_KV_CACHE, serve
from sim.errors import BadInput, CheckFailed
from sim.gaps import GapHistogram
from sim.policies.base import DECODE, Batch, Policy
from sim.policies.chunked_prefill import ChunkedPrefill
from sim.policies.fcfs import Fcfs

TALLY = (
    "decode_iterations",
    "decode_tokens",
    "decode_context",
    "chunks",
    "chunk_tokens",
    "chunk_context",
    "chunk_pairs",
    "busy_ps",
)
ARRAYS = ("arrival_ps", "admitted_ps", "first_token_ps", "finish_ps", "prompt", "output", "preemptions", "replica", "status")


@dataclass
class Requests:
    arrival_ps: np.ndarray
    prompt: np.ndarray
    output: np.ndarray

    @classmethod
    def of(cls, *rows):
        return cls(*(np.array(column, np.int64) for column in zip(*sorted(rows), strict=True)))


@dataclass
class Affine:
    """ceil((base + a tokens + b sequences + c pairs + d context) / divisor): affine, rounded up once per iteration."""

    base: int = 1000
    per_token: int = 7
    per_sequence: int = 3
    per_pair: int = 1
    per_context: int = 2
    divisor: int = 1

    def step_ps(self, tokens, sequences, chunks, decodes, context):
        pairs = sum(new * past + new * (new + 1) // 2 for new, past in chunks)
        total = (
            self.base
            + self.per_token * tokens
            + self.per_sequence * sequences
            + self.per_pair * pairs
            + self.per_context * context
        )
        return -(-total // self.divisor)

    def decode_run_ps(self, decodes, context, iterations):
        attended = context + decodes * np.arange(iterations, dtype=np.int64)
        total = self.base + (self.per_token + self.per_sequence) * decodes + self.per_context * attended
        return -(-total // self.divisor)


@dataclass
class Jagged:
    """Not affine, not monotone: what any mixture of tiles and waves may look like."""

    salt: int = 1
    span: int = 50

    def step_ps(self, tokens, sequences, chunks, decodes, context):
        pairs = sum(new * 31 + past * 17 for new, past in chunks)
        return 1 + (tokens * 7919 + sequences * 104729 + pairs + decodes * 13 + context * self.salt) % self.span

    def decode_run_ps(self, decodes, context, iterations):
        return np.array([self.step_ps(decodes, decodes, (), decodes, context + i * decodes) for i in range(iterations)], np.int64)


PRICERS = st.one_of(
    st.builds(
        Affine,
        base=st.integers(1, 300),
        per_token=st.integers(0, 20),
        per_sequence=st.integers(0, 9),
        per_pair=st.integers(0, 3),
        per_context=st.integers(0, 9),
        divisor=st.integers(1, 40),
    ),
    st.builds(Jagged, salt=st.integers(0, 40), span=st.sampled_from([1, 2, 3, 50, 1000])),
)


@st.composite
def policies(draw):
    seats = draw(st.sampled_from([1, 2, 3, 5, 32, 32]))
    watermark = draw(st.sampled_from([0.0, 0.0, 0.05, 0.3]))
    if draw(st.booleans()):
        return Fcfs(max_batched_tokens=draw(st.sampled_from([None, 1, 20, 60])), max_num_seqs=seats, watermark=watermark)
    return ChunkedPrefill(
        max_batched_tokens=seats + draw(st.sampled_from([0, 1, 5, 40])), max_num_seqs=seats, watermark=watermark
    )


@st.composite
def settings_of_a_run(draw):
    """(pricers, trace, policy, keywords). Memory mostly holds one to three of the largest requests: many are preempted."""
    longest_prompt, longest_output = draw(st.sampled_from([(5, 5), (40, 10), (10, 60), (70, 70), (3, 300)]))
    n = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    gaps = rng.integers(0, 1 + draw(st.sampled_from([0, 3, 100, 3000])), n) * (rng.random(n) < 0.7)
    prompts, outputs = rng.integers(1, longest_prompt + 1, n), rng.integers(1, longest_output + 1, n)
    block = draw(st.sampled_from([1, 2, 4, 16]))
    largest = int((prompts + outputs).max())
    keywords = {
        "kv_tokens": block + int(largest * draw(st.sampled_from([0.7, 1, 1, 1.5, 2, 3, 20]))),
        "block_tokens": block,
        "max_context": draw(st.sampled_from([None, None, largest, largest * 3 // 4 + 1])),
        "router": draw(st.sampled_from(["round_robin", "least_loaded"])),
    }
    pricers = draw(st.lists(PRICERS, min_size=1, max_size=3))
    return pricers, Requests(np.cumsum(gaps), prompts, outputs), draw(policies()), keywords


def assert_same(one, other):
    """Two results of the engine are identical, but for how many iterations each event stood for."""
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert one.tallies == other.tallies
    for mine, theirs in zip(one.gaps.bins(), other.gaps.bins(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert one.most_waiting == other.most_waiting
    assert one.most_kv_blocks == other.most_kv_blocks


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(settings_of_a_run())
def test_equals_the_naive_reference_and_stepping_one_by_one(run):
    pricers, trace, policy, keywords = run
    served = serve(pricers, trace, policy, **keywords)
    assert_same(served, serve(pricers, trace, policy, run_ahead=False, **keywords))

    items, nodes, place = reference_serving.serve_naively(pricers, trace, policy, **keywords)
    rejected = [item.index for item in items if not item.times]
    assert rejected == list(np.flatnonzero(served.status != COMPLETED))
    for item in items:
        expected = (
            item.admitted,
            *(item.times[:1] or [-1]),
            *(item.times[-1:] or [-1]),
            item.evictions,
            place.get(item.index, -1),
        )
        columns = (served.admitted_ps, served.first_token_ps, served.finish_ps, served.preemptions, served.replica)
        assert tuple(column[item.index] for column in columns) == expected
    gaps = GapHistogram()
    for node, tally in zip(nodes, served.tallies, strict=True):
        for gap in node.gaps:
            gaps.add(gap, 1)
        assert (dict(tally.linear), dict(tally.head)) == (dict(node.linear), dict(node.head))
        assert {name: getattr(tally, name) for name in TALLY} == {name: node.counts[name] for name in TALLY}
    for mine, theirs in zip(served.gaps.bins(), gaps.bins(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("router", ["round_robin", "least_loaded", "random"])
@pytest.mark.parametrize("policy", [Fcfs(), ChunkedPrefill()], ids=["fcfs", "chunked_prefill"])
def test_long_traces_are_served_alike_with_and_without_run_ahead(policy, router):
    rng = np.random.default_rng(5)
    n = 300
    trace = Requests(np.cumsum(rng.exponential(4e4, n)).astype(np.int64), rng.integers(1, 900, n), rng.geometric(1 / 200, n))
    pricers = [Affine(base=9000, divisor=3)] * 3
    keywords = {"kv_tokens": 4000, "router": router, "seed": 3}
    served = serve(pricers, trace, policy, **keywords)
    assert served.preemptions.sum() > 20  # else the test says little
    assert_same(served, serve(pricers, trace, policy, run_ahead=False, **keywords))


def test_few_events_for_many_tokens():
    calls = []

    class Watched(Affine):
        def step_ps(self, *args):
            calls.append(args)
            return super().step_ps(*args)

        def decode_run_ps(self, *args):
            calls.append(args)
            return super().decode_run_ps(*args)

    served = serve([Watched()], Requests.of(*[(0, 10, 3000)] * 50), Fcfs(), kv_tokens=10**6)
    assert served.iterations == 3000
    assert len(calls) == 2  # the prompts, and one run of 2999 iterations


def test_one_request_by_hand():
    # two chunks of at most 8 tokens (prompt 12), the second emits the first token; then 2 decodes that attend 13 and 14 tokens
    pricer = Affine(base=100, per_token=10, per_sequence=5, per_pair=1, per_context=2)
    served = serve([pricer], Requests.of((50, 12, 3)), ChunkedPrefill(max_batched_tokens=8, max_num_seqs=4), kv_tokens=64)
    first = 100 + 80 + 0 + 36
    second = 100 + 40 + 5 + (4 * 8 + 10)
    assert served.admitted_ps[0] == 50
    assert served.first_token_ps[0] == 50 + first + second
    assert served.finish_ps[0] == served.first_token_ps[0] + (100 + 10 + 5 + 26) + (100 + 10 + 5 + 28)
    assert served.most_kv_blocks == (1,)
    assert served.makespan_ps == served.finish_ps[0] - 50


def test_preemption_recomputes_the_prompt_and_what_was_emitted():
    # 4 blocks of 4 tokens; both prompts take 2 blocks each, so the first decode needs 2 more: the younger request must go
    trace = Requests.of((0, 8, 6), (0, 8, 6))
    served = serve([Affine()], trace, Fcfs(watermark=0), kv_tokens=16, block_tokens=4)
    assert list(served.preemptions) == [0, 1]
    assert served.tallies[0].chunk_tokens == 8 + 8 + (8 + 1)
    assert served.finish_ps[0] < served.finish_ps[1]


def test_rejected_up_front_with_the_reason():
    trace = Requests.of((0, 100, 10), (1, 10, 10), (2, 30, 40))
    served = serve([Affine()], trace, Fcfs(), kv_tokens=64, max_context=109)
    assert list(served.status) == [REJECTED_CONTEXT, COMPLETED, REJECTED_KV_CACHE]
    assert list(served.finish_ps[[0, 2]]) == [-1, -1]
    assert list(served.replica) == [-1, 0, -1]


def test_a_request_that_just_fits_is_served_alone():
    served = serve([Affine()], Requests.of((0, 60, 5)), ChunkedPrefill(watermark=0.5), kv_tokens=64, max_context=65)
    assert served.status[0] == COMPLETED
    assert served.most_kv_blocks == (4,)


def test_nothing_served():
    served = serve([Affine()], Requests.of((0, 100, 10)), Fcfs(), kv_tokens=64)
    assert (served.iterations, served.makespan_ps) == (0, 0)


def test_arrivals_at_the_end_of_an_iteration_join_the_next():
    flat = Affine(base=10, per_token=0, per_sequence=0, per_pair=0, per_context=0)
    served = serve([flat], Requests.of((0, 4, 5), (10, 4, 1)), ChunkedPrefill(), kv_tokens=64)
    assert list(served.first_token_ps) == [10, 20]
    assert list(served.finish_ps) == [50, 20]


def test_least_loaded_avoids_the_busy_replica():
    trace = Requests.of((0, 10, 500), (1, 10, 1), (2 * 10**4, 10, 1), (4 * 10**4, 10, 1))
    pricers = [Affine(), Affine()]
    assert list(serve(pricers, trace, Fcfs(), kv_tokens=1024, router="least_loaded").replica) == [0, 1, 1, 1]
    assert list(serve(pricers, trace, Fcfs(), kv_tokens=1024).replica) == [0, 1, 0, 1]


def test_random_router_follows_its_seed():
    trace = Requests.of(*[(i, 4, 2) for i in range(60)])
    one, same, other = (serve([Affine()] * 3, trace, Fcfs(), kv_tokens=256, router="random", seed=s).replica for s in (1, 1, 2))
    assert list(one) == list(same) != list(other)
    assert set(one) == {0, 1, 2}


def test_progress_is_reported():
    seen = []
    serve(
        [Affine()],
        Requests.of((0, 4, 2), (5, 4, 2)),
        Fcfs(),
        kv_tokens=64,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(0, 2), (2, 2)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[], [], []], "wanted at least one request"),
        ([[0, 5, 4], [1, 1, 1], [1, 1, 1]], "ascending order, got 4 ps at request 2"),
        ([[-1], [1], [1]], "from 0 on in ascending order, got -1 ps at request 0"),
        ([[0, 1], [1, 0], [1, 1]], "wanted prompt lengths from 1 .* got 0 at request 1"),
        ([[0], [1], [1 << 41]], "wanted output lengths from 1 to 2"),
        ([[0], [1, 2], [1]], "columns of equal length, got 1, 2 and 1"),
    ],
)
def test_bad_traces_are_refused(rows, message):
    with pytest.raises(BadInput, match=message):
        serve([Affine()], Requests(*(np.array(row, np.int64) for row in rows)), Fcfs(), kv_tokens=64)


def test_bad_settings_are_refused():
    trace = Requests.of((0, 4, 2))
    with pytest.raises(BadInput, match="at least one replica"):
        serve([], trace, Fcfs(), kv_tokens=64)
    with pytest.raises(BadInput, match="at least one block of 16 tokens, got 15"):
        serve([Affine()], trace, Fcfs(), kv_tokens=15)
    with pytest.raises(ValueError, match=r"unknown router 'round_robbin'; did you mean 'round_robin'"):
        serve([Affine()], trace, Fcfs(), kv_tokens=64, router="round_robbin")


def test_time_beyond_int64_is_refused():
    with pytest.raises(BadInput, match=r"does not end within 2\^63 ps"):
        serve([Affine(base=10**18)], Requests.of((9 * 10**18, 4, 2)), Fcfs(), kv_tokens=64)


class _Lazy(Policy):
    def next_batch(self, view):
        return None


class _Greedy(Policy):
    """Admits whether or not blocks are free."""

    def next_batch(self, view):
        request = view.queued(0)
        return Batch([(request, request.rest)], False) if request else None


class _Empty(Policy):
    def next_batch(self, view):
        return Batch((), False) if view.queued(0) else None


class _Oversized(Policy):
    def next_batch(self, view):
        request = view.queued(0)
        return Batch([(request, request.rest + 1)], False) if request else None


class _Mixed(Policy):
    """Prefills in an iteration whose decodes lack blocks."""

    def next_batch(self, view):
        request = view.queued(0)
        if request is not None and (view.running < 2 or view.decodes.demand() > view.cache.free):
            return Batch([(request, request.rest)], view.running == 2)
        return DECODE if view.decodes.count else None


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (_Lazy(), "left 5 of 5 accepted requests waiting for ever"),
        (_Greedy(), "blocks taken"),
        (_Empty(), "a batch without work"),
        (_Oversized(), "a chunk of 17 tokens of Request.0, prompt=16.*which has 16 left"),
        (_Mixed(), "a batch with chunks, while the decodes need blocks"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Policy) else "",
)
def test_broken_policies_are_caught(policy, message):
    with pytest.raises(CheckFailed, match=message):
        serve([Affine()], Requests.of(*[(0, 16, 40)] * 5), policy, kv_tokens=64)


@pytest.mark.parametrize("price", [0, -5])
def test_an_iteration_takes_time(price):
    class Free(Affine):
        def step_ps(self, *args):
            return price

        def decode_run_ps(self, decodes, context, iterations):
            return np.full(iterations, price, np.int64)

    with pytest.raises(CheckFailed, match="more than 0 ps"):
        serve([Free()], Requests.of((0, 16, 40)), Fcfs(), kv_tokens=64)


def test_no_array_grows_with_the_tokens():
    """A million tokens of output, one request after the other: the memory of the engine's structures stays small."""
    import tracemalloc

    trace = Requests.of(*[(i * 10**9, 10, 10_000) for i in range(100)])
    tracemalloc.start()
    serve([Affine()], trace, Fcfs(), kv_tokens=20_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12e6  # 2 MB are the histogram's counts, twice while binning
