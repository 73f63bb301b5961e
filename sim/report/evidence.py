"""What the numbers rest on: proofs of units, areas, the source of every energy, the roofline's inputs, provenance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from accel.base.clock import PS_PER_S
from sim.report.figures import MISSING, figure, percent, quantity
from sim.report.table import CLASSES, Cell, Column, Table, class_badge, plain, shared

Systems = Sequence[dict[str, Any]]


def names_of(systems: Systems) -> list[str]:
    """Names of the systems, in order."""
    return [system["name"] for system in systems]


def is_analytical(unit: dict[str, Any]) -> bool:
    """True for a unit that is priced from calibrated figures."""
    return str(unit["class"]).startswith("analytical")


def proof_badge(unit: dict[str, Any]) -> Cell:
    """What has been proved of a unit at its parameters."""
    if is_analytical(unit):
        return Cell(str(unit["class"]), badge="analytical")
    known = {
        "proved": ("proved", "proved"),
        "other": ("proved at other parameters", "other-parameters"),
        "none": ("not proved", "unproved"),
    }
    text, badge = known.get(unit["proof"], (str(unit["proof"]), "other"))
    return Cell(text, badge=badge)


def proofs(systems: Systems) -> Table:
    """Each unit once: how it is priced, and what has been proved of it."""
    entries = [
        ((unit["name"], unit["kind"], unit["count"], unit["clock_hz"], proof_badge(unit), unit["proof_detail"]), system["name"])
        for system in systems
        for unit in system["system"]["units"]
    ]
    rows = [
        [name, kind, Cell(figure(count)), Cell(quantity(float(clock) / 1e9, "GHz")), badge, str(detail), owners]
        for (name, kind, count, clock, badge, detail), owners in shared(entries, names_of(systems)).items()
    ]
    columns = ["Unit", "Kind", Column("Copies", True), Column("Clock", True), "Price", "Detail", "Systems"]
    note = (
        "Proved: RTL and price agree bit for bit, cycle for cycle and event for event at these parameters. "
        "Analytical: priced from the calibration named; no RTL stands behind it."
    )
    return plain("Units and proofs", columns, rows, note)


def areas(systems: Systems) -> Table:
    """The area of each unit where a technology knows it."""
    entries = []
    for system in systems:
        known = {row["component"]: row for row in system["area"]}
        for unit in system["system"]["units"]:
            row = known.get(unit["name"])
            figures = (None,) * 5
            if row is not None:
                figures = (row["area_um2"], row["copies"], row["total_mm2"], row["source_class"], row["source"])
            entries.append(((unit["name"], unit["kind"], *figures), system["name"]))
    rows = []
    for (name, kind, each, copies, total, source_class, source), owners in shared(entries, names_of(systems)).items():
        if each is None:
            rows.append([name, kind, "not known", MISSING, MISSING, MISSING, MISSING, owners])
        else:
            badge = class_badge(source_class)
            rows.append(
                [
                    name,
                    kind,
                    Cell(f"{figure(each)} µm²"),
                    Cell(figure(copies)),
                    Cell(f"{figure(total)} mm²"),
                    badge,
                    source,
                    owners,
                ]
            )
    columns = ["Unit", "Kind", Column("Each", True), Column("Copies", True), Column("In all", True), "Class", "Source", "Systems"]
    return plain("Area", columns, rows)


def assumptions(systems: Systems) -> list[dict[str, Any]]:
    """Every distinct figure behind energy and area: component, event, value and its unit, class, source, systems.

    Classes that a reader should doubt most come first. ``largest_share`` is of a system's energy, in the system where it is
    largest; None for areas.
    """
    shares: dict[Any, float] = {}
    entries = []
    for system in systems:
        whole = math.fsum(row["joules"] for row in system["energy"])
        for row in system["energy"]:
            static = row["event"].partition(" ")[0] == "static"
            value, unit = (row["joules_per_event"] * PS_PER_S, "W") if static else (row["joules_per_event"], "J")
            key = (row["component"], row["kind"], row["event"], value, unit, row["source_class"], row["source"])
            shares[key] = max(shares.get(key, 0.0), row["joules"] / whole if whole else 0.0)
            entries.append((key, system["name"]))
        for row in system["area"]:
            key = (row["component"], row["kind"], "area", row["area_um2"], "um2", row["source_class"], row["source"])
            entries.append((key, system["name"]))
    names = ("component", "kind", "event", "value", "unit", "source_class", "source")
    found = [
        {**dict(zip(names, key, strict=True)), "largest_share": shares.get(key), "systems": owners}
        for key, owners in shared(entries, names_of(systems)).items()
    ]
    return sorted(found, key=lambda row: (_rank(row["source_class"]), -(row["largest_share"] or 0.0)))


def _rank(source_class: str) -> int:
    """Doubt about a class; an unknown one ranks with assumptions."""
    return CLASSES.index(source_class) if source_class in CLASSES else 0


def assumption_table(systems: Systems) -> Table:
    """`assumptions` as a table."""
    rows = [
        [
            class_badge(row["source_class"]),
            f"{row['component']} ({row['kind']})" if row["kind"] != row["component"] else row["component"],
            row["event"],
            Cell(f"{figure(row['value'])} µm²" if row["unit"] == "um2" else quantity(row["value"], row["unit"], 4)),
            Cell(percent(row["largest_share"])),
            row["source"],
            row["systems"],
        ]
        for row in assumptions(systems)
    ]
    columns = ["Class", "Component", "Event", Column("Each", True), Column("Largest share of energy", True), "Source", "Systems"]
    note = (
        "Every figure behind energy and area, doubtful classes first. "
        "Largest share of energy: in the system where it is largest. Each: per event, per byte, or static power of a copy."
    )
    return plain("Assumptions and sources", columns, rows, note)


def timing_table(systems: Systems) -> Table:
    """What the designs say that their times rest on; see `sim.system.Assumption`."""
    entries = [
        ((row["class"], row["what"], row["value"], row["source"]), system["name"])
        for system in systems
        for row in system.get("assumptions", ())
    ]
    grouped = shared(entries, names_of(systems)).items()
    rows = [
        [class_badge(source_class), what, value, source, owners]
        for (source_class, what, value, source), owners in sorted(grouped, key=lambda item: _rank(item[0][0]))
    ]
    note = "What times rest on besides proved units: fitted efficiencies, overheads, shares of bandwidth."
    return plain("Assumptions about time", ["Class", "What", "Value", "Source", "Systems"], rows, note)


def activity_tables(systems: Systems) -> list[Table]:
    """The mean decode step as it was priced, and at either end of what data decide; none where nothing depends on data."""
    rows = []
    for system in systems:
        found = system.get("activity") or {}
        for end, ms in found.items():
            rows.append([system["name"], end, Cell(f"{figure(ms)} ms"), Cell(percent(ms / found["profile"] - 1))])
    if not rows:
        return []
    note = "The run was priced by the profile; least and most are what any data could ask for."
    return [
        plain(
            "Activity that data decide",
            ["System", "Activity", Column("Decode step", True), Column("Against it", True)],
            rows,
            note,
        )
    ]


def roofs(systems: Systems) -> Table:
    """Peak rates and main-memory bandwidth by system."""
    rows = []
    for system in systems:
        roof = system["roofline"]
        bandwidth = Cell(f"{figure(roof['bandwidth_gb_s'])} GB/s")
        for label, tops in roof["peaks_tops"].items():
            ridge = tops * 1e3 / roof["bandwidth_gb_s"] if roof["bandwidth_gb_s"] else None
            rows.append([system["name"], label, Cell(f"{figure(tops)} TOPS"), bandwidth, Cell(figure(ridge))])
    columns = ["System", "Unit and formats", Column("Peak", True), Column("Bandwidth", True), Column("Ridge (ops/byte)", True)]
    note = (
        "Above the ridge compute limits an op, below it memory. One multiply-accumulate is two operations. The points are the "
        "ops of a decode step of the mean batch and context, and of a prefill step of the mean chunk."
    )
    return plain("Roofs", columns, rows, note)


def points(systems: Systems) -> Table:
    """The points of the roofline: each op of a typical decode step and of a typical prefill step."""
    rows = [
        [
            system["name"],
            point["step"],
            point["op"],
            point["unit"],
            Cell(figure(point["ops_per_byte"])),
            Cell(figure(point["tops"])),
        ]
        for system in systems
        for point in system["roofline"]["points"]
    ]
    columns = ["System", "Step", "Op", "Unit", Column("Intensity (ops/byte)", True), Column("Rate (TOPS)", True)]
    return plain("Points of the roofline", columns, rows, folded=True)


def provenance(experiment: dict[str, Any], systems: Systems) -> Table:
    """From what the report was made. What all systems share is said once."""
    entries = []
    for system in systems:
        entries += [((label, value), system["name"]) for label, value in _origins(experiment, system)]
    order = list(dict.fromkeys(label for (label, _), _ in entries))
    grouped = shared(entries, names_of(systems))
    rows = [
        [label, value, owners]
        for label, value, owners in sorted(((*k, o) for k, o in grouped.items()), key=lambda r: order.index(r[0]))
    ]
    return plain("Provenance", ["What", "Value", "Systems"], rows)


def scheduling(system: dict[str, Any]) -> dict[str, str]:
    """How requests were scheduled: "Policy" with its settings, and "Router"."""
    policy = dict(system["serving"]["policy"])
    kind = str(policy.pop("kind"))
    settings = ", ".join(f"{key} = {value}" for key, value in policy.items())
    return {"Policy": f"{kind} ({settings})" if settings else kind, "Router": str(system["serving"]["router"])}


def _origins(experiment: dict[str, Any], system: dict[str, Any]) -> list[tuple[str, str]]:
    trace, source = system["trace"], system["provenance"]
    found = [
        *scheduling(system).items(),
        ("Trace", f"{trace['name']}: {trace['requests']:,} requests"),
        ("Source of the trace", str(trace["source"])),
        ("Digest of the trace", str(trace["digest"])),
        ("Seed", str(source.get("seed", experiment.get("seed", MISSING)))),
        ("Run", str(source.get("hash", "not stored"))),
    ]
    found += [
        (label, str(source[key]))
        for key, label in (("experiment", "Digest of the input"), ("code", "Digest of the code"))
        if key in source
    ]
    versions = source.get("versions") or {}
    if versions:
        found.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return found
