"""Is attention in drives priced as the drives work, counted in whole pages, and refused where it does not fit?"""

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.base.clock import bytes_to_ps, cycles_to_ps
from memsys.drive.nvme import Drive
from memsys.kv_store import KvLayout
from memsys.ssd import Ssd
from sim import Plan, System, load_device, load_model, simulate
from sim.energy import stage_work
from sim.errors import BadInput, CheckFailed, Infeasible
from sim.experiment import TraceSource, load_experiment, load_trace, resolve
from sim.lowering import Stage
from sim.offloads._attend import attend_ps
from sim.offloads._sparf import SparF
from sim.policies.chunked_prefill import ChunkedPrefill
from sim.policies.fcfs import Fcfs
from sim.pricing import StepPricer
from sim.report.data import gather
from sim.report.render import render
from sim.tiling import time_stage
from sim.work import Work
from workloads.model import Precision
from workloads.ops import Attention
from workloads.sparse_attention import SparseAttention
from workloads.trace import Trace

MODEL = load_model("opt-13b")
SHAPE = {"role": "decode", "heads": 40, "kv_heads": 40, "head_dim": 128}
PAGE_TOKENS = 16


def on(drives, design="instinfer_dense", *settings):
    """A shipped design with so many drives, which read as fast as their channels do."""
    device = load_device(design, [f"memories.csd.drives={drives}", f"units.engine.count={4 * drives}", *settings])
    offload = device.placement.offload.model_copy(update={"read_rate": None})
    return device.model_copy(update={"placement": device.placement.model_copy(update={"offload": offload})})


DENSE, SPARF = on(1), on(1, "instinfer_sparf")
ON = {1: DENSE} | {drives: on(drives) for drives in (2, 3, 4, 7, 8, 40)}


def layout_of(heads, copied=None):
    return KvLayout(page_bytes=4096, layers=1, heads=heads, head_dim=128, copy_channels=copied, sequences=256, context=1)


def decode(device, requests, context, **shape):
    return Stage(Attention.decode(requests, context, **SHAPE | shape), "engine")


def offline(requests, prompt=1024, output=1024):
    return load_trace(TraceSource(prompt=prompt, output=output, requests=requests), seed=0)


def both(depth, commands, pages, engine_ps, sent, result, drive=DENSE.memories["csd"]):
    """Time of the commands in closed form, and of the same ones played one by one on the drive of `memsys.drive`."""
    drive = drive.model_copy(update={"queue_depth": depth})
    env = simpy.Environment()
    playing = Drive(env, drive)
    for _ in range(commands):
        env.process(playing.attend(pages, engine_ps, sent, result))
    env.run()
    ways = drive.link.transfer_ps(sent), drive.link.transfer_ps(result)
    return attend_ps(drive, commands, pages, engine_ps, *ways), env.now


class TestTime:
    @given(
        commands=st.integers(1, 40),
        pages=st.integers(0, 400),
        engine_ps=st.integers(0, 10**9),
        sent=st.integers(1, 100_000),
        result=st.integers(1, 100_000),
        depth=st.sampled_from([1, 64]),
        part=st.sampled_from(["instattention", "mqsim", "simplessd"]),
        link=st.sampled_from(["pcie4_x4_measured", "pcie3_x4"]),
    )
    @settings(max_examples=200, deadline=None)
    def test_a_layer_on_an_idle_drive_takes_what_its_commands_take_one_by_one(
        self, commands, pages, engine_ps, sent, result, depth, part, link
    ):
        drive = Ssd.from_data({"part": part, "link": link})
        closed, seen = both(depth, commands, pages, engine_ps, sent, result, drive)
        assert closed == seen

    @given(commands=st.integers(1, 60), pages=st.integers(0, 200), engine_ps=st.integers(0, 10**8), depth=st.integers(1, 8))
    @settings(max_examples=60, deadline=None)
    def test_a_drive_with_few_slots_is_never_faster(self, commands, pages, engine_ps, depth):
        closed, seen = both(depth, commands, pages, engine_ps, 30_000, 10_000)
        assert closed <= seen

    @given(requests=st.integers(1, 40), groups=st.integers(0, 127), rest=st.integers(1, 16), drives=st.sampled_from([1, 2, 3]))
    @settings(max_examples=25, deadline=None)
    def test_a_block_takes_what_its_busiest_drive_takes(self, requests, groups, rest, drives):
        device, context = ON[drives], groups * PAGE_TOKENS + rest
        drive, heads = device.memories["csd"], -(-40 // drives)
        layout = layout_of(heads)
        unit, clock = device.units["engine"].unit, device.units["engine"].clock
        engine = unit.cost(SparseAttention.all_tokens(context, 128, -(-heads // 4))).cycles
        played = both(32, requests, layout.dense_pages(context), cycles_to_ps(engine, clock), heads * 768, heads * 256)[1]
        programs = -(-requests * heads // (8 * 8))  # two pages of every head each 16 tokens, on 8 channels
        ps = time_stage(decode(device, requests, requests * context), device).ps
        assert ps == played + drive.pages_ps(programs, program=True)

    def test_time_and_arrays_agree_bit_for_bit(self):
        for device in (DENSE, SPARF):
            pricer = StepPricer(device, MODEL, Precision())
            run = pricer.decode_run_ps(7, 7 * 1000 + 3, 600)
            assert run.tolist() == [pricer.step_ps(7, 7, (), 7, 7 * 1000 + 3 + 7 * i) for i in range(600)]

    def test_more_drives_are_faster_until_heads_run_out(self):
        times = [time_stage(decode(ON[n], 64, 64 * 1536), ON[n]).ps for n in (1, 2, 4, 8, 40)]
        assert times == sorted(times, reverse=True)
        assert times[0] / times[2] == pytest.approx(4, rel=0.01)
        assert time_stage(decode(on(50), 64, 64 * 1536), on(50)).ps == times[-1]

    @pytest.mark.parametrize("drives", [3, 7])
    def test_heads_that_do_not_come_out_even_make_one_drive_the_busiest(self, drives):
        busiest = -(-40 // drives)
        even = time_stage(decode(ON[1], 64, 64 * 1536, heads=busiest, kv_heads=busiest), ON[1]).ps
        assert time_stage(decode(ON[drives], 64, 64 * 1536), ON[drives]).ps == pytest.approx(even, rel=0.01)

    @given(contexts=st.lists(st.integers(1, 2048), min_size=1, max_size=64))
    @settings(max_examples=60, deadline=None)
    def test_the_mean_context_is_off_by_less_than_a_page_of_each_kind_per_head_and_request(self, contexts):
        layout, requests = layout_of(40), len(contexts)
        exact = sum(layout.dense_pages(context) for context in contexts)
        priced = requests * layout.dense_pages(sum(contexts) // requests)
        assert abs(priced - exact) < 2 * layout.heads * requests

    @given(contexts=st.lists(st.integers(256, 2048), min_size=1, max_size=64))
    @settings(max_examples=60, deadline=None)
    def test_sparse_attention_by_the_pages_of_a_copy_in_addition(self, contexts):
        layout, sparf, requests = layout_of(1, copied=8), SPARF.placement.offload.sparf, len(contexts)
        exact = sum(sparf.pages(layout, context) for context in contexts)
        priced = requests * sparf.pages(layout, sum(contexts) // requests)
        assert abs(priced - exact) < requests * (2 + layout.copy_tokens // layout.page_tokens)

    def test_equal_contexts_are_exact_in_pages(self):
        layout = layout_of(40)
        assert 64 * layout.dense_pages(64 * 1537 // 64) == sum(layout.dense_pages(1537) for _ in range(64))

    def test_prefill_is_the_devices_own_and_ships_beside_it(self):
        chunk = Stage(Attention.prefill(1024, 0, **SHAPE | {"role": "prefill"}), "tensor")
        a6000 = load_device("a6000")
        assert time_stage(chunk, DENSE).ps == time_stage(chunk, a6000).ps
        pricer, alone = StepPricer(DENSE, MODEL, Precision()), StepPricer(a6000, MODEL, Precision())
        step, own = (p.step_ps(1024, 1, [(1024, 0)], 0, 0) for p in (pricer, alone))
        last = pricer.exposed_ps(1024, 0, 10**15)  # of the last block: nothing is left to hide it
        assert last == max(
            DENSE.memories["csd"].link.transfer_ps(1024 * 20480), DENSE.memories["csd"].pages_ps(640, program=True)
        )
        assert step - own >= last

    def test_later_chunks_of_a_prompt_fetch_what_is_there(self):
        first, later = (Stage(Attention.prefill(16, past, **SHAPE | {"role": "prefill"}), "tensor") for past in (0, 1008))
        assert time_stage(later, DENSE).ps >= DENSE.memories["csd"].link.transfer_ps(1008 * 20480)
        assert stage_work(later, DENSE).events["csd", "read_byte"] == 1008 * 20480
        assert stage_work(first, DENSE).events["csd", "read_byte"] == 0


class TestPages:
    def test_sparf_lies_between_its_ends(self):
        ends = SPARF.placement.offload.ends()
        times = {}
        for name, offload in {"profile": SPARF.placement.offload, **ends}.items():
            device = SPARF.model_copy(update={"placement": SPARF.placement.model_copy(update={"offload": offload})})
            times[name] = time_stage(decode(device, 64, 64 * 1536), device).ps
        assert times["least"] < times["profile"] < times["most"]

    @given(context=st.integers(1, 4096), recent=st.integers(0, 64), share=st.integers(1, 1000), channels=st.integers(1, 128))
    @settings(max_examples=100, deadline=None)
    def test_every_activity_is_one_that_an_engine_can_see(self, context, recent, share, channels):
        layout, engine = layout_of(2, copied=8), SPARF.units["engine"].unit
        pages = []
        for activity in ("least", "profile", "most"):
            sparf = SparF(channels=channels, tokens_permille=share, recent=recent, activity=activity)
            engine.check(sparf.asked(layout, engine, context, 1))
            pages.append(sparf.pages(layout, context))
        assert pages == sorted(pages)
        assert pages[2] <= layout.copy_pages(context) + 2 * layout.token_pages(context)  # copy and K twice, V once, at most

    def test_without_figures_channels_are_random_and_tokens_together(self):
        layout, sparf = layout_of(40, copied=4), SparF(channels=16)
        assert sparf.channel_groups(layout) / layout.channel_groups == pytest.approx(1 - (7 / 8) ** 4, abs=1 / 32)
        assert sparf.token_groups(layout, 2048) * 8 == 2048 // PAGE_TOKENS

    def test_a_measured_rate_is_kept(self):
        slow = SPARF.placement.offload.model_copy(update={"read_rate": 5000})
        device = SPARF.model_copy(update={"placement": SPARF.placement.model_copy(update={"offload": slow})})
        pages = slow._pages(device, layout_of(40, copied=8), 1536)
        assert time_stage(decode(device, 64, 64 * 1536), device).ps >= 64 * bytes_to_ps(pages * 4096, 5000)

    @pytest.mark.parametrize("name", ["instinfer_dense", "instinfer_sparf"])
    def test_a_whole_run_counts_the_pages_of_its_steps(self, name):
        device = load_device(name)
        result = simulate(System(device=device), MODEL, offline(4, 1024, 1024), Fcfs())
        layout = layout_of(40, copied=None if device is DENSE or name == "instinfer_dense" else 8)
        offload = device.placement.offload
        contexts = range(1025, 2048)
        exact = 4 * 40 * sum(int(offload._pages(device, layout, c)) for c in contexts)
        read_back = 0 if offload.sparf is None else 40 * 4 * 1023 * 40 // 16
        assert result.metrics["csd_pages_read"] == pytest.approx(exact + read_back, rel=0.005)

    def test_grouped_queries_read_the_pages_of_their_head_once_each(self):
        alone = stage_work(decode(DENSE, 8, 8 * 1024, heads=8, kv_heads=8), DENSE).events
        four = stage_work(decode(DENSE, 8, 8 * 1024, heads=32, kv_heads=8), DENSE).events
        assert four["csd", "page_read"] == 4 * alone["csd", "page_read"]


class TestRuns:
    @pytest.mark.parametrize("name", ["instinfer_dense", "instinfer_sparf"])
    def test_a_trace_is_served_and_every_joule_has_a_source(self, name):
        result = simulate(System(device=load_device(name)), MODEL, offline(8, 200, 50), Fcfs())
        metrics = result.metrics
        assert metrics["completed"] == 8
        assert 0 < metrics["csd_flash_utilization"] <= 1
        assert metrics["csd_write_amplification"] == pytest.approx(1.5 if name.endswith("sparf") else 1, rel=0.01)
        assert {row["component"] for row in result.energy} >= {"engine", "csd", "hbm", "tensor", "vector", "device"}
        assert bool(result.about["activity"]) == name.endswith("sparf")

    def test_replicas_wear_drives_of_their_own(self):
        """Twice the requests on twice the drives: the same share of their cycles, which are good for twice the tokens."""
        runs = [
            simulate(System(device=DENSE, plan=Plan(replicas=n)), MODEL, offline(2 * n, 200, 50), Fcfs()).metrics for n in (1, 2)
        ]
        assert runs[1]["csd_endurance_share"] == pytest.approx(runs[0]["csd_endurance_share"], rel=1e-9)
        assert runs[1]["csd_endurance_tokens"] == pytest.approx(2 * runs[0]["csd_endurance_tokens"], rel=1e-9)

    def test_run_ahead_changes_nothing(self):
        runs = [
            simulate(System(device=SPARF, plan=Plan(replicas=2)), MODEL, offline(6, 300, 90), ChunkedPrefill(), run_ahead=ahead)
            for ahead in (True, False)
        ]
        assert np.array_equal(runs[0].served.finish_ps, runs[1].served.finish_ps)
        assert runs[0].metrics["total_energy_j"] == runs[1].metrics["total_energy_j"]

    def test_a_cache_that_is_full_evicts_and_still_ends(self):
        """Room is checked for the whole capacity, of which a tenth stays free: the last request in flight may find none."""
        settings = ('memories.csd.capacity="27.6 GB"', "placement.offload.sequences=16")
        small = on(1, "instinfer_dense", *settings)
        result = simulate(System(device=small), MODEL, offline(16, 1024, 1020), Fcfs())
        assert result.metrics["completed"] == 16
        assert result.metrics["preemptions"] > 0

    def test_a_shorter_context_lets_models_of_long_ones_be_served(self):
        short = System(device=on(1, "instinfer_dense", "placement.offload.context=1000"))
        mixed = Trace(
            arrival_ps=np.zeros(2, np.int64), prompt=np.array([900, 990]), output=np.array([100, 11]), name="t", source="t"
        )
        metrics = simulate(short, load_model("llama-3.1-8b"), mixed, Fcfs()).metrics
        assert (metrics["completed"], metrics["rejected_context"]) == (1, 1)
        with pytest.raises(BadInput, match=r"wanted at least the 131072 tokens .* or a shorter placement.offload.context"):
            StepPricer(on(1, "instinfer_dense"), load_model("llama-3.1-8b"), Precision())

    def test_no_more_requests_are_admitted_than_have_addresses(self):
        one = System(device=on(1, "instinfer_dense", "placement.offload.sequences=1"))
        with pytest.raises(BadInput, match=r"policy.max_num_seqs: wanted at most the 1 requests .*sequences.*, got 5"):
            simulate(one, MODEL, offline(5), Fcfs())
        assert simulate(one, MODEL, offline(5), Fcfs(max_num_seqs=1)).metrics["completed"] == 5
        assert simulate(one, MODEL, offline(1), Fcfs()).metrics["completed"] == 1

    @pytest.mark.parametrize(
        ("model", "drives", "settings"),
        [("opt-30b", 1, ['placement.weights="host"']), ("opt-30b", 20, ['placement.weights="host"']), ("llama-2-13b", 4, [])],
    )
    def test_the_other_models_of_the_paper_run(self, model, drives, settings):
        result = simulate(System(device=on(drives, "instinfer_sparf", *settings)), load_model(model), offline(4, 64, 32), Fcfs())
        assert result.metrics["completed"] == 4

    def test_pages_that_nobody_read_are_found_missing(self):
        pricer, served = StepPricer(DENSE, MODEL, Precision()), simulate(System(device=DENSE), MODEL, offline(1), Fcfs()).served
        with pytest.raises(CheckFailed, match="pages read of memory csd"):
            DENSE.placement.offload.account(Work(), pricer, served)
        work = Work()
        work.events["csd", "page_read"] = 10**12
        with pytest.raises(CheckFailed, match="the flash of memory csd works"):
            DENSE.placement.offload.account(work, pricer, served)


class TestRefused:
    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            (['placement.kv="hbm"'], BadInput, "placement.kv: wanted drives"),
            (
                ["units.engine.count=5", "memories.csd.drives=2"],
                BadInput,
                "units.engine.count: wanted a multiple of the 2 drives, got 5",
            ),
            (["placement.offload.sparf.channels=129"], BadInput, "placement.offload.sparf.channels: wanted at most the 128"),
            (["placement.offload.group=24"], BadInput, "placement.offload: page_bytes: wanted whole groups of 24 tokens"),
            (["placement.offload.sequences=100000"], BadInput, "token table: wanted an address of 32 bits, got sequence 17"),
            (["placement.offload.sparf.recent=257"], BadInput, "sparf.recent: wanted at most the 256 that are selected of 2048"),
            (
                ['placement.offload.engine="tensor"', "units.engine.count=84"],
                BadInput,
                "placement.offload.engine: wanted a unit of kind storage_attention, got 'tensor', a gpu_tensor_core",
            ),
            (
                ['memories.csd.capacity="20 GB"'],
                Infeasible,
                "wanted 644.25 GB in whole blocks, K twice, got 20.00 GB on 1 drives",
            ),
            (['memories.csd.part="mqsim"'], BadInput, "units.engine.page_bytes: wanted 8192, as mqsim has, got 4096"),
            (["units.engine.flash_channels=4"], BadInput, "units.engine.flash_channels: wanted 8, as instattention has, got 4"),
            (['placement.offload.read_rate="20 GB/s"'], BadInput, "placement.offload.read_rate: wanted at most the"),
            (
                ["units.engine.max_tokens=1024"],
                BadInput,
                "units.engine.max_tokens: wanted at least the 2048 tokens of the longest context of opt-13b, got 1024",
            ),
        ],
    )
    def test_what_does_not_fit(self, settings, error, message):
        with pytest.raises(error) as caught:
            StepPricer(load_device("instinfer_sparf", settings), MODEL, Precision())
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("placement.offload.sparf.tokens_permille=1001", "placement.offload.sparf.tokens_permille: wanted less than"),
            ('placement.offload.engine="engin"', "placement.offload.engine: unknown unit 'engin'; did you mean 'engine'?"),
            ('placement.offload.main="hbmm"', "placement.offload.main: unknown memory 'hbmm'"),
        ],
    )
    def test_in_the_design(self, setting, message):
        with pytest.raises(BadInput) as caught:
            load_device("instinfer_sparf", [setting])
        assert message in str(caught.value)

    def test_other_formats_of_keys_and_values(self):
        with pytest.raises(BadInput, match="fp16"):
            StepPricer(DENSE, MODEL, Precision.from_data({"kv": "int8"}))


def test_a_report_shows_both_ends_where_pages_depend_on_data():
    experiment, _ = load_experiment("instinfer", ["trace.requests=2", "trace.output=4"])
    cases = resolve(experiment)[:2]
    trace = load_trace(experiment.trace, 0)
    results = [simulate(case.system, case.model, trace, experiment.policy, name=case.name) for case in cases]
    dense, sparse = (result.about["activity"] for result in results)
    assert dense == {}
    assert sparse["least"] < sparse["profile"] < sparse["most"]
    text = render(gather(results, experiment))["report.md"]
    (table,) = (part for part in text.split("\n## ") if "Activity that data decide" in part.partition("\n")[0])
    assert table.count("InstInfer, SparF") == 3
    assert "InstInfer, dense" not in table


LOADED = {name: load_device(name) for name in ("instinfer_dense", "instinfer_sparf", "instinfer_flexgen", "instinfer_deepspeed")}


@given(
    name=st.sampled_from(sorted(LOADED)),
    lengths=st.lists(st.tuples(st.integers(0, 10**13), st.integers(1, 1500), st.integers(1, 500)), min_size=1, max_size=12),
    chunked=st.booleans(),
    model=st.sampled_from(["opt-13b", "llama-2-13b"]),
)
@settings(max_examples=40, deadline=None)
def test_no_law_breaks_whatever_is_asked(name, lengths, chunked, model):
    arrival, prompt, output = (np.array(column, np.int64) for column in zip(*sorted(lengths), strict=True))
    trace = Trace(arrival_ps=arrival, prompt=prompt, output=output)
    policy = ChunkedPrefill() if chunked else Fcfs()
    result = simulate(System(device=LOADED[name]), load_model(model), trace, policy)
    assert result.metrics["completed"] == len(lengths)


def test_the_shipped_experiment_runs_from_the_command_and_again_from_its_store(rtloom, folder):
    small = ("--set", "trace.requests=2", "--set", "trace.output=3")
    done = rtloom("run", "instinfer", *small, "--json").json()
    names = [result["name"] for result in done["results"]]
    assert names[:3] == ["InstInfer, dense", "InstInfer, SparF", "InstInfer, SparF, 20 drives"]
    stored = folder / done["results"][2]["run"] / "experiment.toml"
    again = rtloom("run", stored, "--json").json()["results"]
    assert again[0]["metrics"] == done["results"][2]["metrics"]


@pytest.mark.parametrize("name", sorted(LOADED))
def test_a_step_is_priced_op_by_op_with_its_sum(rtloom, name):
    data = rtloom("price", name, "--model", "opt-13b", "--prefill", "64+100", "--decode", "4x300", "--json").json()
    assert data["latency_ms"] == pytest.approx(data["host_ms"] + sum(op["latency_ms"] for op in data["ops"]))
    pricer = StepPricer(LOADED[name], MODEL, Precision())
    assert data["latency_ms"] == pytest.approx(pricer.step_ps(68, 5, [(64, 100)], 4, 1200) / 1e9)
    assert "exposed_shipping" in [op["role"] for op in data["ops"]]
