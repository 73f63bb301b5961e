"""Is the half table the stated sum, does its negation fit the stated bits exactly, and do words carry fields losslessly?"""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.base.half_table import entries, entry_bits, half_tables, pack_tables, round_entries, rounding_shift
from accel.base.words import pack_words, unpack_words
from accel.lut_tensor_core import LutTensorCore


@pytest.mark.parametrize(("group", "bits"), [(2, 9), (3, 10), (4, 10), (5, 11)])
def test_entry_bits_hold_the_extremes_and_not_one_bit_less(group, bits):
    corners = np.array(list(itertools.product([-128, 127], repeat=group)))
    wire = -half_tables(corners)
    assert entry_bits(group) == bits
    assert (wire.min(), wire.max()) == (-128 * group, 128 * group - 1)
    assert -(1 << (bits - 1)) <= wire.min()
    assert wire.max() < 1 << (bits - 1)
    assert wire.min() < -(1 << (bits - 2))


def test_half_table_of_four_by_hand():
    a, b, c, d = 1, 10, 100, -50
    table = half_tables(np.array([a, b, c, d]))
    assert table[0] == -(a + b + c + d)
    assert table[0b101] == -a + b - c + d


@given(st.integers(2, 5), st.data())
def test_the_other_half_is_the_negation(group, data):
    values = np.array(data.draw(st.lists(st.integers(-128, 127), min_size=group, max_size=group)))
    half = half_tables(values)
    for index in range(entries(group)):
        signs = [1] + [2 * (index >> j & 1) - 1 for j in range(group - 1)]  # the sign bit set: + A_0
        assert values @ signs == -half[entries(group) - 1 - index]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_words_carry_signed_fields(bits, count, words, seed):
    rng = np.random.default_rng(seed)
    fields = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (words, count))
    packed = pack_words(fields, bits)
    assert all(0 <= word < 1 << (bits * count) for word in packed)
    assert (unpack_words(packed, bits, count) == fields).all()


def test_first_field_is_lowest_and_spare_rows_are_zero():
    assert pack_words(np.array([[1, -1]]), 4) == [0xF1]
    tables = half_tables(np.array([[[1, 2]]]))  # -T = [3, -1], 9 bits each
    assert pack_tables(tables, rows=3, group=2) == [3 | (0x1FF << 9)]


@pytest.mark.parametrize(("group", "bits"), [(2, 8), (4, 8), (4, 5), (5, 10)])
def test_rounded_entries_are_the_nearest_codes(group, bits):
    wire = np.arange(-(1 << (entry_bits(group) - 1)), 1 << (entry_bits(group) - 1))
    codes = round_entries(wire, group, bits)
    size = 1 << rounding_shift(group, bits)
    assert codes.min() >= -(1 << (bits - 1))
    assert codes.max() == (1 << (bits - 1)) - 1
    cut = codes == codes.max()
    assert (abs(size * codes - wire)[~cut] <= size // 2).all()
    assert abs(size * codes - wire).max() <= size - 1


def test_exact_entries_are_left_alone():
    wire = np.arange(-512, 512)
    assert (round_entries(wire, 4, None) == wire).all()


def test_entries_of_the_exact_width_or_more_are_refused():
    with pytest.raises(ValueError, match="table_bits: wanted fewer than the 10 exact bits at group = 4"):
        LutTensorCore(table_bits=10)
