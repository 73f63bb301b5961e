"""`rtloom compare` and `report`: is the last line the report's path, and is a report of stored runs the same report?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

DESIGNS = ("small.toml", "large.toml", "--model", "llama-2-7b", "--trace", "trace.csv")
FILES = ["report.html", "report.json", "report.md"]


@pytest.fixture
def two(folder: Path) -> Path:
    """A second design, with half the host's overhead."""
    text = (folder / "small.toml").read_text()
    (folder / "large.toml").write_text(text.replace("Small GPU", "Large GPU").replace('"0.2 ms"', '"0.1 ms"'))
    return folder


def test_designs_are_compared_on_one_trace(rtloom, two) -> None:
    done = rtloom("compare", *DESIGNS)
    assert done.stdout.splitlines()[-1] == "out/report.html"
    assert sorted(path.name for path in (two / "out").iterdir()) == FILES
    assert "Small GPU" in done.stdout
    assert "Large GPU" in done.stdout
    assert len(list((two / "runs").iterdir())) == 2


def test_json_has_both_results_and_the_report(rtloom, two) -> None:
    done = rtloom("compare", *DESIGNS, "--json", "--out", "else where").json()
    small, large = done["results"]
    assert done["report"] == "else where/report.html"
    assert [small["name"], large["name"]] == ["Small GPU", "Large GPU"]
    assert small["trace"]["digest"] == large["trace"]["digest"]
    assert large["metrics"]["mean_tpot_ms"] < small["metrics"]["mean_tpot_ms"]


def test_an_experiment_of_several_systems_is_compared(rtloom, two) -> None:
    (two / "experiment.toml").write_text((two / "experiment.toml").read_text() + '\n[[systems]]\ndesign = "large.toml"\n')
    done = rtloom("compare", "experiment.toml")
    assert done.stdout.splitlines()[-1] == "out/report.html"
    assert json.loads((two / "out" / "report.json").read_text())


def test_a_design_joins_an_experiment(rtloom, two) -> None:
    done = rtloom("compare", "experiment.toml", "large.toml", "--model", "llama-2-7b", "--json").json()
    assert [result["name"] for result in done["results"]] == ["Small GPU", "Large GPU"]


def test_replicas_apply_to_every_design(rtloom, two) -> None:
    done = rtloom("compare", *DESIGNS, "--replicas", "4", "--policy", "fcfs", "--json").json()
    assert [result["name"] for result in done["results"]] == ["4 x Small GPU", "4 x Large GPU"]
    assert all(len(result["replicas"]) == 4 for result in done["results"])


@pytest.mark.parametrize(
    ("name", "replicas", "wanted"),
    [
        ("4 x Small GPU", 2, "2 x Small GPU"),
        ("4 x Small GPU", 1, "Small GPU"),
        ("base", 2, "base"),  # says nothing of their number
        ("3 x Small GPU", 2, "3 x Small GPU"),  # nor does this: there were four
    ],
)
def test_a_name_that_counts_replicas_follows_their_number(rtloom, two, name: str, replicas: int, wanted: str) -> None:
    named = f'replicas = 4\nname = "{name}"\n'
    (two / "experiment.toml").write_text((two / "experiment.toml").read_text() + named)
    (result,) = rtloom("run", "experiment.toml", "--replicas", replicas, "--json").json()["results"]
    assert (result["name"], len(result["replicas"])) == (wanted, replicas)


def test_a_stored_experiment_is_run_on_other_replicas_under_their_number(rtloom, two) -> None:
    rtloom("run", "experiment.toml", "--replicas", "4")
    (run,) = (two / "runs").iterdir()
    (result,) = rtloom("run", run / "experiment.toml", "--replicas", "2", "--json").json()["results"]
    assert result["name"] == "2 x Small GPU"


def test_experiments_on_different_traces_are_not_compared(rtloom, two) -> None:
    text = (two / "experiment.toml").read_text()
    (two / "other.toml").write_text(text.replace('"trace.csv"', '"other.csv"').replace("small.toml", "large.toml"))
    said = rtloom("compare", "experiment.toml", "other.toml", code=2).stderr
    assert "other.toml: trace: wanted that of experiment.toml, so that both serve the same" in said
    (two / "other.toml").write_text(text.replace("small.toml", "large.toml").replace('name = "small"', 'name = "large"'))
    done = rtloom("compare", "experiment.toml", "other.toml", "--json").json()
    assert done["experiment"] == "small and large"


def test_the_report_of_stored_runs_is_the_same_report(rtloom, two) -> None:
    rtloom("compare", *DESIGNS, "--out", "first")
    runs = {json.loads((run / "result.json").read_text())["name"]: run.name for run in (two / "runs").iterdir()}
    done = rtloom("report", runs["Small GPU"], f"runs/{runs['Large GPU'][:8]}", "--out", "second")
    assert done.stdout.splitlines()[-1] == "second/report.html"
    for name in ("report.md", "report.html"):
        assert (two / "first" / name).read_text() == (two / "second" / name).read_text()
    assert "beef: no such run in runs" in rtloom("report", "beef", code=2).stderr


def test_a_report_of_runs_under_two_policies_says_which_had_which(rtloom, two) -> None:
    for policy in ("fcfs", "chunked_prefill"):
        rtloom("run", "experiment.toml", "--policy", policy, "--set", f"systems.0.name={policy[:4]}")
    rtloom("report", *(run.name for run in (two / "runs").iterdir()))
    lines = (two / "out" / "report.md").read_text().splitlines()
    policies = sorted(line for line in lines if line.startswith("| Policy |"))
    assert [line.split(" (")[0] for line in policies] == ["| Policy | chunked_prefill", "| Policy | fcfs"]
    assert [line.rpartition("|")[0].rpartition("|")[2].strip() for line in policies] == ["chun", "fcfs"]
    assert any(line.startswith("- Scheduling differs: ") for line in lines)


def test_a_damaged_run_is_said(rtloom, two) -> None:
    rtloom("run", "experiment.toml")
    (run,) = (two / "runs").iterdir()
    (run / "result.json").write_text('{"name": "half')
    assert "result.json: not JSON: " in rtloom("report", run.name, code=4).stderr
    (run / "result.json").write_text('{"name": "x"}')
    assert "result.json: wanted a stored result, got one without 'metrics'" in rtloom("report", run.name, code=4).stderr
    (run / "result.json").unlink()
    assert "result.json: cannot read it: No such file or directory" in rtloom("report", run.name, code=4).stderr


def test_a_run_of_another_version_is_said(rtloom, two) -> None:
    """The store outlives versions: what a result lacks must not end in a traceback."""
    rtloom("run", "experiment.toml")
    (run,) = (two / "runs").iterdir()
    whole = json.loads((run / "result.json").read_text())
    for key in ("area", "roofline", "system"):
        older = {k: v for k, v in whole.items() if k != key} | {"provenance": whole["provenance"] | {"code": "older"}}
        (run / "result.json").write_text(json.dumps(older))
        said = rtloom("report", run.name, code=4).stderr
        assert f"runs/{run.name}: cannot be reported, as another version of rtloom stored it; run it again (" in said
        assert key in said
    assert not (two / "out").exists()


def test_a_report_that_cannot_be_written_is_a_storage_error(rtloom, two) -> None:
    (two / "out").write_text("in the way")
    assert "out" in rtloom("compare", *DESIGNS, code=4).stderr
