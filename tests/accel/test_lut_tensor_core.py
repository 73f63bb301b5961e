"""Does the LUT tensor core compute every product exactly, refuse what it cannot, and cost what its pipeline diagram says?

Values, cycles and events of the RTL at the corners of its parameters are shown by the conformance bench; here are the checks that
need all operands at once, the codec on its own, and the figures worked out by hand.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.base import simulation
from accel.base.half_table import entries, entry_bits
from accel.base.script import Pass, Run
from accel.base.words import unpack_words
from accel.lut_tensor_core import LutTensorCore
from accel.lut_tensor_core.timing import INTEGER_BITS, group_counter_bits, longest_segment
from kernels_ref.linear import lut_linear
from workloads.formats import FORMATS, parse_format
from workloads.ops import Linear, Pointwise, TablePrecompute

INT8, INT32 = FORMATS["int8"], FORMATS["int32"]


def linear(m, n, k, weights="uint2"):
    return Linear(m=m, n=n, k=k, weights=parse_format(weights), activations=INT8, output=INT32)


# All operands


@pytest.mark.parametrize(("weights", "second"), [("uint1", range(-128, 128)), ("uint2", [*range(-128, 125, 9), -1, 1, 127])])
def test_every_pair_of_activations_times_every_pair_of_weights(weights, second):
    """Exhaustive at K = 2 (W = 2: in the first activation): a segment for each pair, all weight pairs side by side as columns."""
    fmt = parse_format(weights)
    pairs = np.array(list(itertools.product(range(-128, 128), second)))
    codes = np.array(list(itertools.product(range(1 << fmt.bits), repeat=2)))
    unit = LutTensorCore(rows=8, columns=len(codes), group=2, weight_bits=fmt.bits)
    tile = linear(8, len(codes), 1024, f"{weights}:2")
    invocations = [(a, np.tile(codes, 512)) for a in pairs.reshape(-1, 8, 1024)]
    script = Pass("exhaustive", "free", [Run(tile, invocations)], 0).script(unit, ["config", "tables", "weights"], ["results"])
    [[seen]] = simulation.run(unit, [[script]], simulator="icarus", timeout_s=300)
    assert seen["fault"] is None
    [digits], [text] = seen["digits"], seen["words"]
    words = [int(text[i : i + digits], 16) for i in range(0, len(text), digits)]
    accumulators, sums = unit.decode(tile, {"results": words})
    by_segment = np.stack([a.reshape(8, 512, 2).swapaxes(0, 1) for a, _ in invocations]).reshape(-1, 8, 2)
    assert np.array_equal(accumulators, by_segment @ (2 * codes - (2**fmt.bits - 1)).T)
    assert np.array_equal(sums, by_segment.sum(axis=-1))


# The codec: what is on the wires means the product, in a model of a few lines


@st.composite
def tiles(draw):
    unit = LutTensorCore(
        rows=draw(st.integers(1, 8)), columns=draw(st.integers(1, 9)), group=draw(st.integers(2, 5)), weight_bits=8
    )
    weights = draw(st.sampled_from(["int1", "uint1", "int2", "uint2", "ternary", "uint3", "int4", "uint7", "int8"]))
    length = draw(st.integers(1, 12))
    k = length
    if draw(st.booleans()):
        weights, k = f"{weights}:{length}", length * draw(st.integers(1, 3))
    tile = linear(draw(st.integers(1, unit.rows)), draw(st.integers(1, unit.columns)), k, weights)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    activations = rng.integers(-128, 128, (tile.m, k))
    return unit, tile, activations, rng.integers(tile.weights.lowest, tile.weights.highest + 1, (tile.n, k))


@given(tiles())
def test_words_hold_exactly_the_product(case):
    unit, tile, activations, codes = case
    words = unit.encode(tile, activations, codes)
    shape = (-1, unit.rows, entries(unit.group))
    tables = unpack_words(words["tables"], entry_bits(unit.group), unit.rows * entries(unit.group)).reshape(shape)
    fields = unpack_words(words["weights"], unit.group, unit.columns) & ((1 << unit.group) - 1)
    fields = fields.reshape(len(tables), tile.weights.bits, unit.columns)
    index, negate = fields & (entries(unit.group) - 1), fields >> (unit.group - 1)
    found = np.stack([table[:, i].swapaxes(0, 1) for table, i in zip(tables, index, strict=True)])  # [G, W, rows, columns]
    signed = np.where(negate[:, :, None] == 1, -found, found) << np.arange(tile.weights.bits)[:, None, None]
    by_segment = signed.sum(axis=1).reshape(tile.k // (tile.weights.group or tile.k), -1, unit.rows, unit.columns).sum(axis=1)
    accumulators, sums = lut_linear(tile, activations, codes)
    assert np.array_equal(by_segment[:, : tile.m, : tile.n], accumulators)
    assert np.array_equal(tables[:, : tile.m, 0].reshape(len(sums), -1, tile.m).sum(axis=1), sums)


@given(tiles())
def test_result_words_are_decoded_with_their_sign(case):
    unit, tile, activations, codes = case
    accumulators, sums = lut_linear(tile, activations, codes)
    mask = (1 << INTEGER_BITS) - 1
    words = []
    for cells, total in zip(accumulators.reshape(-1, tile.n), sums.reshape(-1), strict=True):
        word = sum((int(v) & mask) << (INTEGER_BITS * c) for c, v in enumerate(cells))
        words.append(word | (int(total) & mask) << (INTEGER_BITS * unit.columns))
    assert len(words) == unit.output_words(tile)["results"]
    decoded = unit.decode(tile, {"results": words})
    assert np.array_equal(decoded[0], accumulators)
    assert np.array_equal(decoded[1], sums)


def test_runs_too_long_for_the_counter_are_refused():
    unit = LutTensorCore()
    unit.encode_config(linear(1, 1, 8, "uint2:4"), 1 << 47)
    with pytest.raises(ValueError, match=r"at most 2\^48 segments"):
        unit.encode_config(linear(1, 1, 8, "uint2:4"), (1 << 47) + 1)


# The bounds


@pytest.mark.parametrize("weight_bits", range(1, 9))
def test_the_longest_segment_just_fits_int32_and_the_group_counter(weight_bits):
    longest = longest_segment(weight_bits)
    worst = ((1 << weight_bits) - 1) * 128
    assert worst * longest < 2**31 <= worst * (longest + 1)
    for group in (2, 3, 4, 5):
        assert -(-longest // group) <= 1 << group_counter_bits(group)


def test_what_it_cannot_execute_is_refused_with_the_reason():
    unit = LutTensorCore()
    for op, message in [
        (linear(1, 1, 8, "uint4"), r"integer or ternary weights of 1 to 2 bits, not uint4"),
        (linear(1, 1, 8, "fp16"), r"not fp16"),
        (linear(1, 1, 8).__class__(m=1, n=1, k=8, weights=FORMATS["uint2"]), r"int8 activations, not fp16"),
        (linear(1, 1, 9, "uint2:4"), r"whole groups of 4 weights, not k = 9"),
        (linear(1, 1, np.array([8, 9]), "uint2:4"), r"whole groups of 4"),
        (linear(1, 1, longest_segment(2) + 1), r"at most 5592405 products of 2-bit weights"),
        (TablePrecompute(m=1, k=4), r"executes linear, not table_precompute"),
    ]:
        with pytest.raises(ValueError, match=message):
            unit.check(op)
    unit.check(linear(1, 1, longest_segment(2)))
    unit.check(linear(1, 1, 8, "int1"))  # narrower weights take fewer planes
    unit.check(linear(1, 1, 2 * longest_segment(2), f"ternary:{longest_segment(2)}"))


# The cost, by hand


def test_cost_of_one_full_tile():
    cost = LutTensorCore().tile_cost(linear(2, 64, 64))
    assert cost.latency == 1 + 1 + 2 * 16 + 1 + 2  # config, stage 1, planes, stage 3, rows
    assert cost.interval == 2 * 16
    assert cost.events == {
        "table_load": 2 * 16,
        "table_shift": 2 * 16,
        "weight_load": 64 * 32,
        "accumulate": 2 * 64 * 32,
        "sum_accumulate": 2 * 16,
        "drain": 2 * 65,
        "output": 2,
    }


def test_peak_is_the_published_one():
    """256 MAC per cycle at W2: 1,728 units at 1.41 GHz are the 1,248 TOPS of A100-LUT-4X (LUT Tensor Core, table 1)."""
    tile = linear(2, 64, 4096)
    unit = LutTensorCore()
    macs_per_cycle = tile.macs / unit.tile_cost(tile).interval
    assert macs_per_cycle == 256
    assert 1728 * 2 * macs_per_cycle * 1.41e9 / 1e12 == pytest.approx(1248, rel=1e-3)


@pytest.mark.parametrize(("k", "between"), [(1, 10), (36, 10), (40, 10), (41, 11), (64, 16)])
def test_a_short_reduction_waits_for_the_drain(k, between):
    unit = LutTensorCore(rows=8, columns=4, weight_bits=1)
    assert unit.tile_cost(linear(8, 4, k, "uint1")).interval == between


def test_segments_follow_one_another_without_a_bubble():
    unit = LutTensorCore()
    whole, parts = unit.tile_cost(linear(2, 64, 1024)), unit.tile_cost(linear(2, 64, 1024, "uint2:128"))
    assert whole.interval == parts.interval
    assert whole.latency == parts.latency
    assert parts.events["drain"] == 8 * whole.events["drain"]
    assert parts.events["accumulate"] == whole.events["accumulate"]


@pytest.mark.parametrize("weights", ["uint2", "ternary", "int1", "uint2:8"])
def test_arrays_of_shapes_cost_what_each_shape_costs(weights):
    unit = LutTensorCore(rows=3, columns=10)
    rng = np.random.default_rng(1)
    m, n, k = rng.integers(1, 40, 50), rng.integers(1, 40, 50), 8 * rng.integers(1, 30, 50)
    together = unit.cost(linear(m, n, k, weights))
    for i in range(50):
        alone = unit.cost(linear(int(m[i]), int(n[i]), int(k[i]), weights))
        assert type(alone.cycles) is int
        assert together.cycles[i] == alone.cycles
        assert {name: count[i] for name, count in together.events.items()} == dict(alone.events)


def test_work_is_conserved():
    """Every weight bit is loaded and looked up once per row tile, and every activation is in one table per column tile."""
    op = linear(7, 200, 256, "uint2:128")
    events = LutTensorCore().cost(op).events
    assert events["accumulate"] == op.m * op.n * 2 * (op.k // 4)
    assert events["weight_load"] == 4 * op.n * 2 * (op.k // 4)  # 4 tiles of rows
    assert events["table_load"] == 4 * op.m * (op.k // 4)  # 4 tiles of columns
    assert events["drain"] == 2 * op.m * (op.n + 4)


# Around the unit


def test_companions_prepare_the_tables_and_apply_the_scales():
    op = linear(7, 100, 256, "uint2:128")
    [tables], [epilogue] = LutTensorCore().companions(op)
    assert isinstance(tables, TablePrecompute)
    assert (tables.m, tables.k, tables.group) == (7, 256, 4)
    assert isinstance(epilogue, Pointwise)
    assert epilogue.function == "dequantize"
    assert (epilogue.elements, epilogue.read_bytes, epilogue.write_bytes) == (2 * 700, 2 * 7 * 101 * 4, op.output_bytes)


def test_groups_of_weights_that_cut_a_table_get_tables_of_their_own():
    op = linear(3, 5, 12, "uint2:6")
    [tables], _ = LutTensorCore().companions(op)
    assert tables.tables == 3 * 2 * 2 == LutTensorCore().tile_cost(op.resized(m=2)).events["table_load"] * 3 // 2


def test_tables_are_fetched_in_place_of_activations():
    op = LutTensorCore().fetched(linear(2, 3, 40))
    assert op.input_bytes == 2 * 10 * 8 * 10 // 8  # 10 tables per row of 8 entries of 10 bits
    assert op.weights == FORMATS["uint2"]


def test_draws_reach_every_corner_of_the_parameters():
    rng = np.random.default_rng(0)
    units = []
    for _ in range(600):
        unit, op = LutTensorCore.draw(rng)
        unit.check(op)
        units.append((unit, op))
    assert {u.rows for u, _ in units} == set(range(1, 9))
    assert {u.group for u, _ in units} == {2, 3, 4, 5}
    assert {u.weight_bits for u, _ in units} == set(range(1, 9))
    assert min(u.columns for u, _ in units) == 1
    assert max(u.columns for u, _ in units) > 100
    assert {op.weights.group is None for _, op in units} == {True, False}
    assert {op.weights.kind for _, op in units} == {"int", "uint", "ternary"}
    assert any(op.weights.bits < u.weight_bits for u, op in units)
