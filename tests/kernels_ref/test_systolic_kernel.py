"""Is the golden kernel of systolic arrays a plain sum in order of k, does a cut sum compose, and does its error bound hold?"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels_ref.floats import decode, encode, round_to
from kernels_ref.inputs import inputs
from kernels_ref.systolic import ideal_systolic, systolic_error_bound, systolic_linear
from workloads.formats import FORMATS
from workloads.ops import Linear

FP32 = FORMATS["fp32"]
FLOATS = ["fp16", "bf16"]


def linear(m, n, k, operands, accumulate=False):
    return Linear(m=m, n=n, k=k, weights=FORMATS[operands], activations=FORMATS[operands], accumulate=accumulate)


@st.composite
def cases(draw, operands=("int8", *FLOATS), bits=False):
    """An op and its inputs; with ``bits`` any bit patterns, infinities and NaNs included."""
    op = linear(*(draw(st.integers(1, 9)) for _ in range(3)), draw(st.sampled_from(operands)), draw(st.booleans()))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = inputs(op, rng)
    if bits:
        arrays = tuple(rng.integers(0, 1 << o.format.bits, op.shape(o)) for o in op.operands())
    return op, arrays


@given(cases(operands=("int8",)))
def test_integers_are_exact_and_wrap(case):
    op, (activations, weights, *partial) = case
    exact = activations @ weights.T + (partial[0] if partial else 0)
    sums = systolic_linear(op, *case[1])
    assert np.array_equal((sums - exact) % (1 << 32), np.zeros_like(sums))
    assert np.all((sums >= -(1 << 31)) & (sums < 1 << 31))


def test_a_sum_beyond_int32_wraps():
    op = linear(1, 1, 1, "int8", accumulate=True)
    highest = np.array([[(1 << 31) - 1]])
    assert systolic_linear(op, np.array([[1]]), np.array([[1]]), highest).tolist() == [[-(1 << 31)]]


@given(cases(operands=FLOATS, bits=True))
def test_floats_are_a_plain_loop_of_rounded_products_and_rounded_sums(case):
    op, (activations, weights, *partial) = case
    a, w = decode(activations, op.activations), decode(weights, op.weights)
    total = decode(partial[0], FP32) if partial else np.zeros((op.m, op.n))
    with np.errstate(invalid="ignore"):
        for k in range(op.k):
            total = round_to(total + round_to(a[:, None, k] * w[None, :, k], FP32), FP32)
    assert np.array_equal(systolic_linear(op, *case[1]), encode(total, FP32))


@given(cases(), st.data())
def test_a_sum_cut_anywhere_is_the_same_sum(case, data):
    op, (activations, weights, *partial) = case
    cut = data.draw(st.integers(1, op.k))
    sums = systolic_linear(op.resized(k=cut), activations[:, :cut], weights[:, :cut], *partial)
    if cut < op.k:
        sums = systolic_linear(op.resized(k=op.k - cut, accumulate=True), activations[:, cut:], weights[:, cut:], sums)
    assert np.array_equal(sums, systolic_linear(op, *case[1]))


@given(cases(), st.data())
def test_a_tile_of_the_result_is_the_result_of_the_tile(case, data):
    op, arrays = case
    rows, columns = (slice(0, data.draw(st.integers(1, extent))) for extent in (op.m, op.n))
    part = op.take({"m": rows, "n": columns}, *arrays)
    tile = systolic_linear(op.resized(m=rows.stop, n=columns.stop), *part)
    assert np.array_equal(tile, systolic_linear(op, *arrays)[rows, columns])


@pytest.mark.parametrize("operands", FLOATS)
@pytest.mark.parametrize("k", [1, 2, 64, 1000])
@pytest.mark.parametrize("accumulate", [False, True])
def test_the_error_bound_holds(operands, k, accumulate):
    op = linear(8, 8, k, operands, accumulate)
    arrays = inputs(op, np.random.default_rng(k))
    error = (_values(op, arrays) - ideal_systolic(op, *arrays)).abs()
    assert torch.all(error <= systolic_error_bound(op, *arrays))


def test_the_error_bound_is_of_the_size_of_the_error():
    """Equal terms, each of which loses half a unit in the last place when it is added."""
    op = linear(1, 1, 4096, "fp16")
    activations = encode(np.full((1, op.k), 1 + 2.0**-10), FORMATS["fp16"])
    error = (_values(op, (activations, activations)) - ideal_systolic(op, activations, activations)).abs()
    bound = systolic_error_bound(op, activations, activations)
    assert bound / 1000 < error <= bound


@given(st.integers(0, 2**32))
def test_the_error_bound_holds_where_products_underflow(seed):
    op = linear(2, 2, 5, "bf16")
    rng = np.random.default_rng(seed)
    arrays = tuple(encode(rng.normal(size=op.shape(o)) * 2.0 ** rng.integers(-76, -70), o.format) for o in op.operands())
    assert torch.all((_values(op, arrays) - ideal_systolic(op, *arrays)).abs() <= systolic_error_bound(op, *arrays))


def _values(op, arrays):
    return torch.as_tensor(decode(systolic_linear(op, *arrays), FP32))
