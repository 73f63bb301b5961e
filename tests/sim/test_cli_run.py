"""`rtloom run`: is a run stored whole, found again, and the same as what `simulate` gives?"""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest

from sim import simulate
from sim.experiment import load_experiment, load_trace, resolve
from sim.stored import StoredResult

FILES = ["design.toml", "experiment.toml", "ops.parquet", "requests.parquet", "result.json", "timeline.json.gz"]
VLLM = ("request_throughput", "output_throughput", "mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "p99_tpot_ms")
ENERGY = ("total_energy_j", "energy_per_output_token_j", "energy_breakdown_j", "average_power_w")


def stored(folder: Path) -> list[Path]:
    return sorted((folder / "runs").iterdir())


def test_a_run_prints_and_stores_what_simulate_gives(rtloom, folder) -> None:
    done = rtloom("run", "experiment.toml", "--json").json()
    (result,) = done["results"]
    experiment, base = load_experiment("experiment.toml")
    (case,) = resolve(experiment, base)
    trace = load_trace(experiment.trace, experiment.seed, base)
    direct = simulate(case.system, case.model, trace, experiment.policy, precision=case.precision)
    assert result["metrics"] == json.loads(json.dumps(direct.metrics))
    assert set(VLLM) | set(ENERGY) <= set(result["metrics"])
    (run,) = stored(folder)
    assert result["run"] == str(run.relative_to(folder))
    assert sorted(path.name for path in run.iterdir()) == FILES
    again = StoredResult.load(run)
    assert again.metrics == result["metrics"]
    for name, column in direct.requests().items():
        assert again.requests()[name].tolist() == pytest.approx(column.tolist(), nan_ok=True)
    assert again.provenance["seed"] == 0
    assert {"hash", "experiment", "code", "versions"} <= set(again.provenance)


def test_the_ops_of_a_run_add_up_to_it(rtloom, folder) -> None:
    rtloom("run", "experiment.toml", "--set", "systems.0.replicas=2")
    result = StoredResult.load(stored(folder)[0])
    ops = result.ops()
    assert len(result.replicas()) == 2
    assert sum(round(op["time_ms"] * 1e9) for op in ops) == sum(r["busy_ps"] for r in result.replicas())  # to the picosecond
    dynamic = math.fsum(row["joules"] for row in result.energy if row["event"] != "static")
    assert math.isclose(math.fsum(op["energy_j"] for op in ops), dynamic, rel_tol=1e-9)
    assert {op["role"] for op in ops if op["op"] == "attention"} == {"prefill", "decode"}


def test_the_timeline_is_a_trace_of_events(rtloom, folder) -> None:
    rtloom("run", "experiment.toml")
    events = json.loads(gzip.decompress((stored(folder)[0] / "timeline.json.gz").read_bytes()))["traceEvents"]
    assert sum(event.get("args", {}).get("iterations", 0) for event in events) > 100


def test_a_run_that_is_stored_is_taken_from_the_store(rtloom, folder) -> None:
    first = rtloom("run", "experiment.toml", "--json")
    (run,) = stored(folder)
    times = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    second = rtloom("run", "experiment.toml", "--json")
    assert "Small GPU: taken from runs/" in second.stderr
    assert second.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == times
    assert stored(folder) == [run]


def test_a_stored_experiment_finds_its_own_run(rtloom, folder) -> None:
    rtloom("run", "experiment.toml", "--seed", "7", "--set", "device.host_overhead=1 ms")
    (run,) = stored(folder)
    again = rtloom("run", run / "experiment.toml")
    assert f"taken from runs/{run.name}" in again.stderr
    assert stored(folder) == [run]


@pytest.mark.parametrize(
    "options",
    [
        ["--seed", "1"],
        ["--requests", "20"],
        ["--overlong", "clip"],
        ["--replicas", "2"],
        ["--policy", "fcfs"],
        ["--precision", "kv=int8"],
        ["--model", "mistral-7b"],
        ["--profile", "azure_code", "--requests", "30"],
        ["--set", "policy.max_batched_tokens=256"],
        ["--set", "device.host_overhead=1 ms"],
        ["--set", "systems.0.name=other"],
    ],
)
def test_every_option_makes_another_run(rtloom, folder, options) -> None:
    rtloom("run", "experiment.toml")
    rtloom("run", "experiment.toml", *options)
    assert len(stored(folder)) == 2


def test_options_of_the_command_line_reach_the_simulation(rtloom) -> None:
    def metrics(*options: str) -> dict:
        return rtloom("run", "experiment.toml", "--json", *options).json()["results"][0]["metrics"]

    assert metrics("--requests", "20")["completed"] == 20
    assert metrics("--set", "device.host_overhead=5 ms")["mean_tpot_ms"] == pytest.approx(
        metrics()["mean_tpot_ms"] + 4.8, rel=0.1
    )


def test_a_design_alone_is_run_with_a_model_and_a_trace(rtloom) -> None:
    done = rtloom("run", "small.toml", "--model", "llama-2-7b", "--trace", "trace.csv", "--json").json()
    assert done["results"][0]["metrics"]["completed"] == 40


def test_a_trace_is_found_where_the_user_stands(rtloom, folder) -> None:
    below = folder / "below"
    below.mkdir()
    for name in ("experiment.toml", "small.toml", "trace.csv"):
        (below / name).write_text((folder / name).read_text())
    (below / "trace.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,5,5\n")
    done = rtloom("run", "below/experiment.toml", "--json").json()
    assert done["results"][0]["metrics"]["completed"] == 1
    done = rtloom("run", "below/experiment.toml", "--trace", "trace.csv", "--json").json()
    assert done["results"][0]["metrics"]["completed"] == 40


def test_the_store_lies_where_it_is_told(rtloom, folder, monkeypatch) -> None:
    rtloom("run", "experiment.toml", "--runs", "else where")
    monkeypatch.setenv("RTLOOM_RUNS", "environment")
    rtloom("run", "experiment.toml")
    assert len(list((folder / "else where").iterdir())) == len(list((folder / "environment").iterdir())) == 1
    assert not (folder / "runs").exists()


def test_several_systems_are_stored_each(rtloom, folder) -> None:
    more = '\n[[systems]]\ndesign = "small.toml"\nname = "two"\nreplicas = 2\n'
    (folder / "experiment.toml").write_text((folder / "experiment.toml").read_text() + more)
    done = rtloom("run", "experiment.toml")
    assert "Small GPU  " in done.stdout
    assert len(stored(folder)) == 2


def test_the_text_has_metrics_and_energy(rtloom) -> None:
    text = rtloom("run", "experiment.toml").stdout
    for word in (*VLLM, "total_energy_j", "read_byte", "assumed"):
        assert word in text
