"""Clock, leakage and energy of a mapped netlist: joules per toggle from OpenSTA, toggles from simulation.

Dynamic energy is linear in what toggles, so OpenSTA is asked once for each instance i, at its real load and slews, and

    E = sum_i toggles_i (switching_i + internal_i) + sum_i inputs_i hidden_i          over outputs, over data inputs (their mean)
      + sum_f open_f clock_f + sum_g open_g (switching_g + internal_g) + cycles (sum_g clock_g + C V^2)

over flip-flops f that their clock gate opened in open_f cycles, and clock gates g; C is the capacitance of the pins on the clock
input, which no cell of the netlist drives. Leaving the product to OpenSTA 2.0 would be wrong twice: it recomputes the activity of
every output from its inputs as if these were independent, and it lets gated clocks run.
"""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np

from accel.base.errors import ToolError
from accel.base.liberty import gate_pin
from accel.base.netlist import Instance, Netlist, Step
from accel.base.power_view import PowerPins, only_cells, power_view
from accel.base.synthesis import LibertyFiles, Synthesis, run_tool, working_folder

COMMAND = "sta"
Row = tuple[float, float, float]  # internal, switching and leakage power in W


@dataclass(frozen=True)
class Power:
    """What OpenSTA says of a netlist. Joules are per toggle, of a clock pin per cycle; by position in ``netlist.instances``."""

    netlist: Netlist
    output_j: tuple[float, ...]
    clock_j: tuple[float, ...]
    data_j: tuple[float, ...]
    root_j: float
    leakage_w: float
    shortest_ps: float | None
    critical: str
    tool: str

    def joules(self, step: Step) -> float:
        """Dynamic energy of one workload on the netlist (see the module's docstring)."""
        per_toggle, per_one, per_cycle = self._coefficients
        return float(per_toggle @ step.toggles + per_one @ step.ones + per_cycle * step.cycles)

    @cached_property
    def _coefficients(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Joules by net of a toggle, joules by net of a cycle at one (of a gated clock: open), joules of a cycle."""
        per_toggle, per_one = np.zeros((2, self.netlist.nets))
        per_cycle = self.root_j
        for n, instance in enumerate(self.netlist.instances):
            outputs = [b for p in instance.cell.outputs() if isinstance(b := instance.nets.get(p), int)]
            clocks = _clock_pins(instance)
            data = [b for p, b in instance.nets.items() if isinstance(b, int) and p not in clocks and b not in outputs]
            if instance.cell.gate:
                per_one[outputs[0]] += self.output_j[n]
                per_cycle += self.clock_j[n]
            else:
                per_toggle[outputs] += self.output_j[n]
            if instance.cell.is_flipflop:
                gate = self.netlist.gate_of(instance)
                if gate is None:
                    per_cycle += self.clock_j[n]
                else:
                    cell = self.netlist.gates[gate]
                    per_one[cell.nets[gate_pin(cell.cell, "out")]] += self.clock_j[n]
            for net in data:
                per_toggle[net] += self.data_j[n] / len(data)
        return per_toggle, per_one, per_cycle


def opensta_version() -> str | None:
    """The version of OpenSTA, or None where it is not installed."""
    if shutil.which(COMMAND) is None:
        return None
    with working_folder() as folder:
        version = run_tool("OpenSTA", [COMMAND, "-version"], folder, seconds=30).strip()
    if not re.fullmatch(r"\d\S*", version):
        got = repr(version.splitlines()[0]) if version else "nothing"
        raise ToolError(
            f"{shutil.which(COMMAND)!r} is not a working OpenSTA: wanted its version from '{COMMAND} -version', got {got}"
        )
    return version


def analyse(synthesis: Synthesis, files: LibertyFiles, *, period_ps: int) -> Power:
    """Time the netlist and price its toggles. Raises ToolError where OpenSTA is missing or fails."""
    version = opensta_version()
    if version is None:
        raise ToolError(f"OpenSTA is not installed (wanted the command {COMMAND!r}; Debian and Ubuntu: apt-get install opensta)")
    netlist = _whole(synthesis)
    texts = _used(files, {i.cell.name for i in netlist.instances} | {files.driver().name})
    scales = _scales(files, period_ps)
    seconds = period_ps * 1e-12
    joules: dict[PowerPins, list[float]] = {}
    for kind in get_args(PowerPins):
        checks, report = _report(files, texts, netlist, kind, period_ps)
        joules[kind] = [seconds * report[n][0] / scales[kind, i.is_clocked] for n, i in enumerate(netlist.instances)]
    shortest, critical = _path(checks, netlist, period_ps)
    switching = [seconds * row[1] / max(i.driven, 1) for row, i in zip(report, netlist.instances, strict=True)]
    return Power(
        netlist,
        tuple(
            internal / max(i.driven, 1) + net
            for internal, net, i in zip(joules["output"], switching, netlist.instances, strict=True)
        ),
        tuple(joules["clock"]),
        tuple(joules["data"]),
        _root_capacitance(netlist) * files.library.farads * files.library.volts**2,
        sum(row[2] for row in report),
        shortest,
        critical,
        f"OpenSTA {version}",
    )


def static(synthesis: Synthesis, files: LibertyFiles, *, period_ps: int) -> tuple[float, float | None, str]:
    """Leakage in W, and where there is one netlist the shortest period in ps and its path: of designs too large for `analyse`."""
    kinds = sorted(synthesis.kinds)
    pins = itertools.count(2)
    cells = {kind: {"type": kind, "connections": {pin: [next(pins)] for pin in files.library.cells[kind].pins}} for kind in kinds}
    one_of_each = Netlist({"modules": {"top": {"ports": {}, "cells": cells}}}, "top", files.library)
    _, rows = _report(files, _used(files, {*kinds, files.driver().name}), one_of_each, "output", period_ps)
    leakage = sum(synthesis.kinds[kind] * row[2] for kind, row in zip(kinds, rows, strict=True))
    if synthesis.netlist is None:
        return leakage, None, ""
    checks, _ = _run(files, _used(files, {*kinds, files.driver().name}), synthesis.netlist, "output", period_ps, power=False)
    return leakage, *_path(checks, synthesis.netlist, period_ps)


def _whole(synthesis: Synthesis) -> Netlist:
    if synthesis.netlist is None:
        raise ValueError(f"a design of {synthesis.cells} cells is too large to be handled cell by cell")
    return synthesis.netlist


def _path(checks: str, netlist: Netlist, period_ps: int) -> tuple[float | None, str]:
    """The shortest period, and the ends of the path that asks for it."""
    slack = re.search(r"(-?[\d.]+)\s+slack", checks)
    ends = re.findall(r"^(?:Startpoint|Endpoint): (\S+)", checks, re.M)
    return period_ps - float(slack[1]) if slack else None, " to ".join(_port_or_cell(netlist, name) for name in ends)


def _used(files: LibertyFiles, cells: set[str]) -> dict[str, str]:
    """Each Liberty file that defines one of ``cells``, cut down to these."""
    wanted = {name: {c for c in cells if files.library.cells[c].file == name} for name in files.texts}
    return {name: only_cells(files.texts[name], found) for name, found in wanted.items() if found}


def _run(
    files: LibertyFiles,
    texts: Mapping[str, str],
    netlist: Netlist,
    kind: PowerPins,
    period_ps: int,
    *,
    unit: bool = False,
    power: bool = True,
) -> tuple[str, str]:
    """OpenSTA's reports of timing and of power."""
    with working_folder() as folder:
        names = [f"library_{n}.lib" for n in range(len(texts))]
        for name, text in zip(names, texts.values(), strict=True):
            (folder / name).write_text(power_view(text, kind, unit=unit))
        (folder / "netlist.v").write_text(verilog(netlist))
        (folder / "script.tcl").write_text(_script(files, names, netlist, period_ps, power))
        output = run_tool("OpenSTA", [COMMAND, "-no_init", "-no_splash", "-exit", "script.tcl"], folder)
    checks, _, report = output.partition("@power")
    return checks, report


def _report(
    files: LibertyFiles, texts: Mapping[str, str], netlist: Netlist, kind: PowerPins, period_ps: int, *, unit: bool = False
) -> tuple[str, list[Row]]:
    """OpenSTA's timing report, and each instance's power in W with every pin toggling once per cycle."""
    checks, report = _run(files, texts, netlist, kind, period_ps, unit=unit)
    rows = dict(_instances(report))
    missing = [f"u{n}" for n in range(len(netlist.instances)) if f"u{n}" not in rows]
    if missing:
        raise ToolError(
            f"OpenSTA reported no power of {len(missing)} of {len(netlist.instances)} cells: {checks.strip()[-200:]!r}"
        )
    return checks, [rows[f"u{n}"] for n in range(len(netlist.instances))]


def _scales(files: LibertyFiles, period_ps: int) -> dict[tuple[PowerPins, bool], float]:
    """How often OpenSTA counts an energy that is drawn once per toggle (clock pins toggle twice per cycle), by pin and cell.

    Version 2.0 counts what a clock edge causes twice. Measured, not assumed: a buffer and a flip-flop whose tables all say 1.
    """
    flop, buffer = files.flipflop(), files.driver()
    clock = flop.state["clocked_on"].strip("() ")
    data = next(p for p, pin in flop.pins.items() if pin.get("direction") == "input" and p != clock)
    (source,) = (p for p, pin in buffer.pins.items() if pin.get("direction") == "input")
    cells = {
        "u0": (flop.name, {clock: [2], data: [3], flop.outputs()[0]: [4]}),
        "u1": (buffer.name, {source: [3], buffer.outputs()[0]: [5]}),
    }
    design = {
        "ports": {
            "clk": {"direction": "input", "bits": [2]},
            "d": {"direction": "input", "bits": [3]},
            "q": {"direction": "output", "bits": [4, 5]},
        },
        "cells": {name: {"type": kind, "connections": nets} for name, (kind, nets) in cells.items()},
    }
    netlist = Netlist({"modules": {"top": design}}, "top", files.library)
    texts = _used(files, {flop.name, buffer.name})
    scales: dict[tuple[PowerPins, bool], float] = {}
    for kind in get_args(PowerPins):
        _, report = _report(files, texts, netlist, kind, period_ps, unit=True)
        once = files.library.farads / (period_ps * 1e-12)  # the unit of energy is that of capacitance times 1 V^2
        for clocked, row in zip((True, False), report, strict=True):
            expected = (2 if kind == "clock" else 1) * once
            scales[kind, clocked] = row[0] / expected or 1.0  # a pin without a table draws nothing
    return scales


def _port_or_cell(netlist: Netlist, name: str) -> str:
    if name.startswith("u"):
        return netlist.instances[int(name[1:])].cell.name
    return [port for port, (_, bits) in netlist.ports.items() for _ in bits][int(name[1:])]


def verilog(netlist: Netlist) -> str:
    """The netlist as Verilog with names of its own: nets n<i>, instances u<i>, one scalar port per bit p<i>."""
    ports = [(d, f"p{n}", bit) for n, (d, bit) in enumerate((d, b) for d, bits in netlist.ports.values() for b in bits)]
    lines = [f"module top ({', '.join(name for _, name, _ in ports)});"]
    lines += [f"{direction} {name};" for direction, name, _ in ports]
    lines += [f"wire n{n};" for n in range(netlist.nets)]
    for direction, name, bit in ports:
        lines.append(f"assign {_wire(bit)} = {name};" if direction == "input" else f"assign {name} = {_wire(bit)};")
    for n, instance in enumerate(netlist.instances):
        pins = ", ".join(f".{pin}({_wire(bit)})" for pin, bit in instance.nets.items())
        lines.append(f"{instance.cell.name} u{n} ({pins});")
    return "\n".join([*lines, "endmodule", ""])


def _wire(bit: Any) -> str:
    return f"n{bit}" if isinstance(bit, int) else f"1'b{1 if bit == '1' else 0}"


def _clock_pins(instance: Instance) -> set[str]:
    cell = instance.cell
    if cell.gate:
        return {gate_pin(cell, "clock"), gate_pin(cell, "out")}
    return {cell.state["clocked_on"].strip("() ")} if cell.is_flipflop else set()


def _root_capacitance(netlist: Netlist) -> float:
    """Of the pins that the clock input drives, in the library's capacitive unit."""
    pins = ((i, p) for i in netlist.instances for p, bit in i.nets.items() if bit == netlist.clock)
    return sum(float(i.cell.pins[p].get("capacitance", 0)) for i, p in pins)


def _script(files: LibertyFiles, libraries: list[str], netlist: Netlist, period_ps: int, power: bool) -> str:
    flat = [(d, bit) for d, bits in netlist.ports.values() for bit in bits]
    ports = " ".join(f"p{n}" for n, (d, bit) in enumerate(flat) if d == "input" and bit != netlist.clock)
    clock = next((f"[get_ports p{n}]" for n, (_, bit) in enumerate(flat) if bit == netlist.clock), "")
    lines = [f"read_liberty {name}" for name in libraries]
    lines += [
        "read_verilog netlist.v",
        "link_design top",
        "set_cmd_units -time ps -capacitance fF -power W",
        f"create_clock -name clk -period {period_ps} {clock}",
        "set_output_delay 0 -clock clk [all_outputs]",
        f"set_load {files.load_ff():.4f} [all_outputs]",
    ]
    if ports:
        lines.append(f"set_input_delay 0 -clock clk [get_ports {{{ports}}}]")
        lines.append(f"set_driving_cell -lib_cell {files.driver().name} [get_ports {{{ports}}}]")
    lines.append("report_checks -path_delay max -digits 3")
    if power:
        lines += [
            "set_power_activity -global -activity 1 -duty 0.5",
            "puts @power",
            "report_power -digits 10 -instances [get_cells *]",
        ]
    return "\n".join([*lines, ""])


def _instances(report: str) -> list[tuple[str, Row]]:
    rows = re.findall(r"^\s*(\S+)\s+(\S+)\s+(\S+)\s+\S+\s+(u\d+)\s*$", report, re.M)
    return [(name, (float(internal), float(switching), float(leakage))) for internal, switching, leakage, name in rows]
