"""Energy per output token: stacked by component, and by the class of the figures that it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sim.report.comparison import heads
from sim.report.figures import MISSING, beside, percent, scale
from sim.report.table import CLASSES, Cell, Column, Group, Table, class_badge


def stacks(systems: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Joules per output token by component, one value per system; static power apart from what the component does.

    The values of a system add up to its ``energy_per_output_token_j``. Largest of the first system first, static last.
    """
    found: dict[tuple[bool, str], list[list[float]]] = {}
    for place, system in enumerate(systems):
        for row in system["energy"]:
            static = row["event"].partition(" ")[0] == "static"
            label = f"{row['component']}, static" if static else row["component"]
            found.setdefault((static, label), [[] for _ in systems])[place].append(row["joules"])
    tokens = [system["metrics"]["total_output_tokens"] for system in systems]
    sums = {key: [math.fsum(part) / n for part, n in zip(parts, tokens, strict=True)] for key, parts in found.items()}
    order = sorted(sums, key=lambda key: (key[0], [-value for value in sums[key]], key[1]))
    return {key[1]: sums[key] for key in order}


def stack_table(systems: Sequence[dict[str, Any]]) -> Table:
    """`stacks` as a table, each with its share, and the sum."""
    parts = stacks(systems)
    totals = [math.fsum(values) for values in zip(*parts.values(), strict=True)] or [0.0] * len(systems)
    largest = max(totals)
    factor, unit = scale("J", totals)
    rows = [
        [Cell(label), Cell(unit), *(_part(value, total, largest, factor) for value, total in zip(values, totals, strict=True))]
        for label, values in parts.items()
    ]
    whole = [Cell("Sum"), Cell(unit), *(_part(total, total, largest, factor) for total in totals)]
    columns = [Column("Component"), Column("Unit"), *heads(systems)]
    return Table("Energy per output token", columns, [Group("", rows), Group("", [whole], total=True)])


def _part(value: float, total: float, largest: float, factor: float) -> Cell:
    return Cell(beside(value * factor, largest * factor), percent(value / total)) if value else Cell(MISSING)


def class_shares(system: dict[str, Any]) -> dict[str, float]:
    """The share of a system's energy that rests on figures of each class."""
    whole = math.fsum(row["joules"] for row in system["energy"])
    return {
        name: math.fsum(row["joules"] for row in system["energy"] if row["source_class"] == name) / whole if whole else 0.0
        for name in CLASSES
    }


def class_table(systems: Sequence[dict[str, Any]]) -> Table:
    """`class_shares` of all systems."""
    shares = [class_shares(system) for system in systems]
    rows = [
        [class_badge(name), *(Cell(percent(share[name])) for share in shares)] for name in CLASSES if any(s[name] for s in shares)
    ]
    note = "How far the energy of each system rests on figures of each class; the sources are listed under Assumptions."
    return Table("Energy by class of source", [Column("Class"), *heads(systems)], [Group("", rows)] if rows else [], note)
