"""Does a device whose memory names a DRAM part stream and pay as the part's commands do?"""

import pytest

from accel.base.extent import at_share
from memsys.dram import Dram
from sim.energy import Events, breakdown, ledger
from sim.lowering import Stage
from sim.system import load_device
from sim.tiling import time_stage
from workloads.formats import FORMATS
from workloads.ops import Linear

PART = ["memories.hbm.part=dramsim3_8gb_2000"]
FP16 = FORMATS["fp16"]
STREAM = Linear(m=1, n=4096, k=4096, weights=FP16, activations=FP16, output=FORMATS["fp32"])


@pytest.fixture(scope="module")
def device():
    return load_device("npu_neupims", PART)


def test_streams_of_proved_units_reach_what_the_table_says(device):
    share = device.memories["hbm"].stream_permille
    assert 850 < share < 1000  # refresh alone takes 67 of a thousand
    assert device.stream_share("hbm") == share
    ideal, real = (time_stage(Stage(STREAM, "array"), d) for d in (load_device("npu_neupims"), device))
    streamed_ps = at_share(ideal.memory_ps, share)
    assert streamed_ps > ideal.compute_ps > ideal.memory_ps  # the loss makes the memory the bound
    assert ideal.ps < streamed_ps <= real.ps < 1.01 * streamed_ps


def test_a_design_that_states_its_share_keeps_it():
    stated = load_device("npu_neupims", [*PART, "stream_permille=500"])
    assert stated.stream_share("hbm") == 500


def test_standby_and_refresh_are_lines_of_the_ledger(device):
    second = 10**12
    rows = breakdown(ledger(device, Events({("hbm", "read_byte"): 0}), second))["hbm"]
    assert rows["static (standby)"] == pytest.approx(32 * 1.2 * 55e-3)  # ranks x VDD x IDD3N
    assert rows["static (refresh)"] == pytest.approx(32 * 1.2 * (250 - 55) * 1e-3 * 260 / 3900)


def test_two_memories_of_one_part_are_told_apart():
    device = load_device("npu_neupims", PART)
    spare = Dram.from_data({"standard": "hbm2", "part": "dramsim3_8gb_2000", "devices": 2})
    both = device.model_copy(update={"memories": {**device.memories, "spare": spare}})
    rows = breakdown(ledger(both, Events(), 10**12))
    assert rows["hbm"]["static (standby)"] == pytest.approx(2 * rows["spare"]["static (standby)"])
