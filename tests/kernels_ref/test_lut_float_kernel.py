"""Is the floating-point look-up the sum in the order it states, and does it keep within its bound, at every magnitude?"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.base import half_table as hardware
from kernels_ref import linear, lut_float, tables
from kernels_ref.floats import decode, encode
from kernels_ref.inputs import corners
from workloads.formats import FORMATS, parse_format
from workloads.ops import Linear, TablePrecompute

FP16 = FORMATS["fp16"]
MODES = list(itertools.product(("fp16", "int8"), ("fp32", "fp16")))
TYPES = {"fp32": np.float32, "fp16": np.float16}
modes = st.sampled_from(MODES)
formats = st.sampled_from(["uint1", "ternary", "int2", "uint3", "int4", "uint8", "int8"])


def half(value):
    """The FP16 pattern of a number."""
    return int(np.float16(value).view(np.uint16))


def op_of(activations, codes, fmt):
    return Linear(m=len(activations), n=len(codes), k=codes.shape[1], weights=fmt, activations=FP16, output=FORMATS["fp32"])


@st.composite
def layers(draw, patterns="finite"):
    m, n, length = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 11))
    fmt, grouped = FORMATS[draw(formats)], draw(st.booleans())
    k = length * draw(st.integers(1, 3)) if grouped else length
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["near", "wide", "small", "ladder"]))
    if kind == "near":
        values = rng.standard_normal((m, k)) * 2.0 ** draw(st.integers(-14, 4))
    elif kind == "wide":  # all exponents, so that small terms are lost behind large ones
        values = decode(rng.integers(0, 0x6000, (m, k)) | rng.integers(0, 2, (m, k)) << 15, FP16)
    elif kind == "small":  # subnormal numbers and zeros
        values = rng.integers(-40, 41, (m, k)) * 2.0**-24
    else:  # each a little more than half a step of the one before
        values = 2.0 ** -(np.arange(k) % 11) * (1 + 2.0**-9) * rng.choice([-1, 1], (m, k))
    activations = encode(values, FP16)
    if patterns == "all":
        activations = np.where(rng.random((m, k)) < 0.3, rng.integers(0, 1 << 16, (m, k)), activations)
    return activations, rng.integers(fmt.lowest, fmt.highest + 1, (n, k)), fmt.grouped(length if grouped else None)


def by_definition(op, activations, codes, group, table, accumulator):
    """One output at a time, one rounding after the other, in NumPy's own FP16 and FP32."""
    number = TYPES[accumulator]
    length = op.weights.group or op.k
    acc, sums = np.zeros((op.k // length, op.m, op.n)), np.zeros((op.k // length, op.m))
    values = activations.astype(np.uint16).view(np.float16)
    for s, m, n in itertools.product(*map(range, acc.shape)):
        total, of_activations = number(0), number(0)
        for start in range(s * length, (s + 1) * length, group):
            part = slice(start, min(start + group, (s + 1) * length))
            a = np.zeros(group, np.float16)
            a[: part.stop - start] = values[m, part]
            q = np.zeros(group, np.int64)
            q[: part.stop - start] = codes[n, part] - op.weights.lowest
            signs = [2 * (q >> b & 1) - 1 for b in range(op.weights.bits)]
            everything = [tree(a * np.array(c, np.float16)) for c in itertools.product((1, -1), repeat=group)]
            e = max(1, *(int(x.view(np.uint16)) >> 10 & 31 for x in everything))
            if table == "int8":
                step = np.float64(2.0 ** (e - 21)) if e < 31 else np.float64("nan")
                code = [float(np.clip(np.rint(np.float64(tree(a * x.astype(np.float16))) / step), -127, 127)) for x in signs]
                total = number(total + number(sum(c * 2**b for b, c in enumerate(code)) * step))
                of_all = np.clip(np.rint(np.float64(tree(a)) / step), -127, 127)
                of_activations = number(of_activations + number(of_all * step))
            else:
                for b, x in enumerate(signs):
                    total = number(total + number(number(2**b) * number(tree(a * x.astype(np.float16)))))
                of_activations = number(of_activations + number(tree(a)))
        acc[s, m, n], sums[s, m] = total, of_activations
    return encode(acc, FORMATS[accumulator]), encode(sums, FORMATS[accumulator])


def tree(a):
    """The sum of FP16 numbers as the precompute adds them."""
    return a[0] if len(a) == 1 else tree(a[: -(-len(a) // 2)]) + tree(a[-(-len(a) // 2) :])


# Tables


@given(layers("all"), st.integers(2, 5))
def test_tables_of_the_kernel_are_those_that_travel(layer, group):
    activations, _, _ = layer
    m, k = activations.shape
    sums = tables.half_table(TablePrecompute(m=m, k=k, group=group, activations=FP16), activations)
    padded = np.pad(activations, ((0, 0), (0, -k % group))).reshape(m, -1, group)
    assert np.array_equal(sums, hardware.half_sums(padded))
    codes, exponents = tables.half_table(TablePrecompute(m=m, k=k, group=group, entry_bits=8, activations=FP16), activations)
    assert np.array_equal(np.concatenate([codes, exponents[..., None]], axis=-1), hardware.shared_exponent_codes(sums))


@pytest.mark.parametrize("group", [2, 3, 4, 5])
def test_zeros_of_tables_have_the_signs_of_those_that_travel(group):
    """A part of the tree that cancels is subtracted as a whole: 0 - (1 - 1) is 0, and -0 - (1 - 1) is -0."""
    activations = np.array(list(itertools.product((0x0000, 0x8000, 0x3C00, 0xBC00), repeat=group)))
    op = TablePrecompute(m=len(activations), k=group, group=group, activations=FP16)
    assert np.array_equal(tables.half_sums(op, activations), hardware.half_sums(activations[:, None]))


def test_every_fp16_pattern_next_to_a_larger_one_has_the_same_code_in_both():
    for other in (0x0000, 0x0400, 0x3C00, 0x7BFF):
        sums = np.stack([np.arange(1 << 16), np.full(1 << 16, other)], axis=-1)
        codes, exponents = tables.shared_exponent_codes(sums)
        assert np.array_equal(np.concatenate([codes, exponents[..., None]], axis=-1), hardware.shared_exponent_codes(sums))


@given(layers(), st.integers(2, 5))
def test_tables_keep_within_their_bounds(layer, group):
    activations, _, _ = layer
    m, k = activations.shape
    op = TablePrecompute(m=m, k=k, group=group, activations=FP16)
    sums = tables.half_sums(op, activations)
    padded = np.pad(decode(activations, FP16), ((0, 0), (0, -k % group))).reshape(m, -1, group)
    exact = padded @ -tables.signs(group).numpy().T
    found = decode(sums, FP16)
    depth = (group - 1).bit_length()
    assert (abs(found - exact) <= ((1 + 2.0**-11) ** depth - 1) * abs(padded).sum(axis=-1, keepdims=True)).all()
    codes, exponents = tables.shared_exponent_codes(sums)
    step = np.exp2(exponents - tables.CODE_SCALE)[..., None]
    assert (abs(codes * step - found) <= np.where(abs(codes) == 127, step, step / 2)).all()
    assert (step <= np.maximum(abs(found).max(axis=-1, keepdims=True) / 64, 2.0**-20)).all()


def test_codes_by_hand():
    values = [[1.0, -1.0, 1 / 128, 3 / 128], [1.9990234375, 0.0, 2.0**-20, -0.0]]
    sums = np.array([[half(value) for value in row] for row in values])
    codes, exponents = tables.shared_exponent_codes(sums)
    assert exponents.tolist() == [15, 15]  # steps of 2^-6
    assert codes.tolist() == [[64, -64, 0, 2], [127, 0, 0, 0]]  # half a step to even; 127.94 is cut off


@pytest.mark.parametrize("pattern", [0x7C00, 0xFC00, 0x7E00, 0x7C01])
def test_a_table_with_an_infinity_or_nan_stands_for_nan(pattern):
    codes, exponents = tables.shared_exponent_codes(np.array([[0x3C00, pattern]]))
    assert (codes.tolist(), exponents.tolist()) == ([[0, 0]], [31])


# Accumulators


@settings(max_examples=60)
@given(layers("all"), st.integers(2, 5), modes)
def test_the_kernel_is_its_definition(layer, group, mode):
    activations, codes, fmt = layer
    op = op_of(activations, codes, fmt)
    table, accumulator = mode
    with np.errstate(all="ignore"):
        wanted = by_definition(op, activations, codes, group, table, accumulator)
    got = linear.lut_linear(op, activations, codes, group=group, table=table, accumulator=accumulator)
    assert np.array_equal(got[0], wanted[0])
    assert np.array_equal(got[1], wanted[1])


def errors(layer, group, table, accumulator):
    """(|acc - ideal|, its bound, |sums - exact|, its bound)."""
    activations, codes, fmt = layer
    op = op_of(activations, codes, fmt)
    acc, sums = linear.lut_linear(op, activations, codes, group=group, table=table, accumulator=accumulator)
    a = decode(activations, FP16)
    length = fmt.group or op.k
    ideal, exact = [], []
    for start in range(0, op.k, length):
        part = slice(start, start + length)
        zero = torch.full((op.n, 1), fmt.lowest + (2**fmt.bits - 1) / 2, dtype=torch.float64)  # z' = 0 and s' = 1
        scale = torch.full((op.n, 1), 2.0, dtype=torch.float64)
        operands = (torch.as_tensor(a[:, part]), torch.as_tensor(codes[:, part]), scale, zero, fmt.grouped(None))
        ideal.append(linear.ideal_linear(*operands).numpy())
        exact.append(a[:, part].sum(axis=1))
    bounds = lut_float.half_error_bound(op, activations, group=group, table=table, accumulator=accumulator)
    fmt_acc = FORMATS[accumulator]
    return abs(decode(acc, fmt_acc) - np.stack(ideal)), bounds[0], abs(decode(sums, fmt_acc) - np.stack(exact)), bounds[1]


@settings(max_examples=200)
@given(layers(), st.integers(2, 5), modes)
def test_the_kernel_keeps_within_its_bound(layer, group, mode):
    activations, _, fmt = layer
    largest = (2**fmt.bits - 1) * abs(decode(activations, FP16)).sum(axis=1).max() * 1.5
    if mode[1] == "fp16" and largest > 65504:
        activations = encode(decode(activations, FP16) * 2.0 ** np.floor(np.log2(65504 / largest)), FP16)
    error, bound, sum_error, sum_bound = errors((activations, *layer[1:]), group, *mode)
    assert (error <= bound).all()
    assert (sum_error <= sum_bound).all()


@pytest.mark.parametrize(("mode", "share"), [(("int8", "fp32"), 0.4), (("int8", "fp16"), 0.1)])
def test_the_bound_is_no_empty_promise(mode, share):
    """Sums that lie half-way between two codes: the error is a good part of the bound."""
    a = np.array([[1, 1 / 256, 1 / 512, 1 / 512] * 16])
    layer = encode(a, FP16), np.full((1, 64), 1), FORMATS["uint1"]
    error, bound, _, _ = errors(layer, 4, *mode)
    assert error.item() > share * bound.item()


def test_small_integers_are_exact():
    """Activations that INT8 holds, FP32 accumulators: floating-point tables give what integer ones do."""
    rng = np.random.default_rng(3)
    a, codes = rng.integers(-128, 128, (4, 40)), rng.integers(0, 16, (5, 40))
    fmt = parse_format("uint4:20")
    op = op_of(a, codes, fmt)
    wanted = linear.lut_linear(op.resized(activations=FORMATS["int8"]), a, codes)
    got = linear.lut_linear(op, encode(a.astype(np.float64), FP16), codes)
    assert all(np.array_equal(decode(g, FORMATS["fp32"]), w) for g, w in zip(got, wanted, strict=True))


# The hazards, one by one


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("zero", [0x0000, 0x8000])
def test_tables_of_zeros_make_a_positive_zero(mode, zero):
    """Adding the plane to the exponent field would make 2^(b - 14) of a zero entry."""
    op = op_of(np.zeros((1, 8)), np.zeros((1, 8)), FORMATS["uint4"])
    acc, sums = linear.lut_linear(op, np.full((1, 8), zero), np.array([[0, 15, 3, 9] * 2]), table=mode[0], accumulator=mode[1])
    assert (acc.item(), sums.item()) == (0, 0)


@pytest.mark.parametrize(("table", "accumulator"), [("fp16", "fp32"), ("fp16", "fp16")])
@pytest.mark.parametrize("pattern", [0x0001, 0x03FF, 0x0200, 0x0400])
def test_subnormal_entries_are_doubled_exactly(table, accumulator, pattern):
    op = op_of(np.zeros((1, 4)), np.zeros((1, 4)), FORMATS["uint8"])
    acc, _ = linear.lut_linear(op, np.array([[pattern, 0, 0, 0]]), np.array([[255] * 4]), table=table, accumulator=accumulator)
    rounding = 2.0**-10 if accumulator == "fp16" else 0.0
    assert decode(acc, FORMATS[accumulator]).item() == pytest.approx(255 * pattern * 2.0**-24, rel=rounding, abs=0)


def test_what_overflows_is_an_infinity_in_fp16_and_a_number_in_fp32():
    op = op_of(np.zeros((1, 4)), np.zeros((1, 4)), FORMATS["uint2"])
    activations = np.array([[half(40000), 0, 0, 0]])
    for accumulator, wanted in (("fp16", np.inf), ("fp32", 3 * decode(half(40000), FP16))):
        acc, _ = linear.lut_linear(op, activations, np.array([[3, 0, 0, 0]]), accumulator=accumulator)
        assert decode(acc, FORMATS[accumulator]).item() == wanted


@pytest.mark.parametrize("wanted", [np.inf, -np.inf, np.nan])
def test_infinite_and_nan_activations(wanted):
    op = op_of(np.zeros((1, 4)), np.zeros((1, 4)), FORMATS["uint1"])
    patterns = np.array([[half(a) for a in (wanted, 1, 0, 0)]])
    acc, sums = linear.lut_linear(op, patterns, np.ones((1, 4), np.int64))
    assert decode(acc, FORMATS["fp32"]).item() == pytest.approx(wanted, nan_ok=True)
    acc, sums = linear.lut_linear(op, patterns, np.ones((1, 4), np.int64), table="int8")
    assert (acc.item(), sums.item()) == (FORMATS["fp32"].fields.nan,) * 2  # a table of codes has no infinity


def test_the_order_is_groups_along_k_and_planes_from_the_lowest():
    """2048 + 1 is 2048 in FP16: what comes first decides."""
    fmt = FORMATS["uint1"]
    ones = np.ones((1, 12), np.int64)
    for order, wanted in (([2048, 1, 1], 2048), ([1, 1, 2048], 2050)):
        activations = np.array([[half(v) if j == 0 else 0 for v in order for j in range(4)]])
        acc, _ = linear.lut_linear(op_of(activations, ones, fmt), activations, ones, accumulator="fp16")
        assert decode(acc, FP16).item() == wanted
    activations = np.array([[half(2047), 0, 0, 0, half(1 / 2), 0, 0, 0]])
    codes = np.array([[1, 1, 1, 1, 3, 3, 3, 3]])  # 2047 (1 - 2), then 1/2 and 1, each lost in a step of 2 or not
    acc, _ = linear.lut_linear(op_of(activations, codes, FORMATS["uint2"]), activations, codes, accumulator="fp16")
    first = np.float16(np.float16(2047) - np.float16(4094))
    assert decode(acc, FP16).item() == np.float16(np.float16(first + np.float16(0.5)) + np.float16(1))


# As a kernel


@given(layers(), modes)
def test_a_tile_of_the_result_is_the_result_of_the_tile(layer, mode):
    activations, codes, fmt = layer
    numerics = dict(zip(("table", "accumulator"), mode, strict=True))
    op = op_of(activations, codes, fmt)
    whole, sums = linear.lut_linear(op, activations, codes, **numerics)
    rows, columns = slice(0, -(-len(activations) // 2)), slice(len(codes) // 2, len(codes))
    a, w = op.take({"m": rows, "n": columns, "k": slice(0, op.k)}, activations, codes)
    part = linear.lut_linear(op_of(a, w, fmt), a, w, **numerics)
    assert np.array_equal(part[0], whole[:, rows, columns])
    assert np.array_equal(part[1], sums[:, rows])


@pytest.mark.parametrize("mode", MODES)
def test_corners_are_patterns_of_the_accumulator(mode):
    op = Linear(m=2, n=3, k=10, weights=FORMATS["int4"], activations=FP16, output=FORMATS["fp32"])
    for _, arrays in corners(op):
        acc, sums = linear.lut_linear(op, *arrays, table=mode[0], accumulator=mode[1])
        for patterns in (acc, sums):
            assert patterns.min() >= 0
            assert patterns.max() < 1 << FORMATS[mode[1]].bits
