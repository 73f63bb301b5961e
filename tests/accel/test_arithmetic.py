"""The single operators beyond conformance: what they take and refuse, the codec, costs by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from accel.arithmetic import INTEGERS, Arithmetic
from accel.base.simulation import interface
from accel.base.stimuli import templates
from kernels_ref.arithmetic import arithmetic
from kernels_ref.inputs import inputs
from workloads.formats import FLOAT_FIELDS, FORMATS
from workloads.ops import Linear, Pointwise


@pytest.mark.parametrize("function", ["multiply", "add"])
@pytest.mark.parametrize("name", [*FLOAT_FIELDS, *INTEGERS])
def test_every_format_can_be_added_and_multiplied(function, name):
    unit = Arithmetic(function=function, format=name)
    assert interface(unit).outputs == (("results", unit.output.bits),)


def test_natural_results():
    products = {name: Arithmetic(function="multiply", format=name).output.name for name in (*INTEGERS, "bf16")}
    assert products == {"int8": "int16", "int16": "int32", "int32": "int32", "bf16": "bf16"}
    assert Arithmetic(function="add", format="int8").output.name == "int8"
    assert Arithmetic(format="fp16", result="fp32").output.name == "fp32"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "fp61"}, "knows the formats fp8_e4m3, .* not 'fp61'"),
        ({"function": "divide"}, "'multiply', 'add', 'multiply_add' or 'convert'"),
        ({"function": "add", "format": "int8", "depth": 1}, "add on int8 has a depth of 0 to 0, not 1"),
        ({"function": "add", "format": "fp16", "depth": 9}, "add on fp16 has a depth of 0 to 4, not 9"),
        ({"function": "add", "result": "fp32"}, "the result of add on fp16 is in fp16, not fp32"),
        ({"format": "int8", "result": "int8"}, "the result of multiply on int8 is in int16, not int8"),
        ({"format": "fp16", "result": "int8"}, "in any floating-point format, not int8"),
        ({"function": "multiply_add", "format": "int8"}, "multiply_add takes floats, not int8"),
        ({"function": "convert", "format": "int8", "result": "int32"}, "a float to another format"),
        ({"function": "convert"}, "not fp16 to fp16"),
    ],
)
def test_what_cannot_be_built_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Arithmetic(**fields)


def test_other_ops_are_refused():
    unit = Arithmetic(function="add", format="fp16")
    with pytest.raises(ValueError, match="add from fp16 to fp16, not multiply from fp16 to fp16"):
        unit.check(Arithmetic(format="fp16").op(1, 1))
    with pytest.raises(ValueError, match="executes pointwise, not linear"):
        unit.check(Linear(m=1, n=1, k=1))
    with pytest.raises(ValueError, match=r"less than 2\^16 results, not 16777216"):
        unit.check(unit.op(1 << 12, 1 << 12))


def test_cost_by_hand():
    unit = Arithmetic(function="add", format="fp16", depth=2)
    cost = unit.cost(unit.op(3, 10))  # the config word, 30 operands, the operand register and two more
    assert cost.cycles == 1 + 30 + 1 + 2
    assert cost.events == {"operation": 30}
    assert unit.cost(unit.op(1, 300)).cycles == (4 + 256) + (4 + 44)


def test_cost_of_arrays_is_the_cost_of_each():
    unit = Arithmetic()
    rows, row = np.array([1, 7, 3]), np.array([1, 5000, 4096])
    together = unit.cost(unit.op(rows, row))
    for i in range(3):
        alone = unit.cost(unit.op(int(rows[i]), int(row[i])))
        assert (together.cycles[i], together.events["operation"][i]) == (alone.cycles, alone.events["operation"])


@given(st.sampled_from([*FLOAT_FIELDS, *INTEGERS]), st.sampled_from(["multiply", "add"]), st.integers(0, 2**32 - 1))
def test_words_carry_what_was_encoded(name, function, seed):
    unit, rng = Arithmetic(function=function, format=name), np.random.default_rng(seed)
    op = unit.op(1, 9)
    x, y = inputs(op, rng)
    words = unit.encode(op, x, y)["operands"]
    mask = (1 << unit.operand.bits) - 1
    assert words == [int(a) & mask | (int(b) & mask) << unit.operand.bits for a, b in zip(x[0], y[0], strict=True)]
    result = arithmetic(op, x, y)
    (decoded,) = unit.decode(op, {"results": [int(r) & ((1 << unit.output.bits) - 1) for r in result[0]]})
    assert (decoded == result).all()


def test_ops_of_its_own():
    op = Arithmetic(function="convert", format="fp32", result="int8").op(2, 3)
    assert isinstance(op, Pointwise)
    assert (op.function, op.activations, op.output) == ("convert", FORMATS["fp32"], FORMATS["int8"])


@pytest.mark.parametrize(
    "fields",
    [{"format": "fp16", "result": "fp32"}, {"function": "add", "format": "int8"}, {"format": "fp8_e5m2", "result": "bf16"}],
)
def test_a_unit_draws_ops_of_its_own_function_and_formats(fields):
    unit = Arithmetic(**fields)
    assert unit.takes(unit.draw_op(np.random.default_rng(3)))
    assert {(op.function, op.activations, op.output) for op in templates(unit, np.random.default_rng(3))} == {
        (unit.function, unit.operand, unit.output)
    }
