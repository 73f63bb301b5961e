"""Are GEMMs and attention priced by the stated equations, alike for ints and arrays, and never better than the machine?"""

from __future__ import annotations

import math
import timeit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from accel.base.calibration import Calibration, available
from accel.base.clock import bytes_to_ps, cycles_to_ps
from accel.base.mapping import Mapping
from accel.gpu_tensor_core import GpuTensorCore
from accel.gpu_tensor_core.attention import kv_bytes_of
from workloads.formats import parse_format
from workloads.ops import Attention, Linear, Pointwise

A100 = {"copies": 108, "clock": 1_410_000_000, "bandwidth": 2_039_000}
MACHINE = A100 | {"buffer": 40_000_000}
IDEAL = GpuTensorCore(calibration="ideal", int8_macs=2048)
REAL = GpuTensorCore(calibration="a100", int8_macs=2048)
LLAMA = {"heads": 32, "kv_heads": 32, "head_dim": 128}
SHAPES = st.sampled_from([LLAMA, {"heads": 64, "kv_heads": 8, "head_dim": 128}, {"heads": 20, "kv_heads": 20, "head_dim": 80}])
extent = st.integers(1, 20_000)


# GEMM


def test_peak_of_the_a100():
    peak = 2 * REAL.fp16_macs * A100["copies"] * A100["clock"]
    assert peak == pytest.approx(312e12, rel=1e-3)


@pytest.mark.parametrize(("n", "waves"), [(3200, 1), (8640, 2)])
def test_published_block_on_an_ideal_machine_is_waves_times_block(n, waves):
    """LUT Tensor Core (ISCA'25), block 128 x 512 on 108 SMs, M = 1024: 56 blocks in one wave, 136 in two."""
    op = Linear(m=1024, n=n, k=3200)
    cycles = waves * 128 * 512 * 3200 // 1024
    assert IDEAL.time_ps(op, **MACHINE, mapping=Mapping(m=128, n=512)) == cycles_to_ps(cycles, A100["clock"])


def test_one_block_more_costs_a_wave():
    block, fed = Mapping(m=128, n=128), MACHINE | {"bandwidth": 10**9}
    one, more = (IDEAL.time_ps(Linear(m=128, n=128 * n, k=1410), **fed, mapping=block) for n in (108, 109))
    assert more == 2 * one


@given(extent, extent, extent)
def test_never_faster_than_peak_arithmetic_or_compulsory_traffic(m, n, k):
    op = Linear(m=m, n=n, k=k)
    nbytes = op.input_bytes + op.weight_bytes + op.output_bytes
    for unit in (IDEAL, REAL):
        ps = unit.time_ps(op, **MACHINE)
        assert ps >= bytes_to_ps(nbytes, A100["bandwidth"])
        assert ps >= cycles_to_ps(op.macs // (1024 * 108), A100["clock"]) - 1
    block = Mapping(m=128, n=128)
    assert REAL.time_ps(op, **MACHINE, mapping=block) > IDEAL.time_ps(op, **MACHINE, mapping=block)


@given(st.lists(st.tuples(extent, extent, extent), min_size=1, max_size=8))
def test_arrays_price_as_scalars_do(shapes):
    m, n, k = (np.array(v, dtype=np.int64) for v in zip(*shapes, strict=True))
    for mapping in (None, Mapping(m=128, n=512)):
        together = REAL.time_ps(Linear(m=m, n=n, k=k), **MACHINE, mapping=mapping)
        assert together.dtype == np.int64
        alone = [REAL.time_ps(Linear(m=a, n=b, k=c), **MACHINE, mapping=mapping) for a, b, c in shapes]
        assert together.tolist() == alone
        assert all(type(ps) is int for ps in alone)


@given(extent, extent, extent)
def test_a_search_is_never_worse_than_one_of_its_blocks(m, n, k):
    op = Linear(m=m, n=n, k=k)
    fixed = [IDEAL.time_ps(op, **MACHINE, mapping=Mapping(m=a, n=b)) for a, b in Calibration.load("ideal").gemm.blocks]
    assert IDEAL.time_ps(op, **MACHINE) <= min(fixed)


def test_bytes_follow_the_weight_format_and_rate_the_widest_operand():
    wide, narrow = (Linear(m=1, n=8192, k=8192, weights=parse_format(w)) for w in ("fp16", "uint4"))
    starved = MACHINE | {"bandwidth": 100_000}
    assert IDEAL.time_ps(wide, **starved) / IDEAL.time_ps(narrow, **starved) == pytest.approx(4, rel=1e-2)
    int8 = parse_format("int8")
    op = Linear(m=4096, n=4096, k=4096)
    quantised = Linear(m=4096, n=4096, k=4096, weights=int8, activations=int8)
    mapping = Mapping(m=128, n=128)
    fp16_ps, int8_ps = (IDEAL.time_ps(asked, **MACHINE, mapping=mapping) for asked in (op, quantised))
    assert fp16_ps == pytest.approx(2 * int8_ps, abs=1)  # each rounds up once


@pytest.mark.parametrize(
    ("activations", "weights", "kind"),
    [
        ("fp16", "fp16", "fp16"),
        ("bf16", "int4", "fp16"),
        ("int8", "ternary", "int8"),
        ("int8", "fp16", "fp16"),
        ("int4", "int4", "int8"),
    ],
)
def test_arithmetic_and_events(activations, weights, kind):
    op = Linear(m=3, n=5, k=7, activations=parse_format(activations), weights=parse_format(weights))
    assert IDEAL.cost(op).events == {f"mac_{kind}": 105}
    assert IDEAL.cost(op).cycles == 1


@pytest.mark.parametrize("text", ["fp8_e4m3", "fp32"])
def test_formats_without_a_rate_are_refused(text):
    op = Linear(m=1, n=1, k=1, activations=parse_format(text), weights=parse_format(text))
    with pytest.raises(ValueError, match=rf"no rate for {text} x {text}: wanted operands that compute in fp16, int8"):
        IDEAL.check(op)
    with pytest.raises(ValueError, match="no rate"):
        IDEAL.time_ps(op, **MACHINE)


def test_other_ops_and_unknown_calibrations_are_refused():
    with pytest.raises(ValueError, match="executes linear or attention, not pointwise"):
        IDEAL.check(Pointwise(function="add", rows=1, row=1, read_bytes=1, write_bytes=1))
    with pytest.raises(ValidationError, match="unknown calibration 'a10'; did you mean 'a100'"):
        GpuTensorCore(calibration="a10")


def test_no_rows_take_no_time():
    for m in (0, np.array([0])):
        assert REAL.time_ps(Linear(m=m, n=5, k=7), **MACHINE) == 0


# Attention


@given(SHAPES, st.lists(st.tuples(st.integers(1, 512), st.integers(1, 4096)), min_size=1, max_size=6))
def test_decode_closure_equals_the_op_scalar_and_array(shape, batches):
    decode, _ = REAL.attention_pricer(shape, **A100)
    requests = np.array([r for r, _ in batches], dtype=np.int64)
    context = np.array([r * c for r, c in batches], dtype=np.int64)
    closure = [decode(r, r * c) for r, c in batches]
    assert all(type(ps) is int for ps in closure)
    assert closure == [REAL.time_ps(Attention.decode(r, r * c, **shape), **MACHINE) for r, c in batches]
    assert decode(requests, context).tolist() == closure
    assert REAL.time_ps(Attention.decode(requests, context, **shape), **MACHINE).tolist() == closure


@pytest.mark.parametrize("text", ["fp16", "int8"])
def test_arrays_of_very_large_ops_do_not_wrap(text):
    unit, heads = GpuTensorCore(calibration="a100", int8_macs=2048), {"heads": 96, "kv_heads": 96, "head_dim": 128}
    operand = parse_format(text)

    def gemm(m, n, k):
        return Linear(m=m, n=n, k=k, weights=operand, activations=operand)

    def decode(requests, context):
        return Attention.decode(requests, context, **heads)

    def prefill(chunk, past):
        return Attention.prefill(chunk, past, **heads)

    for make, extents in [(gemm, (10**6, 10**5, 10**5)), (decode, (10**4, 10**9)), (prefill, (131072, 10**6))]:
        alone = unit.time_ps(make(*extents), **MACHINE)
        assert unit.time_ps(make(*(np.array([e, e]) for e in extents)), **MACHINE).tolist() == [alone, alone]


@given(SHAPES, st.lists(st.tuples(st.integers(1, 4096), st.integers(0, 8192)), min_size=1, max_size=6))
def test_prefill_closure_equals_the_op_scalar_and_array(shape, chunks):
    _, prefill = REAL.attention_pricer(shape, **A100)
    chunk, past = (np.array(v, dtype=np.int64) for v in zip(*chunks, strict=True))
    closure = [prefill(c, p) for c, p in chunks]
    assert all(type(ps) is int for ps in closure)
    assert closure == [REAL.time_ps(Attention.prefill(c, p, **shape), **MACHINE) for c, p in chunks]
    assert prefill(chunk, past).tolist() == closure
    assert REAL.time_ps(Attention.prefill(chunk, past, **shape), **MACHINE).tolist() == closure


@given(SHAPES, st.integers(1, 512), st.integers(1, 4096), st.integers(1, 4096), st.integers(0, 8192))
def test_attention_is_never_faster_than_peak(shape, requests, length, chunk, past):
    for op in (Attention.decode(requests, requests * length, **shape), Attention.prefill(chunk, past, **shape)):
        for unit in (IDEAL, REAL):
            ps = unit.time_ps(op, **MACHINE)
            assert ps >= bytes_to_ps(op.kv_bytes, A100["bandwidth"])
            assert ps >= cycles_to_ps(op.macs // (1024 * 108), A100["clock"]) - 1


@given(st.integers(1, 256), st.integers(1, 4096))
def test_more_context_never_takes_less(requests, length):
    decode, prefill = REAL.attention_pricer(LLAMA, **A100)
    assert decode(requests, requests * length + 1) >= decode(requests, requests * length)
    assert prefill(512, length + 1) >= prefill(512, length)


def test_grouped_query_attention_reads_less_and_computes_the_same():
    grouped = LLAMA | {"kv_heads": 8}
    full, shared = (Attention.decode(64, 64 * 4096, **shape) for shape in (LLAMA, grouped))
    assert shared.macs == full.macs
    assert 3 < REAL.time_ps(full, **MACHINE) / REAL.time_ps(shared, **MACHINE) < 4.1


@pytest.mark.parametrize("text", ["fp16", "int8", "uint4:128", "uint3:64", "int4:96", "uint3"])
@pytest.mark.parametrize("elements", [2 * 8 * 128, 2 * 5 * 80, 6])
def test_kv_bytes_are_those_of_the_format(text, elements):
    kv = parse_format(text)
    fast = kv_bytes_of(kv, elements)
    for tokens in (0, 1, 7, 4096):
        assert fast(tokens) == kv.nbytes(tokens * elements)


def test_nothing_to_attend_takes_no_time():
    decode, prefill = REAL.attention_pricer(LLAMA, **A100)
    assert decode(0, 0) == 0
    assert prefill(0, 0) == 0


def test_prices_on_the_serving_path_take_microseconds():
    """Attention is priced in every simulated iteration; 0.5 to 1.3 us where this was written, ten times that is a fault."""
    decode, prefill = REAL.attention_pricer(LLAMA, **A100)
    for call in (lambda: decode(32, 65_536), lambda: prefill(512, 1024)):
        assert min(timeit.repeat(call, number=2000, repeat=5)) / 2000 < 13e-6


# Calibrations


@pytest.mark.parametrize("name", available())
def test_calibrations_say_what_they_rest_on(name):
    calibration = Calibration.load(name)
    assert calibration.name == name
    assert calibration.fit
    assert all(found.source for found in calibration.fit)


def test_calibration_without_default_is_refused():
    data = Calibration.load("ideal").model_dump()
    data["pointwise"] = {"add": data["pointwise"]["default"]}
    with pytest.raises(ValidationError, match="wanted an entry 'default'"):
        Calibration.from_data(data)


def test_equation_of_a_small_gemm_by_hand():
    """One row on the A100: the traffic bound, with what it does not hide of the skinny block's compute."""
    figures = Calibration.load("a100").gemm
    op = Linear(m=1, n=4096, k=4096)
    nbytes = 2 * (4096 + 4096 * 4096 + 4096)
    traffic = nbytes / 2.039e12 * 1e12 / (figures.bandwidth_permille / 1000)
    cycles = math.ceil(4096 / 64 / 108) * 16 * 64 * 4096 / 1024
    compute = cycles / 1.41e9 * 1e12 / (figures.compute_permille / 1000)
    want = figures.launch_ps + max(traffic, compute) + min(traffic, compute) * figures.overlap_permille / 1000
    assert REAL.time_ps(op, **MACHINE) == pytest.approx(want, rel=1e-6)
