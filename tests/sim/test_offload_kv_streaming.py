"""Is a KV cache across a link priced by what is fetched, and counted?"""

from collections import Counter

import pytest

from accel.base.clock import bytes_to_ps
from sim import System, load_device, load_model, simulate
from sim.energy import ledger, stage_work
from sim.errors import BadInput, Infeasible
from sim.experiment import TraceSource, load_trace
from sim.lowering import Stage
from sim.policies.fcfs import Fcfs
from sim.pricing import StepPricer
from sim.tiling import time_stage
from workloads.model import Precision
from workloads.ops import Attention

MODEL = load_model("opt-13b")
SHAPE = {"heads": 40, "kv_heads": 40, "head_dim": 128}
TOKEN = 20480  # bytes of a token's keys and values in one block
A6000, DRIVE, HOST = (load_device(name) for name in ("a6000", "instinfer_flexgen", "instinfer_deepspeed"))
MEMORY = {"instinfer_flexgen": "ssd", "instinfer_deepspeed": "host"}


def decode(requests, context):
    return Stage(Attention.decode(requests, context, role="decode", **SHAPE), "tensor")


def prefill(chunk, past):
    return Stage(Attention.prefill(chunk, past, role="prefill", **SHAPE), "tensor")


def offline(requests, prompt, output):
    return load_trace(TraceSource(prompt=prompt, output=output, requests=requests), seed=0)


def test_a_step_takes_the_time_of_what_is_fetched():
    assert time_stage(decode(64, 64 * 1536), DRIVE).ps == bytes_to_ps(64 * 1535 * TOKEN, 1250)
    both_ways = bytes_to_ps(64 * 1535 * TOKEN, 32000) + bytes_to_ps(64 * TOKEN, 32000)
    assert time_stage(decode(64, 64 * 1536), HOST).ps == both_ways


def test_without_a_rate_a_drive_gives_what_its_link_does():
    data = DRIVE.placement.offload.model_copy(update={"rate": None})
    fast = DRIVE.model_copy(update={"placement": DRIVE.placement.model_copy(update={"offload": data})})
    assert time_stage(decode(64, 64 * 1536), fast).ps == bytes_to_ps(64 * 1535 * TOKEN, 7000)


def test_sparse_attention_fetches_its_share_alone():
    sparse = load_device("instinfer_flexgen", ["placement.offload.fetched_permille=250"])
    assert stage_work(decode(8, 8 * 500), sparse).events["ssd", "read_byte"] == 8 * 499 * TOKEN // 4
    assert time_stage(decode(8, 8 * 500), sparse).ps == bytes_to_ps(8 * 499 * TOKEN // 4, 1250)
    assert stage_work(prefill(16, 1000), sparse).events["ssd", "read_byte"] == 1000 * TOKEN


def test_main_memory_bounds_what_comes_fast_enough():
    fast = load_device("instinfer_deepspeed", ['memories.host.bandwidth="10 TB/s"'])
    timing = time_stage(decode(64, 64 * 1536), fast)
    moved = timing.read["hbm"] + timing.written["hbm"]
    assert moved > (2 * 1535 + 1) * 64 * TOKEN  # received and read again
    assert timing.ps == bytes_to_ps(moved, 768_000)
    result = simulate(System(device=fast), MODEL, offline(6, 300, 40), Fcfs())
    assert result.metrics["hbm_bandwidth_utilization"] <= 1


def test_each_drive_waits_with_power_of_its_own():
    """5 W of a controller, and 3.3 V x 10 uA of each of 256 dies."""
    device = load_device("instinfer_flexgen", ["memories.ssd.drives=4"])
    rows = {row.event: row.joules for row in ledger(device, Counter(), 10**12) if row.component == "ssd"}
    assert rows == pytest.approx({"static (controller)": 20, "static (standby)": 4 * 256 * 3.3 * 10e-6})


@pytest.mark.parametrize("device", [DRIVE, HOST])
def test_a_first_chunk_is_the_devices_own_and_later_ones_fetch(device):
    assert time_stage(prefill(512, 0), device).ps == time_stage(prefill(512, 0), A6000).ps
    rate = device.placement.offload.rate or 32000
    assert time_stage(prefill(16, 1024), device).ps == bytes_to_ps(1024 * TOKEN, rate)


@pytest.mark.parametrize("device", [DRIVE, HOST])
def test_bytes_are_those_fetched_and_those_new(device):
    kv = device.placement.kv
    work = stage_work(decode(8, 8 * 500), device).events
    assert work[kv, "read_byte"] == 8 * 499 * TOKEN
    assert work[kv, "write_byte"] == 8 * TOKEN
    own = stage_work(decode(8, 8 * 500), A6000).events
    assert work["hbm", "write_byte"] == own["hbm", "write_byte"] + 8 * 499 * TOKEN
    assert work["hbm", "read_byte"] == own["hbm", "read_byte"]


def test_pages_of_a_drive_are_whole():
    work = stage_work(decode(1, 100), DRIVE).events
    assert work["ssd", "page_read"] == -(-99 * TOKEN // 4096)


@pytest.mark.parametrize("name", MEMORY)
def test_a_trace_is_served_with_a_ledger_and_its_laws(name):
    result = simulate(System(device=load_device(name)), MODEL, offline(6, 300, 40), Fcfs())
    assert result.metrics["completed"] == 6
    assert 0 < result.metrics[f"{MEMORY[name]}_bandwidth_utilization"] <= 1
    assert MEMORY[name] in {row["component"] for row in result.energy}
    assert result.about["activity"] == {}
    if name == "instinfer_flexgen":
        assert result.metrics["ssd_write_amplification"] == pytest.approx(1, rel=0.01)
        assert result.metrics["ssd_pages_read"] * 4096 >= 40 * TOKEN * 6 * sum(range(300, 339))


@pytest.mark.parametrize("device", [DRIVE, HOST])
def test_arrays_and_single_steps_agree_bit_for_bit(device):
    pricer = StepPricer(device, MODEL, Precision())
    run = pricer.decode_run_ps(5, 5 * 700 + 2, 100)
    assert run.tolist() == [pricer.step_ps(5, 5, (), 5, 5 * 700 + 2 + 5 * i) for i in range(100)]


def test_a_prompt_is_written_beside_the_blocks():
    pricer, alone = (StepPricer(device, MODEL, Precision()) for device in (DRIVE, A6000))
    written = bytes_to_ps(2048 * TOKEN, min(7000, DRIVE.memories["ssd"].program_mb_per_s))
    hidden = pricer.step_ps(2048, 2, [(1024, 0)] * 2, 0, 0) - alone.step_ps(2048, 2, [(1024, 0)] * 2, 0, 0)
    assert hidden >= written  # that of the last block shows in any case
    assert hidden <= MODEL.layers * written


def test_host_memory_holds_no_more_than_it_has():
    pricer = StepPricer(HOST, MODEL, Precision())
    assert pricer.kv_tokens == 96 * 10**9 * 9 // 10 // (40 * TOKEN) // 16 * 16
    with pytest.raises(Infeasible, match=r"one KV block takes 13.11 MB, of 9.00 MB that memory 'host' gives \(90 % of its"):
        StepPricer(load_device("instinfer_deepspeed", ['memories.host.capacity="10 MB"']), MODEL, Precision())


def test_weights_that_do_not_fit_are_not_blamed_on_the_cache():
    with pytest.raises(Infeasible, match=r"opt-30b does not fit: weights take 59.95 GB, of 43.20 GB that memory 'hbm' gives"):
        StepPricer(DRIVE, load_model("opt-30b"), Precision())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (['placement.kv="hbm"'], "placement.kv: wanted a memory other than the main one, 'hbm'"),
        (
            ['placement.offload.rate="8 GB/s"'],
            "placement.offload.rate: wanted at most the 7000 MB/s of memory 'ssd', got 8000 MB/s",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(BadInput) as error:
        StepPricer(load_device("instinfer_flexgen", settings), MODEL, Precision())
    assert message in str(error.value)
