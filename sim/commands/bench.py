"""`rtloom bench`: what the tool itself costs, beside its goals."""

from __future__ import annotations

from pathlib import Path

from sim.bench.measure import machine, measure
from sim.bench.rows import ROWS
from sim.commands.catalogue import named
from sim.commands.emit import emit
from sim.commands.output import log, progress, table
from sim.errors import BadInput


def main(*, name: str | None, trace: Path | None, out: Path | None, json: bool) -> None:
    """Measure one row or all; name the machine."""
    if trace is not None and not trace.is_file():
        raise BadInput(f"--trace: wanted a file, got {str(trace)!r}")
    rows = ROWS if name is None else (named(name, {row.name: row for row in ROWS}, "row"),)
    with progress(len(rows)) as shown:
        order = [row.name for row in rows]
        results = measure(rows, trace, lambda row: shown(row, order.index(row)), log)
    on = machine()
    known = {row.name: row for row in rows}
    cells = []
    for r in results:
        row = known[r["name"]]
        cells.append([row.name, r["value"], row.unit, row.goal, "met" if row.met(r["value"]) else "missed", row.about])
    where = f"{on['cpu']}, {on['cores']} cores, {on['memory_gb']} GB, {on['system']}, {on['python']}"
    text = f"{where}\n\n{table(cells, ('name', 'value', 'unit', 'goal', 'verdict', 'what'))}"
    emit("bench", {"machine": on, "results": results}, text, json, out)
