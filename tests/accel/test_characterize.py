"""Do joules per event add up to what the netlist draws, and is it said when they cannot be known?"""

import datetime
import doctest
import itertools
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given
from hypothesis import strategies as st

from accel.base import characterize as subject
from accel.base import power
from accel.base import tech as tech_module
from accel.base.activity import MappingError, Workload, record, replay
from accel.base.characterize import UnitError, characterize
from accel.base.compose import Part
from accel.base.cost import Cost
from accel.base.figures import Characterisation, entries, hardware, stale, units_of, write_entries
from accel.base.fit import Fit, carriers, fit, non_negative_least_squares
from accel.base.liberty import read_liberty
from accel.base.netlist import Netlist
from accel.base.operands import operands
from accel.base.rtl import ToolError, elaborate, rtlil_hash
from accel.base.spec import discover
from accel.base.stimuli import templates
from accel.base.streams import event_layout
from accel.base.synthesis import LibertyFiles, Synthesis, synthesize
from accel.base.tech import Tech
from accel.base.unit import RtlUnit
from accel.table_precompute import TablePrecomputeUnit
from workloads.formats import FORMATS
from workloads.ops import Linear

DAY = datetime.date(2026, 1, 2)


class DotProduct(RtlUnit):
    """One INT8 dot product of any length: a word of an activation and a 2-bit code per cycle."""

    executes = (Linear,)
    golden = "none"
    lanes: int = 1
    hangs: bool = False

    def limits(self, op):
        return {"m": 1, "n": 1}

    def check(self, op):
        super().check(op)
        if (op.activations.name, op.weights.name) != ("int8", "uint2"):
            raise ValueError("wanted int8 by uint2")

    def tile_cost(self, tile):
        return Cost(latency=tile.k + 2, interval=tile.k + 1, events={"mac": tile.k, "result": 1})

    def component(self):
        return _DotRtl(self.hangs)

    def encode_config(self, tile, n):
        return n * (tile.k + 1) << 8 | tile.k

    def encode(self, tile, *arrays):
        activations, codes = (np.asarray(a).reshape(-1).tolist() for a in arrays)
        return {"operands": [(a & 255) | c << 8 for a, c in zip(activations, codes, strict=True)]}

    def output_words(self, tile):
        return {"results": 1}

    def decode(self, tile, words):
        return (np.array([[(w ^ 1 << 23) - (1 << 23) for w in words["results"]]]),)

    @classmethod
    def examples(cls):
        yield cls(), Linear(m=1, n=1, k=5, weights=FORMATS["uint2"], activations=FORMATS["int8"])

    @classmethod
    def draw(cls, rng):
        return next(iter(cls.examples()))


class _DotRtl(wiring.Component):
    def __init__(self, hangs):
        self.hangs = hangs
        super().__init__(
            {
                "config": In(stream.Signature(40)),
                "operands": In(stream.Signature(data.StructLayout({"a": signed(8), "w": 2}))),
                "results": Out(stream.Signature(24)),
                "events": Out(event_layout(mac=1, result=1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        left, length, position, total = Signal(32), Signal(8), Signal(8), Signal(signed(24))
        take = Signal()
        m.d.comb += [
            self.config.ready.eq(left == 0),
            self.operands.ready.eq((left != 0) & ~self.results.valid & (not self.hangs)),
            take.eq(self.operands.ready & self.operands.valid),
            self.results.valid.eq((left != 0) & (position == length)),
            self.results.payload.eq(total),
            self.events.mac.eq(take),
            self.events.result.eq(self.results.valid & self.results.ready),
        ]
        with m.If(self.config.ready & self.config.valid):
            m.d.sync += [left.eq(self.config.payload[8:]), length.eq(self.config.payload[:8]), position.eq(0), total.eq(0)]
        with m.If(take):
            m.d.sync += [left.eq(left - 1), position.eq(position + 1)]
            m.d.sync += total.eq(total + self.operands.payload.a * self.operands.payload.w)
        with m.If(self.results.valid & self.results.ready):
            m.d.sync += [left.eq(left - 1), position.eq(0), total.eq(0)]
        return m


@pytest.fixture(scope="module")
def liberty(shared):
    return sorted((shared / "pdk/asap7").glob("*.lib.gz"))


@pytest.fixture(scope="module")
def asap7(liberty):
    return LibertyFiles.read(liberty)


@pytest.fixture(scope="module")
def figures(liberty):
    if power.opensta_version() is None:
        pytest.skip("OpenSTA is not installed (Debian: apt-get install opensta)")
    lines = []
    result = characterize(DotProduct(), liberty, seed=3, progress=lines.append)
    return result, lines


counts = st.lists(st.tuples(*[st.integers(1, 200)] * 3), min_size=12, max_size=20, unique=True)


@given(counts, st.tuples(*[st.floats(1e-15, 1e-11)] * 3))
def test_the_fit_finds_the_energies_that_made_the_joules(rows, truth):
    table = [dict(zip("abc", row, strict=True)) for row in rows]
    joules = [sum(n * e for n, e in zip(row, truth, strict=True)) for row in rows]
    try:
        found = fit(table, joules, held_out=3, worst_condition=50)
    except ValueError:  # drawn counts too alike: refusing is right, and tested below
        return
    if not found.carrier:
        assert [found.joules[n] for n in "abc"] == pytest.approx(truth, rel=1e-6, abs=1e-20)
        assert max(found.residual, found.held_out) < 1e-9


@given(st.lists(st.tuples(*[st.integers(-100, 100).map(lambda n: n / 100)] * 4), min_size=4, max_size=8))
def test_non_negative_least_squares_is_the_best_of_all_supports(rows):
    matrix, target = np.array(rows)[:, :3], np.array(rows)[:, 3]

    def distance(x):
        return float(np.linalg.norm(matrix @ x - target))

    best = distance(np.zeros(3))
    for support in itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in (1, 2, 3)):
        x = np.zeros(3)
        x[list(support)] = np.linalg.lstsq(matrix[:, support], target, rcond=None)[0]
        if (x >= 0).all():
            best = min(best, distance(x))
    found = non_negative_least_squares(matrix, target)
    assert (found >= 0).all()
    assert distance(found) == pytest.approx(best, abs=1e-6)


def test_proportional_events_are_charged_to_one_of_them():
    table = [{"load": n, "use": 3 * n, "cycle": c} for n, c in [(1, 9), (4, 2), (7, 7), (2, 30)]]
    found = fit(table, [2 * t["load"] + 5 * t["cycle"] for t in table], held_out=0, worst_condition=50)
    assert found.carrier == {"use": "load"}
    assert found.joules == pytest.approx({"load": 2, "use": 0, "cycle": 5})


def test_an_event_that_is_a_sum_of_others_is_charged_to_them():
    rng = np.random.default_rng(0)
    rows = rng.integers(1, 99, (12, 3)).tolist()
    table = [{"mac": a, "padding": b, "cycle": c, "output": a + b, "twice": 2 * c} for a, b, c in rows]
    joules = [3 * t["mac"] + t["padding"] + 4 * t["output"] + t["cycle"] for t in table]
    found = fit(table, joules, held_out=2, worst_condition=50)
    assert found.carrier == {"output": "mac + padding", "twice": "cycle"}
    assert found.joules == pytest.approx({"mac": 7, "padding": 5, "cycle": 1, "output": 0, "twice": 0}, abs=1e-9)


def test_it_is_the_sum_that_is_given_up_whatever_comes_first():
    assert carriers({"total": [3, 7, 9], "a": [1, 2, 7], "b": [2, 5, 2]}) == {"total": "a + b"}
    assert carriers({"a": [1, 2, 7], "total": [3, 7, 9], "b": [2, 5, 2]}) == {"total": "a + b"}


def test_a_badly_conditioned_fit_is_refused_with_its_condition_number():
    table = [{"a": 1000 * n, "b": 1000 * n + n % 2} for n in range(1, 9)]
    with pytest.raises(
        ValueError, match=r"badly conditioned: condition number .*, wanted at most 50; .*'a' from 'b'|'b' from 'a'"
    ):
        fit(table, [t["a"] for t in table], held_out=0, worst_condition=50)


def test_an_event_that_never_happens_is_not_priced():
    with pytest.raises(ValueError, match="never raise the event 'b'"):
        fit([{"a": 1, "b": 0}, {"a": 2, "b": 0}], [1.0, 2.0], held_out=0, worst_condition=50)


def test_opensta_counts_each_energy_once(asap7):
    """A chain of two buffers and a flip-flop: joules by hand from the library's own capacitances and tables."""
    if power.opensta_version() is None:
        pytest.skip("OpenSTA is not installed (Debian: apt-get install opensta)")
    flop, buffer = asap7.flipflop(), asap7.driver()
    cells = {
        "b": {"type": buffer.name, "connections": {"A": [3], "Y": [4]}},
        "f": {"type": flop.name, "connections": {"CLK": [2], "D": [4], "QN": [5]}},
    }
    ports = {"clk": ("input", [2]), "d": ("input", [3]), "q": ("output", [5])}
    module = {"ports": {n: {"direction": d, "bits": b} for n, (d, b) in ports.items()}, "cells": cells}
    netlist = Netlist({"modules": {"top": module}}, "top", asap7.library)
    priced = power.analyse(Synthesis(netlist, asap7.library, "none"), asap7, period_ps=1000)
    farads, volts = asap7.library.farads, asap7.library.volts
    load = float(flop.pins["D"]["capacitance"]) * farads
    switching = load * volts**2 / 2
    index = {i.name: n for n, i in enumerate(netlist.instances)}
    assert switching < priced.output_j[index["b"]] < switching + 1e-15  # tables of ASAP7 are below 1 fJ per toggle
    # Liberty, DFFHQNx1: CLK rises 0.12 fJ and falls 0.45 fJ, the means over the four states of D and QN, at small slews.
    assert priced.clock_j[index["f"]] == pytest.approx(0.57e-15, rel=0.03)
    assert priced.root_j == pytest.approx(float(flop.pins["CLK"]["capacitance"]) * farads * volts**2)
    idle, busy = netlist.run([[{}] * 50, [{"d": t % 2} for t in range(50)]])[1]
    assert priced.joules(idle) == pytest.approx(50 * (priced.root_j + priced.clock_j[index["f"]]))
    toggled = 49 * (priced.output_j[index["b"]] + priced.data_j[index["b"]] + priced.data_j[index["f"]])
    assert priced.joules(busy) - priced.joules(idle) == pytest.approx(toggled + 48 * priced.output_j[index["f"]])


def test_a_unit_is_characterised_from_end_to_end(figures):
    result, lines = figures
    assert result.area_um2 > result.sequential_um2 > 10
    assert result.clock_mhz > 300
    assert 0 < result.leakage_w < 1e-6
    assert result.checked_cycles > 2000
    assert set(result.fit.joules) == {"cycle", "mac", "result"}
    assert result.fit.joules["mac"] > result.fit.joules["cycle"] > 0
    assert 1e-15 < result.fit.joules["mac"] < 1e-12
    assert max(result.fit.residual, result.fit.held_out) < 0.15
    assert result.fit.condition < subject.WORST_CONDITION
    assert lines[0] == "reading Liberty files"
    assert any(line.startswith("simulating workload 2 of") for line in lines)


def test_without_opensta_there_is_the_area_and_it_says_so(monkeypatch, figures, liberty):
    monkeypatch.setattr(power, "COMMAND", "no-such-sta")
    lines = []
    result = characterize(DotProduct(), liberty, progress=lines.append)
    assert result.area_um2 == figures[0].area_um2
    assert (result.fit, result.clock_mhz, result.leakage_w) == (None, None, None)
    assert "OpenSTA is not installed: area only" in result.note
    assert result.note in lines
    assert [set(row) & {"area", "power", "energy"} for row in entries(result, DAY)] == [{"area"}]


def _workload(unit, k=6):
    tile = Linear(m=1, n=1, k=k, weights=FORMATS["uint2"], activations=FORMATS["int8"])
    return Workload(((tile, (operands(tile, np.random.default_rng(1)),)),), idle=3)


def test_a_netlist_that_differs_from_the_rtl_is_found(asap7):
    unit = DotProduct()
    mapped = synthesize(elaborate(unit)[1], asap7, period_ps=709)
    recordings = record(unit, [_workload(unit)], 0, lambda line: None)
    assert replay(mapped.netlist, recordings)[0].cycles == len(recordings[0].inputs)
    wrong = recordings[0].outputs[-5]
    wrong["config__ready"] ^= 1
    with pytest.raises(MappingError, match=r"differs from the RTL: workload 0, cycle \d+, config__ready: wanted 0x"):
        replay(mapped.netlist, recordings)


def test_a_unit_that_stops_is_reported_with_its_state():
    unit = DotProduct(hangs=True)
    with pytest.raises(
        MappingError, match=r"test_characterize hangs in simulation: words still due \{'results': 1\}, words taken"
    ):
        record(unit, [_workload(unit)], 0, lambda line: None)


def test_an_input_changes_only_when_its_word_has_been_taken():
    """As behind a producer's register: gaps filled with zeros would toggle the logic twice for each word."""
    unit = DotProduct()
    tile, arrays = _workload(unit, k=20).runs[0]
    (recording,) = record(unit, [Workload(((tile, arrays),), stall=0.6)], 0, lambda line: None)
    words = [row["operands__payload"] for row in recording.inputs]
    taken = [i["operands__valid"] and o["operands__ready"] for i, o in zip(recording.inputs, recording.outputs, strict=True)]
    offered = [row["operands__valid"] for row in recording.inputs]
    assert any(not o for o in offered[10:30])
    for t in range(1, len(words)):
        assert words[t] == words[t - 1] or (offered[t] and not offered[t - 1]) or taken[t - 1]


def test_a_unit_for_which_no_op_can_be_drawn_is_said(liberty, monkeypatch):
    if power.opensta_version() is None:
        pytest.skip("OpenSTA is not installed (Debian: apt-get install opensta)")
    monkeypatch.setattr(DotProduct, "check", _refuse)
    with pytest.raises(UnitError, match=r"none of \d+ examples and draws of test_characterize fits these parameters"):
        characterize(DotProduct(), liberty)


def _refuse(unit, op):
    raise ValueError("never")


def test_events_of_a_workload_are_those_of_the_price():
    assert _workload(DotProduct(), k=9).events(DotProduct()) == Counter(mac=9, result=1)


def test_operands_have_the_statistics_that_the_source_names():
    op = Linear(m=200, n=300, k=100, weights=FORMATS["ternary"], activations=FORMATS["int8"])
    activations, weights = operands(op, np.random.default_rng(0))
    assert (activations.shape, weights.shape) == ((200, 100), (300, 100))
    assert activations.std() == pytest.approx(32, rel=0.02)
    assert np.bincount(weights.ravel()) / weights.size == pytest.approx([1 / 3] * 3, abs=0.01)


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


END = {"class": "synthesized", "source": "here", "rtlil": "00"}


def test_committed_figures_are_of_the_rtl_as_it_is():
    """Where this fails: python -m accel.base.characterize accel/tech/asap7.toml LIBERTY... (accel/tech/README.md)."""
    tech, known = Tech.load("asap7"), discover("accel", RtlUnit)
    assert stale(tech, known) == []
    changed = tech.entry[0].model_copy(update={"rtlil": "0" * 64})
    assert stale(tech.model_copy(update={"entry": (changed,)}), known) != []


@pytest.mark.parametrize("unit", units_of(Tech.load("asap7"), discover("accel", RtlUnit)), ids=str)
def test_each_unit_has_an_entry_for_each_of_its_events_at_all_its_parameters(unit):
    found = [e for e in Tech.load("asap7").entry if e.matches(unit.kind(), dict(unit))]
    tiles = [next(tile for tile, count in unit.runs(op) if count) for op in templates(unit, np.random.default_rng(0))]
    assert {e.event for e in found} == {None, "cycle"}.union(*(unit.tile_cost(tile).events for tile in tiles))
    assert {e.rtlil for e in found} == {rtlil_hash(unit)}
    assert all(set(e.parameters) == set(dict(unit)) for e in found)


def test_the_readme_tells_the_truth():
    readme = Path(tech_module.__file__).parent.parent / "tech" / "README.md"
    failures, tried = doctest.testfile(str(readme), module_relative=False)
    assert (failures, tried > 3) == (0, True)


class MacArray(wiring.Component):
    """The multiply-accumulate twin of a LUT core: the same tile and drain, INT8 x ``bits`` products instead of look-ups.

    rows x columns INT32 accumulators each take ``depth`` products a cycle, so that with depth = group / planes both do the same
    number of multiply-accumulates per cycle.
    """

    def __init__(self, rows, columns, depth, bits):
        self.shape = (rows, columns, depth, bits)
        activations = data.ArrayLayout(data.ArrayLayout(signed(8), depth), rows)
        weights = data.ArrayLayout(data.ArrayLayout(signed(bits), depth), columns)
        super().__init__(
            {
                "a": In(activations),
                "w": In(weights),
                "load_a": In(1),
                "load_w": In(1),
                "add": In(1),
                "first": In(1),
                "last": In(1),
                "row": In(range(max(rows, 2))),
                "o": Out(32 * columns),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rows, columns, depth, _ = self.shape
        a, w = Signal.like(self.a), Signal.like(self.w)
        with m.If(self.load_a):
            m.d.sync += a.eq(self.a)
        with m.If(self.load_w):
            m.d.sync += w.eq(self.w)
        results = []
        for r in range(rows):
            results.append([Signal(32, name=f"result_{r}_{c}") for c in range(columns)])
            for c in range(columns):
                total, after = Signal(signed(32), name=f"total_{r}_{c}"), Signal(signed(32), name=f"after_{r}_{c}")
                m.d.comb += after.eq(Mux(self.first, 0, total) + sum(a[r][k] * w[c][k] for k in range(depth)))
                with m.If(self.add):
                    m.d.sync += total.eq(after)
                with m.If(self.add & self.last):
                    m.d.sync += results[r][c].eq(after)
        with m.Switch(self.row):
            for r in range(rows):
                with m.Case(r):
                    for c in range(columns):
                        m.d.comb += self.o[32 * c : 32 * c + 32].eq(results[r][c])
        return m


def test_looking_up_takes_less_area_than_multiplying(asap7):
    """LUT core against INT8 x INT8 products at the same tile and rate, W2: the direction of the paper's figure 13."""
    from amaranth.back import rtlil

    lut = discover("accel", RtlUnit)["lut_tensor_core"](rows=2, columns=8, group=4, weight_bits=2)
    looking_up = synthesize(elaborate(lut)[1], asap7, period_ps=709).area_um2
    twin = MacArray(rows=2, columns=8, depth=2, bits=8)  # 4 products per 2 planes
    multiplying = synthesize(rtlil.convert(twin, name="top", emit_src=False), asap7, period_ps=709).area_um2
    assert multiplying > 1.5 * looking_up


def test_a_missing_tool_is_named(asap7, monkeypatch):
    monkeypatch.setattr(power, "COMMAND", "no-such-sta")
    netlist = Netlist({"modules": {"top": {"ports": {}, "cells": {}}}}, "top", read_liberty(dict(asap7.texts)))
    with pytest.raises(ToolError, match="OpenSTA is not installed"):
        power.analyse(Synthesis(netlist, asap7.library, "none"), asap7, period_ps=709)
