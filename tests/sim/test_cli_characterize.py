"""`rtloom characterize`: does a technology file come out that designs can name?"""

from __future__ import annotations

import math
import tomllib

from accel.base.figures import Characterisation
from accel.base.power import opensta_version
from accel.base.tech import Tech

SMALL = ("characterize", "table_precompute", "--set", "rows=1", "--set", "group=2")


def test_a_unit_is_characterised_into_a_technology_file(rtloom, folder, shared) -> None:
    liberty = sorted((shared / "pdk" / "asap7").glob("*.lib.gz"))
    assert liberty
    done = rtloom(*SMALL, "--liberty", *liberty, "--out", "tech", "--json")
    figures = done.json()
    assert figures["component"] == "table_precompute"
    assert figures["parameters"] == {"rows": 1, "group": 2, "table_bits": "none"}
    assert 0 < figures["sequential_um2"] < figures["area_um2"]
    tech = Tech.from_data(tomllib.loads((folder / "tech" / "table_precompute.toml").read_text()))
    (static,) = [entry for entry in tech.entry if entry.event is None]
    assert math.isclose(static.area, figures["area_um2"], rel_tol=1e-5)
    assert {entry.source_class for entry in tech.entry} == {"synthesized"}
    events = {entry.event: entry.energy for entry in tech.entry if entry.event}
    if opensta_version() is None:
        assert "OpenSTA is not installed: area only" in figures["note"]
        assert events == {}
    else:
        assert events["table_write"] > 0
        assert figures["clock_mhz"] > 100


def test_a_file_that_is_no_technology_is_left_as_it_is(rtloom, folder, monkeypatch) -> None:
    figures = Characterisation(
        component="table_precompute", parameters={"rows": 1}, rtlil="00", area_um2=2.0, sequential_um2=1.0, cells=3,
        clock_mhz=None, critical="", leakage_w=None, fit=None, checked_cycles=0, seed=0, library="lib", tools="yosys", note="",
        parts=(), composed_vs_flat="", how="", statistics="",
    )  # fmt: skip
    monkeypatch.setattr("accel.base.characterize.characterize", lambda *args, **options: figures)
    (folder / "a.lib").touch()
    (folder / "table_precompute.toml").write_text("mine = 1\n")
    done = rtloom(*SMALL, "--liberty", "a.lib", "--out", ".", "--json", code=2)
    assert "table_precompute.toml is not a technology file, and is left as it is" in done.stderr
    assert done.json()["cells"] == 3, "what took minutes is shown all the same"
    assert (folder / "table_precompute.toml").read_text() == "mine = 1\n"


def test_what_cannot_be_characterised_is_said(rtloom, folder) -> None:
    (folder / "a.lib").write_text("no library")
    assert "a.lib" in rtloom(*SMALL, "--liberty", "a.lib", code=2).stderr
    assert "--liberty: none.lib: no such file" in rtloom(*SMALL, "--liberty", "a.lib", "none.lib", code=2).stderr
    assert "has no RTL" in rtloom("characterize", "gpu_vector_unit", "--liberty", "a.lib", code=2).stderr
    assert "Missing option '--liberty'" in rtloom("characterize", "table_precompute", code=2).stderr
