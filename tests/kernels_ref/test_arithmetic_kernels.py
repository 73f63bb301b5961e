"""Is the golden kernel of single operators exact but for one rounding? Held to fractions, and to PyTorch on integers."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from kernels_ref import floats
from kernels_ref.arithmetic import arithmetic
from workloads.formats import FLOAT_FIELDS, FORMATS
from workloads.ops import Pointwise


def _op(function, activations, output, count=1):
    return Pointwise(function=function, rows=1, row=count, activations=FORMATS[activations], output=FORMATS[output])


def _exact(bits, fmt):
    return Fraction(float(floats.decode(np.array(bits), fmt)))


def _rounded(value, fmt):
    """The pattern nearest to a fraction, by whole numbers alone; a sum that is zero counts as positive."""
    fields = fmt.fields
    size, sign = abs(value), fields.sign if value < 0 else 0
    exponent = 1 - fields.bias
    while size >= Fraction(2) ** (exponent + 1):
        exponent += 1
    steps = round(size / Fraction(2) ** (exponent - fields.mantissa))  # of Python: to nearest, ties to even
    bits = (exponent - 1 + fields.bias << fields.mantissa) + steps
    beyond = fields.highest + 1 if fields.infinities else fields.highest
    return sign | (beyond if bits > fields.highest else bits)


def _finite(name):
    fields = FORMATS[name].fields
    uniform = st.integers(0, fields.highest)
    near_one = st.integers((fields.bias - min(8, fields.bias)) << fields.mantissa, (fields.bias + 6) << fields.mantissa)
    return st.tuples(uniform | near_one | st.just(0), st.booleans()).map(lambda pair: pair[0] | pair[1] * fields.sign)


@pytest.mark.parametrize("name", FLOAT_FIELDS)
@given(data=st.data())
def test_sums_and_products_are_exact_and_rounded_once(name, data):
    fmt = FORMATS[name]
    x, y, z = (data.draw(_finite(name)) for _ in range(3))
    if data.draw(st.booleans()):  # cancel all but the bits that a first rounding would lose
        z = int(arithmetic(_op("multiply", name, name), np.array([[x]]), np.array([[y]]))[0, 0]) ^ fmt.fields.sign
        z = z if z & (fmt.fields.sign - 1) <= fmt.fields.highest else 0
    a, b, c = (_exact(bits, fmt) for bits in (x, y, z))
    arrays = [np.array([[bits]]) for bits in (x, y, z)]
    for function, exact, used in (("multiply", a * b, 2), ("add", a + b, 2), ("multiply_add", a * b + c, 3)):
        got = int(arithmetic(_op(function, name, name), *arrays[:used])[0, 0])
        wanted = _rounded(exact, fmt)
        assert got == wanted or (exact == 0 and got == fmt.fields.sign), function


def test_a_fused_product_is_not_rounded_twice():
    """1 + 2^-23 + 2^-24 - 2^-70 rounds down; by way of float64 the last term is lost, and the tie goes to even, up."""
    x, y, z = (
        floats.encode(np.array([[value]]), FORMATS["fp32"]) for value in (2.0**-24 * (1 + 2.0**-23), 1 - 2.0**-23, 1 + 2.0**-23)
    )
    assert np.array_equal(arithmetic(_op("multiply_add", "fp32", "fp32"), x, y, z), z)


@given(st.integers(0, FORMATS["fp32"].fields.highest), st.sampled_from([n for n in FLOAT_FIELDS if n != "fp32"]))
@example(0x477FF000, "fp16")  # 65520: half-way to what would follow the highest number
@example(0x477FEFFF, "fp16")
def test_conversions_round_once(bits, name):
    got = int(arithmetic(_op("convert", "fp32", name), np.array([[bits]]))[0, 0])
    assert got == _rounded(_exact(bits, FORMATS["fp32"]), FORMATS[name])


@pytest.mark.parametrize(("name", "product"), [("int8", "int16"), ("int16", "int32"), ("int32", "int32")])
def test_integers_wrap_as_in_pytorch(name, product):
    rng = np.random.default_rng(0)
    fmt, kinds = FORMATS[name], {"int8": torch.int8, "int16": torch.int16, "int32": torch.int32}
    x, y = (rng.integers(fmt.lowest, fmt.highest, (1, 1000), endpoint=True) for _ in range(2))
    a, b = (torch.from_numpy(array).to(kinds[product]) for array in (x, y))
    assert (arithmetic(_op("multiply", name, product, 1000), x, y) == (a * b).numpy()).all()
    assert (arithmetic(_op("add", name, name, 1000), x, y) == (a + b).to(kinds[name]).numpy()).all()


def test_floats_become_the_nearest_integer_in_range():
    values = np.array([[0.5, 1.5, -2.5, 126.5, 127.5, -128.5, -129.0, 1e30, -np.inf, np.nan, -0.25]])
    bits = floats.encode(values, FORMATS["fp32"])
    assert arithmetic(_op("convert", "fp32", "int8", 11), bits).tolist() == [[0, 2, -2, 126, 127, -128, -128, 127, -128, 0, 0]]
