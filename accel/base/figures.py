"""Figures of characterised units as entries of a technology file, and whether they are still those of the RTL."""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accel.base import rtl
from accel.base.compose import Part
from accel.base.fit import Fit
from accel.base.spec import Spec, lookup
from accel.base.synthesis import Synthesis
from accel.base.tech import Tech
from accel.base.unit import RtlUnit

CONDITIONS = "before layout: no wires, no clock tree, no glitches; registers clock-gated"
ABOUT = "Area, leakage and joules per event of units with RTL, as `rtloom characterize` found them: see README.md."
ORDER = ("component", "event", "part", "parameters", "energy", "area", "power", "clock", "class", "rtlil", "source")


@dataclass(frozen=True)
class Characterisation:
    """The figures of one unit. Without OpenSTA ``fit`` is None and there is only the area."""

    component: str
    parameters: dict[str, int | str]
    rtlil: str
    """Hash of what was mapped; empty where the figures are scaled from others."""
    area_um2: float
    sequential_um2: float
    cells: int
    parts: tuple[Part, ...]
    """The area by hierarchy; one part where the unit has no repeated module."""
    composed_vs_flat: str
    """How far the composed figures are from a flat synthesis, and of what; empty where nothing was composed."""
    clock_mhz: float | None
    critical: str
    leakage_w: float | None
    fit: Fit | None
    how: str
    """How the joules were found, where it is not by a fit on this very netlist."""
    statistics: str
    checked_cycles: int
    seed: int
    library: str
    tools: str
    note: str

    @classmethod
    def without_joules(
        cls,
        mapped: Synthesis,
        *,
        component: str,
        parameters: dict[str, int | str],
        rtlil: str,
        library: str,
        tools: str,
        composed_vs_flat: str = "",
        clock_mhz: float | None = None,
        critical: str = "",
        leakage_w: float | None = None,
        note: str = "",
    ) -> Characterisation:
        """What there is to say of a netlist ``mapped`` that was not simulated."""
        return cls(
            component=component,
            parameters=parameters,
            rtlil=rtlil,
            area_um2=mapped.area_um2,
            sequential_um2=mapped.sequential_um2,
            cells=mapped.cells,
            parts=mapped.parts,
            composed_vs_flat=composed_vs_flat,
            clock_mhz=clock_mhz,
            critical=critical,
            leakage_w=leakage_w,
            fit=None,
            how="",
            statistics="",
            checked_cycles=0,
            seed=0,
            library=library,
            tools=tools,
            note=note,
        )

    def summary(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        plain = {k: v for k, v in vars(self).items() if k not in ("fit", "parts")} | {"conditions": CONDITIONS}
        return plain | {"parts": [vars(p) for p in self.parts]} | (self.fit.summary() if self.fit else {})


def hardware(unit: Spec) -> dict[str, int | str]:
    """The parameters of ``unit`` as a technology file has them, "none" for one left out."""
    return {name: "none" if value is None else value for name, value in dict(unit).items()}


def entries(result: Characterisation, date: datetime.date) -> list[dict[str, Any]]:
    """The figures as entries of a technology file (`accel.base.tech`)."""
    where = f"{result.tools}, {result.library}; {CONDITIONS}; {date.isoformat()}"
    found = {"class": "synthesized", "rtlil": result.rtlil} if result.rtlil else {"class": "scaled"}
    base = {"component": result.component, "parameters": result.parameters} | found
    static: dict[str, Any] = {"area": f"{result.area_um2:.6g} um2"}
    if result.clock_mhz:
        static["clock"] = f"{result.clock_mhz:.0f} MHz"
    if result.leakage_w is not None:
        static["power"] = f"{result.leakage_w * 1e6:.4g} uW"
    named = [word for word, there in (("leakage", "power" in static), ("clock", "clock" in static)) if there]
    what = f"{', '.join(['area', *named[:-1]])} and {named[-1]}" if named else "area"
    composed = (
        f"{_hierarchy(result.parts)}, composed against flat: {result.composed_vs_flat}; " if result.composed_vs_flat else ""
    )
    rows = [base | static | {"source": f"{result.cells} cells; {what}; {composed}{where}"}]
    if result.fit is None:
        return rows
    for event, joules in result.fit.joules.items():
        how = f"fit over {result.fit.workloads} workloads, residual {result.fit.residual:.1%}, held out {result.fit.held_out:.1%}"
        carrier = result.fit.carrier.get(event)
        if joules == 0 and not carrier:
            how = f"not told apart, its joules lie with the cycle and the other events of its runs; {how}"
        if carrier:
            how = f"follows from {carrier} in every workload, which holds its joules; {how}"
        shown = "; ".join(filter(None, [f"{how}, seed {result.seed}", result.how, result.statistics, where]))
        rows.append(base | {"event": event, "energy": f"{joules * 1e15:.5g} fJ", "source": shown})
    return rows


def _hierarchy(parts: Sequence[Part]) -> str:
    """``16 x pe 97.5 um2 + top 96.0 um2``: the kinds of module that matter."""
    return " + ".join(f"{f'{p.count} x ' if p.count > 1 else ''}{p.module} {p.area_um2:.1f} um2" for p in parts)


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
    rows = [row for row in old.get("entry", []) if not any(_replaces(result, row) for result in results)]
    rows += [row for result in results for row in entries(result, date or datetime.date.today())]
    lines = [f"{key} = {_toml(old[key])}" for key in ("name", "about")]
    for row in rows:
        lines += ["", "[[entry]]", *(f"{key} = {_toml(row[key])}" for key in ORDER if key in row)]
    rtl.write_atomically(path, "\n".join(lines) + "\n")


def _replaces(result: Characterisation, row: Mapping[str, Any]) -> bool:
    """Whether ``row`` is of the same unit, or was before the unit got further parameters."""
    return row["component"] == result.component and row.get("parameters", {}).items() <= result.parameters.items()


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool)) else str(value)


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
