"""Do characterised figures become entries of a technology file, and nothing else in it changes?"""

import datetime
import tomllib

import pytest

from accel.base.compose import Part
from accel.base.figures import Characterisation, entries, hardware, write_entries
from accel.base.fit import Fit
from accel.base.tech import Tech
from accel.table_precompute import TablePrecomputeUnit

DAY = datetime.date(2026, 1, 2)

END = {"class": "synthesized", "source": "here", "rtlil": "00"}


def _result(component="table_precompute", **other) -> Characterisation:
    found = Fit({"cycle": 1e-15, "table_write": 2.5e-14}, {}, 2.0, 0.01, 0.02, 24)
    plain = {
        "component": component,
        "parameters": {"rows": 2, "table_bits": "none"},
        "rtlil": "ab" * 32,
        "area_um2": 200.5,
        "sequential_um2": 60.0,
        "cells": 10,
        "parts": (),
        "composed_vs_flat": "",
        "how": "",
        "statistics": "activations int8 normal",
        "clock_mhz": 1400.0,
        "critical": "a to b",
        "leakage_w": 1e-7,
        "fit": found,
        "checked_cycles": 5,
        "seed": 0,
        "library": 'a "quoted" library',
        "tools": "Yosys",
        "note": "",
    }
    return Characterisation(**plain | other)


def test_entries_are_a_technology_and_other_units_stay(tmp_path):
    path = tmp_path / "mine.toml"
    write_entries(path, [_result(), _result("other")], date=DAY)
    write_entries(path, [_result(area_um2=300.0)], date=DAY)
    tech = Tech.from_data(tomllib.loads(path.read_text()))
    assert tech.name == "mine"
    assert {(e.component, e.event): e.energy or e.area for e in tech.entry} == pytest.approx(
        {
            ("table_precompute", None): 300.0,
            ("table_precompute", "cycle"): 1e-15,
            ("table_precompute", "table_write"): 2.5e-14,
            ("other", None): 200.5,
            ("other", "cycle"): 1e-15,
            ("other", "table_write"): 2.5e-14,
        }
    )
    assert all("2026-01-02" in e.source and e.source_class == "synthesized" for e in tech.entry)


def test_entries_from_before_a_unit_got_a_parameter_are_replaced(tmp_path):
    path = tmp_path / "mine.toml"
    write_entries(path, [_result(), _result(parameters={"rows": 3, "table_bits": "none"})], date=DAY)
    write_entries(path, [_result(parameters={"rows": 2, "table_bits": "none", "activations": "int8"})], date=DAY)
    tech = Tech.from_data(tomllib.loads(path.read_text()))
    assert {(e.parameters["rows"], len(e.parameters)) for e in tech.entry} == {(3, 2), (2, 3)}


def test_the_area_entry_says_what_was_composed_of_what(tmp_path):
    parts = (Part("pe", 16, 100, 90.0, 20.0), Part("top", 1, 50, 60.0, 30.0))
    area, *others = entries(_result(parts=parts, composed_vs_flat="area +1.1%, of x(rows=4)", how="scaled in rows"), DAY)
    assert "16 x pe 90.0 um2 + top 60.0 um2, composed against flat: area +1.1%, of x(rows=4)" in area["source"]
    assert all("scaled in rows; activations int8 normal" in e["source"] for e in others)


def test_a_file_that_is_something_else_is_left_alone(tmp_path):
    path = tmp_path / "notes.toml"
    path.write_text("precious = 1\n")
    with pytest.raises(ValueError, match="is not a technology file, and is left as it is"):
        write_entries(path, [_result()], date=DAY)
    assert path.read_text() == "precious = 1\n"


def test_a_parameter_left_out_is_told_from_one_that_is_set():
    unit = TablePrecomputeUnit()
    tech = Tech.from_data(
        {
            "name": "t",
            "about": "",
            "entry": [{"component": "table_precompute", "parameters": hardware(unit), "area": "1 um2"} | END],
        }
    )
    assert tech.entry[0].matches("table_precompute", dict(unit))
    assert not tech.entry[0].matches("table_precompute", dict(unit) | {"table_bits": 8})
    assert not tech.entry[0].matches("other", dict(unit))
