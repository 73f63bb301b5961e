"""`rtloom verify`: conformance of units with RTL, recorded as proofs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sim.commands import parse
from sim.commands.emit import emit
from sim.commands.foreign import tools
from sim.commands.output import log, progress, table
from sim.commands.rtl import rtl_class
from sim.errors import BadInput, CheckFailed

OPS_AT_PARAMETERS = 4  # examples and draws that a unit of given parameters is proved on, where --random asks for no more
DRAWS = 2000


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
    """Prove the examples (and ``random`` draws) of one unit or of all, or one unit at the parameters of ``--set``."""
    if unit is not None:
        rtl_class(unit)
    with tools("verify"), progress(None) as report_progress:
        report = _play(unit, random, seed, simulator, record, settings, _shown(report_progress))
    for note in report.notes:
        log(note)
    if report.drawn:
        log(f"seed {seed}: {report.drawn} cases drawn, {report.rejected} draws refused by the units")
    emit("verify", [_data(row) for row in report.rows], _text(report), json, out)
    if junit is not None:
        junit.parent.mkdir(parents=True, exist_ok=True)
        report.junit(junit)
        log(f"wrote {junit}")
    if report.failures:
        failed = [f"{row.failure}\nrepeat with: {row.reproduce}" for row in report.failures]
        raise CheckFailed(*failed, f"{len(failed)} of {len(report.rows)} cases failed")


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
    return conformance.prove(chosen, _ops(chosen, max(random, OPS_AT_PARAMETERS), seed), **common)


def _ops(unit: Any, wanted: int, seed: int) -> list[Any]:
    """Ops that ``unit`` accepts, out of its class's examples and draws."""
    import numpy as np

    cls, rng = type(unit), np.random.default_rng(seed)
    candidates = [op for _, op in cls.examples()]
    accepted: list[Any] = []
    for _ in range(DRAWS):
        op = candidates.pop(0) if candidates else cls.draw(rng)[1]
        try:
            unit.check(op)
        except ValueError:
            continue
        accepted.append(op)
        if len(accepted) == wanted:
            return accepted
    raise BadInput(f"{cls.kind()}: of {DRAWS} drawn ops, {len(accepted)} suit these parameters; wanted {wanted}")


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
            "equal" if row.events_rtl == row.events_cost else "differ",
            "failed" if row.failure else "passed",
        ]
        for row in report.rows
    ]
    columns = ("unit", "parameters", "op", "seed", "cycles (RTL)", "cycles (cost)", "events", "result")
    return f"{table(rows, columns)}\n\n{len(report.rows) - len(report.failures)} of {len(report.rows)} cases passed"
