"""Does every shipped design load, and reach the peak that was published for it?"""

import pytest

from sim.files import shipped
from sim.peaks import peak_ops
from sim.system import load_device
from workloads.formats import FORMATS, parse_format

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
}
TOPS = {  # W2A8 on LUT tensor cores; LUT Tensor Core, ISCA'25, table 1
    "a100_lut_4x": 1248,
    "a100_lut_8x": 2496,
    "lut_paper_a100_lut_4x": 1248,
    "lut_paper_a100_lut_8x": 2496,
}


@pytest.mark.parametrize("name", shipped("designs"))
def test_the_tensor_cores_reach_the_published_peak(name):
    device = load_device(name)
    assert peak_ops(device.units["tensor"], FP16, FP16) / 1e12 == pytest.approx(TFLOPS[name], rel=0.01)


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
