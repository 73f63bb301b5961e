"""Is the mapped netlist the RTL, and is its area what was committed?"""

import gzip
import random
import sys
from itertools import pairwise

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given
from hypothesis import strategies as st

from accel.base.errors import ToolError
from accel.base.liberty import LibertyError, read_liberty, read_text, to_python
from accel.base.netlist import Netlist, share_gates
from accel.base.power_view import power_view
from accel.base.rtl import elaborate
from accel.base.synthesis import GATED_FLIPFLOPS, LibertyFiles, run_tool, synthesize
from accel.base.tech import Tech
from accel.table_precompute import TablePrecomputeUnit

LIBERTY = """
library (toy) {
  nom_voltage : 1; capacitive_load_unit (1, ff);
  cell (NAND) { area : 2; pin (A) { direction : input; capacitance : 1; } pin (B) { direction : input; capacitance : 1; }
    pin (Y) { direction : output; function : "!(A * B)"; } }
  cell ("BUF") { area : 1.5
    pin ("A") { direction : input; capacitance : 0.5; } pin (Y) { direction : output; function : "A"; } }
  cell (DFF) { area : 5; ff (IQ, IQN) { clocked_on : "CLK"; next_state : "!D"; }
    pin (CLK) { direction : input; clock : true; } pin (D) { direction : input; }
    pin (QN) { direction : output; function : "IQ"; } }
  cell (ICG) { area : 3; clock_gating_integrated_cell : latch_posedge;
    pin (C) { direction : input; clock_gate_clock_pin : true; } pin (E) { direction : input; clock_gate_enable_pin : true; }
    pin (G) { direction : output; clock_gate_out_pin : true; } }
}
"""


class Mac(wiring.Component):
    """o += a * b where en, o = 0 where clr."""

    def __init__(self):
        super().__init__({"a": In(signed(6)), "b": In(signed(6)), "en": In(1), "clr": In(1), "o": Out(signed(16))})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.clr):
            m.d.sync += self.o.eq(0)
        with m.Elif(self.en):
            m.d.sync += self.o.eq(self.o + self.a * self.b)
        return m


@pytest.fixture(scope="module")
def mac(asap7):
    return synthesize(rtlil.convert(Mac(), name="top", emit_src=False), asap7, period_ps=709)


def toy_design():
    """A flip-flop behind a clock gate that stores NAND(a, b) while e is high."""
    cells = {
        "n": {"type": "NAND", "connections": {"A": [3], "B": [4], "Y": [6]}},
        "g": {"type": "ICG", "connections": {"C": [2], "E": [5], "G": [7]}},
        "f": {"type": "DFF", "connections": {"CLK": [7], "D": [6], "QN": [8]}},
    }
    ports = {"clk": ("input", [2]), "a": ("input", [3]), "b": ("input", [4]), "e": ("input", [5]), "q": ("output", [8])}
    return {"modules": {"top": {"ports": {n: {"direction": d, "bits": b} for n, (d, b) in ports.items()}, "cells": cells}}}


def test_a_library_is_read_as_far_as_it_is_used():
    library = read_liberty({"toy.lib": LIBERTY})
    assert {n: c.area for n, c in library.cells.items()} == {"NAND": 2, "BUF": 1.5, "DFF": 5, "ICG": 3}
    assert library.cells["DFF"].is_flipflop
    assert library.cells["ICG"].gate == "latch_posedge"
    assert (library.volts, library.farads) == (1, 1e-15)


@pytest.mark.parametrize(
    ("function", "value"),
    [("(!A1 * B) + C", lambda a, b, c: (not a and b) or c), ("!((A1+B)*!C)", lambda a, b, c: not ((a or b) and not c))],
)
def test_functions_mean_what_liberty_says(function, value):
    text = to_python(function, {"A1": "a", "B": "b", "C": "c"})
    for bits in range(8):
        a, b, c = bits & 1, bits >> 1 & 1, bits >> 2
        assert eval(text, {"a": a, "b": b, "c": c}) & 1 == bool(value(a, b, c))


@pytest.mark.parametrize("function", ["A * Z", "A ^ B * A", "A; import os", "A'"])
def test_functions_that_are_not_understood_are_refused(function):
    with pytest.raises(LibertyError, match=r"wanted a Liberty function|mixes"):
        to_python(function, {"A": "a", "B": "b"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", r"is not a Liberty file.*no library group"),
        ("library (x) { }", r"is not a Liberty file.*no cells"),
        (LIBERTY[:-3], "does not parse"),
        (LIBERTY.replace("(NAND)", "(A; quit)"), "wanted a cell name of letters"),
        (LIBERTY.replace("ff (IQ", "gg (IQ").replace("next_state", "nothing"), "no plain rising-edge D flip-flop"),
        (LIBERTY.replace('function : "A";', 'function : "!A";'), "no buffer"),
    ],
)
def test_a_bad_library_is_refused_in_one_line(tmp_path, text, message):
    file = tmp_path / "bad.lib"
    file.write_text(text)
    with pytest.raises(LibertyError, match=message) as caught:
        LibertyFiles.read([file])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("area : 2;", "", r"line 4: cell NAND: wanted an area in um2, got none"),
        ("area : 2;", "area : -1;", r"line 4: cell NAND: wanted area as a number from 0 up, got '-1'"),
        ("area : 2;", "area : nan;", r"line 4: cell NAND: wanted area as a number from 0 up, got 'nan'"),
        ("area : 2;", "area : big;", r"line 4: cell NAND: wanted area as a number from 0 up, got 'big'"),
        ("capacitance : 0.5", "capacitance : x", r"line 7: cell BUF: wanted capacitance as a number from 0 up, got 'x'"),
        ("!(A * B)", "(A &", r"line 5: cell NAND, pin Y: wanted a function of A, B, Y with .*, got '\(A &'"),
        ("!(A * B)", "ZZZ", r"line 5: cell NAND, pin Y: wanted a function of A, B, Y with .*, got 'ZZZ'"),
        ('"!D"', '"!Z"', r"line 8: cell DFF: wanted a next_state of CLK, D, QN, IQ, IQN with .*, got '!Z'"),
        ('"!(A * B)"', '!(A * B)"', r"line 5: wanted a second quote on the line, got '\"; \} \}'"),
        ("area : 5;", "area : 5; /* so far", r"line 8: wanted \*/ to close the comment that begins here"),
        ("(1, ff)", "(1, dozen)", r"wanted capacitive_load_unit in ff or pf, got 'dozen'"),
        ("nom_voltage : 1", "nom_voltage : one", r"wanted nom_voltage as a number, got 'one'"),
        ("area : 2;", "area : 2; leakage_power () { value : x; }", r"line 4: cell NAND: wanted numbers in value, got 'x'"),
        (
            "area : 2;",
            'area : 2; t () { values ("1, 2", \\\n "3, a"); }',
            r"line 5: cell NAND: wanted numbers in values, got 'a'",
        ),
        ("area : 2;", "area : 2; t () { index_1 (1, 1..2); }", r"line 4: cell NAND: wanted numbers in index_1, got '1\.\.2'"),
    ],
)
def test_a_broken_attribute_is_found_with_its_line_cell_and_value(tmp_path, right, wrong, message):
    assert right in LIBERTY
    file = tmp_path / "bad.lib"
    file.write_text(LIBERTY.replace(right, wrong, 1))
    with pytest.raises(LibertyError, match=message) as caught:
        LibertyFiles.read([file])
    assert "bad.lib" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("byte", [b"\xff", b"\x00"])
def test_bytes_that_are_no_text_are_found(tmp_path, byte):
    file = tmp_path / "bad.lib"
    file.write_bytes(LIBERTY.encode().replace(b"(NAND)", b"(NA" + byte + b"ND)"))
    with pytest.raises(LibertyError, match=rf"bad\.lib', line 4: wanted text in UTF-8, got the byte 0x{byte.hex()}"):
        LibertyFiles.read([file])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("area : 5;", 'area : 5; /* "half a string, and a { */ // and "\n'),
        ("area : 2;", 'area : 2; about : "no /* comment, no // either";'),
        ('"!(A * B)"', '"(A B)\'"'),
        ("area : 3;", "dont_use : true;"),
        ("cell (ICG)", 'cell (FILL) { } cell (RAM) { area : 1; bus (Q) { function : "Q[1] A"; } pin (A) { } } cell (ICG)'),
        (
            "area : 2;",
            'area : 2; t () { values ("1, -2.5e-3 .5", "0.1, \\\n 2."); values (1); } leakage_power () { value : "1e-3"; }',
        ),
    ],
)
def test_what_liberty_allows_is_read(tmp_path, right, wrong):
    assert right in LIBERTY
    (tmp_path / "good.lib").write_text(LIBERTY.replace(right, wrong, 1))
    assert {"NAND", "BUF", "DFF", "ICG"} <= LibertyFiles.read([tmp_path / "good.lib"]).library.cells.keys()


def test_two_real_libraries_pass(shared, asap7):
    assert len(asap7.library.cells) == 202
    assert len(LibertyFiles.read(sorted((shared / "pdk/sky130hd").glob("*.lib.gz"))).library.cells) == 428


def test_the_order_of_the_files_does_not_matter(shared, asap7):
    named = {name: next((shared / "pdk/asap7").glob(f"*_{name}_*")) for name in ("SEQ", "INVBUF", "SIMPLE", "AO", "OA")}
    shuffled = LibertyFiles.read(list(named.values()))
    assert list(shuffled.texts.items()) == list(asap7.texts.items())
    assert shuffled.library.names == asap7.library.names
    few = LibertyFiles.read([named[name] for name in ("SEQ", "INVBUF", "SIMPLE")])
    assert synthesize(rtlil.convert(Mac(), name="top", emit_src=False), few, period_ps=709).area_um2 > 0
    with pytest.raises(LibertyError, match=r"no logic gates in .*add the Liberty file of the combinational cells"):
        LibertyFiles.read([named["INVBUF"], named["SEQ"]])


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(LibertyError, match=r"cannot read the Liberty file .*none\.lib"):
        read_text(tmp_path / "none.lib")
    (tmp_path / "cut.lib.gz").write_bytes(gzip.compress(LIBERTY.encode())[:40])
    with pytest.raises(LibertyError, match=r"cannot read the Liberty file .*cut\.lib\.gz"):
        read_text(tmp_path / "cut.lib.gz")


@given(st.lists(st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=1, max_size=12), min_size=1, max_size=9))
def test_lanes_toggles_and_gates_equal_one_by_one_stepping(workloads):
    netlist = Netlist(toy_design(), "top", read_liberty({"toy.lib": LIBERTY}))
    stimuli = [[dict(zip("abe", bits, strict=True)) for bits in w] for w in workloads]
    outputs, steps = netlist.run(stimuli)
    for given_bits, out, step in zip(workloads, outputs, steps, strict=True):
        q, seen = 1, []  # what the cell shows after a zero was clocked in
        for a, b, e in given_bits:
            seen.append(q)
            q = a & b if e else q  # the cell stores the complement of D = NAND(a, b)
        assert [o["q"] for o in out] == seen
        toggles = [sum(x != y for x, y in pairwise(col)) for col in zip(*given_bits, strict=True)]
        assert [step.toggles[n] for n in (3, 4, 5)] == toggles
        assert step.toggles[8] == sum(x != y for x, y in pairwise(seen))
        assert step.ones[7] == sum(e for *_, e in given_bits)
        assert step.toggles[7] == 2 * step.ones[7]


def test_gates_are_copied_until_none_drives_too_much():
    library = read_liberty({"toy.lib": LIBERTY})
    design = toy_design()
    cells = design["modules"]["top"]["cells"]
    for n in range(70):
        cells[f"f{n}"] = {"type": "DFF", "connections": {"CLK": [7], "D": [6], "QN": [20 + n]}}
    share_gates(design, "top", library, 32)
    netlist = Netlist(design, "top", library)
    loads = [netlist.gate_of(f) for f in netlist.flipflops]
    assert len(netlist.gates) == 3
    assert max(np.bincount(loads)) == 32
    assert sum(np.bincount(loads)) == 71


def test_power_views_average_states_and_count_the_supply_once():
    table = (
        'internal_power () {{ related_pg_pin : {pg}; when : "{when}"; rise_power (t) {{ index_1 ("1, 2"); values ("{v}"); }} }}'
    )
    power = "\n".join(
        table.format(pg=p, when=w, v=v) for p, w, v in [("VDD", "B", "1, 2"), ("VDD", "!B", "3, 6"), ("VSS", "B", "9, 9")]
    )
    cell = f"""library (x) {{ cell (C) {{ pg_pin (VSS) {{ pg_type : primary_ground; }} pg_pin (VDD) {{ pg_type : primary_power; }}
      leakage_power () {{ value : 7; when : "A"; related_pg_pin : VDD; }} leakage_power () {{ value : 5; related_pg_pin : VDD; }}
      pin (A) {{ direction : input; {power} }} pin (Y) {{ direction : output; {power} }} }} }}"""
    view = power_view(cell, "output")
    assert view.count("internal_power") == 1
    assert '"2, 4"' in view
    assert view.count("leakage_power") == 1
    assert "value : 5;" in view
    assert 'values ("1")' in power_view(cell, "data", unit=True)


def test_tools_fail_in_one_line(tmp_path):
    with pytest.raises(ToolError, match="Nothing is not installed"):
        run_tool("Nothing", ["no-such-tool"], tmp_path)
    with pytest.raises(ToolError, match=r"Python failed \(exit status 3\): last words"):
        run_tool("Python", [sys.executable, "-c", "print('last words'); raise SystemExit(3)"], tmp_path)
    with pytest.raises(ToolError, match=r"Python was stopped after 0.5 s"):
        run_tool("Python", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, seconds=0.5)


def test_the_mapped_netlist_computes_what_the_component_says(mac):
    assert len(mac.netlist.gates) == 1
    rng = random.Random(1)
    stimuli = [
        [
            {"a": rng.randrange(64), "b": rng.randrange(64), "en": rng.randrange(2), "clr": int(rng.random() < 0.1)}
            for _ in range(60)
        ]
        for _ in range(9)
    ]
    outputs, _ = mac.netlist.run(stimuli)
    for rows, out in zip(stimuli, outputs, strict=True):
        total = 0
        for row, seen in zip(rows, out, strict=True):
            assert seen["o"] == total & 0xFFFF
            a, b = ((v ^ 32) - 32 for v in (row["a"], row["b"]))
            total = 0 if row["clr"] else total + a * b * row["en"]


def test_area_is_the_sum_over_cells_and_registers_are_gated(mac, asap7):
    assert mac.area_um2 == pytest.approx(sum(asap7.library.cells[i.cell.name].area for i in mac.netlist.instances))
    assert len(mac.netlist.flipflops) == 16
    assert mac.sequential_um2 == pytest.approx(16 * asap7.flipflop().area + mac.netlist.gates[0].cell.area)
    assert GATED_FLIPFLOPS >= 16


def test_nobody_pays_for_counting_events(asap7):
    text = elaborate(TablePrecomputeUnit(rows=1, group=2))[1]
    netlist = synthesize(text, asap7, period_ps=709).netlist
    assert "events" not in netlist.ports
    assert "tables__valid" in netlist.ports


def test_a_small_unit_has_its_committed_area_again(asap7):
    unit = TablePrecomputeUnit()
    (entry,) = (e for e in Tech.load("asap7").entry if e.area is not None and e.matches("table_precompute", dict(unit)))
    assert synthesize(elaborate(unit)[1], asap7, period_ps=709).area_um2 == pytest.approx(entry.area, rel=0.01)


def test_paths_with_spaces_and_semicolons_are_only_names(shared, tmp_path):
    folder = tmp_path / "a b;c"
    folder.mkdir()
    copies = []
    for file in sorted((shared / "pdk/asap7").glob("*.lib.gz")):
        copies.append(folder / f"l {file.name}")
        copies[-1].write_bytes(file.read_bytes())
    files = LibertyFiles.read(copies)
    done = synthesize(rtlil.convert(Mac(), name="top", emit_src=False), files, period_ps=709)
    assert done.area_um2 > 0


BROKEN = "module \\top\n  cell \\missing \\c\n  end\nend\n"


def test_broken_rtlil_is_one_line(asap7):
    for text, message in (("this is no RTLIL", "wanted RTLIL with a module 'top', got modules none"), (BROKEN, "Yosys failed")):
        with pytest.raises(ToolError, match=message) as caught:
            synthesize(text, asap7, period_ps=709)
        assert "\n" not in str(caught.value)


def test_libraries_of_different_corners_are_refused():
    cell = 'cell (INV) { area : 1; pin (A) { direction : input; } pin (Y) { direction : output; function : "!A"; } }'
    texts = {f"{volts}.lib": f"library (l) {{ nom_voltage : {volts};\n {cell} }}" for volts in ("0.7", "1.8")}
    with pytest.raises(LibertyError, match=r"1\.8\.lib: wanted nom_voltage 0\.7 as in l, got 1\.8"):
        read_liberty(texts)
