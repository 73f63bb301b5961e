"""Does the RTL of the LUT core and of its precompute hold for every FP16 pattern, and do the fields of both go together?

Values, cycles and events at the corners of the parameters are shown by the conformance bench, whose floats are near one or the
highest; here are subnormals, infinities and NaNs, what is refused, and figures by hand.
"""

import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from accel.base import simulation
from accel.base.conformance import golden_kernel
from accel.base.script import Pass, Run
from accel.base.spec import discover
from accel.lut_tensor_core import LutTensorCore
from accel.table_precompute import TablePrecomputeUnit
from workloads.formats import FORMATS, parse_format
from workloads.ops import Linear, TablePrecompute

FP16 = FORMATS["fp16"]
MODES = list(itertools.product(("fp16", "int8"), ("fp32", "fp16")))


def linear(m, n, k, weights="uint2"):
    return Linear(m=m, n=n, k=k, weights=parse_format(weights), activations=FP16, output=FORMATS["fp32"])


def core(**fields):
    return LutTensorCore(activations="fp16", **fields)


def played(unit, tile, invocations):
    """What the RTL of ``unit`` gives for each of ``invocations``, as `decode` reads it."""
    face = simulation.interface(unit)
    script = Pass("patterns", "free", [Run(tile, invocations)], 0).script(
        unit, [name for name, _ in face.inputs], [name for name, _ in face.outputs]
    )
    [[seen]] = simulation.run(unit, [[script]], simulator="icarus", timeout_s=300)
    assert seen["fault"] is None
    [digits], [text], [(name, _)] = seen["digits"], seen["words"], face.outputs
    words = [int(text[i : i + digits], 16) for i in range(0, len(text), digits)]
    each = len(words) // len(invocations)
    return [unit.decode(tile, {name: words[i * each : (i + 1) * each]}) for i in range(len(invocations))]


def hazards(rng, shape):
    """Patterns of every kind: any at all, subnormal or zero, next to the highest, and near one."""
    sign = rng.integers(0, 2, shape) << 15
    kinds = [rng.integers(0, 1 << 15, shape), rng.integers(0, 4, shape) * 0x155, rng.integers(0x7000, 0x7C00, shape)]
    kinds += [rng.integers(0x3800, 0x4400, shape)] * 3
    return sign | np.choose(rng.integers(0, len(kinds), shape), kinds)


# Every pattern


@pytest.mark.parametrize(("table", "accumulator"), MODES)
def test_hazardous_operands_through_the_core(table, accumulator):
    """Many short reductions of two groups: few enough terms that infinities and NaNs do not hide the rest."""
    unit = core(rows=2, columns=4, group=2, weight_bits=3, table=table, accumulator=accumulator)
    tile, rng = linear(2, 4, 4 * 64, "uint3:4"), np.random.default_rng(5)
    invocations = [(hazards(rng, (2, tile.k)), rng.integers(0, 8, (4, tile.k))) for _ in range(3)]
    kinds = set()
    for (acc, sums), arrays in zip(played(unit, tile, invocations), invocations, strict=True):
        wanted = golden_kernel(unit)(tile, *arrays)
        assert np.array_equal(acc, wanted[0])
        assert np.array_equal(sums, wanted[1])
        fields = FORMATS[accumulator].fields
        top = (1 << fields.exponent) - 1
        field, fraction = acc >> fields.mantissa & top, acc & ((1 << fields.mantissa) - 1)
        kinds |= set(np.where(field == top, np.where(fraction > 0, "nan", "inf"), np.where(field == 0, "small", "number")).flat)
    assert {"nan", "number"} < kinds
    assert ("inf" in kinds) >= (table == "fp16")


@pytest.mark.parametrize("table", ["fp16", "int8"])
def test_every_pattern_through_the_precompute(table):
    """All 65,536 patterns (a quarter of them for codes, which leave out low bits), next to a near one or one of any kind."""
    unit = TablePrecomputeUnit(rows=8, group=2, activations="fp16", table=table)
    rng = np.random.default_rng(2)
    one = rng.permutation(1 << 16)[: 1 << (16 if table == "fp16" else 14)]
    other = np.where(rng.random(one.shape) < 0.5, hazards(rng, one.shape), one ^ rng.integers(0, 0x900, one.shape))
    patterns = np.stack([one, other], axis=-1).reshape(8, -1)
    tile = TablePrecompute(m=8, k=patterns.shape[1], group=2, activations=FP16, entry_bits=8 if table == "int8" else None)
    [got] = played(unit, tile, [(patterns,)])
    wanted = golden_kernel(unit)(tile, patterns)
    assert len(got) == len(wanted)
    assert all(np.array_equal(g, w) for g, w in zip(got, wanted, strict=True))


# The fields


def test_fp16_activations_fill_in_their_defaults():
    assert (core().table, core().accumulator) == ("fp16", "fp32")
    assert core() == core(table="fp16", accumulator="fp32")
    assert (LutTensorCore().table, LutTensorCore().accumulator) == (None, None)
    assert discover("accel")["lut_tensor_core"].from_data({"kind": "lut_tensor_core", "activations": "fp16"}) == core()
    assert TablePrecomputeUnit(activations="fp16").table == "fp16"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activations": "fp16", "table_bits": 8}, r"table_bits: wanted int8 activations \(fp16 ones have table .*, got 8"),
        ({"table": "int8"}, r"table: wanted fp16 activations \(int8 ones have exact entries, or table_bits\), got int8"),
        ({"accumulator": "fp16"}, r"accumulator: wanted fp16 activations \(int8 ones are summed in INT32\), got fp16"),
        ({"activations": "fp16", "accumulator": None}, r"accumulator: wanted fp32 or fp16 for fp16 activations, got none"),
        ({"activations": "fp16", "table": None}, r"table: wanted fp16 or int8 for fp16 activations, got none"),
        ({"activations": "bf16"}, r"Input should be 'int8' or 'fp16'"),
        ({"weight_bits": 9}, r"less than or equal to 8"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        LutTensorCore(**fields)


def test_what_it_cannot_execute_is_refused_with_the_reason():
    for unit, op, message in [
        (core(), linear(1, 1, 8).resized(activations=FORMATS["int8"]), "takes fp16 activations, not int8"),
        (core(), linear(1, 1, 1 << 24), r"sums at most 16777215 products \(per scale\), not k = 16777216"),
        (TablePrecomputeUnit(activations="fp16"), TablePrecompute(m=1, k=4), "takes fp16 activations in groups of 4, got int8"),
        (
            TablePrecomputeUnit(activations="fp16"),
            TablePrecompute(m=1, k=4, activations=FP16, entry_bits=8),
            "with table = fp16 makes no entries of 8 bits",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            unit.check(op)


# The cost, and what is around the unit, by hand


def test_int8_tables_take_one_cycle_more_at_the_end():
    tile = linear(2, 64, 64)
    whole, coded = core().tile_cost(tile), core(table="int8").tile_cost(tile)
    assert (whole.latency, whole.interval) == (2 + 2 * 16 + 1 + 2, 32)
    assert (coded.latency, coded.interval) == (2 + 2 * 16 + 2 + 2, 32)
    assert coded.events == {**whole.events, "group_accumulate": 2 * 64 * 16}
    short = linear(2, 64, 4, "uint1")
    assert (core().tile_cost(short).interval, core(table="int8").tile_cost(short).interval) == (2 + 2, 2 + 3)


def test_the_precompute_takes_three_cycles_per_level_of_its_tree():
    for group, levels in ((2, 1), (3, 2), (4, 2), (5, 3)):
        op = TablePrecompute(m=2, k=6 * group, group=group, activations=FP16)
        assert TablePrecomputeUnit(group=group, activations="fp16").tile_cost(op).latency == 1 + 6 + 3 * levels
        coded = TablePrecomputeUnit(group=group, activations="fp16", table="int8")
        assert coded.tile_cost(op.resized(entry_bits=8)).latency == 1 + 6 + 3 * levels + 1


@pytest.mark.parametrize(("table", "bytes_per_table", "entry_bits"), [("fp16", 16, None), ("int8", 9, 8)])
def test_tables_in_memory(table, bytes_per_table, entry_bits):
    unit, op = core(table=table), linear(3, 5, 4 * 100)
    [tables], _ = unit.companions(op)
    assert (tables.entry_bits, tables.activations) == (entry_bits, FP16)
    assert unit.fetched(op).input_bytes == 3 * -(-100 * bytes_per_table * 2) // 2
    precompute = TablePrecomputeUnit(activations="fp16", table=table)
    precompute.check(tables)
    assert precompute.table_bytes(tables) == unit.fetched(op).input_bytes


@pytest.mark.parametrize(("accumulator", "nbytes"), [("fp32", 4), ("fp16", 2)])
def test_the_epilogue_reads_accumulators(accumulator, nbytes):
    _, [epilogue] = core(accumulator=accumulator).companions(linear(7, 100, 256, "uint2:128"))
    assert epilogue.read_bytes == 2 * 7 * 101 * nbytes
    assert epilogue.activations == FORMATS[accumulator]


def test_draws_reach_every_mode():
    rng = np.random.default_rng(0)
    cores, precomputes = [], []
    for _ in range(200):
        for cls, found in ((LutTensorCore, cores), (TablePrecomputeUnit, precomputes)):
            unit, op = cls.draw(rng)
            unit.check(op)
            found.append(unit)
    assert {(u.table, u.accumulator) for u in cores} == {(None, None), *MODES}
    assert {u.table for u in precomputes} == {None, "fp16", "int8"}
