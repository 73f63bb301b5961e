"""Is the MixPE kernel exact within a group, rounded once where it says so, and within its stated bound of the mathematics?"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_ref import mixpe
from kernels_ref.floats import decode, encode
from kernels_ref.inputs import corners, inputs
from workloads.formats import FORMATS, parse_format
from workloads.ops import Linear

FP16, FP32 = FORMATS["fp16"], FORMATS["fp32"]


def layer(m, n, k, weights="uint4:16", activations="int8"):
    formats = {"weights": parse_format(weights), "activations": FORMATS[activations]}
    return Linear(m=m, n=n, k=k, **formats, output=FP32, dequantized=True)


@st.composite
def layers(draw):
    group = draw(st.sampled_from([16, 17, 48, 128, 256]))
    kind = draw(st.sampled_from(["int4", "uint4"]))
    m, n, k = draw(st.integers(1, 4)), draw(st.integers(1, 5)), group * draw(st.integers(1, 4))
    op = layer(m, n, k, f"{kind}:{group}", draw(st.sampled_from(["int8", "fp16"])))
    return op, np.random.default_rng(draw(st.integers(0, 2**32)))


def any_floats(fmt, shape, rng):
    """Bits of any finite numbers, subnormals and zeros of both signs included."""
    return rng.integers(0, fmt.fields.highest + 1, shape) | rng.integers(0, 2, shape) * fmt.fields.sign


def arrays_of(op, rng):
    activations, codes, scale, zero = inputs(op, rng)
    if op.activations == FP16:
        activations = any_floats(FP16, activations.shape, rng)
    return activations, codes, any_floats(FP16, scale.shape, rng), zero


def by_fractions(op, activations, codes, scale, zero):
    """The same with exact rational numbers, rounded where the docstring says."""
    a, s = mixpe._values(op, activations), decode(scale, FP16)
    out = np.zeros((op.m, op.n))
    for row in range(op.m):
        for column in range(op.n):
            total = 0.0
            for g in range(op.groups):
                part = range(g * op.weights.group, (g + 1) * op.weights.group)
                exact = sum(Fraction(a[row, k]) * int(codes[column, k] - zero[column, g]) for k in part)
                total = nearest(Fraction(nearest(exact)) * Fraction(s[column, g]) + Fraction(total))
            out[row, column] = total
    return out


def nearest(exact):
    """The FP32 number nearest to a rational number, ties to even, by integers alone."""
    if exact == 0:
        return 0.0
    exponent = abs(exact).numerator.bit_length() - abs(exact).denominator.bit_length()
    exponent -= abs(exact) < Fraction(2) ** exponent
    step = Fraction(2) ** (exponent - 23)
    return float(round(exact / step) * step)


@given(layers())
def test_groups_are_exact_and_the_rest_is_rounded_once(case):
    op, rng = case
    arrays = arrays_of(op, rng)
    got = decode(mixpe.mixpe_linear(op, *arrays), FP32)
    assert np.array_equal(got, by_fractions(op, *arrays))


@given(layers())
def test_within_the_bound_of_the_ideal_kernel(case):
    op, rng = case
    arrays = arrays_of(op, rng)
    distance = np.abs(decode(mixpe.mixpe_linear(op, *arrays), FP32) - mixpe.mixpe_ideal(op, *arrays))
    assert (distance <= mixpe.mixpe_error_bound(op, *arrays)).all()


@pytest.mark.parametrize("activations", ["int8", "fp16"])
@pytest.mark.parametrize("weights", ["int4:16", "uint4:256"])
def test_corners_are_within_the_bound(activations, weights):
    op = layer(3, 4, 512, weights, activations)
    for name, arrays in corners(op):
        if name != "special":  # the bound is for numbers
            distance = np.abs(decode(mixpe.mixpe_linear(op, *arrays), FP32) - mixpe.mixpe_ideal(op, *arrays))
            assert (distance <= mixpe.mixpe_error_bound(op, *arrays)).all()


@pytest.mark.parametrize(
    ("activations", "groups", "share"), [("int8", 1, 0.9), ("fp16", 1, 0.8), ("int8", 4, 0.5), ("int8", 8, 0.3), ("fp16", 8, 0.3)]
)
def test_the_bound_is_no_empty_promise(activations, groups, share):
    """Of thousands of results one is off by this share of it: less with more groups, as few sums are all rounded the same way."""
    op = layer(64, 64, 256 * groups, "int4:256", activations)
    arrays = inputs(op, np.random.default_rng(0))
    distance = np.abs(decode(mixpe.mixpe_linear(op, *arrays), FP32) - mixpe.mixpe_ideal(op, *arrays))
    assert (distance / mixpe.mixpe_error_bound(op, *arrays)).max() >= share


def test_int8_in_one_group_is_rounded_once():
    op = layer(5, 6, 64, "int4:64")
    activations, codes, scale, zero = inputs(op, np.random.default_rng(3))
    exact = activations @ (codes - zero).T * decode(scale, FP16)[:, 0]
    assert np.array_equal(mixpe.mixpe_linear(op, activations, codes, scale, zero), encode(exact, FP32))


@pytest.mark.parametrize("bad", [0x7C00, 0xFC00, 0x7E01])
def test_what_is_not_finite_makes_its_row_nan(bad):
    op = layer(3, 2, 48, "uint4:16", "fp16")
    activations, codes, scale, zero = inputs(op, np.random.default_rng(1))
    spoiled = activations.copy()
    spoiled[1, 20] = bad
    got, clean = (mixpe.mixpe_linear(op, a, codes, scale, zero) for a in (spoiled, activations))
    assert (got[1] == FP32.fields.nan).all()
    assert np.array_equal(got[[0, 2]], clean[[0, 2]])


@given(st.integers(0, 2**32))
def test_a_tile_of_the_result_is_the_result_of_the_tile(seed):
    op = layer(4, 5, 32, "int4:16", "fp16")
    arrays = arrays_of(op, np.random.default_rng(seed))
    part = {"m": slice(1, 3), "n": slice(2, 5)}
    tile = mixpe.mixpe_linear(op.resized(m=2, n=3), *op.take(part, *arrays))
    assert np.array_equal(tile, mixpe.mixpe_linear(op, *arrays)[1:3, 2:5])
