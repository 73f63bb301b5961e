"""`rtloom characterize`: area, clock, leakage and joules per event of a unit on a standard-cell library."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sim.commands import parse
from sim.commands.emit import emit
from sim.commands.foreign import tools
from sim.commands.output import log, progress, table
from sim.commands.rtl import rtl_class
from sim.errors import BadInput, CheckFailed


def main(
    *,
    unit: str,
    liberty: list[Path],
    more: list[Path] | None,
    seed: int,
    settings: list[str] | None,
    out: Path | None,
    json: bool,
) -> None:
    """Characterise ``unit``; with ``out``, write ``UNIT.toml``, a technology file, there."""
    chosen = parse.unit(rtl_class(unit), settings)
    files = [*liberty, *(more or [])]
    for file in files:
        if not file.is_file():
            raise BadInput(f"--liberty: {file}: no such file")
    with tools("characterize"), progress(None) as shown:
        from accel.base.activity import MappingError
        from accel.base.characterize import characterize
        from accel.base.figures import write_entries
        from accel.base.liberty import LibertyError

        try:
            result = characterize(chosen, files, seed=seed, progress=_counted(shown))
        except LibertyError as error:
            raise BadInput(str(error)) from None
        except (MappingError, ValueError) as error:
            raise CheckFailed(str(error)) from None
    emit("characterize", result.summary(), _text(result), json, out)
    if out is not None:
        path = out / f"{unit}.toml"
        try:
            write_entries(path, [result])
        except ValueError as error:
            raise BadInput(str(error)) from None
        log(f"wrote {path}")


def _counted(shown: Callable[[str, int], None]) -> Callable[[str], None]:
    """A function of the step that begins, which counts the steps before it."""
    steps = itertools.count()
    return lambda line: shown(line, next(steps))


def _text(result: Any) -> str:
    parameters = ", ".join(f"{k}={v}" for k, v in result.parameters.items())
    clock = f"{result.clock_mhz:.0f} MHz" if result.clock_mhz else "not known"
    leakage = f"{result.leakage_w * 1e6:.4g} uW" if result.leakage_w is not None else "not known"
    lines = [
        f"{result.component}({parameters}) in {result.library}",
        f"area    {result.area_um2:.1f} um2 in {result.cells} cells, {result.sequential_um2:.1f} um2 of it sequential",
        f"clock   {clock} {result.critical}".rstrip(),
        f"leakage {leakage}",
        f"tools   {result.tools}",
    ]
    if result.fit is not None:
        rows = [[event, joules * 1e15, result.fit.carrier.get(event)] for event, joules in result.fit.joules.items()]
        quality = f"residual {result.fit.residual:.1%}, held out {result.fit.held_out:.1%}"
        lines += [
            "",
            table(rows, ("event", "energy (fJ)", "carried by")),
            "",
            f"{quality}, {result.checked_cycles:,} cycles checked",
        ]
    return "\n".join(lines + ([result.note] if result.note else []))
