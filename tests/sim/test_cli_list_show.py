"""`rtloom list` and `rtloom show`: is everything that can be named listed, and shown with what a user must know?"""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from accel.base.spec import discover
from accel.base.unit import Unit
from sim.commands.catalogue import LISTS, SINGULAR

VERBS = ("run", "compare", "price", "report", "list", "show", "cost", "rtl", "verify", "characterize", "reproduce", "bench")
HEAVY = ("amaranth", "bokeh", "cocotb", "numpy", "pandas", "pyarrow", "pydantic", "simpy", "torch")


def test_the_help_loads_nothing_heavy(root) -> None:
    script = f"import sys, sim.cli; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


def test_every_verb_of_the_design_has_help(rtloom) -> None:
    text = rtloom("--help").stdout
    for verb in [
        "run",
        "compare",
        "price",
        "report",
        "list",
        "show",
        "cost",
        "rtl",
        "verify",
        "characterize",
        "reproduce",
        "bench",
    ]:
        assert f"\n  {verb} " in text
        assert "--json" in rtloom(verb, "--help").stdout


@pytest.mark.parametrize("what", LISTS)
def test_every_list_has_rows_of_kind_summary_class_and_proof(rtloom, what: str) -> None:
    rows = rtloom("list", what, "--json").json()
    assert rows
    for row in rows:
        assert set(row) == {"kind", "summary", "class", "proof"}
        assert row["summary"]
    text = rtloom("list", what).stdout
    assert all(row["kind"] in text for row in rows)


def test_singular_words_are_understood(rtloom) -> None:
    for singular, plural in SINGULAR.items():
        assert rtloom("list", singular).stdout == rtloom("list", plural).stdout


def test_units_say_how_they_are_priced(rtloom) -> None:
    rows = {row["kind"]: row for row in rtloom("list", "units", "--json").json()}
    assert set(rows) == set(discover("accel", Unit)) | set(discover("pim", Unit))
    assert rows["gpu_tensor_core"]["class"] == "analytical"
    assert rows["gpu_tensor_core"]["proof"] is None
    assert rows["lut_tensor_core"]["class"] == "RTL"
    assert rows["lut_tensor_core"]["proof"] in ("proved", "other", "none")


def test_an_unknown_list_is_answered_with_the_nearest(rtloom) -> None:
    assert "unknown list 'modles'; did you mean 'models'?" in rtloom("list", "modles", code=2).stderr


def test_out_gets_what_json_prints(rtloom, folder) -> None:
    done = rtloom("list", "units", "--json", "--out", "some where")
    assert (folder / "some where" / "list.json").read_text().strip() == done.stdout.strip()


def test_everything_listed_can_be_shown(rtloom) -> None:
    for what in LISTS:
        for row in rtloom("list", what, "--json").json():
            shown = rtloom("show", what, row["kind"], "--json").json()
            assert shown["kind"] == what
            assert shown["name"] == row["kind"]


def test_a_unit_is_shown_with_its_fields(rtloom) -> None:
    shown = rtloom("show", "lut_tensor_core", "--json").json()
    fields = {field["name"]: field for field in shown["fields"]}
    assert fields["rows"] == {"name": "rows", "wanted": "integer >= 1, <= 8", "default": 2, "about": fields["rows"]["about"]}
    assert fields["rows"]["about"]
    assert shown["executes"] == ["linear"]


def test_a_quantity_is_shown_with_its_unit(rtloom) -> None:
    fields = {field["name"]: field for field in rtloom("show", "dram", "--json").json()["fields"]}
    assert fields["capacity"]["wanted"] == 'text such as "1 B"'
    assert fields["capacity"]["default"] == "required"


def test_a_design_is_shown_resolved_and_overridden(rtloom) -> None:
    text = rtloom("show", "small.toml", "--set", "units.tensor.count=216").stdout
    assert tomllib.loads(text)["units"]["tensor"]["count"] == 216
    assert tomllib.loads(text)["memory_utilization_permille"] == 900, "a default is missing"
    assert "models cannot" in rtloom("show", "llama-2-7b", "--set", "layers=3", code=2).stderr


def test_an_experiment_by_path_and_a_model_are_shown(rtloom) -> None:
    assert tomllib.loads(rtloom("show", "experiment.toml").stdout)["trace"]["file"] == "trace.csv"
    assert rtloom("show", "model", "llama-2-7b", "--json").json()["resolved"]["parameters"] == 6_738_415_616


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a100_80g"], "unknown name 'a100_80g'; did you mean 'a100_80gb'?"),
        (["designs", "h10"], "unknown design 'h10'; did you mean 'h100'?"),
        (["dezigns", "h100"], "unknown kind of thing 'dezigns'; did you mean 'designs'?"),
        (["a", "b", "c"], "wanted NAME or KIND NAME, got 3 words"),
        (["designs", "no/such.toml"], "no/such.toml: cannot read the design: No such file or directory"),
    ],
)
def test_what_cannot_be_shown_is_said(rtloom, words: list[str], message: str) -> None:
    assert message in rtloom("show", *words, code=2).stderr


def test_a_dram_part_shows_which_entries_are_scaled_or_assumed(rtloom) -> None:
    shown = tomllib.loads(rtloom("show", "hbm2/dramsim3_8gb_2000").stdout)
    assert shown["scaled"]["trtp"] == "tRTP_L"
    assert set(shown["assumed"]) == {"turnaround"}
    assert shown["timing"]["tfaw"] == 30
    (row,) = [row for row in rtloom("list", "parts", "--json").json() if row["kind"] == "hbm2/dramsim3_8gb_2000"]
    assert row["class"] == "assumed, published, scaled"


def test_a_nand_part_shows_its_figures_and_what_follows_from_them(rtloom) -> None:
    shown = tomllib.loads(rtloom("show", "mqsim").stdout)
    assert (shown["cell"], shown["channels"], shown["page_bytes"]) == ("mlc", 8, 8192)
    assert (shown["channels_mb_per_s"], shown["array_read_mb_per_s"]) == (2664, 13981)
    (row,) = [row for row in rtloom("list", "parts", "--json").json() if row["kind"] == "mqsim"]
    assert row["class"] == "assumed, scaled"
    assert "did you mean 'mqsim'?" in rtloom("show", "part", "mqsin", code=2).stderr


def test_a_link_shows_its_figures_and_its_payload_bandwidth(rtloom) -> None:
    shown = tomllib.loads(rtloom("show", "pcie4_x4").stdout)
    assert (shown["bandwidth"], shown["header"], shown["payload_mb_per_s"]) == ("7877 MB/s", "24 B", 7201)
    (row,) = [row for row in rtloom("list", "links", "--json").json() if row["kind"] == "nvlink_a100"]
    assert row["class"] == "assumed, published"  # its latency, and its bandwidth and energy
    assert "unknown link 'pcie4x4'; did you mean 'pcie4_x4'?" in rtloom("show", "link", "pcie4x4", code=2).stderr
