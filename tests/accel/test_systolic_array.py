"""Does the systolic array cost what its pipeline diagrams say, compose over a cut sum, and refuse what it cannot execute?

Values, cycles and events of the RTL at the corners of its parameters are shown by the conformance bench; here are figures worked
out by hand, laws over all sizes, and the codec on its own.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.base.words import unpack_words
from accel.systolic_array import SystolicArray
from accel.systolic_array.timing import RUN_BITS, STEP_BITS
from kernels_ref.inputs import inputs
from kernels_ref.systolic import systolic_linear
from workloads.formats import FORMATS
from workloads.ops import Linear, Pointwise, TablePrecompute

FLOWS = ("output_stationary", "weight_stationary")
OUTPUT, WEIGHT = ({"dataflow": flow} for flow in FLOWS)


def linear(m, n, k, operands="int8", **kwargs):
    return Linear(m=m, n=n, k=k, weights=FORMATS[operands], activations=FORMATS[operands], **kwargs)


# The cost, by hand


def test_cost_of_a_full_output_stationary_tile():
    cost = SystolicArray(rows=4, columns=4).tile_cost(linear(4, 4, 100))
    pe, travel = 2, 3 + 3  # product and accumulator; from the first cell to the last
    assert cost.latency == 1 + 1 + 100 + (1 + pe + travel) + 4 + 1  # config, word register, steps, cells, rows going down, buffer
    assert cost.interval == 100
    assert cost.events == {
        "mac": 4 * 4 * 100,
        "activation_load": 4 * 100,
        "weight_load": 4 * 100,
        "skew": 100 * (1 + 2 + 3) * 2,
        "drain": 4 * 4 + 4 * (1 + 2 + 3),  # copied beside the PE, then from row to row
        "output": 4 * 4,
        "partial_load": 0,
    }


def test_the_drain_bounds_short_output_stationary_tiles():
    unit = SystolicArray(rows=8, columns=8)
    assert unit.tile_cost(linear(8, 8, 3)).interval == 8 + 8 - 1
    assert unit.tile_cost(linear(1, 1, 3)).interval == 3
    assert SystolicArray(rows=8, columns=8, operands="fp16", add_depth=2).tile_cost(linear(8, 8, 100, "fp16")).interval == 300


def test_cost_of_a_full_weight_stationary_tile():
    cost = SystolicArray(rows=4, columns=4, **WEIGHT).tile_cost(linear(100, 4, 4))
    assert cost.latency == 1 + 1 + 4 + 100 + (1 + 1 + 4) + 3 + 1  # config, word register, weights, steps, cells, de-skew, buffer
    assert cost.interval == 100
    assert cost.events == {
        "mac": 100 * 4 * 4,
        "padding": 0,
        "activation_load": 100 * 4,
        "activation_skew": 100 * (1 + 2 + 3),
        "weight_load": 4 * 4,
        "weight_skew": 4 * (1 + 2 + 3),
        "weight_shift": (1 + 2 + 3 + 4) * 4,
        "weight_swap": 4 * 4,
        "partial_load": 0,
        "partial_skew": 0,
        "deskew": 100 * (3 + 2 + 1),
        "output": 100 * 4,
    }


def test_loading_weights_bounds_short_weight_stationary_tiles():
    assert SystolicArray(rows=8, columns=8, **WEIGHT).tile_cost(linear(3, 8, 8)).interval == 8
    deep = SystolicArray(rows=8, columns=8, operands="fp16", add_depth=2, **WEIGHT)
    assert deep.tile_cost(linear(3, 8, 8, "fp16")).interval == 3 * 7 + 1


# Laws over all sizes

sizes = st.integers(2, 256)
units = st.builds(SystolicArray, rows=sizes, columns=sizes, dataflow=st.sampled_from(FLOWS))
extents = st.integers(1, 2000)


@given(units, extents, extents, extents)
def test_useful_macs_are_those_asked_for_however_the_op_is_cut(unit, m, n, k):
    events = unit.cost(linear(m, n, k)).events
    assert events["mac"] == m * n * k
    if unit.dataflow == "weight_stationary":
        assert events["mac"] + events["padding"] == m * n * -(-k // unit.rows) * unit.rows
        assert events["partial_load"] == m * n * (-(-k // unit.rows) - 1)
        assert events["output"] == m * n * -(-k // unit.rows)


@given(units, extents, extents, extents)
def test_no_more_than_a_mac_per_pe_and_cycle(unit, m, n, k):
    assert unit.cost(linear(m, n, k)).cycles * unit.rows * unit.columns >= m * n * k


@given(units, st.lists(st.tuples(extents, extents, extents, st.booleans()), min_size=1, max_size=5))
def test_the_price_of_an_array_of_ops_is_that_of_each(unit, ops):
    m, n, k, _ = (np.array(column) for column in zip(*ops, strict=True))
    for accumulate in (False, True):
        together = unit.cost(linear(m, n, k, accumulate=accumulate))
        for i, (rows, columns, depth, _) in enumerate(ops):
            alone = unit.cost(linear(rows, columns, depth, accumulate=accumulate))
            assert together.cycles[i] == alone.cycles
            assert {name: int(np.broadcast_to(c, m.shape)[i]) for name, c in together.events.items()} == dict(alone.events)


def test_a_long_sum_stays_in_an_output_stationary_array_until_its_counter_ends():
    whole = [(tile.k, tile.accumulate, n) for tile, n in SystolicArray().runs(linear(1, 1, (1 << STEP_BITS) + 5))]
    assert whole == [(1 << STEP_BITS, False, 1), (5, True, 1)]


# The codec: what is on the wires means the product, in a model of a few lines


@st.composite
def tiles(draw):
    operands = draw(st.sampled_from(["int8", "fp16", "bf16"]))
    small = st.integers(2, 6)
    unit = SystolicArray(rows=draw(small), columns=draw(small), dataflow=draw(st.sampled_from(FLOWS)), operands=operands)
    streams = draw(st.integers(1, 9))
    m, k = (draw(st.integers(1, unit.rows)), streams) if unit.dataflow == FLOWS[0] else (streams, draw(st.integers(1, unit.rows)))
    tile = linear(m, draw(st.integers(1, unit.columns)), k, operands, accumulate=draw(st.booleans()))
    return unit, tile, inputs(tile, np.random.default_rng(draw(st.integers(0, 2**32))))


@given(tiles())
def test_words_hold_the_operands_and_results_in_the_order_of_the_dataflow(case):
    unit, tile, arrays = case
    words = unit.encode(tile, *arrays)
    bits = tile.activations.bits

    def fields(words, width, bits, signed):
        found = unpack_words(words, bits, width)
        return found if signed else found & ((1 << bits) - 1)

    integer = unit.operands == "int8"
    if unit.dataflow == "output_stationary":
        activations, weights = (
            fields(words["activations"], tile.m, bits, integer).T,
            fields(words["weights"], tile.n, bits, integer).T,
        )
        order = slice(None, None, -1)
    else:
        activations, weights = (
            fields(words["activations"], tile.k, bits, integer),
            fields(words["weights"], tile.n, bits, integer)[::-1].T,
        )
        order = slice(None)
    partial = [fields(words["partial"], tile.n, 32, integer)[order]] if tile.accumulate else []
    assert all(np.array_equal(a, b) for a, b in zip((activations, weights, *partial), arrays, strict=True))
    sums = systolic_linear(tile, *arrays)
    out = [sum((int(v) & 0xFFFFFFFF) << (32 * c) for c, v in enumerate(row)) for row in sums[order]]
    assert len(out) == unit.output_words(tile)["results"]
    (decoded,) = unit.decode(tile, {"results": out})
    assert np.array_equal(decoded, sums)


# What it refuses, and what runs beside it


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (linear(1, 1, 1, "fp16"), "with int8 operands takes int8 weights and activations, not fp16 and fp16"),
        (Linear(m=1, n=1, k=1, weights=FORMATS["int4"], activations=FORMATS["int8"]), "not int4 and int8"),
        (Linear(m=1, n=1, k=4, weights=FORMATS["int8"].grouped(2), activations=FORMATS["int8"]), "not int8:2 and int8"),
        (TablePrecompute(m=1, k=4), "executes linear, not table_precompute"),
    ],
)
def test_what_it_cannot_execute_is_refused_with_the_reason(op, message):
    with pytest.raises(ValueError, match=message):
        SystolicArray().check(op)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rows": 1}, "greater than or equal to 2"),
        ({"columns": 257}, "less than or equal to 256"),
        ({"dataflow": "row_stationary"}, "'output_stationary' or 'weight_stationary'"),
        ({"operands": "fp8_e4m3"}, "'int8', 'fp16' or 'bf16'"),
        ({"add_depth": 1}, "add_depth is for floating-point operands; wanted it left out with int8, got 1"),
        ({"operands": "fp16", "multiply_depth": 4}, "less than or equal to 3"),
    ],
)
def test_parameters_that_cannot_be_built_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        SystolicArray(**parameters)


def test_runs_too_long_for_the_counter_are_refused():
    unit = SystolicArray()
    unit.encode_config(linear(1, 1, 1), 1 << RUN_BITS)
    with pytest.raises(ValueError, match=r"at most 2\^40 tiles"):
        unit.encode_config(linear(1, 1, 1), (1 << RUN_BITS) + 1)


def test_sums_are_converted_into_the_output_format_after():
    assert SystolicArray().companions(linear(2, 3, 4, output=FORMATS["int32"])) == ([], [])
    before, (after,) = SystolicArray().companions(linear(2, 3, 4, role="gate"))
    assert before == []
    assert isinstance(after, Pointwise)
    assert (after.role, after.function, after.rows, after.row) == ("dequantize_gate", "dequantize", 2, 3)
    assert (after.read_bytes, after.write_bytes) == (2 * 3 * 4, 2 * 3 * 2)
    _, (after,) = SystolicArray(operands="bf16").companions(linear(2, 3, 4, "bf16"))
    assert (after.function, str(after.activations), str(after.output)) == ("convert", "fp32", "fp16")
