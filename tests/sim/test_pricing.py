"""Is a step the sum of its stages, the same for ints and arrays, and moved by hardware as the mechanism says?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.errors import Infeasible
from sim.experiment import load_model
from sim.pricing import StepPricer
from sim.system import load_device
from workloads.model import Precision

W2A8 = Precision.from_data({"weights": "ternary", "activations": "int8"})
CASES = {
    "a100_80gb": ("llama-2-7b", Precision()),
    "h100": ("llama-3-8b", Precision()),
    "a100_lut_4x": ("bitnet-b1.58-3b", W2A8),
    "lut_paper_a100_lut_8x": ("bitnet-b1.58-3b", W2A8),
}


def pricer(design, overrides=()):
    model, precision = CASES[design]
    return StepPricer(load_device(design, overrides), load_model(model), precision)


PRICERS = {design: pricer(design) for design in CASES}
CHUNKS = st.lists(st.tuples(st.integers(1, 700), st.integers(0, 3000)), max_size=3)


@pytest.mark.parametrize("design", CASES)
@given(chunks=CHUNKS, decodes=st.integers(0, 200), mean=st.integers(1, 4000))
@settings(max_examples=15)
def test_a_step_is_the_sum_of_its_stages(design, chunks, decodes, mean):
    if not chunks and not decodes:
        return
    price = PRICERS[design]
    tokens = decodes + sum(chunk for chunk, _ in chunks)
    stages = price.step(prefill=chunks, decodes=decodes, context=decodes * mean)
    total = price.device.host_overhead + sum(s.times * s.timing.ps for s in stages)
    assert price.step_ps(tokens, decodes + len(chunks), chunks, decodes, decodes * mean) == total


@pytest.mark.parametrize("design", CASES)
@given(decodes=st.integers(1, 200), mean=st.integers(1, 4000), iterations=st.integers(1, 40))
@settings(max_examples=20)
def test_a_run_of_decodes_equals_its_steps(design, decodes, mean, iterations):
    price = PRICERS[design]
    run = price.decode_run_ps(decodes, decodes * mean, iterations)
    steps = [price.step_ps(decodes, decodes, (), decodes, decodes * (mean + i)) for i in range(iterations)]
    assert run.dtype == np.int64
    assert run.tolist() == steps


@pytest.mark.parametrize("design", CASES)
@given(st.integers(1, 3000))
@settings(max_examples=20)
def test_prices_of_an_array_equal_those_of_ints(design, tokens):
    price = PRICERS[design]
    around = np.array([tokens, tokens + 1, 2 * tokens])
    assert price.fixed_ps(around).tolist() == [price.fixed_ps(int(t)) for t in around]


@pytest.mark.parametrize("design", CASES)
def test_every_stage_takes_at_least_its_compute_and_its_traffic(design):
    for decodes, prefill in ((1, ()), (64, ()), (0, [(512, 0)]), (32, [(480, 100)])):
        for priced in PRICERS[design].step(prefill=prefill, decodes=decodes, context=500 * decodes):
            timing = priced.timing
            assert timing.ps >= max(timing.compute_ps, timing.memory_ps), priced.stage.op.describe()


def test_a_model_that_does_not_fit_says_by_how_much():
    with pytest.raises(Infeasible, match=r"llama-2-70b does not fit: weights take 137.95 GB .* of 72.00 GB"):
        StepPricer(load_device("a100_80gb"), load_model("llama-2-70b"), Precision())


def test_quantised_weights_leave_room_for_more_cache():
    assert (
        PRICERS["a100_lut_4x"].kv_tokens
        > StepPricer(load_device("a100_80gb"), load_model("bitnet-b1.58-3b"), Precision()).kv_tokens
    )


def test_half_the_bandwidth_nearly_doubles_a_small_decode_and_leaves_prefill():
    slow = pricer("a100_80gb", ['memories.hbm.bandwidth="1019.5 GB/s"'])
    decode, prefill = (1, 1, (), 1, 2048), (2048, 1, [(2048, 0)], 0, 0)
    assert 1.6 < slow.step_ps(*decode) / PRICERS["a100_80gb"].step_ps(*decode) < 2
    assert slow.step_ps(*prefill) / PRICERS["a100_80gb"].step_ps(*prefill) < 1.35


def test_a_step_grows_with_every_sum():
    price = PRICERS["a100_80gb"]
    assert price.step_ps(16, 16, (), 16, 20000) < price.step_ps(16, 16, (), 16, 40000)
    assert price.step_ps(512, 0, [(512, 0)], 0, 0) < price.step_ps(512, 0, [(512, 2000)], 0, 0)
    assert price.step_ps(512, 0, [(512, 0)], 0, 0) < price.step_ps(512, 1, [(512, 0)], 0, 0)


def test_memories_work_at_the_same_time():
    """Weights in a slow memory of their own: the traffic of tables and results hides behind theirs."""
    second = ['memories.far={kind="dram", standard="hbm2e", capacity="80 GB", bandwidth="1 GB/s"}', 'placement.kv="hbm"']
    far = load_device("lut_paper_a100_lut_4x", [*second, 'placement.activations="hbm"', 'placement.weights="far"'])
    model = load_model("bitnet-b1.58-3b")
    (o,) = (s for s in StepPricer(far, model, W2A8).step(decodes=1, context=1) if s.stage.op.role == "o")
    assert o.timing.memory_ps == 3200 * 3200 * 2 // 8 * 1000  # 1 GB/s: 1000 ps a byte; tables and results come from elsewhere
