# amaranth: UnusedElaboratable=no
"""Do the floating-point parts compute what PyTorch, NumPy and the golden kernels do? Millions of vectors, in Verilator."""

import itertools

import numpy as np
import pytest
import torch
from verilated import Part, Parts

from accel.base.fp import Add, Convert, Multiply, MultiplyAdd
from kernels_ref import arithmetic, floats
from workloads.formats import FLOAT_FIELDS, FORMATS
from workloads.ops import Pointwise

EIGHT_BITS = ("fp8_e4m3", "fp8_e5m2")
WIDER = ("fp16", "bf16", "fp32")
# Formats of a, b and the result, for products and fused products.
MIXED = (
    ("fp16", "fp16", "fp32"),
    ("bf16", "bf16", "fp32"),
    ("fp8_e4m3", "fp8_e4m3", "fp16"),
    ("fp8_e5m2", "fp8_e5m2", "fp16"),
    ("fp8_e4m3", "fp8_e5m2", "fp32"),
    ("fp32", "bf16", "fp16"),  # narrower than the operands, and of other exponents
    ("fp16", "fp8_e4m3", "fp8_e5m2"),
)
INTEGERS = ("int4", "uint4", "int8", "uint8", "int32")
MILLION = 1_000_000
TORCH = {
    "fp8_e4m3": (torch.uint8, torch.float8_e4m3fn),
    "fp8_e5m2": (torch.uint8, torch.float8_e5m2),
    "fp16": (torch.int16, torch.float16),
    "bf16": (torch.int16, torch.bfloat16),
    "fp32": (torch.int32, torch.float32),
}


KINDS = {kind.__name__: kind for kind in (Multiply, Add, MultiplyAdd, Convert)}


def _part(name):
    """The part of the name "KIND FORMAT...", if need be followed by its depth."""
    kind, *formats = name.split()
    depth = int(formats.pop()) if formats[-1].isdecimal() else 0
    component = KINDS[kind](*(FORMATS[f] for f in formats), depth=depth)
    return Part(component, tuple(component.operands), depth)


def _deep():
    for kind, names in (
        (Multiply, ("fp16",) * 3),
        (Add, ("fp32",)),
        (MultiplyAdd, ("fp16", "fp16", "fp32")),
        (MultiplyAdd, ("fp32",) * 3),
    ):
        for depth in range(1, kind.DEEPEST + 1):
            yield f"{kind.__name__} {' '.join(names)} {depth}"
    for source, result in (("fp32", "fp16"), ("int32", "fp16"), ("fp16", "int8")):
        for depth in range(1, Convert.DEEPEST + 1):
            yield f"Convert {source} {result} {depth}"


DEEP = list(_deep())
CONVERSIONS = (
    *itertools.permutations(FLOAT_FIELDS, 2),
    *itertools.product(FLOAT_FIELDS, INTEGERS),
    *itertools.product(INTEGERS, FLOAT_FIELDS),
)


@pytest.fixture(scope="session")
def parts():
    products = [" ".join(names) for names in (*((name,) * 3 for name in FLOAT_FIELDS), *MIXED)]
    names = [f"{kind} {formats}" for kind in ("Multiply", "MultiplyAdd") for formats in products]
    names += [f"Add {name}" for name in FLOAT_FIELDS] + [f"Convert {source} {result}" for source, result in CONVERSIONS] + DEEP
    return Parts({name: _part(name) for name in names})


def _corners(name):
    """Zeros, the smallest and largest subnormal, the smallest normal, around one, fractions, the highest, infinities, NaN."""
    fields = FORMATS[name].fields
    one, normal = fields.bias << fields.mantissa, 1 << fields.mantissa
    bits = [0, 1, 2, 3, normal - 1, normal, normal + 1, one - 1, one, one + 1, one + normal // 2, one + 3 * normal // 4]
    bits += [one - (2 + fields.mantissa) * normal, one - (1 + fields.mantissa) * normal]  # half a step of 1, and a quarter
    bits += [fields.highest - normal, fields.highest - 1, fields.highest, fields.nan]
    bits += [fields.highest + 1, fields.highest + 2] if fields.infinities else []
    bits = [b for b in bits if b >= 0]
    return np.array([b | sign for b in bits for sign in (0, fields.sign)])


def _random(names, count, rng):
    """Patterns of each format: half of them uniform, half with exponents near that of 1, of which half are near one another."""
    arrays = []
    spread = rng.integers(-1, 2, count) + rng.integers(-30, 31, count)
    for name in names:
        fmt, fields = FORMATS[name], FORMATS[name].fields
        top = (1 << fields.exponent) - 1
        far = rng.integers(-fields.mantissa - 3, fields.mantissa + 4, count)
        near = np.where(rng.random(count) < 0.5, far, spread // (1 + len(names)) + rng.integers(-2, 3, count))
        close = np.clip(fields.bias + near, 0, top) << fields.mantissa
        # Mantissas of few ones make ties and cancellations.
        mantissa = rng.integers(0, 1 << fields.mantissa, count)
        mantissa = np.where(rng.random(count) < 0.3, mantissa & -(1 << fields.mantissa // 2), mantissa)
        close |= mantissa | rng.integers(0, 2, count) * fields.sign
        arrays.append(np.where(rng.random(count) < 0.5, close, rng.integers(0, 1 << fmt.bits, count)))
    return arrays


def _corners_and_random(names, count, seed=0):
    grids = np.meshgrid(*map(_corners, names), indexing="ij")
    return [
        np.concatenate([g.ravel(), r]) for g, r in zip(grids, _random(names, count, np.random.default_rng(seed)), strict=True)
    ]


def _golden(function, names, result, operands):
    """What `kernels_ref.arithmetic` says, with operands of different formats."""
    with np.errstate(invalid="ignore"):
        values = [floats.decode(bits, FORMATS[name]) for bits, name in zip(operands, names, strict=True)]
    return floats.encode(arithmetic.evaluate(function, *values), FORMATS[result])


def _assert_equal(got, wanted, *operands):
    wrong = np.flatnonzero(got != wanted)
    shown = [
        f"{', '.join(hex(o.flat[i]) for o in operands)}: wanted {wanted.flat[i]:#x}, got {got.flat[i]:#x}" for i in wrong[:5]
    ]
    assert not len(wrong), f"{len(wrong)} of {got.size} differ: " + "; ".join(shown)


def _in_torch(name, bits):
    integer, kind = TORCH[name]
    return torch.from_numpy(bits.astype(str(integer).removeprefix("torch."))).view(kind)


def _bits_of(tensor, name):
    """The patterns of ``tensor``, with the one NaN of the hardware."""
    integer, _ = TORCH[name]
    bits = tensor.contiguous().view(integer).numpy().astype(np.int64) & ((1 << FORMATS[name].bits) - 1)
    return np.where(torch.isnan(tensor.float()).numpy(), FORMATS[name].fields.nan, bits)


def _native(function, name, a, b):
    """PyTorch's own result; it adds and multiplies FP8 by way of FP32, which holds enough bits for that to be one rounding."""
    x, y = _in_torch(name, a), _in_torch(name, b)
    if name in EIGHT_BITS:
        x, y = x.float(), y.float()
    return _bits_of((x * y if function == "Multiply" else x + y).to(TORCH[name][1]), name)


def _names(function, name):
    return f"{function} {name}" if function == "Add" else f"{function} {name} {name} {name}"


@pytest.mark.parametrize("name", EIGHT_BITS)
@pytest.mark.parametrize("function", ["Multiply", "Add"])
def test_all_pairs_of_eight_bits_equal_pytorch(parts, function, name):
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(256), np.arange(256), indexing="ij"))
    _assert_equal(parts(_names(function, name), a, b), _native(function, name, a, b), a, b)


@pytest.mark.parametrize("name", EIGHT_BITS)
def test_fused_products_of_all_pairs_of_eight_bits_with_every_corner_added(parts, name):
    a, b, c = (grid.ravel() for grid in np.meshgrid(np.arange(256), np.arange(256), _corners(name)[::2], indexing="ij"))
    _assert_equal(parts(_names("MultiplyAdd", name), a, b, c), _golden("multiply_add", [name] * 3, name, (a, b, c)), a, b, c)


@pytest.mark.parametrize("name", WIDER)
@pytest.mark.parametrize("function", ["Multiply", "Add"])
def test_corners_and_a_million_random_pairs_equal_pytorch(parts, function, name):
    a, b = _corners_and_random([name] * 2, MILLION)
    _assert_equal(parts(_names(function, name), a, b), _native(function, name, a, b), a, b)


@pytest.mark.parametrize("names", MIXED, ids=" ".join)
def test_products_into_another_format(parts, names):
    *operands, result = names
    a, b = _corners_and_random(operands, MILLION)
    _assert_equal(parts(f"Multiply {' '.join(names)}", a, b), _golden("multiply", operands, result, (a, b)), a, b)


@pytest.mark.parametrize("names", [*((name,) * 3 for name in WIDER), *MIXED], ids=" ".join)
def test_fused_products_of_corners_and_a_million_random_triples(parts, names):
    operands = _corners_and_random(names, MILLION)
    wanted = _golden("multiply_add", names, names[2], operands)
    _assert_equal(parts(f"MultiplyAdd {' '.join(names)}", *operands), wanted, *operands)


@pytest.mark.parametrize("names", [*((name,) * 3 for name in WIDER), *MIXED], ids=" ".join)
def test_fused_products_that_the_addend_nearly_cancels(parts, names):
    """c is -a * b rounded, give or take its last place: what is left are the bits that two roundings would lose."""
    *operands, result = names
    a, b = _random(operands, MILLION // 4, np.random.default_rng(1))
    c = _golden("multiply", operands, result, (a, b)) ^ FORMATS[result].fields.sign
    c = c + np.random.default_rng(2).integers(-1, 2, len(c)) & ((1 << FORMATS[result].bits) - 1)
    _assert_equal(parts(f"MultiplyAdd {' '.join(names)}", a, b, c), _golden("multiply_add", names, result, (a, b, c)), a, b, c)


@pytest.mark.parametrize(("source", "result"), CONVERSIONS, ids=" ".join)
def test_conversions(parts, source, result):
    """All patterns of up to 16 bits; corners and random ones of 32."""
    rng = np.random.default_rng(0)
    fmt = FORMATS[source]
    if fmt.bits <= 16:
        bits = np.arange(1 << fmt.bits)
    elif fmt.kind == "float":
        (bits,) = _corners_and_random([source], MILLION // 5)
    else:
        bits = np.concatenate(
            [[0, 1, 1 << 31, (1 << 31) - 1, (1 << 32) - 1], rng.integers(0, 1 << 32, MILLION // 10) >> rng.integers(0, 32)]
        )
    codes = bits if fmt.kind == "float" else (bits - fmt.lowest & ((1 << fmt.bits) - 1)) + fmt.lowest
    op = Pointwise(function="convert", rows=1, row=len(bits), activations=fmt, output=FORMATS[result])
    wanted = arithmetic.arithmetic(op, codes) & ((1 << FORMATS[result].bits) - 1)
    _assert_equal(parts(f"Convert {source} {result}", bits), wanted, bits)


@pytest.mark.parametrize(("source", "result"), [*itertools.permutations(FLOAT_FIELDS, 2)], ids=" ".join)
def test_conversions_between_floats_equal_pytorch(parts, source, result):
    fmt = FORMATS[source]
    bits = np.arange(1 << fmt.bits) if fmt.bits <= 16 else _corners_and_random([source], MILLION // 5)[0]
    wanted = _bits_of(_in_torch(source, bits).float().to(TORCH[result][1]), result)
    _assert_equal(parts(f"Convert {source} {result}", bits), wanted, bits)


@pytest.mark.parametrize("gaps", [0, 1])
@pytest.mark.parametrize("name", DEEP)
def test_registers_delay_by_enabled_cycles_and_change_nothing(parts, name, gaps):
    rng = np.random.default_rng(3)
    operands = [rng.integers(0, 1 << 32, 20_000) for _ in parts[name].operands]
    _assert_equal(parts(name, *operands, gaps=gaps), parts(name.rpartition(" ")[0], *operands), *operands)


@pytest.mark.parametrize("kind", [Multiply, Add, MultiplyAdd, Convert])
def test_a_depth_that_is_not_there_is_refused(kind):
    formats = {Multiply: 3, Add: 1, MultiplyAdd: 3, Convert: 1}[kind] * [FORMATS["fp16"]]
    formats += [FORMATS["fp32"]] if kind is Convert else []
    with pytest.raises(ValueError, match=f"{kind.__name__} has a depth of 0 to {kind.DEEPEST}, not {kind.DEEPEST + 1}"):
        kind(*formats, depth=kind.DEEPEST + 1)


def test_formats_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="wanted a floating-point format, not int8"):
        Multiply(FORMATS["int8"], FORMATS["fp16"], FORMATS["fp16"])
    with pytest.raises(ValueError, match="not int8 to int32"):
        Convert(FORMATS["int8"], FORMATS["int32"])
