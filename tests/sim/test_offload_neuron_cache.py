"""Do weights on flash cost what their bytes say, has every byte its joules, and is what does not fit refused with figures?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.base.clock import bytes_to_ps
from sim.energy import Work, ledger, stage_work
from sim.errors import BadInput, Infeasible
from sim.experiment import load_model
from sim.offloads.neuron_cache import NeuronCache
from sim.offloads.weight_streaming import WeightStreaming
from sim.policies.chunked_prefill import ChunkedPrefill
from sim.pricing import StepPricer
from sim.simulation import simulate
from sim.system import Device, System, load_device
from sim.tiling import time_stage
from workloads.model import Precision
from workloads.ops import Linear
from workloads.trace import Trace

DESIGNS = ("flash_m1_cpu", "flash_m1_metal", "flash_rtx4090")
OPT = load_model("opt-6.7b")
FFN = 16384 * 2 * 4096 * 2  # bytes of the FFN of one block in FP16
NEURON = 2 * 4096 * 2


def design(name: str = "flash_m1_cpu", **changes) -> Device:
    return load_device(name, [f"placement.offload.{key}={value}" for key, value in changes.items()])


def under(device: Device, offload) -> Device:
    return device.model_copy(update={"placement": device.placement.model_copy(update={"offload": offload})})


def cache_of(device: Device) -> NeuronCache:
    assert isinstance(device.placement.offload, NeuronCache)
    return device.placement.offload


def up(tokens) -> Linear:
    return Linear(role="up", m=tokens, n=16384, k=4096)


def entry(pricer: StepPricer, tokens):
    """The stage that reads the FFN, lowered as a step lowers it."""
    _, _, after = pricer.block_stages(tokens)
    return next(stage for stage in after if stage.op.role == "up")


def pricer(device: Device) -> StepPricer:
    return StepPricer(device, OPT, Precision())


def fetched(device: Device, tokens):
    return cache_of(device).fetch(up(tokens), device)


# time


def test_a_token_takes_predictors_reads_rows_and_gemms_one_after_the_other():
    device = design()
    own, priced = cache_of(device), pricer(device)
    stage = entry(priced, 1)
    there = device.model_copy(update={"placement": device.placement.model_copy(update={"weights": "dram", "offload": None})})
    neurons = -(-16384 * own.sparsity.fresh(5, 1) // 1_000_000)
    flash = bytes_to_ps(neurons * NEURON, int(device.memories["flash"].read_mb_per_s(NEURON)))
    rows = bytes_to_ps(4 * neurons * NEURON, 13_600)
    gemms = [(240, 4096), (16384, 240), (-(-16384 * 240_000 // 1_000_000), 4096)]
    units = sum(time_stage(type(stage)(Linear(m=1, n=n, k=k), stage.unit), there).ps for n, k in gemms)
    assert time_stage(stage, device).ps == flash + rows + units


def test_reads_beside_work_take_the_longer_of_the_two():
    apart, beside = (time_stage(entry(pricer(d), 1), d).ps for d in (design(), design(overlapped="true")))
    step = fetched(design(), 1)
    hidden = apart - beside
    assert 0 < hidden <= step.flash_ps + step.rows_ps


@pytest.mark.parametrize("overlapped", ["true", "false"])
@pytest.mark.parametrize("tokens", [1, 100, 1000])
def test_no_memory_is_asked_for_more_than_it_carries(overlapped, tokens):
    """Rows that are moved as fast as the memory allows, beside GEMMs that go over all of its bandwidth."""
    device = load_device(
        "flash_rtx4090",
        [
            f"placement.offload.overlapped={overlapped}",
            'placement.offload.copy_rate="51.2 GB/s"',
            'memories.vram.bandwidth="8 GB/s"',
        ],
    )
    streams = under(device, streaming(device, overlapped=overlapped == "true"))
    for shown in (device, streams):
        timing = time_stage(entry(pricer(shown), tokens), shown)
        for name, memory in shown.memories.items():
            assert memory.carried_ps(timing.read.get(name, 0), timing.written.get(name, 0)) <= timing.ps


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("changes", [{}, {"computes": "used", "overlapped": "true", "bundle": "false"}], ids=["plain", "other"])
def test_arrays_are_priced_as_ints_are(name, changes):
    device = design(name, **changes)
    tokens = np.array([1, 2, 5, 17, 64, 100, 1000], np.int64)
    priced = pricer(device)
    assert priced.block_ps(tokens).tolist() == [priced.block_ps(int(t)) for t in tokens]
    whole = stage_work(entry(priced, tokens), device)
    for i, t in enumerate(tokens.tolist()):
        single = stage_work(entry(priced, t), device)
        assert {key: int(np.broadcast_to(n, tokens.shape)[i]) for key, n in whole.events.items()} == dict(single.events)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 300))
def test_wider_windows_read_less_and_nothing_reads_more_than_the_ffn(window, tokens):
    device = design("flash_rtx4090", window=window)
    wider = design("flash_rtx4090", window=window + 1)
    assert fetched(wider, tokens).nbytes <= fetched(device, tokens).nbytes + NEURON <= FFN + NEURON
    assert fetched(device, tokens).nbytes <= FFN


def test_bundles_are_read_quicker_than_rows_and_columns_apart():
    together, apart = fetched(design(), 1), fetched(design(bundle="false"), 1)
    assert together.nbytes == apart.nbytes
    assert apart.flash_ps == pytest.approx(together.flash_ps * 2250 / 1250, rel=0.001)


def test_prompts_stream_the_whole_ffn_into_place():
    one, prompt = fetched(design(), 1), fetched(design(), 512)
    assert (one.arranged, prompt.arranged) == (one.nbytes, 0)
    assert (prompt.nbytes, prompt.flash_ps, prompt.rows_ps) == (FFN, bytes_to_ps(FFN, 6100), 0)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("tokens", [1, 12, 24, 48, 64])
def test_where_nothing_is_predicted_all_neurons_are_worked_on(name, tokens):
    """Between a few tokens and long prompts: the FFN is streamed, and a part of it used, but nobody knows which."""
    device = design(name)
    _, _, after = pricer(device).block_stages(tokens)
    macs = {}
    for stage in after:
        if stage.op.role in ("up", "down"):
            events = stage_work(stage, device).events
            macs[stage.op.role] = sum(n for (_, event), n in events.items() if event.startswith("mac"))
    streamed = fetched(device, tokens).streamed
    assert all((n == tokens * 16384 * 4096) == streamed for n in macs.values())


def test_kernels_that_skip_neurons_go_over_fewer():
    buffer, used = (time_stage(entry(pricer(d), 1), d) for d in (design(), design(computes="used")))
    assert used.ps < buffer.ps
    assert used.read["flash"] == buffer.read["flash"]


def test_either_end_of_what_data_decide_lies_around_the_profile():
    device = design()
    ends = cache_of(device).ends()
    steps = {name: pricer(under(device, end)).step_ps(1, 1, (), 1, 128) for name, end in ends.items()}
    assert steps["least"] < pricer(device).step_ps(1, 1, (), 1, 128) < steps["most"]
    assert fetched(under(device, ends["least"]), 1).nbytes == 0


def test_a_step_in_detail_is_the_step():
    for name in DESIGNS:
        priced = pricer(design(name))
        total = priced.device.host_overhead + sum(s.times * s.timing.ps for s in priced.step(decodes=3, context=300))
        assert total == priced.step_ps(3, 3, (), 3, 300)


# bytes and joules


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("step", [{"prefill": [(64, 0)]}, {"decodes": 1, "context": 128}], ids=["prefill", "decode"])
def test_every_event_has_its_joules(name, step):
    device = design(name)
    for shown in (device, under(device, streaming(device))):
        work = Work()
        for priced in pricer(shown).step(**step):
            work.add(stage_work(priced.stage, shown), priced.times)
        rows = {(row.component, row.event) for row in ledger(shown, work.events, 1)}
        assert ("flash", "read_byte") in rows
        assert ("host", "upload_byte") in rows or shown.placement.offload.host is None
        assert any(event.startswith("page_read") for _, event in rows) == (name == "flash_rtx4090")


def test_bytes_of_a_stage_are_those_of_its_time():
    device = design("flash_rtx4090")
    stage = entry(pricer(device), 1)
    timing, work = time_stage(stage, device), stage_work(stage, device)
    for event, moved in (("read_byte", timing.read), ("write_byte", timing.written)):
        assert {memory: n for (memory, e), n in work.events.items() if e == event} == moved
    fresh = fetched(device, 1).nbytes
    assert work.events["flash", "read_byte"] == work.events["host", "upload_byte"] == fresh
    assert work.events["flash", "page_read"] == fresh // NEURON * 4  # pages of 4 KiB
    assert work.events["host", "write_byte"] == 3 * fresh  # what arrives, and two rows for each
    assert work.events["host", "read_byte"] == 3 * fresh  # two rows for each, and what is uploaded


@pytest.mark.parametrize("bundle", ["true", "false"])
def test_a_stream_reads_every_page_once(bundle):
    """However small the reads of single tokens are: of rows of 8 KiB from pages of 16 KiB each reads one."""
    device = load_device("flash_rtx4090", ["memories.flash.part=simplessd", f"placement.offload.bundle={bundle}"])
    prompt, token = (stage_work(entry(pricer(device), tokens), device).events for tokens in (512, 1))
    assert prompt["flash", "page_read"] == FFN // 16384
    assert token["flash", "page_read"] == token["flash", "read_byte"] // (NEURON if bundle == "true" else NEURON // 2)


@pytest.mark.parametrize("name", DESIGNS)
def test_a_trace_is_served_and_keeps_the_laws(name):
    lengths = np.array([40, 100], np.int64), np.array([6, 3], np.int64)
    trace = Trace(arrival_ps=np.zeros(2, np.int64), prompt=lengths[0], output=lengths[1], name="two", source="test")
    result = simulate(System(device=design(name)), OPT, trace, ChunkedPrefill())
    assert result.metrics["completed"] == 2
    assert result.metrics["energy_breakdown_j"]["flash"]["read_byte"] > 0
    assert 0 < result.metrics["flash_bandwidth_utilization"] <= 1


# weights streamed in full


def streaming(device: Device, **changes) -> WeightStreaming:
    own = cache_of(device)
    return WeightStreaming(main=own.main, host=own.host, link=own.link, **changes)


def test_all_weights_are_streamed_but_the_resident_ones():
    device = design()
    linear = OPT.layers * OPT.block_weight_bytes() + 2 * OPT.vocab * OPT.hidden
    for permille in (0, 500, 1000):
        shown = under(design("flash_m1_cpu"), streaming(device, resident_permille=permille))
        shown = shown.model_copy(update={"memory_utilization_permille": 1000, "memories": roomy(shown)})
        work = Work()
        for priced in pricer(shown).step(decodes=1, context=1):
            work.add(stage_work(priced.stage, shown), priced.times)
        assert work.events["flash", "read_byte"] == linear * (1000 - permille) // 1000


@pytest.mark.parametrize("permille", [0, 300, 1000])
def test_tables_and_norms_stay_and_what_is_streamed_has_room(permille):
    """Rows of the tables are looked up in main memory, where they must then be; a tied one is streamed for the head as well."""
    held = streaming(design(), resident_permille=permille).held_bytes(OPT, Precision())
    linear = OPT.layers * OPT.block_weight_bytes() + 2 * OPT.vocab * OPT.hidden
    tables = 2 * OPT.vocab * OPT.hidden + 2 * OPT.learned_positions * OPT.hidden
    head = 2 * OPT.vocab * OPT.hidden  # the largest matrix
    least = tables + (linear * permille + head * (1000 - permille)) // 1000
    assert least < held < least + 6_000_000  # biases and norms


def roomy(device: Device):
    return device.memories | {"dram": device.memories["dram"].model_copy(update={"capacity": 32 * 10**9})}


def test_a_slow_link_holds_up_the_stream():
    device = design("flash_rtx4090")
    slow = cache_of(device).link.model_copy(update={"bandwidth": 3000})
    fast, held = streaming(device), streaming(device).model_copy(update={"link": slow})
    assert held.stream_ps(up(1), device) == pytest.approx(fast.stream_ps(up(1), device) * 7 / 3, rel=0.001)


@pytest.mark.parametrize("name", DESIGNS)
def test_pages_too_small_for_the_drive_are_refused(name):
    device = design(name)
    shown = under(device, streaming(device, page="1 B"))
    with pytest.raises(BadInput, match="wanted reads that memory 'flash' does at 1 MB/s or more, got reads of 1 B"):
        pricer(shown).step_ps(1, 1, (), 1, 128)


def test_overlapped_streams_cost_the_longer_of_stream_and_work():
    device = design()
    apart, beside = (
        time_stage(entry(pricer(shown), 1), shown).ps
        for shown in (under(device, streaming(device)), under(device, streaming(device, overlapped=True)))
    )
    assert beside == streaming(device).stream_ps(up(1), device) < apart


# what does not fit


def test_the_kv_cache_gets_what_the_weights_leave():
    device = design()
    left = 7_700_000_000 - cache_of(device).held_bytes(OPT, Precision())
    assert pricer(device).kv_tokens == left // OPT.kv_bytes_per_token() // 16 * 16
    assert pricer(device).kv_tokens >= 128 + 256  # the published request


@pytest.mark.parametrize(
    ("settings", "model", "error", "message"),
    [
        (
            ["placement.offload.window=60"],
            "opt-6.7b",
            Infeasible,
            "13.027 GB of weights stay in memory 'dram' .*neurons of 60 tokens",
        ),
        (["memories.dram.capacity='6 GB'"], "opt-6.7b", Infeasible, "which gives 6.000 GB"),
        (["memories.flash.capacity='10 GB'"], "opt-6.7b", Infeasible, "weights take 13.32 GB, of 10.00 GB that memory 'flash'"),
        ([], "opt-13b", BadInput, "placement.offload.profile: profile 'opt-6.7b' is of opt-6.7b, not of opt-13b"),
        (["placement.weights=dram"], "opt-6.7b", BadInput, "placement.weights: neuron_cache wanted weights on a drive"),
        (["placement.kv=flash"], "opt-6.7b", BadInput, "placement.kv: neuron_cache wanted 'dram', its main memory, got 'flash'"),
        (
            ["placement.offload.copy_rate='401 GB/s'"],
            "opt-6.7b",
            BadInput,
            "placement.offload.copy_rate: wanted at most the 400000 MB/s of memory 'dram', got 401000 MB/s",
        ),
        (
            ["placement.linear=lanes"],
            "opt-6.7b",
            BadInput,
            "placement.linear: wanted a unit for neurons, got 'lanes': gpu_vector_unit executes pointwise",
        ),
        (
            ["placement.offload.host=dram", "placement.offload.link=pcie4_x16"],
            "opt-6.7b",
            BadInput,
            "placement.offload.host: neuron_cache wanted a memory between drive and 'dram', got 'dram'",
        ),
        (["placement.offload.host=dram"], "opt-6.7b", BadInput, "placement.offload.link: neuron_cache wanted it beside 'host'"),
    ],
)
def test_what_does_not_fit_is_refused_with_figures(settings, model, error, message):
    with pytest.raises(error, match=message):
        StepPricer(load_device("flash_m1_cpu", settings), load_model(model), Precision())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("window=0", "placement.offload.window: wanted greater than or equal to 1, got 0"),
        ("profile=opt-67b", r"placement.offload.profile: unknown sparsity profile 'opt-67b'; did you mean 'opt-6.7b'\?"),
        ("main=dra", r"placement.offload.main: unknown memory 'dra'; did you mean 'dram'\?"),
        ("copy_rate=3", "placement.offload.copy_rate: wanted a bandwidth with its unit"),
    ],
)
def test_a_wrong_key_is_named(setting, message):
    with pytest.raises(BadInput, match=message):
        load_device("flash_m1_cpu", [f"placement.offload.{setting}"])


# the command


def test_price_shows_what_is_read_from_flash(rtloom):
    data = rtloom("price", "flash_m1_cpu", "--model", "opt-6.7b", "--decode", "1x128", "--json").json()
    assert data["bytes"]["flash"] == {"read": 32 * fetched(design(), 1).nbytes, "written": 0}
    (up_row,) = [row for row in data["ops"] if row["role"] == "up"]
    assert "flash 2.99 ms, rows 1.98 ms" in up_row["mapping"]
    assert {"read_byte", "static"} <= data["energy_breakdown_j"]["flash"].keys()


def test_what_does_not_fit_is_one_line(rtloom):
    outcome = rtloom(
        "price", "flash_m1_cpu", "--model", "opt-6.7b", "--decode", "1x128", "--set", "placement.offload.window=60", code=3
    )
    assert outcome.stderr.count("\n") == 1
    assert "neurons of 60 tokens 7.966 GB" in outcome.stderr
