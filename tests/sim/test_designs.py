"""Does every shipped design load, and reach the peak that was published for it?"""

import pytest

from sim.energy import CYCLE, Events, Work, ledger, stage_work, total
from sim.experiment import load_model
from sim.files import shipped
from sim.peaks import peak_ops
from sim.pricing import StepPricer
from sim.system import load_device
from workloads.formats import FORMATS, parse_format
from workloads.model import Precision
from workloads.ops import Linear, Pointwise

FP16, INT8, W2 = FORMATS["fp16"], FORMATS["int8"], FORMATS["uint2"]
TFLOPS = {  # FP16, dense; LLM-Viewer hardware table and GenZ presets, L40S uncited
    "a100_80gb": 312,
    "a100_40gb": 312,
    "v100": 112,
    "a6000": 154.8,
    "h100": 989.5,
    "h200": 989.5,
    "l40s": 362,
    "a100_lut_4x": 312,
    "a100_lut_8x": 312,
    "lut_paper_a100_fp16": 312,
    "lut_paper_a100_int8": 312,
    "lut_paper_a100_lut_4x": 312,
    "lut_paper_a100_lut_8x": 312,
    **dict.fromkeys(["instinfer_dense", "instinfer_sparf", "instinfer_flexgen", "instinfer_deepspeed"], 154.8),  # the A6000
    "flash_m1_cpu": 0.82,  # derived: 8 cores of 16 FP32 lanes at 3.2 GHz
    "flash_m1_metal": 10.6,  # derived: 32 cores of 128 lanes at 1.296 GHz; sold as 10.4
    "flash_rtx4090": 330.3,  # as sold, with FP16 accumulators
    "phone_oneplus12": 10.9,  # derived: 770 tokens/s of a 7B model in prefill; PowerInfer-2, section 2.3.1
    "npu_neupims": 262,  # derived: 8 arrays of 128 x 128 at 1 GHz; NeuPIMs, ASPLOS'24, its simulator
}
FP16_UNIT = {"flash_m1_cpu": "cpu", "flash_m1_metal": "gpu", "npu_neupims": "array", "phone_oneplus12": "npu"}
TOPS = {  # W2A8 on LUT tensor cores; LUT Tensor Core, ISCA'25, table 1
    "a100_lut_4x": 1248,
    "a100_lut_8x": 2496,
    "lut_paper_a100_lut_4x": 1248,
    "lut_paper_a100_lut_8x": 2496,
}

INT8_TOPS = {f"cambricon_llm_{platform}": 2.0 for platform in "sml"}  # arrays of INT8 alone; MICRO'24 (secondary)


@pytest.mark.parametrize("name", INT8_TOPS)
def test_int8_reaches_the_published_peak(name):
    assert peak_ops(load_device(name).units["npu"], INT8, INT8) / 1e12 == pytest.approx(INT8_TOPS[name], rel=0.03)


@pytest.mark.parametrize("name", [name for name in shipped("designs") if name not in INT8_TOPS])
def test_fp16_reaches_the_published_peak(name):
    slot = load_device(name).units[FP16_UNIT.get(name, "tensor")]
    assert peak_ops(slot, FP16, FP16) / 1e12 == pytest.approx(TFLOPS[name], rel=0.01)


@pytest.mark.parametrize("name", TOPS)
def test_the_lut_cores_reach_the_published_peak(name):
    device = load_device(name)
    assert peak_ops(device.units["lut"], W2, INT8) / 1e12 == pytest.approx(TOPS[name], rel=0.01)
    assert peak_ops(device.units["lut"], FORMATS["ternary"], INT8) == peak_ops(device.units["lut"], W2, INT8)


def test_a_wider_format_takes_more_planes():
    lut = load_device("a100_lut_4x", ["units.lut.weight_bits=4"]).units["lut"]
    assert peak_ops(lut, parse_format("uint4"), INT8) == pytest.approx(peak_ops(lut, W2, INT8) / 2)


def test_int8_doubles_the_peak_of_an_a100():
    tensor = load_device("a100_80gb").units["tensor"]
    assert peak_ops(tensor, INT8, INT8) == 2 * peak_ops(tensor, FP16, FP16)


NPU = load_device("npu_neupims")
HEAD, CONTEXT = 128, 384  # elements of a head, and tokens that a softmax goes over


def drawn(unit, op):
    """Joules of ``op`` among many alike on a unit of the NPU, its operands' delivery included."""
    cost = NPU.units[unit].unit.tile_cost(op)
    events = Events({(unit, CYCLE): cost.interval}) + Events({(unit, event): n for event, n in cost.events.items()})
    return total(row for row in ledger(NPU, events, elapsed_ps=0) if row.component == unit)


def stated(component, part="", **parameters):
    (entry,) = (e for e in NPU.tech if (e.component, e.part, e.parameters) == (component, part, parameters))
    return entry.energy


@pytest.mark.parametrize(("unit", "rows"), [("decode_attention", 1), ("prefill_attention", 512)])
def test_attention_on_the_npu_draws_what_its_arrays_would(unit, rows):
    keys = Linear(m=rows, n=HEAD, k=HEAD, output=FORMATS["fp32"])
    softmax = drawn("vector", Pointwise(function="softmax", rows=1, row=CONTEXT))
    macs = {"fp16_macs": NPU.units[unit].unit.fp16_macs}
    assert stated("gpu_tensor_core", **macs) == pytest.approx(drawn("array", keys) / keys.macs, rel=0.01)
    assert stated("gpu_tensor_core", "softmax", **macs) == pytest.approx(softmax / CONTEXT / (2 * HEAD), rel=0.01)


def test_decode_attention_on_the_npu_keeps_to_the_pace_of_its_arrays():
    array = NPU.units["array"].unit
    tile = Linear(m=1, n=array.columns, k=array.rows)
    assert NPU.units["decode_attention"].unit.fp16_macs == tile.macs // array.tile_cost(tile).interval
    assert NPU.units["prefill_attention"].unit.fp16_macs == array.rows * array.columns


def test_other_lanes_of_the_npu_draw_what_a_proved_lane_does():
    lanes = NPU.units["vector"].unit.lanes
    one = {e.event: e.energy for e in NPU.entries("vector") if e.matches("vector_unit", {"lanes": lanes}) and not e.part}
    assert stated("gpu_vector_unit") == pytest.approx(one["multiply_add"] + one[CYCLE] / lanes, rel=0.01)


@pytest.mark.parametrize("step", [{"prefill": [(512, 0)]}, {"decodes": 64, "context": 64 * CONTEXT}], ids=["prefill", "decode"])
def test_the_npu_serves_gpt3_and_every_joule_has_a_source(step):
    work, units = Work(), set()
    for priced in StepPricer(NPU, load_model("gpt3-7b"), Precision()).step(**step):
        work.add(stage_work(priced.stage, NPU), priced.times)
        units.add((priced.stage.op.kind, priced.stage.unit))
    attention = f"{next(iter(step)).removesuffix('s')}_attention"
    assert units == {("linear", "array"), ("pointwise", "vector"), ("pointwise", "output"), ("attention", attention)}
    rows = ledger(NPU, work.events, elapsed_ps=1)
    assert {row.component for row in rows} == {*NPU.units, "hbm"} - {"prefill_attention", "decode_attention"} | {attention}
    assert all(row.source and row.source_class in ("scaled", "published", "assumed") for row in rows)
