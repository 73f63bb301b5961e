"""`rtloom list`: what can be named, with a summary each."""

from __future__ import annotations

from pathlib import Path

from sim.commands.catalogue import rows
from sim.commands.emit import emit
from sim.commands.output import table


def main(*, what: str, out: Path | None, json: bool) -> None:
    """Print ``{kind, summary, class, proof}`` of each."""
    found = rows(what)
    columns = [c for c in ("kind", "class", "proof", "summary") if c in ("kind", "summary") or any(r[c] for r in found)]
    text = table([[row[c] or "-" for c in columns] for row in found], columns)
    emit("list", found, text, json, out)
