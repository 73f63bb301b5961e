"""Does the golden kernel of the PIM bank sum in the order that it states, read and write plainly, and keep to its error bound?"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels_ref.floats import decode, encode, round_to
from kernels_ref.inputs import corners, inputs
from kernels_ref.pim import bank_gemv, bank_gemv_error_bound, ideal_bank_gemv
from workloads.formats import FORMATS
from workloads.ops import BankGemv

FP16, FP32, INT8 = FORMATS["fp16"], FORMATS["fp32"], FORMATS["int8"]


@st.composite
def cases(draw, fmt, bits=False):
    """An op and its inputs; with ``bits`` any bit patterns, infinities and NaNs included."""
    small = st.integers(1, 4)
    traffic = {name: draw(st.integers(0, 5)) for name in ("pages", "reads", "writes")}
    shape = {"rows": draw(small), "slots": draw(small), "length": draw(st.integers(1, 20))}
    op = BankGemv(burst=draw(st.sampled_from([2, 4, 8])), columns=4, activations=fmt, **shape, **traffic)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = inputs(op, rng)
    if bits:
        arrays = tuple(rng.integers(0, 1 << o.format.bits, op.shape(o)) for o in op.operands())
    return op, arrays


@given(cases(INT8))
def test_integers_are_exact(case):
    op, (vector, matrix, *_) = case
    assert np.array_equal(bank_gemv(op, *case[1])[0], (vector * matrix).sum(-1))


def test_a_sum_beyond_int32_wraps():
    op = BankGemv(rows=1, slots=1, length=(1 << 17) + 1, activations=INT8)
    (_, arrays) = next(corners(op))  # all lowest: the products are 2^14
    assert bank_gemv(op, *arrays)[0].tolist() == [[-(1 << 31) + (1 << 14)]]


@given(cases(FP16, bits=True))
def test_floats_are_a_tree_of_rounded_sums_for_each_burst_and_then_one_burst_after_the_other(case):
    op, (vector, matrix, *_) = case
    x, w = decode(vector, FP16), decode(matrix, FP16)
    wanted = np.zeros((op.rows, op.slots))
    with np.errstate(invalid="ignore"):
        for r, s in np.ndindex(op.rows, op.slots):
            total = 0.0
            for start in range(0, op.length, op.burst):
                terms = [x[s, j] * w[r, s, j] if j < op.length else 0.0 for j in range(start, start + op.burst)]
                while len(terms) > 1:
                    pairs = zip(terms[::2], terms[1::2], strict=True)
                    terms = [float(round_to(np.array(a + b), FP32)) for a, b in pairs]
                total = float(round_to(np.array(total + terms[0]), FP32))
            wanted[r, s] = total
    assert np.array_equal(bank_gemv(op, *case[1])[0], encode(wanted, FP32))


@given(cases(FP16, bits=True))
def test_reads_and_writes_go_by_turns_and_each_sees_those_before_it(case):
    op, (*_, memory, read_columns, write_columns, written) = case
    _, reads, pages = bank_gemv(op, *case[1])
    for page in range(op.pages):
        row = memory[page].copy().reshape(op.columns, op.burst)
        order = sorted([(i, "RD") for i in range(op.reads)] + [(i, "WR") for i in range(op.writes)])
        for i, access in order:
            if access == "RD":
                assert np.array_equal(reads[page, i], row[read_columns[page, i]])
            else:
                row[write_columns[page, i]] = written[page, i]
        assert np.array_equal(pages[page], row.ravel())


def error(op, arrays):
    found = torch.as_tensor(decode(bank_gemv(op, *arrays)[0], FP32))
    return (found - ideal_bank_gemv(op, *arrays[:2])).abs()


@pytest.mark.parametrize("length", [1, 16, 128, 500, 4096])
def test_the_error_bound_holds(length):
    op = BankGemv(rows=8, slots=4, length=length)
    arrays = inputs(op, np.random.default_rng(length))
    assert torch.all(error(op, arrays) <= bank_gemv_error_bound(op, *arrays[:2]))


def test_the_error_bound_holds_for_subnormals_and_for_numbers_of_every_exponent():
    op = BankGemv(rows=16, slots=4, length=100)
    for name, arrays in corners(op):
        if name != "special":
            assert torch.all(error(op, arrays) <= bank_gemv_error_bound(op, *arrays[:2])), name


def test_the_error_bound_is_of_the_size_of_the_error():
    """One large product, and after it in every burst half a unit in its last place, which is lost."""
    op = BankGemv(rows=1, slots=1, length=1024)
    _, _, *others = inputs(op, np.random.default_rng(0))
    numbers = np.zeros((1, op.length))
    numbers[0, :: op.burst] = 2.0**-6
    numbers[0, 0] = 2.0**6
    vector = encode(numbers, FP16)
    arrays = (vector, vector[None], *others)
    bound = bank_gemv_error_bound(op, *arrays[:2])
    assert 0.9 * bound < error(op, arrays) <= bound
