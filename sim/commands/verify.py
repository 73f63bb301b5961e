"""`rtloom verify`: conformance of units with RTL, recorded as proofs."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sim.commands import parse
from sim.commands.emit import emit
from sim.commands.foreign import tools
from sim.commands.output import log, progress, table
from sim.commands.rtl import rtl_class
from sim.errors import BadInput, CheckFailed, StorageError

DRAWN = 3  # ops that a unit of given parameters is proved on beside the examples, where --random asks for no more
DRAWS_PER_OP = 20  # until one is short enough to simulate


def main(
    *,
    unit: str | None,
    random: int,
    seed: int,
    junit: Path | None,
    simulator: str,
    record: bool,
    settings: list[str] | None,
    out: Path | None,
    json: bool,
) -> None:
    """Prove the examples (and ``random`` draws) of one unit or of all, or one unit at the parameters of ``--set``.

    The latter on those examples that it takes, and on ``random`` (`DRAWN` at least) ops drawn for it.
    """
    if unit is not None:
        rtl_class(unit)
    if junit is not None:
        _check_place(junit)
    with tools("verify"), progress(None) as report_progress:
        report = _play(unit, random, seed, simulator, record, settings, _shown(report_progress))
    for note in report.notes:
        log(note)
    if report.drawn:
        log(f"seed {seed}: {_cases(report.drawn)} drawn, {report.rejected} draws refused by the units")
    emit("verify", [_data(row) for row in report.rows], _text(report), json, out)
    if junit is not None:
        report.junit(junit)
        log(f"wrote {junit}")
    if report.failures:
        failed = [f"{row.failure}\nrepeat with: {row.reproduce}" for row in report.failures]
        raise CheckFailed(*failed, f"{len(failed)} of {_cases(len(report.rows))} failed")


def _check_place(junit: Path) -> None:
    """Make the folder of ``junit``, and say now, and not after a proof of minutes, that nothing can be written there."""
    try:
        junit.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=junit.parent):
            pass
        if junit.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise StorageError(f"--junit: {junit}: cannot write there: {error.strerror}") from None


def _play(
    unit: str | None, random: int, seed: int, simulator: str, record: bool, settings: list[str] | None, shown: Callable
) -> Any:
    from accel.base import conformance

    common: dict[str, Any] = {"seed": seed, "simulator": simulator, "progress": shown} | ({} if record else {"folder": None})

    if not settings:
        kinds = [unit] if unit is not None else []
        return conformance.verify(kinds, random=random, **common)
    if unit is None:
        raise BadInput("--set: wanted the unit that it applies to, got none")
    chosen = parse.unit(rtl_class(unit), settings)
    return conformance.prove(chosen, _ops(chosen, max(random, DRAWN), seed, conformance.CASE_CYCLES), **common)


def _ops(unit: Any, drawn: int, seed: int, longest: int) -> list[Any]:
    """Every op of the examples of its class that ``unit`` accepts, and ``drawn`` more, each of at most ``longest`` cycles."""
    import numpy as np

    rng = np.random.default_rng(seed)
    examples = {op.describe(): op for _, op in unit.examples() if unit.takes(op)}
    try:
        draws = (unit.draw_op(rng) for _ in range(DRAWS_PER_OP * drawn))
        more = list(itertools.islice((op for op in draws if unit.cost(op).cycles <= longest), drawn))
    except ValueError as error:
        raise BadInput(str(error)) from None
    if len(more) < drawn:
        wanted = f"a simulator plays ops of at most {longest} cycles"
        raise BadInput(f"{unit.kind()}: {wanted}; {len(more)} of {DRAWS_PER_OP * drawn} drawn for these parameters are so short")
    return [op for op in examples.values() if unit.cost(op).cycles <= longest] + more


def _shown(report_progress: Callable[[str, int], None]) -> Callable[[Any], None]:
    done = 0

    def show(row: Any) -> None:
        nonlocal done
        done += 1
        report_progress(f"{row.unit}: {row.op}", done)

    return show


def _data(row: Any) -> dict[str, Any]:
    return asdict(row) | {"passed": row.failure is None}


def _text(report: Any) -> str:
    rows = [
        [
            row.unit,
            ", ".join(f"{k}={v}" for k, v in row.parameters.items()),
            row.op,
            row.seed,
            row.cycles_rtl,
            row.cycles_cost,
            "equal" if row.events_rtl == row.events_cost else "differ" if row.failure else "in range",
            "failed" if row.failure else "passed",
        ]
        for row in report.rows
    ]
    columns = ("unit", "parameters", "op", "seed", "cycles (RTL)", "cycles (cost)", "events", "result")
    return f"{table(rows, columns)}\n\n{len(report.rows) - len(report.failures)} of {_cases(len(report.rows))} passed"


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"
