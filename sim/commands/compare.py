"""`rtloom compare`: the same trace on several systems, as a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim.commands.output import emit_json, log, say
from sim.commands.serving import listed, serve_all
from sim.commands.subjects import Options, assemble
from sim.commands.tables import metrics_table
from sim.store import Store


def main(*, subjects: list[str], runs: Path, out: Path, json: bool, **options: Any) -> None:
    """Serve every system of ``subjects`` and write the report; its path is the last line printed."""
    chosen, base = assemble(subjects, Options(**options))
    write(serve_all(chosen, base, Store(runs)), chosen, out, json)


def write(results: list[Any], experiment: Any, out: Path, json: bool) -> None:
    """Write report.html, report.md and report.json in ``out``, and print the metrics and the path of the first."""
    from sim.report import write_report

    path = write_report(results, experiment, out)
    if json:
        emit_json({"experiment": experiment.name, "results": listed(results), "report": str(path)})
        log(f"wrote {path}")
    else:
        say(metrics_table(results))
        say("")
        say(str(path))
