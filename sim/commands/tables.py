"""Results of runs as text: a table of metrics by system, and where the energy went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sim.commands.output import clean, table
from sim.metrics import unit_of


def metrics_table(results: Sequence[Any]) -> str:
    """One row per metric, one column per system; the systems are numbered where their names would make the table too wide."""
    names = [clean(result.name) for result in results]
    legend = []
    if sum(map(len, names)) > 90:
        legend = [f"[{i}] {name}" for i, name in enumerate(names, 1)]
        names = [f"[{i}]" for i in range(1, len(names) + 1)]
    keys = dict.fromkeys(key for result in results for key, value in result.metrics.items() if not isinstance(value, dict))
    rows = [[key, unit_of(key), *(result.metrics.get(key) for result in results)] for key in keys]
    return "\n".join([*legend, table(rows, ("metric", "unit", *names))])


def energy_table(result: Any) -> str:
    """The energy ledger of a run, largest first."""
    whole = result.metrics["total_energy_j"] or 1.0
    rows = [
        [row["component"], row["event"], row["joules"], f"{row['joules'] / whole:.1%}", row["source_class"]]
        for row in sorted(result.energy, key=lambda row: -row["joules"])
    ]
    return table(rows, ("component", "event", "energy (J)", "share", "class"))
