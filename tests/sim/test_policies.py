"""Do the policies schedule as documented, and keep what they promise the engine? Every policy that is found is tested."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pytest
from pydantic import ValidationError
from test_engine import Affine, Requests, assert_same

from accel.base.spec import discover
from sim.decodes import Decodes
from sim.engine import serve
from sim.kv_cache import KVCache
from sim.policies.base import DECODE, Batch, Policy
from sim.policies.chunked_prefill import ChunkedPrefill
from sim.policies.fcfs import Fcfs
from sim.request import Request

POLICIES = discover("sim.policies", Policy)


class Scene:
    """A replica as a policy sees it: decoding requests by cached tokens, prefills as (target, done), waiting prompts."""

    def __init__(self, *, decoding=(), prefilling=(), waiting=(), blocks=1000, used=0, max_context=4096):
        self.decodes = Decodes(16)
        for cached in decoding:
            request = Request(0, cached, 10)
            request.emitted = 1
            self.decodes.join(request)
        self.prefilling = []
        for target, done in prefilling:
            self.prefilling.append(Request(1, target, 10))
            self.prefilling[-1].prefilled = done
        self.waiting = [Request(2, prompt, 10) for prompt in waiting]
        self.cache = KVCache(16 * blocks)
        self.cache.take(used)
        self.max_context = max_context

    @property
    def running(self):
        return self.decodes.count + len(self.prefilling)

    def queued(self, position):
        return self.waiting[position] if position < len(self.waiting) else None

    def ask(self, policy):
        """(tokens of each chunk, whether to decode), or None."""
        batch = policy.next_batch(self)
        return batch and ([tokens for _, tokens in batch.chunks], batch.decode)


def test_the_documented_policies_are_found():
    assert {"fcfs", "chunked_prefill"} <= set(POLICIES)
    assert all(kind == policy.kind() for kind, policy in POLICIES.items())


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_nothing_to_do(policy):
    assert Scene().ask(policy()) is None


@pytest.mark.parametrize("router", ["round_robin", "least_loaded"])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_promises_hold(policy, router):
    """Run-ahead relies on them: a broken one shows as a difference to stepping one by one."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n = 120
        trace = Requests(
            np.cumsum(rng.integers(0, 60_000, n)),
            rng.integers(1, 600, n),
            np.minimum(rng.geometric(1 / 90, n), 900),
        )
        run = {"kv_tokens": int(rng.integers(1600, 6000)), "router": router}
        served = serve([Affine()] * 2, trace, policy(), **run)
        assert_same(served, serve([Affine()] * 2, trace, policy(), run_ahead=False, **run))


class TestFcfs:
    def test_prefill_comes_first_and_whole(self):
        assert Scene(decoding=[20, 30], waiting=[700, 900]).ask(Fcfs()) == ([700, 900], False)

    def test_decodes_when_nobody_waits(self):
        assert Scene(decoding=[20, 30]).ask(Fcfs()) == ([], True)

    def test_the_default_budget_is_the_context_and_at_least_2048(self):
        assert Scene(waiting=[2000, 2000, 2000]).ask(Fcfs()) == ([2000, 2000], False)
        assert Scene(waiting=[1000, 1000, 1000], max_context=512).ask(Fcfs()) == ([1000, 1000], False)

    def test_a_prompt_beyond_the_budget_goes_alone(self):
        policy = Fcfs(max_batched_tokens=100)
        assert Scene(waiting=[300, 10]).ask(policy) == ([300], False)
        assert Scene(waiting=[10, 300]).ask(policy) == ([10], False)

    def test_nobody_overtakes(self):
        assert Scene(waiting=[10, 3000, 10]).ask(Fcfs(max_batched_tokens=100)) == ([10], False)

    def test_max_num_seqs_counts_the_running(self):
        assert Scene(decoding=[5, 5], waiting=[10, 10]).ask(Fcfs(max_num_seqs=3)) == ([10], False)
        assert Scene(decoding=[5, 5], waiting=[10, 10]).ask(Fcfs(max_num_seqs=2)) == ([], True)

    def test_the_whole_prompt_must_fit_above_the_watermark(self):
        # 100 blocks, 3 % kept: of 10 free ones 7 may be taken
        policy = Fcfs(watermark=0.03)
        assert Scene(decoding=[5], waiting=[112, 1], blocks=100, used=90).ask(policy) == ([112], False)
        assert Scene(decoding=[5], waiting=[113], blocks=100, used=90).ask(policy) == ([], True)
        assert Scene(decoding=[5], waiting=[48, 64, 1], blocks=100, used=90).ask(policy) == ([48, 64], False)

    def test_the_watermark_does_not_keep_out_the_only_request(self):
        assert Scene(waiting=[160, 16], blocks=10).ask(Fcfs(watermark=0.5)) == ([160], False)


class TestChunkedPrefill:
    def test_decodes_first_then_partly_done_then_new(self):
        scene = Scene(decoding=[20] * 12, prefilling=[(600, 500)], waiting=[150, 4000, 10])
        assert scene.ask(ChunkedPrefill()) == ([100, 150, 250], True)

    def test_a_chunk_is_cut_to_the_budget(self):
        assert Scene(decoding=[20] * 12, prefilling=[(900, 100)], waiting=[150]).ask(ChunkedPrefill()) == ([500], True)
        assert Scene(waiting=[1000]).ask(ChunkedPrefill()) == ([512], False)

    def test_no_budget_left(self):
        policy = ChunkedPrefill(max_batched_tokens=4, max_num_seqs=4)
        assert Scene(decoding=[20] * 4, waiting=[10]).ask(policy) == ([], True)
        assert Scene(decoding=[20] * 3, prefilling=[(9, 3)], waiting=[10]).ask(policy) == ([1], True)

    def test_max_num_seqs_counts_the_running(self):
        policy = ChunkedPrefill(max_num_seqs=3)
        assert Scene(decoding=[5], prefilling=[(20, 10)], waiting=[10, 10]).ask(policy) == ([10, 10], True)

    def test_blocks_go_to_the_decodes_first(self):
        # 3 free blocks; one decode is at a block's border and takes one, the chunk of 32 tokens the other two
        scene = Scene(decoding=[16, 20], prefilling=[(64, 32)], blocks=100, used=97)
        assert scene.ask(ChunkedPrefill()) == ([32], True)
        scene = Scene(decoding=[16, 32], prefilling=[(64, 32)], waiting=[1], blocks=100, used=97)
        assert scene.ask(ChunkedPrefill()) == ([], True)

    def test_an_iteration_that_must_evict_prefills_nothing(self):
        scene = Scene(decoding=[16, 32], prefilling=[(64, 33)], waiting=[1], blocks=100, used=99)
        assert scene.ask(ChunkedPrefill()) == ([], True)

    def test_a_new_request_takes_blocks_chunk_by_chunk(self):
        scene = Scene(decoding=[5], waiting=[4000], blocks=100, used=50)
        assert scene.ask(ChunkedPrefill(watermark=0)) == ([511], True)
        assert scene.ask(ChunkedPrefill(watermark=0.19)) == ([], True)
        assert scene.ask(ChunkedPrefill(watermark=0.18)) == ([511], True)

    def test_every_request_must_be_able_to_decode(self):
        with pytest.raises(ValidationError, match=r"at least max_num_seqs.*got 100 and 256"):
            ChunkedPrefill(max_batched_tokens=100)


def test_the_watermark_is_a_fraction():
    with pytest.raises(ValidationError):
        Fcfs(watermark=1.0)
    with pytest.raises(ValidationError):
        ChunkedPrefill(watermark=-0.1)


def test_promises_are_off_by_default():
    assert (Policy.repeats, Policy.in_order) == (False, False)
    assert Batch((), True) == DECODE


def test_the_readme_examples_run():
    text = (files("sim.policies") / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
