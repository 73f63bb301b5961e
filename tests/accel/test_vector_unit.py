"""Does the vector unit mask and poison rows, put words where they belong, cost what it should, and refuse what it cannot do?

Values, cycles and events of the RTL over its parameters are shown by the conformance bench; here are the borders.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from accel.base import simulation
from accel.base.script import Pass, Run
from accel.vector_unit import LARGEST_ROW, VectorUnit
from accel.vector_unit.program import FUNCTIONS, PHASES, phases
from accel.vector_unit.timing import LOOP, TREE_LEVEL, online_delay
from kernels_ref.floats import encode
from kernels_ref.inputs import inputs
from kernels_ref.pointwise import pointwise
from workloads.formats import FORMATS
from workloads.ops import Linear, Pointwise

FP16, INT8, INT32 = FORMATS["fp16"], FORMATS["int8"], FORMATS["int32"]
INF, NAN = float("inf"), float("nan")
EVERY = [*FUNCTIONS, "bias"]


def op_of(function, rows, row, head_dim=None):
    return Pointwise(
        function=function,
        rows=rows,
        row=row,
        head_dim=head_dim,
        activations=INT32 if function == "dequantize" else FP16,
        output=INT8 if function == "quantize" else FP16,
    )


def played(unit, runs):
    """The result arrays of every invocation that the RTL gives for ``runs`` of (op, operands of each invocation)."""
    script = Pass("played", "free", [Run(*run) for run in runs], 0).script(unit, ["config", "x", "y", "z"], ["results"])
    [[seen]] = simulation.run(unit, [[script]], simulator="icarus", timeout_s=300)
    assert seen["fault"] is None
    text, [digits] = seen["words"][0], seen["digits"]
    words = [int(text[i : i + digits], 16) for i in range(0, len(text), digits)]
    results = []
    for op, invocations in runs:
        for _ in invocations:
            count = unit.output_words(op)["results"]
            results.append(unit.decode(op, {"results": words[:count]}))
            words = words[count:]
    return results


# Through the RTL


def test_special_values_are_those_of_the_golden_kernel():
    """Infinities, NaNs, masks, zeros, subnormals: what the bench's drawn inputs hardly ever hold."""
    unit = VectorUnit(lanes=4)
    rows = [
        [1.0, -INF, 2.0, -INF, 0.5, -INF, 3.0],
        [-INF] * 7,
        [1.0, NAN, 2.0, -INF, 4.0, 5.0, 6.0],
        [-1.0, INF, 2.0, 3.0, -4.0, 5.0, 6.0],
        [0.0, -0.0, 0.0, 0.0, -0.0, 0.0, 0.0],
        [2.0**-24, -(2.0**-20), 2.0**-14, 2.0**-24, 2.0**-24, 2.0**-15, -(2.0**-24)],
        [65504.0, -65504.0, 60000.0, -3.0, 12.0, 100.0, -100.0],
        [-65504.0, -60000.0, -50000.0, -40000.0, -30000.0, 0.0, 65504.0],  # the maximum comes last, from far below
    ]
    x = encode(np.array([row[:7] for row in rows]), FP16)
    gain = encode(np.array([1.0, -2.0, 0.0, INF, 0.5, NAN, 3.0]), FP16)
    runs = []
    for function in FUNCTIONS:
        if function in ("rope", "dequantize"):
            continue
        op = op_of(function, len(rows), 7)
        others = [gain if len(operand.axes) == 1 else x[::-1] for operand in op.operands()[1:]]
        runs.append((op, [(x, *others)]))
    for (op, [arrays]), results in zip(runs, played(unit, runs), strict=True):
        for wanted, got in zip(pointwise(op, *arrays, lanes=4), results, strict=True):
            np.testing.assert_array_equal(got, wanted, err_msg=op.function)


def test_numbers_all_over_half_precision_through_exponential_and_reciprocal():
    unit = VectorUnit(lanes=4)
    x = np.arange(0, 1 << 16, 61).reshape(1, -1)
    op = op_of("silu", 1, x.size)
    [(got,)] = played(unit, [(op, [(x,)])])
    np.testing.assert_array_equal(got, pointwise(op, x, lanes=4)[0])


def test_sums_over_many_words_take_their_parts_in_turn():
    unit = VectorUnit(lanes=4)
    rng = np.random.default_rng(5)
    runs = [(op := op_of(function, 1, 300), [inputs(op, rng)]) for function in ("softmax", "layer_norm")]
    for (op, [arrays]), (got,) in zip(runs, played(unit, runs), strict=True):
        np.testing.assert_array_equal(got, pointwise(op, *arrays, lanes=4)[0])


# The codec


@given(st.sampled_from(EVERY), st.sampled_from([4, 16, 128]), st.integers(1, 4), st.integers(1, 150), st.integers(1, 9))
def test_words_are_as_many_as_are_counted(function, lanes, rows, row, half):
    unit = VectorUnit(lanes=lanes)
    op = op_of(function, rows, 2 * half * (row // (2 * half) + 1) if function == "rope" else row, 2 * half)
    streams = unit.encode(op, *inputs(op, np.random.default_rng(row)))
    cost = unit.tile_cost(op)
    assert sum(map(len, streams.values())) == cost.events["word_in"]
    assert unit.output_words(op)["results"] == cost.events["word_out"]


@given(st.sampled_from([4, 8, 32]), st.integers(1, 3), st.integers(1, 5), st.integers(1, 40))
def test_rope_finds_both_elements_of_a_pair_in_one_word(lanes, rows, heads, half):
    unit, op = VectorUnit(lanes=lanes), op_of("rope", rows, 2 * half * heads, 2 * half)
    x = np.arange(rows * op.row).reshape(rows, op.row) + 1
    words = unit._spread(op, x).reshape(-1, 2, lanes // 2)
    pairs = words.swapaxes(1, 2).reshape(-1, 2)
    pairs = pairs[pairs[:, 0] > 0]
    assert len(pairs) == rows * heads * half
    assert np.all(pairs[:, 1] - pairs[:, 0] == half)
    np.testing.assert_array_equal(unit._gathered(op, unit._spread(op, x)), x)


# The cost


def test_cost_by_hand():
    unit = VectorUnit(lanes=4)
    # 2 rows of 11 are 6 words. The config word, the phase, 2 cycles to enter, the loop, 1 behind it, 1 for the output register.
    cost = unit.tile_cost(op_of("add", 2, 11))
    assert (cost.latency, cost.interval) == (1 + 1 + 5 + 2 + LOOP + 1 + 1 + 1, 6)
    assert cost.events["word_in"] == 12
    assert cost.events["multiply_add"] == 24
    # Five trips: a word every five cycles.
    cost = unit.tile_cost(op_of("gelu", 2, 11))
    assert (cost.latency, cost.interval) == (1 + 1 + 5 * 5 + 2 + 5 * LOOP + 1 + 1 + 1, 30)
    assert (cost.events["exponential"], cost.events["reciprocal"]) == (24, 24)
    # rms_norm: sum of squares (3 words, a tree of two levels, 13 cycles for its parts), the root, and two trips of 3 words.
    squares = 1 + 2 + 2 + LOOP + 1 + 2 * TREE_LEVEL + 1 + 12 + 1
    root = 1 + 2 + LOOP + 1 + 1
    scaled = 1 + 2 * 2 + 2 + 2 * LOOP + 1 + 1
    cost = unit.tile_cost(op_of("rms_norm", 2, 11))
    assert (cost.latency, cost.interval) == (2 + 2 * (squares + root + scaled), 2 * (squares + root + scaled))
    assert cost.events["multiply_add"] == 2 * (3 * 4 + 1 + 2 * 3 * 4)
    assert (cost.events["root"], cost.events["reduce"]) == (2, 24)
    # softmax: its sum waits for the maximum.
    assert unit.tile_cost(op_of("softmax", 1, 11)).latency == 2 + squares + online_delay(4) + root + scaled


@pytest.mark.parametrize("function", EVERY)
def test_cost_of_arrays_is_the_cost_of_each(function):
    unit = VectorUnit(lanes=8)
    rows, row = np.array([1, 2, 5, 4096]), np.array([8, 24, 4096, 1 << 20])
    together = unit.cost(op_of(function, rows, row, 8))
    for i in range(4):
        alone = unit.cost(op_of(function, int(rows[i]), int(row[i]), 8))
        assert together.cycles[i] == alone.cycles
        assert {name: counts[i] for name, counts in together.events.items()} == alone.events


def test_long_rows_take_a_word_per_trip_and_cycle():
    """Each word of a softmax passes the lanes three times, of a layer_norm six times: nothing else counts in the end."""
    unit = VectorUnit(lanes=128)
    for function, trips in (("softmax", 3), ("rms_norm", 3), ("layer_norm", 6), ("silu_mul", 4), ("quantize", 2)):
        assert unit.cost(op_of(function, 1, 1 << 22)).cycles / (1 << 15) == pytest.approx(trips, rel=0.01)


def test_no_two_trips_meet():
    """Words enter every ``period`` cycles and come back after LOOP: at no time may one come back when another enters."""
    for phase in PHASES:
        assert len({trip * LOOP % phase.period for trip in range(phase.period)}) == phase.period


# Refusals


def test_parameters_out_of_range_are_refused():
    for lanes in (2, 256):
        with pytest.raises(ValidationError):
            VectorUnit(lanes=lanes)
    with pytest.raises(ValidationError, match="wanted a power of two, got 12"):
        VectorUnit(lanes=12)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Linear(m=1, n=1, k=8), "vector_unit executes pointwise, not linear"),
        (op_of("embedding", 1, 8), "vector_unit executes add, relu, .* and bias, not embedding"),
        (
            Pointwise(function="add", rows=1, row=8, activations=FORMATS["bf16"]),
            "takes add from fp16 to fp16, not from bf16 to fp16",
        ),
        (Pointwise(function="quantize", rows=1, row=8), "takes quantize from fp16 to int8, not from fp16 to fp16"),
        (Pointwise(function="dequantize", rows=1, row=8), "takes dequantize from int32 to fp16, not from fp16"),
        (op_of("rope", 1, 12, 8), "rotates whole vectors of an even head_dim, not rows of 12 with head_dim 8"),
        (op_of("rope", 1, 9, 3), "rotates whole vectors of an even head_dim, not rows of 9 with head_dim 3"),
        (op_of("rope", 1, 8), "rotates whole vectors of an even head_dim, not rows of 8 with head_dim None"),
        (op_of("add", 1, LARGEST_ROW + 1), f"takes rows of up to {LARGEST_ROW} elements"),
    ],
)
def test_what_it_cannot_execute_is_refused(op, message):
    with pytest.raises(ValueError, match=message):
        VectorUnit().check(op)


def test_a_run_too_long_for_the_config_word_is_refused():
    op = op_of("softmax", 1 << 24, 8)
    with pytest.raises(ValueError, match=r"takes up to 2\^48 rows, or words, got"):
        VectorUnit().encode_config(op, (1 << 24) + 1)


def test_functions_of_one_phase_run_on_over_rows():
    assert {function for function in EVERY if len(phases(function)) == 1} == {
        *("add", "bias", "relu", "silu", "silu_mul", "gelu", "rope")
    }
