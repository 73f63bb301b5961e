"""Does the report say what the results say, in all three forms, the same each time?"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from report_systems import Seen, data, energy_row, served, unit

from sim.errors import BadInput
from sim.report import write_report
from sim.report.comparison import deltas
from sim.report.data import CURVE_POINTS, curves, distinct, gather
from sim.report.energy import class_shares, stacks
from sim.report.evidence import assumptions
from sim.report.figures import figure
from sim.report.render import render
from sim.report.table import CLASSES
from sim.stored import StoredResult


@pytest.fixture(scope="module")
def report() -> dict[str, str]:
    return render(data())


@pytest.fixture(scope="module")
def page(report: dict[str, str]) -> Seen:
    return Seen.of(report["report.html"])


def systems_of(report: dict[str, str]) -> list[dict[str, Any]]:
    return json.loads(report["report.json"])["systems"]


def test_three_files_are_written_and_the_path_of_the_page_returned(tmp_path) -> None:
    experiment, results = served()
    path = write_report(list(results), experiment, tmp_path / "new folder" / "out")
    assert path == tmp_path / "new folder" / "out" / "report.html"
    assert sorted(f.name for f in path.parent.iterdir()) == ["report.html", "report.json", "report.md"]


def test_equal_results_give_equal_bytes_even_after_other_charts_were_drawn(tmp_path) -> None:
    experiment, results = served()
    first = render(gather(results, experiment))
    render(gather(results[::-1], experiment))
    write_report(results, experiment, tmp_path)
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in first} == first


def test_an_experiment_may_be_plain_data(tmp_path) -> None:
    _, results = served()
    page = write_report(results, {"name": "By hand"}, tmp_path).read_text(encoding="utf-8")
    assert Seen.of(page).tags("h1")[0].text == "By hand"


def test_the_json_form_renders_to_the_same_report(report) -> None:
    assert render(json.loads(report["report.json"])) == report


def test_a_stored_result_gives_the_same_report(tmp_path) -> None:
    experiment, results = served()
    folders = [tmp_path / str(place) for place in range(len(results))]
    for folder, result in zip(folders, results, strict=True):
        folder.mkdir()
        result.write(folder)
    again = gather([StoredResult.load(folder) for folder in folders], experiment)
    assert render(again) == render(gather(results, experiment))


def test_json_holds_every_metric_and_the_whole_ledger(report) -> None:
    _, results = served()
    for stored, result in zip(systems_of(report), results, strict=True):
        assert stored["metrics"] == result.metrics
        assert stored["energy"] == result.energy
        assert stored["replicas"] == result.replicas()


def test_deltas_are_against_the_first_system(report) -> None:
    _, (first, second) = served()
    found = json.loads(report["report.json"])["deltas"]
    for name in ("mean_ttft_ms", "energy_per_output_token_j", "output_throughput", "iterations"):
        a, b = first.metrics[name], second.metrics[name]
        assert found[second.name][name] == {"difference": b - a, "ratio": b / a}
        assert found[first.name][name] == {"difference": 0, "ratio": 1.0}
    zeros = deltas([{"name": "x", "metrics": {"preempted": 0}}, {"name": "y", "metrics": {"preempted": 3}}])
    assert zeros["y"]["preempted"] == {"difference": 3, "ratio": None}


@pytest.mark.parametrize(
    ("label", "key"),
    [("TTFT, P99", "p99_ttft_ms"), ("TPOT, mean", "mean_tpot_ms"), ("ITL, P99", "p99_itl_ms"), ("Output", "output_throughput")],
)
def test_the_table_shows_metrics_with_their_change(page, report, label: str, key: str) -> None:
    _, (first, second) = served()
    a, b = first.metrics[key], second.metrics[key]
    change = 100 * (b / a - 1)
    note = "=" if abs(change) < 0.05 else f"{'+' if change > 0 else '−'}{abs(change):.1f} %"
    unit_name = "tokens/s" if key == "output_throughput" else "ms"
    assert page.line(label) == [label, unit_name, figure(a), f"{figure(b)} {note}"]
    assert f"| {label} | {unit_name} | {figure(a)} | {figure(b)} ({note}) |" in report["report.md"]


def test_news_is_coloured_by_whether_it_is_good(page) -> None:
    content = data()
    content["systems"][1]["metrics"] |= {"mean_ttft_ms": 1.0, "rejected_kv_cache": 7}
    rows = {}
    for element in Seen.of(render(content)["report.html"]).elements:
        if element.tag == "th":
            heading = element.text
        if element.tag == "small":
            rows.setdefault(heading, element)
    assert rows["TTFT, mean"].attributes == {"class": "good"}
    assert (rows["Rejected, beyond the KV cache"].text, rows["Rejected, beyond the KV cache"].attributes) == (
        "+7",
        {"class": "bad"},
    )
    assert rows["Power, mean"].attributes == {}


def test_energy_stacks_add_up_to_the_energy_per_token(report) -> None:
    _, results = served()
    parts = json.loads(report["report.json"])["energy_per_output_token_j"]
    assert list(parts)[-1] == "device, static"
    for place, result in enumerate(results):
        total = math.fsum(values[place] for values in parts.values())
        assert total == pytest.approx(result.metrics["energy_per_output_token_j"], rel=1e-12)


def test_the_energy_chart_ends_at_the_total(report, page) -> None:
    _, results = served()
    items = json.loads(next(e.text for e in page.tags("script") if e.attributes.get("id") == "charts"))
    chart = next(item for item in items if item["target_id"] == "chart-energy")
    columns = [dict(entries) for entries in _entries(chart) if {"left", "right"} <= dict(entries).keys()]
    assert [c["left"] for c in columns[1:]] == [c["right"] for c in columns[:-1]]
    assert columns[0]["left"] == [0.0, 0.0]
    totals = [result.metrics["energy_per_output_token_j"] for result in results]
    assert columns[-1]["right"] == pytest.approx(totals, rel=1e-9)


def _entries(node: Any) -> list[list[Any]]:
    """The contents of every column data source in a document of Bokeh."""
    if isinstance(node, list):
        return [found for value in node for found in _entries(value)]
    if not isinstance(node, dict):
        return []
    if node.get("name") == "ColumnDataSource":
        return [node["attributes"]["data"]["entries"]]
    return [found for value in node.values() for found in _entries(value)]


def test_every_chart_has_its_place_in_the_page(page) -> None:
    items = json.loads(next(e.text for e in page.tags("script") if e.attributes.get("id") == "charts"))
    places = [e.attributes["id"] for e in page.tags("div") if (e.attributes.get("id") or "").startswith("chart-")]
    assert [item["target_id"] for item in items] == places
    assert {"chart-ttft", "chart-tpot", "chart-e2el", "chart-ttft-shares", "chart-energy", "chart-roofline-1"} <= set(places)
    for item in items:
        assert item["root_id"] in [root["id"] for root in item["doc"]["roots"]]


def test_the_roofline_draws_every_point_of_every_system(page) -> None:
    items = json.loads(next(e.text for e in page.tags("script") if e.attributes.get("id") == "charts"))
    for place, result in enumerate(served()[1]):
        chart = next(item for item in items if item["target_id"] == f"chart-roofline-{place}")
        drawn = [pair for e in _entries(chart) if "op" in dict(e) for pair in zip(dict(e)["x"], dict(e)["y"], strict=True)]
        points = [(p["ops_per_byte"], p["tops"]) for p in result.about["roofline"]["points"]]
        assert sorted(drawn) == sorted(points)


def test_a_system_without_points_on_the_roofline_still_gives_a_report() -> None:
    content = data()
    for system in content["systems"]:
        system["roofline"]["points"] = []
    assert "chart-roofline" not in render(content)["report.html"]


def test_curves_are_quantiles_of_the_requests_that_completed() -> None:
    values = np.arange(1000.0)
    values[::2] = np.nan
    found = curves({"ttft_ms": values, "tpot_ms": np.full(5, np.nan), "e2el_ms": values})
    assert len(found["ttft_ms"]) == CURVE_POINTS <= 200
    assert (found["ttft_ms"][0], found["ttft_ms"][-1]) == (1.0, 999.0)
    assert found["ttft_ms"] == sorted(found["ttft_ms"])
    assert found["tpot_ms"] == []


def test_a_report_without_curves_has_percentiles_alone() -> None:
    content = data()
    for system in content["systems"]:
        del system["curves"]
    page = render(content)["report.html"]
    assert 'id="chart-ttft"' in page
    assert "chart-ttft-shares" not in page


def test_metrics_without_a_sample_are_dashes() -> None:
    content = data()
    for system in content["systems"]:
        system["metrics"] |= {"mean_tpot_ms": None, "p99_tpot_ms": None, "median_tpot_ms": None, "p90_tpot_ms": None}
        system["curves"]["tpot_ms"] = []
    assert Seen.of(render(content)["report.html"]).line("TPOT, mean") == ["TPOT, mean", "ms", "–", "–"]


def test_proofs_are_named_for_what_they_show() -> None:
    content = data()
    first, second = content["systems"]
    first["system"]["units"] = [unit("a", "proved"), unit("b", "other"), unit("c", "none")]
    second["system"]["units"] = [unit("a", "proved"), unit("d", "none", "analytical (a100)")]
    page = Seen.of(render(content)["report.html"])
    badges = {e.text: e.attributes["class"] for e in page.tags("span") if "badge" in (e.attributes.get("class") or "")}
    assert badges["proved"] == "badge proved"
    assert badges["proved at other parameters"] == "badge other-parameters"
    assert badges["not proved"] == "badge unproved"
    assert badges["analytical (a100)"] == "badge analytical"
    lines = [row for row in page.rows if len(row) == 7 and row[1] == "lut_tensor_core"]
    assert [(row[0], row[5], row[6]) for row in lines] == [
        ("a", "proved, it says", "all"),
        ("b", "other, it says", first["name"]),
        ("c", "none, it says", first["name"]),
        ("d", "none, it says", second["name"]),
    ]


def test_area_is_shown_where_known_and_said_to_be_unknown_elsewhere() -> None:
    content = data()
    known = {"component": "tensor", "kind": "gpu_tensor_core", "area_um2": 1500.0, "copies": 108, "total_mm2": 0.162}
    content["systems"][0]["area"] = [known | {"source_class": "synthesized", "source": "ASAP7"}]
    page = Seen.of(render(content)["report.html"])
    rows = [row for row in page.rows if len(row) == 8 and row[0] in ("tensor", "vector")]
    first, second = (system["name"] for system in content["systems"])
    assert ["tensor", "gpu_tensor_core", "1,500 µm²", "108", "0.1620 mm²", "synthesized", "ASAP7", first] in rows
    assert ["tensor", "gpu_tensor_core", "not known", "–", "–", "–", "–", second] in rows
    assert ["vector", "gpu_vector_unit", "not known", "–", "–", "–", "–", "all"] in rows
    assert page.line("Area of units, where known")[1:] == ["0.1620 mm² (1 of 2 kinds of unit)", "not known"]


def test_assumptions_are_each_listed_once_the_assumed_first() -> None:
    content = data()
    first, second = content["systems"]
    first["energy"] = [
        energy_row(joules=3.0, source_class="published"),
        energy_row("lut", "lookup", 1.0, source_class="synthesized"),
        energy_row("device", "static", 4.0, source_class="assumed"),
    ]
    second["energy"] = [energy_row(joules=3.0, source_class="published"), energy_row("lut", "lookup", 1.0, source_class="scaled")]
    rows = assumptions(content["systems"])
    assert [row["source_class"] for row in rows] == ["assumed", "scaled", "published", "synthesized"]
    static, read = rows[0], rows[2]
    assert (static["value"], static["unit"], static["largest_share"]) == (pytest.approx(4e6), "W", 0.5)
    assert (read["systems"], read["largest_share"]) == ("all", 0.75)
    page = Seen.of(render(content)["report.html"])
    badges = [e.text for e in page.tags("span") if (e.attributes.get("class") or "").removeprefix("badge ") in CLASSES]
    assert badges[-4:] == ["assumed", "scaled", "published", "synthesized"]


def test_every_source_of_the_ledger_is_in_the_report(report, page) -> None:
    cells = {cell for row in page.rows for cell in row}
    for result in served()[1]:
        for row in result.energy:
            assert row["source"] in cells


def test_shares_by_class_add_up_to_one() -> None:
    for system in data()["systems"]:
        assert math.fsum(class_shares(system).values()) == pytest.approx(1.0)


def test_static_energy_stands_apart_from_the_same_components_events() -> None:
    content = data()
    content["systems"] = content["systems"][:1]
    system = content["systems"][0]
    system["energy"] = [
        energy_row("hbm", "static", 1.0),
        energy_row("hbm", "read_byte", 2.0),
        energy_row("hbm", "write_byte", 3.0),
    ]
    system["metrics"]["total_output_tokens"] = 10
    assert stacks([system]) == {"hbm": [0.5], "hbm, static": [0.1]}


def test_provenance_names_trace_seed_hashes_and_versions() -> None:
    content = data()
    source = {"hash": "1234abcd", "experiment": "e0", "code": "c0", "versions": {"python": "3.11.2", "rtloom": "0.1"}, "seed": 7}
    for system in content["systems"]:
        system["provenance"] = source
    page = Seen.of(render(content)["report.html"])
    assert page.line("Run") == ["Run", "1234abcd", "all"]
    assert page.line("Digest of the code") == ["Digest of the code", "c0", "all"]
    assert page.line("Versions") == ["Versions", "python 3.11.2, rtloom 0.1", "all"]
    assert page.line("Seed") == ["Seed", "7", "all"]
    assert page.line("Digest of the trace")[1] == content["systems"][0]["trace"]["digest"]
    assert page.line("Policy")[1].startswith("chunked_prefill (max_batched_tokens = 512")


def test_markdown_has_the_tables_of_the_page(report, page) -> None:
    headings = [line.removeprefix("## ") for line in report["report.md"].splitlines() if line.startswith("## ")]
    assert headings[:3] == ["Systems", "Metrics", "Percentiles"]
    assert {"Energy per output token", "Roofs", "Area", "Units and proofs", "Assumptions and sources", "Provenance"} <= set(
        headings
    )
    lines = sum(line.startswith("|") for line in report["report.md"].splitlines())
    tables = len(page.tags("table"))
    assert lines == len(page.rows) + tables  # the rule below each heading
    assert "![" not in report["report.md"]


def test_one_name_twice_is_told_apart() -> None:
    assert distinct(["a", "b", "a", "a (2)", "a"]) == ["a", "b", "a (2)", "a (2) (2)", "a (3)"]
    experiment, results = served()
    names = [system["name"] for system in gather([results[0], results[0]], experiment)["systems"]]
    assert names == [results[0].name, f"{results[0].name} (2)"]


def test_no_result_is_refused(tmp_path) -> None:
    with pytest.raises(BadInput, match="wanted at least one result, got none"):
        write_report([], {}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_many_systems_stay_within_the_size_of_a_page() -> None:
    content = data()
    content["systems"] = [{**content["systems"][0], "name": f"system {i} " + "x" * 180} for i in range(60)]
    report = render(content)
    assert len(report["report.html"].encode()) <= 2_500_000
    assert "The charts show the first 12 systems; the tables show 48 more." in report["report.html"]
    assert len(Seen.of(report["report.html"]).line("TTFT, mean")) == 62
