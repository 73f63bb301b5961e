"""Characterisation: area, clock, leakage and joules per event of an `RtlUnit`, or of an `Exercised`, on a standard-cell library.

RTL -> Yosys -> mapped netlist, module by module (`accel.base.synthesis`); area from Liberty; joules per toggle from OpenSTA;
toggles from playing ops with drawn operands on the RTL and on the netlist, which must agree bit for bit. The joules of each event
(and of a clock cycle, named ``cycle``) are fitted over workloads w of varied shapes, stalls and idle times:

    E_w = e_cycle cycles_w + sum_j e_j events_wj,   e >= 0, relative errors least in square

Events that are proportional in every workload cannot be told apart: the first carries the joules of all, the others none, and
each entry says so. A fit whose condition number exceeds `WORST_CONDITION` is refused. A netlist of more than `MOST_REPLAYED`
cells is not played: its joules come from smaller arrays of the same modules (`accel.base.scaling`).
"""

from __future__ import annotations

import argparse
import math
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accel.base import power, rtl
from accel.base.activity import Recording, Workload, record, record_traffic, replay
from accel.base.exercise import Exercised
from accel.base.figures import Characterisation, hardware, stale, units_of, write_entries
from accel.base.fit import Fit, fit
from accel.base.liberty import Library
from accel.base.operands import statistics
from accel.base.scaling import array_sizes, extents, extrapolate, shrunk
from accel.base.stimuli import HELD_OUT, MOST_WORKLOADS, draw_workloads
from accel.base.synthesis import LibertyFiles, Synthesis, synthesize
from accel.base.tech import Tech
from accel.base.unit import RtlUnit, rtl_units

CYCLE = "cycle"
PERIOD_PS = 709  # 1.41 GHz: the clock of the A100 and of the LUT tensor core in its paper
WORST_CONDITION = 300.0
MOST_REPLAYED = 150_000
"""Cells of a netlist that is played: about a minute."""
COMPARED = 20_000
"""Cells of a composed netlist that is itself compared with a flat one; of a larger one, a smaller array is."""
COMPARED_WORKLOADS = 10

LEAST_TIMES = 16
"""How many times larger than a small one a unit is that may be too large."""
MOST_RTLIL = 150_000_000
"""Characters of RTLIL of a unit that is characterised as a whole, which take some minutes to elaborate."""
Progress = Callable[[str], None]


Subject = RtlUnit | Exercised


class UnitError(ValueError):
    """A unit that cannot be built or played at its parameters: why, in one line."""


@dataclass(frozen=True)
class Measured:
    """What one netlist drew: event counts (cycles included) and joules of each workload."""

    mapped: Synthesis
    priced: power.Power
    recordings: list[Recording]
    statistics: str
    """What was drawn."""
    counts: list[dict[str, int]]
    joules: list[float]


def characterize(
    unit: Subject, liberty: Sequence[Path], *, seed: int = 0, period_ps: int = PERIOD_PS, progress: Progress = lambda line: None
) -> Characterisation:
    """Area of ``unit``, and with OpenSTA its clock, leakage and joules per event.

    Raises LibertyError (a ValueError) for unusable Liberty files, UnitError (one too) for parameters that cannot be built,
    ToolError for a tool that is missing or fails, MappingError where netlist and RTL differ or the RTL stops, and ValueError
    where the workloads do not tell the events apart.
    """
    _check_size(unit)
    progress("reading Liberty files")
    files = LibertyFiles.read(liberty)
    with ThreadPoolExecutor(2) as beside:  # foreign tools, while the RTL is simulated here
        bench = Bench(files, seed, period_ps, progress, beside)
        mapped = bench.synthesize(unit)
        progress(f"area {mapped.area_um2:.1f} um2 in {mapped.cells} cells")
        if power.opensta_version() is None:
            note = "OpenSTA is not installed: area only (Debian and Ubuntu: apt-get install opensta)"
            progress(note)
            return bench.result(unit, mapped, note=note)
        small = unit if mapped.cells <= COMPARED else shrunk(unit)
        about = mapped.cells * math.prod(extents(small).values()) // math.prod(extents(unit).values())
        composed = len(mapped.parts) > 1
        flat = beside.submit(bench.flat, small) if composed and about <= COMPARED else None
        if mapped.cells <= MOST_REPLAYED:
            measured = bench.measure(unit, mapped)
            progress("fitting joules per event")
            fitted, how = fit(measured.counts, measured.joules, held_out=HELD_OUT, worst_condition=WORST_CONDITION), ""
        elif isinstance(unit, Exercised):
            raise UnitError(f"{_named(unit)} has {mapped.cells} cells, wanted at most {MOST_REPLAYED} to be played")
        else:
            measured, fitted, how = bench.from_smaller(unit)
        against = f"not measured, as {_named(small)} has about {about} cells" if composed else ""
        if flat is not None:
            progress("comparing with a flat synthesis")
            parts = measured if small == unit else bench.measure(small, bench.synthesize(small), COMPARED_WORKLOADS)
            against = _difference(small, parts, *flat.result())
    return bench.result(unit, mapped, measured, fitted, how=how, against=against)


@dataclass(frozen=True)
class Bench:
    """One library, clock and seed; ``beside`` runs foreign tools while the RTL is simulated."""

    files: LibertyFiles
    seed: int
    period_ps: int
    progress: Progress
    beside: Executor

    def synthesize(self, unit: Subject) -> Synthesis:
        self.progress(f"synthesising {_named(unit)} for {self.period_ps} ps")
        return synthesize(_built(unit), self.files, period_ps=self.period_ps)

    def flat(self, unit: Subject) -> tuple[Synthesis, power.Power]:
        """``unit`` without boundaries between its modules."""
        mapped = synthesize(_built(unit), self.files, period_ps=self.period_ps, flat=True)
        return mapped, power.analyse(mapped, self.files, period_ps=self.period_ps)

    def measure(self, unit: Subject, mapped: Synthesis, most: int = MOST_WORKLOADS) -> Measured:
        """Play ``most`` workloads at most on RTL and netlist."""
        self.progress(f"timing and energy per toggle of {_named(unit)}")
        pricing = self.beside.submit(power.analyse, mapped, self.files, period_ps=self.period_ps)
        if isinstance(unit, Exercised):
            traffic, drawn = unit.traffic(np.random.default_rng(self.seed)), unit.drawn
            recordings = record_traffic(unit, traffic, self.progress)
            events = [unit.events(recording.outputs) for recording in recordings]
        else:
            try:
                workloads = draw_workloads(unit, np.random.default_rng(self.seed), most)
            except ValueError as error:
                raise UnitError(str(error)) from error
            drawn = _statistics(workloads)
            recordings = record(unit, workloads, self.seed, self.progress)
            events = [recording.events for recording in recordings]
        priced = pricing.result()
        self.progress("checking the netlist against the RTL")
        steps = replay(priced.netlist, recordings)
        counts = [{CYCLE: step.cycles, **counted} for step, counted in zip(steps, events, strict=True)]
        return Measured(mapped, priced, recordings, drawn, counts, [priced.joules(step) for step in steps])

    def from_smaller(self, unit: RtlUnit) -> tuple[Measured, Fit, str]:
        """Joules of ``unit`` from arrays small enough to play, and the largest of these."""
        arrays = array_sizes(unit)
        found = [self.measure(each, self.synthesize(each)) for each in arrays]
        *rows, last = ((each, m.counts, m.joules) for each, m in zip(arrays, found, strict=True))
        if len(extents(unit)) == 1:  # too few sizes to leave one out: every other workload of the larger one
            rows.append((last[0], last[1][::2], last[2][::2]))
            last = (last[0], last[1][1::2], last[2][1::2])
        sizes = ", ".join(" x ".join(map(str, extents(each).values())) for each in arrays)
        return found[-1], extrapolate(unit, rows, last), f"scaled in {' and '.join(extents(unit))} from arrays of {sizes}"

    def result(
        self,
        unit: Subject,
        mapped: Synthesis,
        measured: Measured | None = None,
        fitted: Fit | None = None,
        *,
        how: str = "",
        against: str = "",
        note: str = "",
    ) -> Characterisation:
        priced = measured.priced if measured else None
        leakage, shortest, critical = (priced.leakage_w, priced.shortest_ps, priced.critical) if priced else (None, None, "")
        if measured and measured.mapped is not mapped:  # smaller than ``unit``
            leakage, shortest, critical = power.static(mapped, self.files, period_ps=self.period_ps)
        return Characterisation(
            component=unit.kind(),
            parameters=hardware(unit),
            rtlil=rtl.rtlil_hash(unit),
            area_um2=mapped.area_um2,
            sequential_um2=mapped.sequential_um2,
            cells=mapped.cells,
            parts=mapped.parts,
            composed_vs_flat=against,
            clock_mhz=1e6 / shortest if shortest else None,
            critical=critical,
            leakage_w=leakage,
            fit=fitted,
            how=how,
            statistics=measured.statistics if measured else "",
            checked_cycles=sum(len(r.inputs) for r in measured.recordings) if measured else 0,
            seed=self.seed,
            library=describe(self.files.library),
            tools=", ".join(filter(None, [mapped.tool, priced.tool if priced else ""])),
            note=note,
        )


def _check_size(unit: Subject) -> None:
    """Raise UnitError where ``unit`` would take minutes to elaborate, by the size of a small one."""
    small = shrunk(unit)
    times = math.prod(extents(unit).values()) / math.prod(extents(small).values())
    if times < LEAST_TIMES:
        return
    try:
        about = len(_built(small)) * times
    except UnitError:  # as will be said of ``unit`` itself
        return
    if about > MOST_RTLIL:
        raise UnitError(
            f"{_named(unit)} would be about {about / 1e6:,.0f} MB of RTLIL, wanted at most {MOST_RTLIL // 10**6}; figures of a "
            "larger array are scaled from smaller ones by python -m accel.base.enlarged (accel/tech/README.md)"
        )


def _built(unit: Subject) -> str:
    """The RTLIL of ``unit``."""
    try:
        return rtl.elaborate(unit)[1]
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise UnitError(f"{_named(unit)} cannot be built: {' '.join(str(error).split()) or type(error).__name__}") from error


def _named(unit: Subject) -> str:
    return f"{unit.kind()}({', '.join(f'{k}={v}' for k, v in hardware(unit).items())})"


def _difference(unit: Subject, composed: Measured, flat: Synthesis, priced: power.Power) -> str:
    """``area +3.4 %, clock +2.9 %, energy +1.0 % at rows=4, ...``: how far the composed figures are from the flat ones."""
    joules = sum(priced.joules(step) for step in replay(priced.netlist, composed.recordings))
    pairs = {"area": (composed.mapped.area_um2, flat.area_um2), "energy": (sum(composed.joules), joules)}
    if composed.priced.shortest_ps and priced.shortest_ps:
        pairs["clock"] = (1 / composed.priced.shortest_ps, 1 / priced.shortest_ps)
    shown = ", ".join(f"{name} {got / wanted - 1:+.1%}" for name, (got, wanted) in pairs.items())
    return f"{shown}, of {_named(unit)}"


def _statistics(workloads: Sequence[Workload]) -> str:
    """What was drawn for each operand."""
    found: dict[str, str] = {}
    for workload in workloads:
        for tile, _ in workload.runs:
            found |= statistics(tile)
    same: dict[str, list[str]] = {}
    for name, words in sorted(found.items()):
        same.setdefault(words, []).append(name)
    return ", ".join(f"{' and '.join(names)} {words}" for words, names in same.items())


def describe(library: Library) -> str:
    """``asap7sc7p5t_RVT_TT_nldm (5 files), 0.7 V, 25 C``: what the file names share, and the operating point."""
    words = [name.split("_") for name in library.names]
    shared = [w for w in words[0] if all(w in other for other in words)]
    return f"{'_'.join(shared) or library.names[0]} ({len(words)} files), {library.volts:g} V, {library.celsius:g} C"


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m accel.base.characterize FILE LIBERTY...``: characterise again every unit of a technology file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("file", type=Path, help="technology file, such as accel/tech/asap7.toml")
    parser.add_argument("liberty", type=Path, nargs="+", help="Liberty files, plain or gzipped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--new", action="store_true", help="also units of which there is nothing yet, at their defaults")
    parser.add_argument("--stale", action="store_true", help="only units whose RTL has changed")
    given = parser.parse_args(arguments)
    tech = Tech.from_data(tomllib.loads(given.file.read_text()))
    known = rtl_units()
    units = dict.fromkeys(stale(tech, known) if given.stale else units_of(tech, known))
    if given.new:
        units |= dict.fromkeys(cls() for cls in known.values() if cls.kind() not in {e.component for e in tech.entry})
    for unit in units:
        result = characterize(unit, given.liberty, seed=given.seed, progress=lambda line: print(line, flush=True))
        write_entries(given.file, [result])


if __name__ == "__main__":
    main()
