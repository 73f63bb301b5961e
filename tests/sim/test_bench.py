"""`rtloom bench`: are the rows those of the goals, and is each figure measured in a process of its own? Never how fast."""

from __future__ import annotations

import pytest

from sim.bench import jobs, measure
from sim.bench.measure import Meter, NotMeasurable, machine
from sim.bench.rows import REPEATS, ROWS
from sim.errors import ToolFailed

GOALS = {
    "serve_5k_cpu_s": 0.4,
    "serve_5k_peak_mb": 250,
    "azure_4rep_cpu_s": 2.5,
    "instinfer_64_cpu_s": 5,
    "serve_1m_cpu_s": 90,
    "serve_1m_peak_mb": 1000,
    "growth_10k_to_1m": 1.2,
    "cost_1m_shapes_s": 1,
    "help_cpu_s": 0.5,
    "conformance_cpu_s": 5,
    "characterize_array_s": 60,
    "characterize_vector_s": 60,
    "dram_seq_req_per_cpu_s": 1_000_000,
    "dram_rand_req_per_cpu_s": 200_000,
    "nand_page_ops_per_cpu_s": 500_000,
}


def test_the_rows_and_their_goals_are_the_declared_ones() -> None:
    assert {row.name: row.goal for row in ROWS} == GOALS
    assert {row.job for row in ROWS} - {"growth"} <= set(REPEATS)
    assert set(jobs.JOBS) | {"help"} == set(REPEATS)


def test_every_row_is_reported_with_the_machine(rtloom, monkeypatch) -> None:
    """The jobs themselves are played below; here their figures are given."""
    played = []

    def play(job: str, *arguments: str) -> dict[str, float]:
        played.append(job)
        seconds = {"serve_10k": 0.5, "serve_1m": 60.0}.get(job, 0.25)
        return {"cpu_s": seconds, "wall_s": 40.0, "peak_mb": 80.0, "per_cpu_s": {"dram_rand": 1e5}.get(job, 2e6)}

    monkeypatch.setattr(measure, "_play", play)
    monkeypatch.setattr(measure, "_liberty", list)
    monkeypatch.setattr(measure, "_help", lambda: {"cpu_s": 0.1})
    done = rtloom("bench", "--json", "--trace", "trace.csv").json()
    assert {row["name"]: row["goal"] for row in done["results"]} == GOALS
    for row in done["results"]:
        assert set(row) == {"name", "value", "unit", "goal", "better"}
        assert row["better"] == ("higher" if "_per_cpu_s" in row["name"] else "lower")
    values = {row["name"]: row["value"] for row in done["results"]}
    assert values["growth_10k_to_1m"] == 1.2
    assert values["serve_5k_peak_mb"] == 80
    assert {job: played.count(job) for job in jobs.JOBS} == {job: REPEATS[job] for job in jobs.JOBS}, (
        "a job is measured once for all"
    )
    assert set(done["machine"]) == {"cpu", "cores", "memory_gb", "system", "python"}
    text = rtloom("bench", "--trace", "trace.csv").stdout
    assert text.startswith(f"{machine()['cpu']}, ")
    verdicts = {line.split()[0]: "missed" not in line for line in text.splitlines() if line.startswith(tuple(GOALS))}
    assert verdicts == {
        name: (value >= GOALS[name]) if "_per_cpu_s" in name else (value <= GOALS[name]) for name, value in values.items()
    }
    assert [name for name, met in verdicts.items() if not met] == ["dram_rand_req_per_cpu_s"]


def test_without_the_azure_trace_its_row_is_left_out_and_said(rtloom, monkeypatch) -> None:
    monkeypatch.delenv("RTLOOM_SHARED", raising=False)
    done = rtloom("bench", "azure_4rep_cpu_s", "--json")
    assert done.json()["results"] == []
    assert "azure_4rep_cpu_s: left out: wanted the Azure conversation trace: give it by --trace" in done.stderr
    monkeypatch.setenv("RTLOOM_SHARED", "nowhere")
    with pytest.raises(NotMeasurable, match="got no file nowhere"):
        Meter().value(next(row for row in ROWS if row.job == "azure_4rep"))


def test_without_liberty_files_characterisation_is_left_out_and_said(rtloom, monkeypatch) -> None:
    monkeypatch.delenv("RTLOOM_SHARED", raising=False)
    done = rtloom("bench", "characterize_vector_s", "--json")
    assert done.json()["results"] == []
    assert "characterize_vector_s: left out: wanted the Liberty files of ASAP7: RTLOOM_SHARED with" in done.stderr


def test_an_unknown_row_is_answered_with_the_nearest(rtloom) -> None:
    assert "unknown row 'help_cpu'; did you mean 'help_cpu_s'?" in rtloom("bench", "help_cpu", code=2).stderr


def test_a_job_is_played_in_its_own_process() -> None:
    took = measure._play("cost_1m_shapes")
    assert took["cpu_s"] > 0
    assert 20 < took["peak_mb"] < 4000
    assert measure._help()["cpu_s"] > 0


def test_a_job_that_fails_is_said() -> None:
    with pytest.raises(ToolFailed, match="azure_4rep none failed with exit status 1:"):
        measure._play("azure_4rep", "none")


def test_the_serving_jobs_serve_what_they_say(folder) -> None:
    result = jobs.serve(200)()
    assert result.metrics["completed"] == 200
    assert result.metrics["clipped"] > 0
    assert result.about["system"]["model"] == "llama-2-7b"
    (folder / "azure.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n")
    four = jobs.azure(str(folder / "azure.csv"))()
    assert four.metrics["completed"] == 1
    assert four.about["system"]["replicas"] == 4
