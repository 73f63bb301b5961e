"""Are the golden kernels of the vector unit as near to the mathematics as they say, and right where that is singular?"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels_ref import elementary
from kernels_ref import pointwise as ours
from kernels_ref import pointwise_ideal as ideals
from kernels_ref.elementary import exponential, reciprocal, reciprocal_root
from kernels_ref.floats import decode, encode
from kernels_ref.inputs import inputs
from kernels_ref.pointwise import FUNCTIONS, GELU_CUBIC, GELU_LINEAR, pointwise
from kernels_ref.pointwise_ideal import pointwise_bound, pointwise_ideal
from workloads.formats import FORMATS
from workloads.ops import Pointwise

FP16, FP32, INT32 = FORMATS["fp16"], FORMATS["fp32"], FORMATS["int32"]
INF, NAN = float("inf"), float("nan")
EVERY_HALF = decode(np.arange(1 << 16), FP16).astype(np.float32)


def op_of(function, rows, row, head_dim=None):
    return Pointwise(
        function=function, rows=rows, row=row, head_dim=head_dim, activations=INT32 if function == "dequantize" else FP16
    )


def arrays_of(op, rng, scale=1.0, shift=0.0):
    """Operands whose results are numbers of FP16, the first one times ``scale`` plus ``shift``."""
    arrays = list(inputs(op, rng))
    if op.function == "dequantize":
        arrays[1] = arrays[1] % 4096
        arrays[2] = encode(decode(arrays[2], FP32) * 2.0**-24, FP32)
    else:
        arrays[0] = encode(decode(arrays[0], FP16) * scale + shift, FP16)
    return arrays


def distance(op, arrays, lanes):
    """|hardware - ideal|, and the ideal results."""
    results, ideal = pointwise(op, *arrays, lanes=lanes), pointwise_ideal(op, *arrays)
    got = results[0] * decode(results[1], FP32)[:, None] if op.function == "quantize" else decode(results[0], FP16)
    return (torch.as_tensor(got) - ideal).abs(), ideal


def of_values(function, *arrays, lanes=4, **shape):
    """The float64 results of one row for operands given as numbers."""
    rows = [np.atleast_2d(np.asarray(a, dtype=np.float64)) for a in arrays]
    op = op_of(function, 1, rows[0].shape[1], **shape)
    patterns = [encode(a[0] if len(operand.axes) == 1 else a, FP16) for a, operand in zip(rows, op.operands(), strict=True)]
    return decode(pointwise(op, *patterns, lanes=lanes)[0], FP16)[0]


# The elementary functions


def test_every_half_precision_number_has_its_exponential():
    finite = EVERY_HALF[np.isfinite(EVERY_HALF)]
    got, inside = exponential(finite).astype(np.float64), (finite < 128) & (finite >= -126)
    exact = np.exp2(finite[inside].astype(np.float64))
    assert np.all(np.abs(got[inside] - exact) <= elementary.EXPONENTIAL * exact)
    assert np.all(got[finite >= 128] == INF)
    assert np.all(got[finite < -126] == 0)


def test_fractions_all_over_every_segment():
    ends = np.arange(0, 1 << 23, 1 << 18)
    fractions = np.unique(np.concatenate([np.arange(0, 1 << 23, 37), ends, ends + 1, ends + (1 << 18) - 1]))
    for function, exact, bound in (
        (exponential, lambda x: np.exp2(x - 1), elementary.EXPONENTIAL),
        (reciprocal, lambda x: 1 / x, elementary.RECIPROCAL),
        (reciprocal_root, lambda x: x**-0.5, elementary.ROOT),
        (lambda x: reciprocal_root(2 * x), lambda x: (2 * x) ** -0.5, elementary.ROOT),
    ):
        x = (1 + fractions / (1 << 23)).astype(np.float32)
        wide = x.astype(np.float64)
        got = function(x - np.float32(1) if function is exponential else x).astype(np.float64)
        assert np.all(np.abs(got / exact(wide) - 1) <= bound)


@given(st.floats(width=32, allow_nan=False))
def test_reciprocals_are_close_over_all_of_float32(x):
    got = float(reciprocal(np.float32([x]))[0])
    if abs(x) < 2.0**-126:
        assert got == np.copysign(INF, x)
    elif abs(1 / x) < 2.0**-126 * (1 + elementary.RECIPROCAL):
        assert abs(got) <= 2.0**-126 * (1 + elementary.RECIPROCAL)
    else:
        assert abs(got * x - 1) <= elementary.RECIPROCAL
    root = float(reciprocal_root(np.float32([abs(x)]))[0])
    assert root == INF if abs(x) < 2.0**-126 else root == 0 if abs(x) == INF else abs(root * abs(x) ** 0.5 - 1) <= elementary.ROOT


def test_special_values_of_the_elementary_functions():
    x = np.float32([NAN, INF, -INF, 0, -0.0, 1, -1])
    np.testing.assert_array_equal(exponential(x), np.float32([NAN, INF, 0, 1, 1, 2, 0.5]))
    np.testing.assert_array_equal(reciprocal(x), np.float32([NAN, 0, -0.0, INF, -INF, 1, -1]))
    np.testing.assert_array_equal(reciprocal_root(x), np.float32([NAN, 0, NAN, INF, INF, 1, NAN]))


# Against the ideal kernels


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(FUNCTIONS)),
    st.sampled_from([4, 8, 16, 32, 64, 128]),
    st.integers(1, 4),
    st.integers(1, 300),
    st.integers(-14, 8),
    st.sampled_from([0.0, 1.0, 30.0]),
    st.integers(0, 2**32 - 1),
)
def test_results_are_within_the_stated_bound(function, lanes, rows, row, exponent, shift, seed):
    rng = np.random.default_rng(seed)
    half = int(rng.integers(1, 9))
    op = op_of(function, rows, 2 * half * (row // (2 * half) + 1) if function == "rope" else row, 2 * half)
    arrays = arrays_of(op, rng, 2.0**exponent, shift)
    (off, ideal), bound = distance(op, arrays, lanes), pointwise_bound(op, *arrays, lanes=lanes)
    beyond = ideal.abs() + bound > 65504  # may be infinite
    assert bool(((off <= bound) | beyond).all())


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_the_bound_is_no_empty_promise(function):
    """Among thousands of ordinary results some are off by nine tenths of it; it is zero where results are exact."""
    op = op_of(function, 64, 256, head_dim=64)
    arrays = arrays_of(op, np.random.default_rng(0))
    (off, _), bound = distance(op, arrays, 4), pointwise_bound(op, *arrays, lanes=4)
    assert bool((off > 0.9 * bound).any()) or not bound.any()
    assert bool(bound.any()) == (function != "relu")


@pytest.mark.parametrize(
    ("function", "share", "exponents"),
    [
        ("add", 0.9, range(-12, 8)),  # addends far apart
        ("bias", 0.9, range(-12, 8)),
        ("silu", 0.13, None),  # on every number of FP16
        ("gelu", 0.09, None),
        ("softmax", 0.3, [6]),  # exponents of hundreds
        ("rms_norm", 0.3, [6]),
        ("layer_norm", 0.3, range(-12, 8)),
        ("rope", 0.45, [0]),
        ("dequantize", 0.3, [0]),
    ],
)
def test_before_the_last_rounding_results_reach_this_share_of_what_is_allowed(function, share, exponents):
    """What FP16 hides: the float32 results against `_before_rounding`, for the numbers that come nearest to it."""
    rng = np.random.default_rng(0)
    if exponents is None:
        arrays = [np.flatnonzero(np.isfinite(EVERY_HALF))[None]]
        op = op_of(function, 1, arrays[0].size)
    else:
        op = op_of(function, 256, 32, head_dim=8)
        arrays = arrays_of(op, rng, 2.0 ** rng.choice(exponents, (256, 32)))
    x, *others = (ours._floats(array, operand.format) for array, operand in zip(arrays, op.operands(), strict=True))
    with np.errstate(over="ignore"):
        got = torch.as_tensor(FUNCTIONS[function](ours._Row(op, 4), x, *others).astype(np.float64))
    y = pointwise_ideal(op, *arrays)
    if function == "gelu":  # in a form that does not cancel: far below zero torch's has no digits left
        wide = torch.as_tensor(x.astype(np.float64))
        y = wide * torch.sigmoid((GELU_CUBIC * wide**2 + GELU_LINEAR) * wide * -math.log(2))
    allowed = ideals._before_rounding(op, y, ideals.operand_values(op, *arrays), 4)
    off = (got - y).abs()
    assert bool((off <= allowed).all())
    assert bool((off > share * allowed).any())


def test_the_tanh_form_of_gelu_is_close_to_the_exact_one():
    x = torch.as_tensor(EVERY_HALF[np.isfinite(EVERY_HALF)], dtype=torch.float64)
    gelu = torch.nn.functional.gelu
    assert float((gelu(x, approximate="tanh") - gelu(x)).abs().max()) <= 2.0**-11


@pytest.mark.parametrize("function", ["silu", "gelu"])
def test_every_half_precision_number_through_the_activations(function):
    finite = np.flatnonzero(np.isfinite(EVERY_HALF))[None]
    op = op_of(function, 1, finite.size)
    got = decode(pointwise(op, finite, lanes=4)[0], FP16)
    off = (torch.as_tensor(got) - pointwise_ideal(op, finite)).abs()
    assert bool((off <= pointwise_bound(op, finite, lanes=4)).all())


@given(st.sampled_from([4, 8, 128]), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_rows_are_independent(lanes, row, seed):
    op = op_of("softmax", 3, row)
    (x,) = inputs(op, np.random.default_rng(seed))
    together = pointwise(op, x, lanes=lanes)[0]
    for i in range(3):
        np.testing.assert_array_equal(together[i], pointwise(op_of("softmax", 1, row), x[i : i + 1], lanes=lanes)[0][0])


# Special values


def test_masked_elements_of_a_softmax_are_exactly_zero():
    row = [1.0, -INF, 2.0, -INF, -INF, 0.5, -INF, 3.0]
    got = of_values("softmax", row)
    assert np.all(got[np.isinf(row)] == 0)
    np.testing.assert_array_equal(got[[0, 2, 5, 7]], of_values("softmax", [1.0, 2.0, 0.5, 3.0], lanes=8))
    assert abs(got.sum() - 1) < 2.0**-10


def test_a_maximum_that_comes_late_rescales_what_was_summed():
    for row in ([0.0] * 16 + [11.0], [11.0] + [0.0] * 16, [-60000.0, 0, 60000.0, 60000.0] * 3):
        np.testing.assert_allclose(of_values("softmax", row), torch.softmax(torch.tensor(row).double(), 0), rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("row", [[-INF] * 5, [1.0, NAN, 2.0], [NAN] * 9])
def test_a_softmax_of_nothing_or_of_a_nan_is_nan(row):
    assert np.all(np.isnan(of_values("softmax", row)))


def test_infinity_in_a_softmax():
    np.testing.assert_array_equal(of_values("softmax", [1.0, INF, 2.0]), [0, NAN, 0])


@pytest.mark.parametrize(("function", "others"), [("rms_norm", 1), ("layer_norm", 2)])
def test_a_nan_poisons_the_norms_of_its_row(function, others):
    row = [1.0, 2.0, NAN, 4.0, 5.0]
    assert np.all(np.isnan(of_values(function, row, *[[1.0] * 5] * others)))


def test_quantisation_of_zeros_and_of_what_is_no_number():
    op = op_of("quantize", 3, 4)
    x = encode(np.array([[0, -0.0, 0, 0], [1, NAN, 2, 3], [1, -INF, 2, 3]]), FP16)
    codes, scale = pointwise(op, x, lanes=4)
    assert not codes.any()
    np.testing.assert_array_equal(decode(scale, FP32), [0, NAN, INF])


def test_a_large_row_of_codes_uses_all_of_them():
    x = np.linspace(-3, 3, 255)[None]
    codes, scale = pointwise(op_of("quantize", 1, 255), encode(x, FP16), lanes=4)
    assert codes.min() == -127
    assert codes.max() == 127
    assert abs(decode(scale, FP32)[0] * 127 / 3 - 1) < 2.0**-22


def test_activations_at_infinity_are_those_of_torch():
    row = [INF, -INF, NAN, 0.0, -0.0]
    for function, torch_function in (("silu", torch.nn.functional.silu), ("relu", torch.relu)):
        np.testing.assert_array_equal(of_values(function, row), torch_function(torch.tensor(row)).numpy())
    np.testing.assert_array_equal(of_values("gelu", row), torch.nn.functional.gelu(torch.tensor(row), approximate="tanh").numpy())


def test_rope_is_the_rotation_of_hugging_face():
    rng = np.random.default_rng(0)
    op = op_of("rope", 2, 24, head_dim=8)
    x, cos, sin = inputs(op, rng)
    values = torch.as_tensor(decode(x, FP16)).reshape(2, 3, 8)
    both = [torch.as_tensor(decode(a, FP16)).repeat(1, 2)[:, None] for a in (cos, sin)]
    rotated = torch.cat([-values[..., 4:], values[..., :4]], dim=-1)
    wanted = (values * both[0] + rotated * both[1]).reshape(2, 24)
    torch.testing.assert_close(pointwise_ideal(op, x, cos, sin), wanted)


def test_an_unknown_function_is_refused():
    with pytest.raises(ValueError, match=r"wanted one of the functions add, bias, relu.*got 'embedding'"):
        pointwise(op_of("embedding", 1, 1), np.zeros((1, 1), np.int64), lanes=4)
