"""The comparison report: one self-contained HTML page, the same as Markdown, and everything as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_report(results: Sequence[Any], experiment: Any, out: Path) -> Path:
    """Write ``report.html``, ``report.md`` and ``report.json`` in ``out``, and return the path of the first.

    ``results`` are of `sim.result.Result` or `sim.stored.StoredResult`, the first of which the others are compared with;
    ``experiment`` is a `sim.experiment.Experiment` or its tables as plain data. Equal input gives equal bytes: no date and no
    path of this machine is written. Raises BadInput where there is no result, StorageError where the files cannot be
    written; then none of them is changed.
    """
    from sim.report.data import gather
    from sim.report.files import write_together
    from sim.report.render import render

    out = Path(out)
    write_together(out, render(gather(results, experiment)))
    return out / "report.html"
