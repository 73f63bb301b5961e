"""Are clusters worked on and read as PowerInfer-2 does it: hot beside cold, reads behind work, prompts dense?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.base.clock import bytes_to_ps
from sim.energy import Work, ledger, stage_work
from sim.errors import BadInput, Infeasible
from sim.experiment import load_model
from sim.offloads.neuron_clusters import NeuronClusters
from sim.policies.chunked_prefill import ChunkedPrefill
from sim.pricing import StepPricer
from sim.reproduce import reproduce
from sim.simulation import simulate
from sim.system import Device, System, load_device
from sim.tiling import time_stage
from workloads.model import Precision
from workloads.ops import Linear
from workloads.trace import Trace

MODEL, FOUR_BITS = load_model("mistral-7b"), Precision(weights="uint4:16")
ROW = 4096 // 2 + 4096 // 16 * 2  # bytes that a matrix has of a neuron: weights and scales
FFN = 14336 * 3 * ROW
BLOCKS = MODEL.layers


def design(**changes) -> Device:
    return load_device("phone_oneplus12", [f"placement.offload.{key}={value}" for key, value in changes.items()])


def own(device: Device) -> NeuronClusters:
    assert isinstance(device.placement.offload, NeuronClusters)
    return device.placement.offload


def pricer(device: Device) -> StepPricer:
    return StepPricer(device, MODEL, FOUR_BITS)


def stages(device: Device, tokens):
    """The stages of the FFN's first and last matrix."""
    _, _, after = pricer(device).block_stages(tokens)
    by_role = {stage.op.role: stage for stage in after}
    return by_role["gate_up"], by_role["down"]


def clusters(device: Device, tokens):
    return own(device).clusters(stages(device, tokens)[0].op, device)


def ffn_ps(device: Device, tokens) -> int:
    return sum(time_stage(stage, device).ps for stage in stages(device, tokens))


def test_reads_are_gates_first_and_the_rest_of_those_that_open():
    step = clusters(design(), 1)
    window = own(design()).sparsity.window_of(500_000)
    fresh = -(-14336 * own(design()).sparsity.fresh(window, 1) // 1_000_000)
    assert step.nbytes == fresh * 4096 + -(-fresh * 800 // 1000) * 4096
    assert step.flash_ps == bytes_to_ps(step.nbytes, 850)
    whole = clusters(design(gate_first="false"), 1)
    assert whole.nbytes == fresh * 8192  # three rows of 2.5 KB in two pages


def test_hits_are_those_published():
    """95 % of what is used, with half of the neurons in memory (section 7.5): what the profile's second point stands for."""
    profile = own(design()).sparsity
    assert profile.fresh(profile.window_of(500_000), 1) / profile.used(1) == pytest.approx(0.05, abs=0.002)


def test_hot_neurons_work_beside_cold_ones_under_one_bandwidth():
    device = design()
    step = clusters(device, 1)
    used, covered = own(device).sparsity.used(1), own(device).sparsity.covered(200_000)
    assert (step.dense, step.sparse) == (200_000, used - used * covered // 1_000_000)
    gate_up, _ = stages(design(cached_permille=1000), 1)
    timing = time_stage(gate_up, design(cached_permille=1000))
    read = 2 * -(-14336 * step.dense // 1_000_000) * ROW + 2 * -(-14336 * step.sparse // 1_000_000) * ROW
    assert timing.ps > bytes_to_ps(read, 59_600)


def test_reads_hide_behind_work_but_for_the_last_cluster():
    piped, serial, whole = (ffn_ps(design(**c), 1) for c in ({}, {"pipelined": "false"}, {"cached_permille": 1000}))
    step = clusters(design(), 1)
    assert serial == whole + step.flash_ps
    assert whole < piped < serial
    finer = ffn_ps(design(cluster=8), 1)
    assert finer < piped  # less is left when the last cluster has come


def fast_drive() -> Device:
    reads = 'memories.flash.random_reads=[{chunk = "4096 B", rate = "4 GB/s"}]'
    return load_device("phone_oneplus12", [reads])


def test_reads_that_are_quick_cost_the_bandwidth_that_they_take():
    """The last cluster is there before all others have been worked on, for which GEMMs take all of the memory's bandwidth."""
    whole, step = ffn_ps(design(cached_permille=1000), 1), clusters(fast_drive(), 1)
    assert step.flash_ps < whole / 3
    assert whole < ffn_ps(fast_drive(), 1) <= whole + bytes_to_ps(step.nbytes, 59_600) + 4  # roundings


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 1000), st.integers(1, 14336), st.integers(1, 600))
def test_an_ffn_takes_no_less_than_reads_or_work_and_no_more_than_both(cached, cluster, tokens):
    changes = {"hot_permille": min(200, cached), "cached_permille": cached, "cluster": cluster}
    piped, serial = (ffn_ps(design(**changes, pipelined=each), tokens) for each in ("true", "false"))
    flash_ps = clusters(design(**changes), tokens).flash_ps
    assert max(flash_ps, serial - flash_ps) <= piped <= serial


@pytest.mark.parametrize("tokens", [1, 40, 500])
def test_the_memory_takes_in_what_is_read_beside_gemms(tokens):
    device = fast_drive()
    timings = [time_stage(stage, device) for stage in stages(device, tokens)]
    moved = sum(timing.read["dram"] + timing.written["dram"] for timing in timings)
    assert device.memories["dram"].time_ps(moved) <= sum(timing.ps for timing in timings)


def test_prompts_are_dense_and_stream_what_is_missing():
    step = clusters(design(), 512)
    assert (step.dense, step.sparse, step.streamed) == (1_000_000, 0, 1)
    assert step.nbytes == FFN // 2
    assert step.flash_ps == bytes_to_ps(FFN // 2, 4000)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 500), st.integers(500, 1000), st.integers(1, 200))
def test_larger_caches_read_less(hot, cached, tokens):
    device = design(hot_permille=hot, cached_permille=cached)
    step = clusters(device, tokens)
    assert 0 <= step.sparse <= 1_000_000 - min(hot * 1000, own(device).sparsity.used(tokens)) or step.streamed
    if cached < 1000:
        assert clusters(design(hot_permille=hot, cached_permille=cached + 1), tokens).nbytes <= step.nbytes + 8192


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 1000), st.integers(1, 200))
def test_no_hot_neuron_is_read(hot, cached, tokens):
    """Also where a cache is smaller than what one token uses, and so keeps none of it but what stays for good."""
    device = design(hot_permille=min(hot, cached), cached_permille=cached)
    found = {}
    for end, offload in {"profile": own(device), **own(device).ends()}.items():
        found[end] = offload.clusters(stages(device, tokens)[0].op, device)
    if not found["most"].streamed:
        assert found["least"].nbytes <= found["profile"].nbytes + 8192
        assert found["profile"].nbytes <= found["most"].nbytes


def test_both_matrices_of_an_ffn_see_the_same_clusters():
    device = design()
    for tokens in (1, 7, 64, 512):
        gate_up, down = stages(device, tokens)
        assert own(device).clusters(gate_up.op, device) == own(device).clusters(down.op, device)


def test_arrays_are_priced_as_ints_are():
    device = design()
    tokens = np.array([1, 2, 5, 17, 64, 100, 1000], np.int64)
    priced = pricer(device)
    assert priced.block_ps(tokens).tolist() == [priced.block_ps(int(t)) for t in tokens]
    whole = [stage_work(stage, device) for stage in stages(device, tokens)]
    for i, t in enumerate(tokens.tolist()):
        for array, stage in zip(whole, stages(device, t), strict=True):
            single = stage_work(stage, device)
            counts = {key: int(np.broadcast_to(n, tokens.shape)[i]) for key, n in array.events.items()}
            assert {key: n for key, n in counts.items() if n} == {key: n for key, n in single.events.items() if n}


def test_bytes_of_a_stage_are_those_of_its_time():
    device = design()
    for stage in stages(device, 1):
        timing, work = time_stage(stage, device), stage_work(stage, device)
        for event, moved in (("read_byte", timing.read), ("write_byte", timing.written)):
            assert {memory: n for (memory, e), n in work.events.items() if e == event} == moved


@pytest.mark.parametrize("step", [{"prefill": [(64, 0)]}, {"decodes": 1, "context": 128}], ids=["prefill", "decode"])
def test_every_event_has_its_joules(step):
    device, work = design(), Work()
    for priced in pricer(device).step(**step):
        work.add(stage_work(priced.stage, device), priced.times)
    components = {row.component for row in ledger(device, work.events, 1)}
    assert components >= {"npu", "lanes", "dram", "flash", "device"}
    assert ("cpu" in components) == ("decodes" in step)  # a prompt of 64 uses so many neurons that all are streamed


def test_a_trace_is_served_and_keeps_the_laws():
    trace = Trace(
        arrival_ps=np.zeros(2, np.int64),
        prompt=np.array([40, 100], np.int64),
        output=np.array([6, 3], np.int64),
        name="two",
        source="test",
    )
    result = simulate(System(device=design()), MODEL, trace, ChunkedPrefill(), precision=FOUR_BITS)
    assert result.metrics["completed"] == 2
    assert 0 < result.metrics["flash_bandwidth_utilization"] <= 1


def test_either_end_of_what_data_decide_lies_around_the_profile():
    device = design()
    place = device.placement

    def step_ps(offload) -> int:
        shown = device.model_copy(update={"placement": place.model_copy(update={"offload": offload})})
        return pricer(shown).step_ps(1, 1, (), 1, 128)

    ends = {name: step_ps(end) for name, end in own(device).ends().items()}
    assert ends["least"] < step_ps(own(device)) < ends["most"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hot_permille": 600}, "hot_permille: wanted at most the 500 of cached_permille, got 600"),
        ({"dense": "npus"}, r"placement.offload.dense: unknown unit 'npus'; did you mean 'npu'\?"),
        ({"cached_permille": 0}, "placement.offload.cached_permille: wanted greater than 0, got 0"),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(BadInput, match=message):
        design(**changes)


@pytest.mark.parametrize(
    ("settings", "model", "error", "message"),
    [
        (
            ["memories.dram.capacity='2 GB'"],
            "mistral-7b",
            Infeasible,
            "GB of weights stay in memory 'dram' .*neurons 1.762 GB, the rest of an FFN that prompts stream 0.055 GB",
        ),
        (
            ["placement.offload.sparse=lanes"],
            "mistral-7b",
            BadInput,
            "placement.offload.sparse: wanted a unit for neurons, got 'lanes': gpu_vector_unit executes pointwise",
        ),
        ([], "opt-6.7b", BadInput, "profile 'bamboo-7b' is of mistral-7b, not of opt-6.7b; use opt-6.7b"),
        (
            ["placement.fused_projections=false"],
            "mistral-7b",
            BadInput,
            "wanted true, since gate and up of a neuron are read together",
        ),
    ],
)
def test_what_does_not_fit_is_refused(settings, model, error, message):
    with pytest.raises(error, match=message):
        StepPricer(load_device("phone_oneplus12", settings), load_model(model), FOUR_BITS)


def test_published_figures_are_met_or_explained():
    told: list[str] = []
    rows = reproduce("powerinfer_2", told.append)
    assert {row.status for row in rows} <= {"reproduced", "explained"}
    assert any("TurboSparse-Mixtral-47B" in line for line in told)
    (paged,) = [row for row in rows if "llama.cpp" in row.setup]
    assert abs(paged.error) <= 0.15


def test_a_gemm_outside_of_the_ffn_is_that_of_main_memory():
    device = design()
    stage = next(s for s in pricer(device).block_stages(1)[0] if s.op.role == "qkv")
    assert isinstance(stage.op, Linear)
    assert time_stage(stage, device).read.keys() == {"dram"}
