"""`rtloom reproduce`: published against simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim.commands.emit import emit
from sim.commands.output import log, table
from sim.reproduce import reproduce

COLUMNS = ("system", "setup", "metric", "published", "simulated", "unit", "error", "status")


def main(*, system: str | None, out: Path | None, json: bool) -> None:
    """Print every row; with ``--json`` with its source, constants and note."""
    rows = [row.as_dict() for row in reproduce(system, log)]
    shown = [[f"{row['error']:+.1%}" if c == "error" else row[c] for c in COLUMNS] for row in rows]
    emit("reproduce", rows, "\n".join([table(shown, COLUMNS), *_notes(rows)]), json, out)


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """Each note, and each constant that rows rest on, once, under the rows that it is about."""
    about: dict[str, list[str]] = {}
    for row in rows:
        for said in filter(None, (row["note"], *(f"rests on: {constant}" for constant in row["constants"]))):
            about.setdefault(said, []).append(f"{row['setup']}, {row['metric']}")
    return [line for said, setups in about.items() for line in ("", *setups, f"  {said}")]
