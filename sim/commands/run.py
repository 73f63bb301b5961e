"""`rtloom run`: serve a trace, print metrics and energy, store the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim.commands.emit import emit
from sim.commands.output import clean, log
from sim.commands.serving import listed, serve_all
from sim.commands.subjects import Options, assemble
from sim.commands.tables import energy_table, metrics_table
from sim.store import Store


def main(*, experiment: str, runs: Path, out: Path | None, json: bool, **options: Any) -> None:
    """Serve every system of ``experiment``; with ``out``, write the report too."""
    chosen, base = assemble([experiment], Options(**options))
    results = serve_all(chosen, base, Store(runs))
    data = {"experiment": chosen.name, "results": listed(results)}
    text = [metrics_table(results)]
    for result in results:
        text += ["", f"energy of {clean(result.name)}, stored in {result.folder}", energy_table(result)]
    emit("run", data, "\n".join(text), json, out)
    if out is not None:
        from sim.report import write_report

        log(f"wrote {write_report(results, chosen, out)}")
