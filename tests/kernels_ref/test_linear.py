"""Is the look-up kernel an integer matrix product, and does the whole quantised path keep within its stated bound?"""

import doctest
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels_ref import linear, quantize
from kernels_ref.inputs import corners
from kernels_ref.tables import step
from workloads.formats import FORMATS, parse_format
from workloads.ops import Linear

INT8 = FORMATS["int8"]
formats = st.sampled_from(["int1", "uint1", "int2", "uint2", "ternary", "int3", "uint3", "int4", "uint4"])


def op_of(activations, codes, fmt):
    return Linear(m=len(activations), n=len(codes), k=codes.shape[1], weights=fmt, activations=INT8, output=FORMATS["int32"])


def by_multiplication(op, activations, codes):
    """The same by a plain integer product of re-interpreted codes, segment by segment."""
    length = op.weights.group or op.k
    odd = 2 * (codes - op.weights.lowest) - (2**op.weights.bits - 1)
    parts = [slice(start, start + length) for start in range(0, op.k, length)]
    acc = np.stack([activations[:, part] @ odd[:, part].T for part in parts])
    return acc, np.stack([activations[:, part].sum(axis=1) for part in parts])


def same(got, wanted):
    return all(np.array_equal(g, w) for g, w in zip(got, wanted, strict=True))


@st.composite
def layers(draw):
    m, n, length = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(1, 13))
    fmt, grouped = FORMATS[draw(formats)], draw(st.booleans())
    k = length * draw(st.integers(1, 4)) if grouped else length
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    activations = rng.integers(-128, 128, (m, k))
    codes = rng.integers(fmt.lowest, fmt.highest + 1, (n, k))
    return activations, codes, fmt.grouped(length if grouped else None)


@given(layers(), st.integers(2, 5))
def test_looking_up_is_multiplying(layer, group):
    activations, codes, fmt = layer
    op = op_of(activations, codes, fmt)
    assert same(linear.lut_linear(op, activations, codes, group=group), by_multiplication(op, activations, codes))


@pytest.mark.parametrize("name", ["uint1", "int2", "uint4"])
def test_corners(name):
    op = Linear(m=3, n=4, k=70, weights=FORMATS[name], activations=INT8, output=FORMATS["int32"])
    for _, (activations, codes) in corners(op):
        assert same(linear.lut_linear(op, activations, codes), by_multiplication(op, activations, codes))


def test_every_two_bit_weight_pair_against_every_activation():
    codes = np.array(list(itertools.product(range(4), repeat=2)))
    activations = np.array(list(itertools.product(range(-128, 128, 5), repeat=2)))
    op = op_of(activations, codes, FORMATS["uint2"])
    assert same(linear.lut_linear(op, activations, codes, group=2), by_multiplication(op, activations, codes))


@given(layers())
def test_a_tile_of_the_result_is_the_result_of_the_tile(layer):
    activations, codes, fmt = layer
    whole, sums = linear.lut_linear(op_of(activations, codes, fmt), activations, codes)
    rows, columns = slice(0, -(-len(activations) // 2)), slice(len(codes) // 2, len(codes))
    part = {"m": rows, "n": columns, "k": slice(0, codes.shape[1])}
    a, w = op_of(activations, codes, fmt).take(part, activations, codes)
    assert same(linear.lut_linear(op_of(a, w, fmt), a, w), (whole[:, rows, columns], sums[:, rows]))


def test_codes_outside_of_the_format_are_refused():
    op = Linear(m=1, n=1, k=2, weights=FORMATS["ternary"], activations=INT8)
    with pytest.raises(ValueError, match=r"weights: wanted codes of ternary, 0 \.\. 2, got 1 \.\. 3"):
        linear.lut_linear(op, np.array([[1, 1]]), np.array([[3, 1]]))
    with pytest.raises(ValueError, match="activations: wanted codes of int8"):
        linear.lut_linear(op, np.array([[1, 128]]), np.array([[1, 1]]))


@st.composite
def float_layers(draw):
    fmt = parse_format(draw(st.sampled_from(["ternary", "uint1:16", "int2", "uint2:8", "int3:4", "uint4:32", "int4"])))
    m, n, k = draw(st.integers(1, 4)), draw(st.integers(1, 5)), (fmt.group or draw(st.integers(1, 9))) * draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    spread = 10.0 ** draw(st.integers(-6, 6))
    activations = torch.randn(m, k, generator=generator) * spread
    if draw(st.booleans()):
        activations[0, 0] *= 1000  # an outlier that leaves few codes to the others
    return activations, *quantize.quantize_weights(torch.randn(n, k, generator=generator), fmt), fmt


@settings(max_examples=200)
@given(float_layers(), st.sampled_from([(2, None), (2, 8), (4, None), (4, 8), (4, 6), (5, 9)]))
def test_the_quantised_path_keeps_within_its_bound(layer, tables):
    group, table_bits = tables
    found = linear.lut_linear_float(*layer, group=group, table_bits=table_bits)
    error = (found - linear.ideal_linear(*layer)).abs()
    assert (error <= linear.lut_error_bound(*layer, group=group, table_bits=table_bits)).all()


@given(layers(), st.sampled_from([(2, 8), (3, 8), (4, 8), (4, 5), (5, 10)]))
def test_rounded_tables_stay_within_a_step_per_look_up(case, tables):
    activations, codes, fmt = case
    op = op_of(activations, codes, fmt)
    group, table_bits = tables
    size = step(group, table_bits)
    exact = linear.lut_linear(op, activations, codes)
    rounded = linear.lut_linear(op, activations, codes, group=group, table_bits=table_bits)
    groups = -(-(op.weights.group or op.k) // group)
    assert (abs(size * rounded[0] - exact[0]) <= groups * ((1 << op.weights.bits) - 1) * (size - 1)).all()
    assert (abs(size * rounded[1] - exact[1]) <= groups * (size - 1)).all()


def test_the_bound_is_no_empty_promise():
    """Activations half a step off in the direction of every weight come within 1 % of the bound."""
    k = 4000
    weights = torch.where(torch.arange(k) % 2 == 0, 1.0, -1.0)[None]
    operands = quantize.quantize_weights(weights, FORMATS["ternary"])
    activations = torch.full((1, k), 0.4999) * weights
    activations[0, 0] = 127.0
    layer = (activations, *operands, FORMATS["ternary"])
    error = (linear.lut_linear_float(*layer) - linear.ideal_linear(*layer)).abs()
    assert error.item() > 0.99 * linear.lut_error_bound(*layer).item()


def test_zero_points_between_codes_are_exact():
    """1-bit weights of +-1 are codes 0 and 1 with zero point 1/2 and scale 2."""
    weights = torch.tensor([[1.0, -1.0, -1.0, 1.0]])
    codes, scale, zero = (weights > 0).to(torch.int64), torch.tensor([[2.0]]), torch.tensor([[0.5]])
    activations = torch.tensor([[127.0, 5.0, -3.0, 1.0]])
    assert linear.lut_linear_float(activations, codes, scale, zero, FORMATS["uint1"]).item() == 127 - 5 + 3 + 1


def test_examples_of_the_readme():
    readme = Path(linear.__file__).with_name("README.md")
    results = doctest.testfile(str(readme), module_relative=False)
    assert results.attempted > 5
    assert results.failed == 0
