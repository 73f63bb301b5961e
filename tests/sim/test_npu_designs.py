"""Are proved arrays and vector units priced as their costs say: cut reductions, unlimited rows, scales, point-wise rows?"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.base.clock import bytes_to_ps, cycles_to_ps
from accel.base.cost import Cost
from accel.base.mapping import ceil_div
from accel.base.unit import RtlUnit
from accel.systolic_array import SystolicArray
from sim.base import Tally
from sim.energy import Work, ledger, stage_work, tally_work
from sim.errors import BadInput
from sim.lowering import Stage, lower
from sim.peaks import peak_ops
from sim.pricing import StepPricer
from sim.system import Slot, load_device
from sim.tiling import time_stage
from workloads.formats import FORMATS
from workloads.model import Precision, Transformer
from workloads.ops import Linear, Pointwise

SIDE, LANES, CORES, CLOCK = 16, 8, 4, 1_000_000_000
FP16, INT8 = FORMATS["fp16"], FORMATS["int8"]


class CostOnly(RtlUnit):
    """A unit of which only the price is asked."""

    golden: ClassVar[str] = "none"

    def component(self):
        raise NotImplementedError

    def encode_config(self, tile, n):
        raise NotImplementedError

    def encode(self, tile, *arrays):
        raise NotImplementedError

    def output_words(self, tile):
        raise NotImplementedError

    def decode(self, tile, words):
        raise NotImplementedError

    @classmethod
    def examples(cls):
        raise NotImplementedError

    @classmethod
    def draw(cls, rng):
        raise NotImplementedError


class Stationary(CostOnly):
    """Weights stay, rows stream: any number of rows, columns and reduction cut to the sides of the array."""

    executes: ClassVar = (Linear,)
    partial_sums: ClassVar[bool] = True

    def limits(self, op):
        return {"n": SIDE, "k": SIDE}

    def tile_cost(self, tile):
        interval = tile.m + (SIDE - tile.m) * (tile.m < SIDE)  # weights of the next tile load behind the rows of this one
        words = {"mac": tile.macs, "partial": tile.m * tile.n * tile.accumulate, "result": tile.m * tile.n}
        return Cost(latency=2 * SIDE + interval, interval=interval, events=words)


class Counting(Stationary):
    """The same, with a counter of rows."""

    def limits(self, op):
        return {"m": 1 << 20, **super().limits(op)}


class Scaling(Stationary):
    """The same, which applies the scales of its weights itself."""

    dequantizes: ClassVar[bool] = True


class Lanes(CostOnly):
    """One row at a time, `LANES` results per cycle."""

    executes: ClassVar = (Pointwise,)

    def limits(self, op):
        return {"rows": 1}

    def tile_cost(self, tile):
        cycles = ceil_div(tile.row, LANES)
        return Cost(latency=cycles + 3, interval=cycles, events={"lane": tile.row})


MODEL = Transformer(name="small", hidden=96, layers=2, heads=6, kv_heads=6, head_dim=16, ffn=200, vocab=500, max_context=999)


def device(linear=Stationary, *settings_):
    """An A100's memory and attention, with ``linear`` and `Lanes` for everything else."""
    base = load_device("lut_paper_a100_fp16", [f"cores={CORES}", "units.tensor.count=4", "units.vector.count=4", *settings_])
    units = {
        "tensor": base.units["tensor"],
        "array": Slot.model_construct(unit=linear(), count=2 * CORES, clock=CLOCK),
        "lanes": Slot.model_construct(unit=Lanes(), count=3 * CORES, clock=CLOCK),
    }
    roles = {"linear.lm_head": "array"}
    placed = {"linear": "array", "pointwise": "lanes", "mapping": "search", "fused_projections": True, "roles": roles}
    return base.model_copy(update={"units": units, "placement": base.placement.model_copy(update=placed)})


DEVICE = device()


def linear(m, n, k, **kwargs):
    return Linear(m=m, n=n, k=k, **kwargs)


def test_partial_sums_are_events_of_the_unit_and_no_traffic():
    whole, cut = (stage_work(Stage(linear(10, SIDE, k), "array"), DEVICE) for k in (SIDE, 3 * SIDE + 1))
    assert whole.events["array", "partial"] == 0
    assert cut.events["array", "partial"] == 3 * 10 * SIDE  # the second, third and fourth part take them in
    assert cut.events["array", "result"] == 4 * 10 * SIDE
    for k, work in ((SIDE, whole), (3 * SIDE + 1, cut)):
        assert work.events["hbm", "read_byte"] == 2 * k * (10 + SIDE)
        assert work.events["hbm", "write_byte"] == 2 * 10 * SIDE


@given(m=st.integers(1, 3000), n=st.integers(1, 700), k=st.integers(1, 300))
@settings(max_examples=40)
def test_a_gemm_takes_no_less_than_its_products_and_its_traffic(m, n, k):
    op = linear(m, n, k)
    timing = time_stage(Stage(op, "array"), DEVICE)
    assert timing.compute_ps >= cycles_to_ps(op.macs // (SIDE * SIDE * 2 * CORES), CLOCK)
    assert timing.ps >= max(timing.compute_ps, timing.memory_ps)


def test_unlimited_rows_are_cut_where_there_are_too_few_columns_for_the_cores():
    narrow = time_stage(Stage(linear(6400, SIDE, SIDE), "array"), DEVICE)
    share = cycles_to_ps(2 * SIDE + 6400 // (2 * CORES), CLOCK)  # of the rows, for each of eight arrays
    assert share <= narrow.compute_ps <= 1.05 * share  # smaller blocks start sooner
    wide = time_stage(Stage(linear(6400, 2 * CORES * SIDE, SIDE), "array"), DEVICE)
    share = cycles_to_ps(2 * SIDE + 6400, CLOCK)
    assert share <= wide.compute_ps <= 1.05 * share


def test_a_fixed_mapping_is_kept():
    fixed = device().model_copy(update={"placement": load_device("lut_paper_a100_fp16").placement})
    timing = time_stage(Stage(linear(256, 512, 64), "array"), fixed)
    assert timing.mapping == "fixed 128x512x32"


ARRAYS = {
    "stationary": (Stationary, "fp16"),
    "output stationary": (partial(SystolicArray, rows=16, columns=32), "int8"),
    "weight stationary": (partial(SystolicArray, rows=32, columns=16, dataflow="weight_stationary", operands="fp16"), "fp16"),
}


@pytest.mark.parametrize("array", ARRAYS)
@given(tokens=st.integers(1, 5000))
@settings(max_examples=10)
def test_prices_of_an_array_equal_those_of_ints(array, tokens):
    make, number = ARRAYS[array]
    price = StepPricer(device(make), MODEL, Precision(weights=number, activations=number, lm_head=number))
    around = np.array([1, tokens, tokens + 1, 2 * tokens])
    assert price.fixed_ps(around).tolist() == [price.fixed_ps(int(t)) for t in around]
    assert price.companion_ps(around).tolist() == [price.companion_ps(int(t)) for t in around]


@pytest.mark.parametrize("array", ARRAYS)
@given(steps=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60), st.integers(1, 500)), min_size=1, max_size=4))
@settings(max_examples=10)
def test_a_step_is_the_sum_of_its_stages_and_a_tally_counts_what_they_do(array, steps):
    make, number = ARRAYS[array]
    price = StepPricer(device(make), MODEL, Precision(weights=number, activations=number, lm_head=number))
    tally, apart = Tally(), Work()
    for chunk, decodes, mean in steps:
        chunks = [(chunk, 7)] if chunk else []
        if not chunk + decodes:
            continue
        tally.linear[chunk + decodes] += 1
        tally.head[decodes + len(chunks)] += 1
        tally.add_chunks(chunks)
        if decodes:
            tally.add_decodes(decodes, decodes * mean, 1)
        stages = price.step(prefill=chunks, decodes=decodes, context=decodes * mean)
        for priced in stages:
            apart.add(stage_work(priced.stage, price.device), priced.times)
        total = price.device.host_overhead + sum(s.times * s.timing.ps for s in stages)
        assert price.step_ps(chunk + decodes, decodes + len(chunks), chunks, decodes, decodes * mean) == total
    assert dict(tally_work(price, tally).events) == dict(apart.events)


def test_a_converted_result_leaves_in_the_format_that_the_op_asks():
    make, _ = ARRAYS["weight stationary"]
    (stage,) = lower([linear(7, 40, 80)], device(make))
    assert [(op.function, unit) for op, unit in stage.fused] == [("convert", "lanes")]
    assert stage_work(stage, device(make)).events["hbm", "write_byte"] == 2 * 7 * 40
    apart = device(make)
    apart = apart.model_copy(update={"placement": apart.placement.model_copy(update={"fuse": ()})})
    array, convert = lower([linear(7, 40, 80)], apart)
    assert stage_work(array, apart).events["hbm", "write_byte"] == 4 * 7 * 40
    assert (convert.op.read_bytes, convert.op.write_bytes) == (4 * 7 * 40, 2 * 7 * 40)


def test_point_wise_rows_are_dealt_over_all_copies():
    op = Pointwise(function="add", rows=25, row=40, read_bytes=8, write_bytes=4)
    timing = time_stage(Stage(op, "lanes"), DEVICE)
    assert timing.ps == timing.compute_ps == cycles_to_ps(8 + 2 * 5, CLOCK)  # three rows on the fullest of twelve copies
    moved = Pointwise(function="add", rows=25, row=40, read_bytes=8 << 20, write_bytes=4 << 20)
    timing = time_stage(Stage(moved, "lanes"), DEVICE)
    assert timing.ps == timing.memory_ps == bytes_to_ps(12 << 20, DEVICE.memories["hbm"].bandwidth)


def test_what_is_fused_on_the_same_lanes_follows_its_producer_and_is_counted():
    add = Pointwise(function="add", rows=900, row=96, write_bytes=900 * 96 * 2)
    quantize = Pointwise(function="quantize", rows=900, row=96, write_bytes=900 * 96)
    (fused,) = lower([add, quantize], DEVICE)
    assert [op.function for op, _ in fused.fused] == ["quantize"]
    alone = [time_stage(Stage(op, "lanes"), DEVICE).compute_ps for op in (add, quantize)]
    timing = time_stage(fused, DEVICE)
    assert timing.ps == timing.compute_ps == sum(alone)
    assert stage_work(fused, DEVICE).events["lanes", "lane"] == 2 * 900 * 96


def test_what_is_fused_on_another_unit_overlaps_its_producer():
    op = linear(64, 64, 640)
    after = Pointwise(function="dequantize", rows=64, row=64)
    bare = time_stage(Stage(op, "array"), DEVICE)
    for rows, repeats in ((64, 1), (64, 40)):
        stage = Stage(op, "array", ((after.resized(rows=rows), "lanes"),) * repeats)
        lanes = repeats * time_stage(Stage(after, "lanes"), DEVICE).compute_ps
        assert time_stage(stage, DEVICE).ps == max(bare.ps, lanes)
        assert time_stage(stage, DEVICE).compute_ps == bare.compute_ps


def test_a_limit_that_is_a_counter_is_no_tile():
    """A counter of 2^20 rows bounds no block: the rows are dealt over the cores as if there were no limit."""
    for op in (linear(6400, SIDE, SIDE), linear(3, 500, 70)):
        assert time_stage(Stage(op, "array"), device(Counting)) == time_stage(Stage(op, "array"), DEVICE)


def test_a_function_is_placed_apart_and_its_role_before_it():
    roles = DEVICE.placement.roles | {"pointwise.rope": "vector", "pointwise.input_norm": "vector"}
    place = DEVICE.placement.model_copy(update={"roles": roles})
    for function, role, unit in (
        ("rope", "rope", "vector"),
        ("rope", "", "vector"),
        ("rms_norm", "input_norm", "vector"),
        ("rms_norm", "post_norm", "lanes"),
    ):
        assert place.unit_of(Pointwise(function=function, role=role, rows=1, row=1)) == unit


@pytest.mark.parametrize(
    ("unit", "weights", "wanted"), [(Scaling, "int4:16", True), (Scaling, "fp16", False), (Stationary, "int4:16", False)]
)
def test_scales_are_operands_where_the_unit_applies_them(unit, weights, wanted):
    precision = Precision(weights=weights, lm_head=weights)
    price = StepPricer(device(unit), MODEL, precision)
    before, _, after = price.block_stages(7)
    found = {s.op.dequantized for s in (*before, *after, *price.head_stages(7)) if isinstance(s.op, Linear)}
    assert found == {wanted}


def test_the_peak_is_that_of_rows_that_hide_every_load():
    assert peak_ops(DEVICE.units["array"], FP16, FP16) == 2 * SIDE * SIDE * 2 * CORES * CLOCK


def test_events_of_proved_units_without_an_energy_are_named():
    work = stage_work(Stage(linear(4, 4, 4 * SIDE), "array"), DEVICE)
    with pytest.raises(BadInput, match=r"array \(.*\) event 'partial'"):
        ledger(DEVICE, work.events, elapsed_ps=1)
