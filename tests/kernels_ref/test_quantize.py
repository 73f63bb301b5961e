"""Is quantisation within half a step, is re-interpretation exact, and is the epilogue the scaled sum it says it is?"""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels_ref import quantize
from workloads.formats import FORMATS, parse_format

WEIGHTS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (1, 2, 3, 4)] + ["ternary"]


def values(rows, k, seed, spread):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, k, generator=generator, dtype=torch.float32) * 10.0**spread


@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 2**31), st.integers(-12, 12))
def test_activation_codes_are_within_half_a_step(rows, k, seed, spread):
    x = values(rows, k, seed, spread)
    codes, scale = quantize.quantize_activations(x)
    error = (x.to(torch.float64) - codes * scale.to(torch.float64)[:, None]).abs()
    assert (error <= scale.to(torch.float64)[:, None] / 2 * (1 + 1e-12)).all()
    assert int(codes.abs().max()) == 127  # the largest value of some row uses the whole range


def test_zero_and_subnormal_rows_have_a_scale():
    codes, scale = quantize.quantize_activations(torch.tensor([[0.0, 0.0], [1e-44, -1e-45]]))
    assert (codes == 0).all()
    assert (scale > 0).all()


def test_activations_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        quantize.quantize_activations(torch.tensor([[1.0, float("inf")]]))


@pytest.mark.parametrize("name", [n for n in WEIGHTS if n != "ternary"])
def test_weights_are_within_half_a_step_and_zero_is_exact(name):
    fmt = parse_format(f"{name}:8")
    w = values(5, 24, seed=3, spread=-2)
    w[:, 5] = 0
    codes, scale, zero = quantize.quantize_weights(w, fmt)
    back = quantize.dequantize_weights(codes, scale, zero, fmt)
    step = scale.repeat_interleave(8, dim=1)
    assert ((back - w).abs() <= step * (0.5 + 1e-9)).all() if fmt.bits > 1 else ((back - w).abs() <= step * (1 + 1e-9)).all()
    assert (back[:, 5] == 0).all()
    assert codes.min() >= fmt.lowest
    assert codes.max() <= fmt.highest


def test_ternary_weights_are_minus_one_zero_one_times_the_mean_magnitude():
    fmt = FORMATS["ternary"]
    w = torch.tensor([[0.9, -0.9, 0.1, -0.1]])
    codes, scale, zero = quantize.quantize_weights(w, fmt)
    assert codes.tolist() == [[2, 0, 1, 1]]
    assert torch.allclose(scale, torch.tensor([[0.5]], dtype=torch.float64))
    assert zero.tolist() == [[1]]


def test_a_group_of_zeros_stays_zero():
    for name in WEIGHTS:
        fmt = parse_format(f"{name}:2")
        operands = quantize.quantize_weights(torch.zeros(1, 4), fmt)
        assert (quantize.dequantize_weights(*operands, fmt) == 0).all()


def test_groups_must_divide_the_reduction():
    with pytest.raises(ValueError, match=r"groups of 3 elements, got k = 4"):
        quantize.quantize_weights(torch.zeros(1, 4), parse_format("uint2:3"))


@pytest.mark.parametrize("name", WEIGHTS)
def test_reinterpreted_codes_are_sums_of_signed_planes(name):
    fmt = FORMATS[name]
    codes = torch.arange(fmt.lowest, fmt.highest + 1)
    planes = sum((2 * ((codes - fmt.lowest) >> b & 1) - 1) << b for b in range(fmt.bits))
    assert quantize.reinterpret(codes, fmt).tolist() == planes.tolist()


def test_reinterpreted_four_bit_codes_are_the_odd_numbers():
    assert quantize.reinterpret(torch.arange(16), FORMATS["uint4"]).tolist() == list(range(-15, 16, 2))
    assert quantize.reinterpret(torch.arange(2), FORMATS["uint1"]).tolist() == [-1, 1]


@pytest.mark.parametrize("name", WEIGHTS)
def test_reinterpretation_changes_no_weight(name):
    fmt = FORMATS[name]
    for code, zero in itertools.product(range(fmt.lowest, fmt.highest + 1), (-3.0, 0.0, 0.5, 1.0, 7.0)):
        scale, shifted = quantize.reinterpret_scale(torch.tensor(0.25), torch.tensor(zero), fmt)
        assert scale * (quantize.reinterpret(torch.tensor(code), fmt) - shifted) == 0.25 * (code - zero)


def test_epilogue_by_hand():
    acc = torch.tensor([[[10, 20]], [[1, 2]]])  # two segments, one row, two channels
    sums = torch.tensor([[4], [5]])
    scale = torch.tensor([[2.0, 3.0], [0.5, 0.25]])  # [n, S]
    zero = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
    result = quantize.dequantize(acc, sums, torch.tensor([0.5]), scale, zero)
    first = 2 * (10 - 1 * 4) + 3 * (1 + 1 * 5)
    second = 0.5 * 20 + 0.25 * (2 - 2 * 5)
    assert result.tolist() == [[first / 2, second / 2]]


def test_codes_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"weights: wanted codes of uint2, 0 \.\. 3, got 0 \.\. 4"):
        quantize.check_codes(torch.tensor([0, 4]), FORMATS["uint2"], "weights")
