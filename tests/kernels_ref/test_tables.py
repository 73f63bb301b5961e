"""Is the golden half table the stated sum, and do the input makers reach every corner?"""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.base.half_table import half_tables
from kernels_ref.inputs import corners, inputs
from kernels_ref.tables import half_table, signs
from workloads.formats import FORMATS
from workloads.ops import Collective, Linear, TablePrecompute


def by_definition(activations, group):
    """T[m, g, i] term by term."""
    m, k = activations.shape
    groups = -(-k // group)
    table = np.zeros((m, groups, 1 << (group - 1)), np.int64)
    for row, g, i, j in itertools.product(range(m), range(groups), range(1 << (group - 1)), range(group)):
        if g * group + j < k:
            sign = -1 if j == 0 else 2 * (i >> (j - 1) & 1) - 1
            table[row, g, i] += sign * activations[row, g * group + j]
    return table


@given(st.integers(1, 4), st.integers(1, 12), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_half_table_is_its_definition(m, k, group, seed):
    op = TablePrecompute(m=m, k=k, group=group)
    (activations,) = inputs(op, np.random.default_rng(seed))
    assert (half_table(op, activations) == by_definition(activations, group)).all()


def test_half_table_agrees_with_the_one_that_the_lut_core_encodes():
    op = TablePrecompute(m=3, k=20, group=4)
    (activations,) = inputs(op, np.random.default_rng(0))
    assert (half_table(op, activations) == half_tables(activations.reshape(3, 5, 4))).all()


def test_all_pairs_at_group_two():
    values = np.arange(-128, 128)
    pairs = np.stack(np.meshgrid(values, values, indexing="ij"), axis=-1).reshape(1, -1)
    op = TablePrecompute(m=1, k=pairs.shape[1], group=2)
    table = half_table(op, pairs)[0]
    a, b = pairs[0, ::2], pairs[0, 1::2]
    assert table.shape == (65536, 2)
    assert (table[:, 0] == -a - b).all()
    assert (table[:, 1] == -a + b).all()


def test_every_product_with_signs_is_an_entry_or_its_negation():
    activations = np.array([[3, -50, 127, -128]])
    table = half_table(TablePrecompute(m=1, k=4, group=4), activations)[0, 0]
    for choice in itertools.product([-1, 1], repeat=4):
        product = int(np.dot(choice, activations[0]))
        index = int((signs(4).numpy() == np.multiply(choice, -choice[0])).all(axis=1).argmax())
        assert product == -choice[0] * table[index]


@pytest.mark.parametrize("name", ["int8", "uint4", "ternary", "int1"])
def test_random_codes_take_every_value_of_small_formats(name):
    fmt = FORMATS[name]
    _, weights = inputs(Linear(m=1, n=64, k=64, weights=fmt, activations=FORMATS["int8"]), np.random.default_rng(0))
    assert set(np.unique(weights)) == set(range(fmt.lowest, fmt.highest + 1))


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2", "fp16", "bf16", "fp32"])
def test_random_and_corner_floats_are_finite(name):
    import torch

    kinds = {
        "fp8_e4m3": (torch.uint8, torch.float8_e4m3fn),
        "fp8_e5m2": (torch.uint8, torch.float8_e5m2),
        "fp16": (torch.int16, torch.float16),
        "bf16": (torch.int16, torch.bfloat16),
        "fp32": (torch.int32, torch.float32),
    }
    bits_type, float_type = kinds[name]
    op = Linear(m=8, n=8, k=8, weights=FORMATS[name], activations=FORMATS[name])
    unsigned = {torch.uint8: np.uint8, torch.int16: np.uint16, torch.int32: np.uint32}[bits_type]

    def floats(bits):
        signed = bits.astype(unsigned).view(unsigned if bits_type is torch.uint8 else f"i{unsigned().itemsize}")
        return torch.from_numpy(signed).view(float_type).float()

    for arrays in [inputs(op, np.random.default_rng(1)), *(arrays for name, arrays in corners(op) if name != "special")]:
        for bits in arrays:
            assert floats(bits).isfinite().all()
    limits = torch.finfo(float_type)
    assert floats(dict(corners(op))["lowest"][0]).max() == limits.min
    assert floats(dict(corners(op))["highest"][0]).min() == limits.max


def test_corners_are_the_extremes():
    found = {name: arrays[0] for name, arrays in corners(TablePrecompute(m=2, k=3))}
    assert set(found) == {"lowest", "highest", "zero", "alternating", "one_hot", "opposed"}
    assert (found["lowest"] == -128).all()
    assert (found["highest"] == 127).all()
    assert not found["zero"].any()
    assert found["alternating"].tolist() == [[-128, 127, -128], [127, -128, 127]]
    assert np.count_nonzero(found["one_hot"]) == 1
    activations, weights = dict(corners(Linear(m=2, n=3, k=4, weights=FORMATS["uint2"], activations=FORMATS["int8"])))["opposed"]
    assert (set(activations.flat), set(weights.flat)) == ({-128}, {3})


def test_one_hot_of_codes_without_a_sign_is_not_all_zero():
    _, weights = dict(corners(Linear(m=2, n=3, k=4, weights=FORMATS["uint2"], activations=FORMATS["int8"])))["one_hot"]
    assert sorted(weights.flat)[-2:] == [0, 3]


def test_an_op_without_operands_is_named():
    with pytest.raises(TypeError, match="ops of kind 'collective' do not say which arrays they read"):
        inputs(Collective(function="all_reduce", nbytes=1, participants=2), np.random.default_rng(0))
