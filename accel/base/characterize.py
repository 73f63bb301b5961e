"""Characterisation: area, clock, leakage and joules per event of an `RtlUnit` on a standard-cell library.

RTL -> Yosys -> mapped netlist; area from Liberty; joules per toggle from OpenSTA; toggles from playing ops with drawn operands on
the RTL and on the netlist, which must agree bit for bit. The joules of each event (and of a clock cycle, named ``cycle``) are
fitted over workloads w of varied shapes, stalls and idle times:

    E_w = e_cycle cycles_w + sum_j e_j events_wj,   e >= 0, relative errors least in square

Events that are proportional in every workload cannot be told apart: the first carries the joules of all, the others none, and
each entry says so. A fit whose condition number exceeds `WORST_CONDITION` is refused.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accel.base import power, rtl
from accel.base.activity import Workload, record, replay
from accel.base.fit import Fit, fit
from accel.base.liberty import Library
from accel.base.spec import discover, lookup
from accel.base.synthesis import LibertyFiles, Synthesis, synthesize
from accel.base.tech import Tech
from accel.base.unit import RtlUnit
from workloads.formats import Format
from workloads.ops import Op

CYCLE = "cycle"
PERIOD_PS = 709  # 1.41 GHz: the clock of the A100 and of the LUT tensor core in its paper
WORST_CONDITION = 300.0
FITTED, HELD_OUT = 24, 6  # workloads
BUSY_CYCLES = 100  # of a workload, at least
DRAWS = 400  # of ops until one fits the unit
ACTIVATION_SIGMA = 32.0  # INT8 codes of a normal row scaled by its largest of about 4096 values: 127 / 4
STATISTICS = f"INT8 activations normal with sigma {ACTIVATION_SIGMA:g}, clipped; weight codes uniform"
CONDITIONS = "before layout: no wires, no clock tree, no glitches; registers clock-gated"

ABOUT = "Area, leakage and joules per event of units with RTL, as `rtloom characterize` found them: see README.md."

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Characterisation:
    """The figures of one unit. Without OpenSTA ``fit`` is None and there is only the area."""

    component: str
    parameters: dict[str, int | str]
    rtlil: str
    area_um2: float
    sequential_um2: float
    cells: int
    clock_mhz: float | None
    critical: str
    leakage_w: float | None
    fit: Fit | None
    checked_cycles: int
    seed: int
    library: str
    tools: str
    note: str

    def summary(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        plain = {k: v for k, v in vars(self).items() if k != "fit"}
        return plain | ({"statistics": STATISTICS, "conditions": CONDITIONS} | self.fit.summary() if self.fit else {})


def characterize(
    unit: RtlUnit, liberty: Sequence[Path], *, seed: int = 0, period_ps: int = PERIOD_PS, progress: Progress = lambda line: None
) -> Characterisation:
    """Area of ``unit``, and with OpenSTA its clock, leakage and joules per event.

    Raises LibertyError (a ValueError) for unusable Liberty files, ToolError for a tool that is missing or fails, MappingError
    where netlist and RTL differ, and ValueError where the workloads do not tell the events apart.
    """
    progress("reading Liberty files")
    files = LibertyFiles.read(liberty)
    progress(f"synthesising {unit.kind()} for {period_ps} ps")
    mapped = synthesize(rtl.elaborate(unit)[1], files, period_ps=period_ps)
    progress(f"area {mapped.area_um2:.1f} um2 in {len(mapped.netlist.instances)} cells")
    if power.opensta_version() is None:
        note = "OpenSTA is not installed: area only (Debian and Ubuntu: apt-get install opensta)"
        progress(note)
        return _result(unit, mapped, None, None, 0, seed, note)
    progress("timing and energy per toggle")
    priced = power.analyse(mapped, files, period_ps=period_ps)
    workloads = draw_workloads(unit, np.random.default_rng(seed))
    recordings = record(unit, workloads, seed, progress)
    progress("checking the netlist against the RTL")
    steps = replay(mapped.netlist, recordings)
    progress("fitting joules per event")
    counts = [{CYCLE: step.cycles, **w.events(unit)} for step, w in zip(steps, workloads, strict=True)]
    fitted = fit(counts, [priced.joules(step) for step in steps], held_out=HELD_OUT, worst_condition=WORST_CONDITION)
    return _result(unit, mapped, priced, fitted, sum(step.cycles for step in steps), seed, "")


def _result(
    unit: RtlUnit, mapped: Synthesis, priced: power.Power | None, fitted: Fit | None, cycles: int, seed: int, note: str
) -> Characterisation:
    return Characterisation(
        component=unit.kind(),
        parameters=hardware(unit),
        rtlil=rtl.rtlil_hash(unit),
        area_um2=mapped.area_um2,
        sequential_um2=mapped.sequential_um2,
        cells=len(mapped.netlist.instances),
        clock_mhz=1e6 / priced.shortest_ps if priced and priced.shortest_ps else None,
        critical=priced.critical if priced else "",
        leakage_w=priced.leakage_w if priced else None,
        fit=fitted,
        checked_cycles=cycles,
        seed=seed,
        library=describe(mapped.library),
        tools=", ".join(filter(None, [mapped.tool, priced.tool if priced else ""])),
        note=note,
    )


def hardware(unit: RtlUnit) -> dict[str, int | str]:
    """The parameters of ``unit`` as a technology file has them, "none" for one left out."""
    return {name: "none" if value is None else value for name, value in dict(unit).items()}


def describe(library: Library) -> str:
    """``asap7sc7p5t_RVT_TT_nldm (5 files), 0.7 V, 25 C``: what the file names share, and the operating point."""
    words = [name.split("_") for name in library.names]
    shared = [w for w in words[0] if all(w in other for other in words)]
    return f"{'_'.join(shared) or library.names[0]} ({len(words)} files), {library.volts:g} V, {library.celsius:g} C"


def draw_workloads(unit: RtlUnit, rng: np.random.Generator) -> list[Workload]:
    """An idle workload, and busy ones: full and partial tiles, short and long runs, with and without stalls and idle times."""
    templates = _templates(unit, rng)
    workloads = [Workload((), idle=BUSY_CYCLES)]
    while len(workloads) < FITTED + HELD_OUT:
        runs, cycles = [], 0
        while cycles < BUSY_CYCLES:
            tile = _tile(unit, templates[int(rng.integers(len(templates)))], rng)
            cost = unit.tile_cost(tile)
            n = int(rng.integers(1, 4))
            runs.append((tile, tuple(operands(tile, rng) for _ in range(n))))
            cycles += cost.latency + (n - 1) * cost.interval
        stall = 0.0 if rng.random() < 0.5 else float(rng.uniform(0.1, 0.6))
        idle = 0 if rng.random() < 0.5 else int(rng.integers(1, BUSY_CYCLES))
        workloads.append(Workload(tuple(runs), stall, idle))
    return workloads


def _templates(unit: RtlUnit, rng: np.random.Generator) -> list[Op]:
    """One op per combination of formats that ``unit`` takes, out of its class's examples and draws; the extents do not matter."""
    found: dict[str, Op] = {}
    candidates = [op for _, op in unit.examples()] + [unit.draw(rng)[1] for _ in range(DRAWS)]
    for op in candidates:
        try:
            unit.check(op)
        except ValueError:
            continue
        formats = [operand.format for operand in op.operands()]
        if all(f.group is None for f in formats):
            found.setdefault(" ".join(map(str, formats)), op)
    if not found:
        raise ValueError(f"none of {len(candidates)} examples and draws of {unit.kind()} fits these parameters: {dict(unit)}")
    return list(found.values())


def _tile(unit: RtlUnit, template: Op, rng: np.random.Generator) -> Op:
    """``template`` with new extents: half of them the whole limit, others less, large ones up to a long enough invocation."""
    limits = unit.limits(template)
    extents: dict[str, int] = {}
    for name in template.dimensions:
        most = limits.get(name, 1 << 30)
        small = most <= BUSY_CYCLES
        extents[name] = 1 if not small else most if rng.random() < 0.5 else int(rng.integers(1, most + 1))
    long = [name for name in template.dimensions if limits.get(name, 1 << 30) > BUSY_CYCLES]
    for name in long:
        size, most = 1, limits.get(name, 1 << 30)
        while size < most and unit.tile_cost(template.resized(**extents | {name: size})).latency < BUSY_CYCLES // 2:
            size *= 2
        extents[name] = int(size ** rng.uniform(0.3, 1))
    tile = template.resized(**extents)
    unit.check(tile)
    return tile


def operands(op: Op, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Arrays for ``op`` as `encode` takes them, drawn as `STATISTICS` says."""
    return tuple(_draw(operand.format, operand.name, op.shape(operand), rng) for operand in op.operands())


def _draw(fmt: Format, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if name == "weights":
        return rng.integers(fmt.lowest, fmt.highest, shape, endpoint=True)
    sigma = ACTIVATION_SIGMA * (fmt.highest + 1) / 128
    return np.clip(np.rint(rng.normal(0, sigma, shape)), fmt.lowest, fmt.highest).astype(np.int64)


def entries(result: Characterisation, date: datetime.date) -> list[dict[str, Any]]:
    """The figures as entries of a technology file (`accel.base.tech`)."""
    where = f"{result.tools}, {result.library}; {CONDITIONS}; {date.isoformat()}"
    base = {"component": result.component, "parameters": result.parameters, "class": "synthesized", "rtlil": result.rtlil}
    static: dict[str, Any] = {"area": f"{result.area_um2:.6g} um2"}
    if result.clock_mhz:
        static["clock"] = f"{result.clock_mhz:.0f} MHz"
    if result.leakage_w is not None:
        static["power"] = f"{result.leakage_w * 1e6:.4g} uW"
    rows = [base | static | {"source": f"{result.cells} cells; area, leakage and clock; {where}"}]
    if result.fit is None:
        return rows
    for event, joules in result.fit.joules.items():
        how = f"fit over {result.fit.workloads} workloads, residual {result.fit.residual:.1%}, held out {result.fit.held_out:.1%}"
        carrier = result.fit.carrier.get(event)
        if joules == 0 and not carrier:
            how = f"too little to tell from nothing; {how}"
        if carrier:
            how = f"always proportional to {carrier}, whose entry holds the joules of both; {how}"
        shown = f"{how}, seed {result.seed}; {STATISTICS}; {where}"
        rows.append(base | {"event": event, "energy": f"{joules * 1e15:.5g} fJ", "source": shown})
    return rows


def write_entries(path: Path, results: Sequence[Characterisation], *, date: datetime.date | None = None) -> None:
    """Write ``results`` into the technology file ``path``, in one step, so that no half-written file is left.

    Entries of other units, and of the same at other parameters, stay. Raises ValueError where ``path`` holds something else.
    """
    old: dict[str, Any] = {"name": path.stem, "about": ABOUT}
    if path.exists():
        text = path.read_text()
        try:
            old = tomllib.loads(text)
            Tech.from_data(old)
        except ValueError as error:
            raise ValueError(f"{path} is not a technology file, and is left as it is: {error}") from error
    new = {(r.component, *sorted(r.parameters.items())) for r in results}
    rows = [row for row in old.get("entry", []) if (row["component"], *sorted(row.get("parameters", {}).items())) not in new]
    rows += [row for result in results for row in entries(result, date or datetime.date.today())]
    lines = [f"{key} = {_toml(old[key])}" for key in ("name", "about")]
    for row in rows:
        order = ["component", "event", "part", "parameters", "energy", "area", "power", "clock", "class", "rtlil", "source"]
        lines += ["", "[[entry]]", *(f"{key} = {_toml(row[key])}" for key in order if key in row)]
    rtl.write_atomically(path, "\n".join(lines) + "\n")


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + "}"
    return _text(value) if isinstance(value, str) else str(value)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def units_of(tech: Tech, known: Mapping[str, type[RtlUnit]]) -> dict[RtlUnit, str]:
    """Each unit that ``tech`` has synthesised figures of, with the hash of the RTLIL they were made from."""
    found = {}
    for entry in tech.entry:
        if entry.rtlil:
            chosen = {name: None if value == "none" else value for name, value in entry.parameters.items()}
            found[lookup(entry.component, dict(known), "unit")(**chosen)] = entry.rtlil
    return found


def stale(tech: Tech, known: Mapping[str, type[RtlUnit]]) -> list[RtlUnit]:
    """The units whose RTL is no longer that which ``tech`` was synthesised from."""
    return [unit for unit, made_from in units_of(tech, known).items() if rtl.rtlil_hash(unit) != made_from]


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m accel.base.characterize FILE LIBERTY...``: characterise again every unit of a technology file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("file", type=Path, help="technology file, such as accel/tech/asap7.toml")
    parser.add_argument("liberty", type=Path, nargs="+", help="Liberty files, plain or gzipped")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    tech = Tech.from_data(tomllib.loads(given.file.read_text()))
    for unit in units_of(tech, discover("accel", RtlUnit)):
        result = characterize(unit, given.liberty, seed=given.seed, progress=lambda line: print(line, flush=True))
        write_entries(given.file, [result])


if __name__ == "__main__":
    main()
