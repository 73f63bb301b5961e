"""Do dies and chip share a matrix as the split says, has every page, byte and product its joules, is what does not fit named?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from accel.base.clock import cycles_to_ps
from sim.energy import Work, ledger, stage_work
from sim.errors import BadInput, Infeasible
from sim.experiment import load_model
from sim.lowering import Stage
from sim.offloads.flash_gemv import FlashGemv, rounds_on
from sim.policies.chunked_prefill import ChunkedPrefill
from sim.pricing import StepPricer
from sim.simulation import simulate
from sim.system import Device, System, load_device
from sim.tiling import time_stage
from workloads.formats import FORMATS
from workloads.model import Precision
from workloads.ops import Linear
from workloads.trace import Trace

W8A8 = Precision(weights="int8", activations="int8", kv="int8", lm_head="int8", embeddings="int8")
OPT = load_model("opt-6.7b")
INT8, INT32 = FORMATS["int8"], FORMATS["int32"]
S, L = load_device("cambricon_llm_s"), load_device("cambricon_llm_l")


def matrix(m=1, n=12288, k=4096) -> Stage:
    return Stage(Linear(role="qkv", m=m, n=n, k=k, weights=INT8, activations=INT8, output=INT32), "npu")


def offload_of(device: Device) -> FlashGemv:
    assert isinstance(device.placement.offload, FlashGemv)
    return device.placement.offload


def rounds_of(device: Device):
    (found,) = rounds_on(device, offload_of(device), INT8)
    return found


def without(device: Device) -> Device:
    return device.model_copy(update={"placement": device.placement.model_copy(update={"offload": None})})


def at(counts, i: int, shape) -> dict:
    return {key: int(np.broadcast_to(n, shape)[i]) for key, n in counts.items()}


# time


@pytest.mark.parametrize("device", [S, L], ids=["s", "l"])
def test_a_vector_takes_as_long_as_dies_and_channels_side_by_side(device):
    timing, rounds = time_stage(matrix(), device), rounds_of(device)
    dies, stream = rounds.dies_ps(12288, 4096), rounds.stream_ps(12288 * 4096)
    assert timing.ps == pytest.approx(dies * stream / (dies + stream), rel=1e-3)
    assert timing.ps < min(dies, stream)
    tile, share = {"s": ("256x2048", 69), "l": ("512x16384", 90)}[device.name[-1].lower()]
    assert timing.mapping == f"{tile} 100 % filled, {share} % in dies"


def test_padding_is_said():
    assert time_stage(matrix(1, 27648, 9216), L).mapping == "512x16384 56 % filled, 84 % in dies"


def test_a_chip_that_is_slower_than_the_channels_is_what_its_rows_take():
    """One array in place of four takes 16 GB/s, of the 32 that the channels of platform L carry."""
    slow = load_device("cambricon_llm_l", ["units.npu.count=1"])
    stage, rounds = matrix(), rounds_of(slow)
    chip = time_stage(stage, without(slow)).ps
    assert chip > 1.8 * rounds.stream_ps(12288 * 4096)
    dies = rounds.dies_ps(12288, 4096)
    assert time_stage(stage, slow).ps == pytest.approx(dies * chip / (dies + chip), rel=1e-3)


def test_a_slower_core_slows_the_stage_and_moves_rows_to_the_chip():
    slow = load_device("cambricon_llm_s", ['units.core.clock="100 MHz"'])
    there, here = time_stage(matrix(), slow), time_stage(matrix(), S)
    assert there.ps > 1.5 * here.ps
    assert there.read["flash"] > here.read["flash"]
    assert here.compute_ps == pytest.approx(here.ps * 21.4 / 30.3, rel=0.01)
    assert there.compute_ps == pytest.approx(there.ps, rel=0.01)


def test_few_vectors_go_one_by_one_and_many_stream_the_weights_once():
    one, streamed = time_stage(matrix(1), S), time_stage(matrix(64), without(S))
    for m in (2, 3):
        assert time_stage(matrix(m), S).ps == m * one.ps
    many = time_stage(matrix(64), S)
    assert many.mapping == "streamed"
    assert streamed.ps <= many.ps < 1.01 * streamed.ps  # by the commands of slices
    assert many.ps < 4 * one.ps


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 300))
def test_more_vectors_never_take_less_and_never_more_than_one_by_one(n, k, m):
    one, some, more = (time_stage(matrix(each, n, k), S).ps for each in (1, m, m + 1))
    assert one <= some <= m * one
    assert some <= more * 1.02  # the chip's own search of blocks may find a better one for more rows


def test_a_searched_tile_is_no_slower_and_says_which():
    searched = load_device("cambricon_llm_l", ["placement.offload.tiling=search"])
    for n, k in ((27648, 9216), (4096, 11008), (12288, 4096)):
        assert time_stage(matrix(1, n, k), searched).ps <= time_stage(matrix(1, n, k), L).ps
    assert not time_stage(matrix(1, 27648, 9216), searched).mapping.startswith("512x16384")


def test_the_embedding_is_a_row_of_a_page():
    pricer = StepPricer(S, OPT, W8A8)
    (lookup, *_) = pricer.embed_stages(1)
    timing, work = time_stage(lookup, S), stage_work(lookup, S)
    part = rounds_of(S).part
    assert timing.ps == part.mean_read_ps + part.command_ps + 4096 * 1000 // 8  # 8 GB/s
    assert timing.read["flash"] == work.events["flash", "read_byte"] == 4096
    assert work.events["flash", "page_read"] == 1
    assert timing.read["lpddr"] == work.events["lpddr", "read_byte"] == 0


def test_arrays_are_priced_as_ints_are():
    pricer = StepPricer(S, OPT, W8A8)
    tokens = np.array([1, 2, 3, 4, 5, 17, 64, 512], np.int64)
    assert pricer.block_ps(tokens).tolist() == [pricer.block_ps(int(t)) for t in tokens]
    before, _, after = pricer.block_stages(tokens)
    for which, stage in enumerate((*before, *after)):
        whole = stage_work(stage, S)
        for i, t in enumerate(tokens.tolist()):
            ones, _, others = pricer.block_stages(t)
            single = stage_work((*ones, *others)[which], S)
            assert at(whole.events, i, tokens.shape) == {key: single.events[key] for key in whole.events}
            assert at(whole.cycles, i, tokens.shape) == {key: single.cycles[key] for key in whole.cycles}


def test_a_step_in_detail_is_the_step():
    pricer = StepPricer(L, OPT, W8A8)
    total = sum(step.times * step.timing.ps for step in pricer.step(decodes=2, context=300))
    assert total == pricer.step_ps(2, 2, (), 2, 300)


# work


@pytest.mark.parametrize("m", [1, 2, 64])
def test_bytes_of_a_stage_are_those_of_its_time(m):
    timing, work = time_stage(matrix(m), S), stage_work(matrix(m), S)
    for event, moved in (("read_byte", timing.read), ("write_byte", timing.written)):
        found = {memory: n for (memory, e), n in work.events.items() if e == event and n}
        assert found == {memory: n for memory, n in moved.items() if n}


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([S, L]), st.integers(1, 20_000), st.integers(1, 20_000))
@example(S, 12288, 4096)
@example(L, 4096, 11008)
@example(L, 1, 1)
def test_every_product_is_taken_once_in_a_die_or_on_the_chip(device, n, k):
    work = stage_work(matrix(1, n, k), device)
    assert work.events["core", "mac"] + work.events["npu", "mac"] == n * k
    page = rounds_of(device).part.page_bytes
    read = work.events["flash", "page_read"] * page
    assert read >= n * k
    assert offload_of(device).weights_read(work, device) == read
    assert work.events["flash", "partial_sum"] * 4 < work.events["flash", "read_byte"]
    assert device.memories["flash"].time_ps(work.events["flash", "read_byte"]) <= time_stage(matrix(1, n, k), device).ps


def test_nobody_works_longer_than_the_stage_lasts():
    for device in (S, L):
        timing, work = time_stage(matrix(), device), stage_work(matrix(), device)
        for name, cycles in work.cycles.items():
            slot = device.units[name]
            assert cycles_to_ps(cycles, slot.clock) <= slot.count * timing.ps
        flash = device.memories["flash"]
        moved = work.events["flash", "read_byte"] + work.events["flash", "write_byte"]
        assert flash.time_ps(moved) <= timing.ps


def test_streamed_weights_cross_the_channels_once_and_no_core_works():
    work = stage_work(matrix(64), S)
    assert work.events["flash", "read_byte"] == 12288 * 4096
    assert work.events["flash", "page_read"] == 12288 * 4096 // 16384
    assert not any(n for (name, _), n in work.events.items() if name == "core")


@pytest.mark.parametrize("platform", "sml")
@pytest.mark.parametrize("step", [{"prefill": [(64, 0)]}, {"decodes": 1, "context": 1000}], ids=["prefill", "decode"])
def test_every_event_has_its_joules(platform, step):
    device = load_device(f"cambricon_llm_{platform}")
    work = Work()
    for priced in StepPricer(device, load_model("llama-2-7b"), W8A8).step(**step):
        work.add(stage_work(priced.stage, device), priced.times)
    rows = ledger(device, work.events, 1)
    assert {row.component for row in rows} >= {*device.memories, *device.units} - {"core"}
    assert all(row.source for row in rows)
    assert any(row.event == "static (standby)" and row.component == "flash" for row in rows)


def test_arrays_draw_what_their_synthesis_says():
    work = stage_work(matrix(), S)
    rows = [row for row in ledger(S, work.events, 1) if row.component == "npu" and not row.event.endswith("(delivery)")]
    assert {row.event for row in rows} >= {"cycle", "mac", "weight_load", "activation_load"}
    assert {row.source_class for row in rows if not row.event.startswith("static")} == {"synthesized"}


def test_a_trace_is_served_and_keeps_the_laws():
    lengths = np.array([40, 5], np.int64), np.array([6, 3], np.int64)
    trace = Trace(arrival_ps=np.zeros(2, np.int64), prompt=lengths[0], output=lengths[1], name="two", source="test")
    result = simulate(System(device=L), OPT, trace, ChunkedPrefill(), precision=W8A8)
    assert result.metrics["completed"] == 2
    joules = result.metrics["energy_breakdown_j"]
    assert joules["flash"]["page_read"] > 0
    assert joules["core"]["mac"] > 0
    assert 0 < result.metrics["core_utilization"] <= 1
    assert 0 < result.metrics["flash_bandwidth_utilization"] <= 1


@pytest.mark.parametrize("rate", [0.0, 2e-4, 8e-4])
def test_a_run_reports_what_the_code_of_the_cores_cannot_mend(rate):
    device = load_device("cambricon_llm_s", [f"placement.offload.bit_error_rate={rate}"])
    trace = Trace(arrival_ps=np.zeros(1, np.int64), prompt=np.array([1]), output=np.array([3]), name="one", source="test")
    metrics = simulate(System(device=device), OPT, trace, ChunkedPrefill(), precision=W8A8).metrics
    full_page = device.units["core"].unit.code.entries(16384)
    assert metrics["core_bit_error_rate"] == rate
    assert metrics["core_outliers_read"] > full_page
    expected = metrics["core_outliers_read"] / full_page * device.units["core"].unit.code.beyond(rate)
    assert metrics["core_outliers_uncorrectable"] == pytest.approx(expected)
    assert (expected > 0) == (rate > 0)


# bad input


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        (["units.core.count=31"], "units.core.count: wanted one for each of the 32 dies, got 31"),
        (["placement.offload.cores=vector"], "cores: wanted a unit of kind flash_compute, got 'vector' of vector_unit"),
        (["placement.weights=lpddr"], "placement.weights: wanted a memory of kind nand, got 'lpddr' of kind dram"),
        (["placement.kv=flash"], "placement.kv: wanted a memory other than that of the weights, got 'flash'"),
        (
            ["units.core.page_values=8192"],
            r"units.core.page_values: wanted the 16384 weights of int8 \(precision.weights\) in a page, got 8192",
        ),
        (["units.core.buffer_bytes=64"], "units.core: flash_compute has a buffer for 64 columns, not for 256"),
        (
            ["units.core.buffer_bytes=64", "placement.offload.tiling=search"],
            "units.core: none of its 15 tiles fits; of the last one: flash_compute has a buffer for 64 columns, not for 16384",
        ),
        (['memories.flash.bandwidth="1 GB/s"'], "memories.flash.bandwidth: wanted the 8000 MB/s of its channels, got 1000 MB/s"),
    ],
)
def test_a_design_whose_parts_do_not_fit_says_so(settings_, message):
    with pytest.raises(BadInput, match=message):
        StepPricer(load_device("cambricon_llm_s", settings_), OPT, W8A8)


def test_a_unit_that_is_not_there_is_named():
    with pytest.raises(BadInput, match=r"placement.offload.cores: unknown unit 'cor'; did you mean 'core'"):
        load_device("cambricon_llm_s", ["placement.offload.cores=cor"])


def test_weights_that_the_flash_does_not_hold_are_refused_with_figures():
    with pytest.raises(Infeasible, match=r"opt-6.7b does not fit: weights take 6.67 GB, of 6.00 GB that memory 'flash' gives"):
        StepPricer(load_device("cambricon_llm_s", ['memories.flash.capacity="6 GB"']), OPT, W8A8)


def test_keys_that_the_memory_does_not_hold_are_refused_with_figures():
    with pytest.raises(Infeasible, match=r"one KV block takes 4.19 MB, of 4.00 MB that memory 'lpddr' gives"):
        StepPricer(load_device("cambricon_llm_s", ['memories.lpddr.capacity="4 MB"']), OPT, W8A8)


def test_weights_with_scales_inside_of_a_row_are_refused():
    grouped = replace(W8A8, weights=FORMATS["int8"].grouped(128))
    with pytest.raises(BadInput, match=r"units.core: wanted weights with one scale for each row.*got int8:128"):
        StepPricer(S, OPT, grouped)


def test_a_format_that_was_left_at_its_default_is_named():
    with pytest.raises(BadInput, match=r"the 8192 weights of fp16 \(precision.lm_head\) in a page, got 16384, .* of 8 bits"):
        StepPricer(S, OPT, replace(W8A8, lm_head=FORMATS["fp16"]))


def test_vectors_that_the_buffer_of_a_core_does_not_hold_are_refused():
    wide = replace(W8A8, activations=FORMATS["fp16"])
    small = load_device("cambricon_llm_s", ["units.core.buffer_bytes=256"])
    StepPricer(small, OPT, W8A8)
    with pytest.raises(BadInput, match=r"units.core: wanted vectors of 256x2048 that its 256 B hold, got 512 B"):
        StepPricer(small, OPT, wide)
