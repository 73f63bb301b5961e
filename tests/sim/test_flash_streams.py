"""Does flash that a device streams from count the pages that it senses and programs, whether or not an offload is there?"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from memsys.ssd import Ssd
from sim.energy import ledger, stage_work
from sim.errors import BadInput
from sim.files import locate, parse_toml
from sim.lowering import Stage
from sim.system import Device, load_device
from workloads.formats import FORMATS
from workloads.ops import Attention, Linear

S = load_device("cambricon_llm_s")
PAGE = 16384


def plain(**places: str) -> Device:
    """The platform without its offload, and tensors at other ``places``."""
    return S.model_copy(update={"placement": S.placement.model_copy(update={"offload": None, **places})})


def matrix(m, n: int = 4096, k: int = 4096) -> Stage:
    int8 = FORMATS["int8"]
    return Stage(Linear(role="qkv", m=m, n=n, k=k, weights=int8, activations=int8, output=FORMATS["int32"]), "npu")


@pytest.mark.parametrize("m", [1, 100, 4096])
def test_streamed_weights_are_whole_pages_read(m):
    events = stage_work(matrix(m), plain()).events
    assert events["flash", "page_read"] == -(-events["flash", "read_byte"] // PAGE) >= 4096 * 4096 // PAGE
    assert events["flash", "page_program"] == events["flash", "block_erase"] == 0


def test_what_is_written_is_programmed_and_erased():
    events = stage_work(matrix(4096), plain(activations="flash")).events
    assert events["flash", "page_program"] == -(-events["flash", "write_byte"] // PAGE) > 0
    assert events["flash", "block_erase"] == events["flash", "page_program"] // 256


def test_arrays_count_the_pages_of_their_entries():
    rows = [1, 7, 4096]
    many = stage_work(matrix(np.array(rows)), plain()).events["flash", "page_read"]
    assert np.broadcast_to(many, 3).tolist() == [stage_work(matrix(m), plain()).events["flash", "page_read"] for m in rows]


def test_weights_fetched_again_are_pages_read_again():
    """The down projection of OPT-6.7B for 64 tokens, which the chip's buffer does not hold: it streams all weights twice."""
    events = stage_work(matrix(64, k=16384), S).events
    assert events["flash", "read_byte"] == 2 * 4096 * 16384
    assert events["flash", "page_read"] == -(-events["flash", "read_byte"] // PAGE)


def test_memories_that_are_no_flash_count_bytes_alone():
    attention = Attention(role="decode", tokens=1, pairs=100, context=100, heads=32, kv_heads=32, head_dim=128, requests=1)
    events = stage_work(Stage(attention, "attention"), plain()).events
    assert {event for name, event in events if name == "lpddr"} == {"read_byte", "write_byte"}


def test_drives_on_different_links_have_joules_of_their_own():
    """Of the same NAND and the same bandwidth: 60 pJ a byte over PCIe, 10.4 over NVLink (8 bits of 7.5 and of 1.3 pJ)."""
    drive = {"kind": "ssd", "part": "instattention", "bandwidth": "3 GB/s"}
    drives = {name: Ssd.from_data(drive | {"link": name}) for name in ("pcie4_x4_measured", "nvlink_a100")}
    device = S.model_copy(update={"memories": S.memories | drives})
    rows = ledger(device, Counter({(name, "read_byte"): 10**12 for name in drives}), 0)
    joules = {row.component: row.joules for row in rows if row.event == "read_byte"}
    assert joules == pytest.approx({"pcie4_x4_measured": 60, "nvlink_a100": 10.4})


def test_keys_and_values_on_flash_want_an_offload():
    data = parse_toml(locate("instinfer_flexgen", "designs", "design")[1], "instinfer_flexgen")
    del data["placement"]["offload"]
    wanted = "placement.kv: wanted a memory that takes single tokens, or a .* such as kv_streaming, .*; got 'ssd', which is ssd"
    with pytest.raises(ValueError, match=wanted):
        Device.from_data(data)


@pytest.mark.parametrize("name", ["instinfer_flexgen", "instinfer_dense", "cambricon_llm_s", "flash_m1_cpu"])
def test_activations_on_flash_are_refused_with_any_offload(name):
    device = load_device(name)
    flash = next(key for key, memory in device.memories.items() if not memory.in_place)
    with pytest.raises(BadInput, match=f"placement.activations: wanted a memory that is written at random, .*; got '{flash}'"):
        load_device(name, [f"placement.activations={flash}"])
