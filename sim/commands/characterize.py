"""`rtloom characterize`: area, clock, leakage and joules per event of a unit, or of a memory controller, on a cell library.

Without a Liberty file, the committed figures of the unit at these parameters, if there are any.
"""

from __future__ import annotations

import itertools
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accel.base.tech import Entry, Tech, available
from sim.commands import parse
from sim.commands.emit import emit
from sim.commands.foreign import tools
from sim.commands.output import log, progress, table
from sim.commands.rtl import hardware_class
from sim.errors import BadInput, CheckFailed, StorageError

COMMITTED = "asap7"
"""The technology file of characterised units; others hold units of their own, beside published figures."""
MOST_NAMED = 4
"""Sets of parameters that a message lists."""


def main(
    *,
    unit: str,
    liberty: list[Path] | None,
    more: list[Path] | None,
    seed: int,
    settings: list[str] | None,
    out: Path | None,
    json: bool,
) -> None:
    """Characterise ``unit``; with ``out``, write ``UNIT.toml``, a technology file, there, and then ``characterize.json``."""
    chosen = parse.unit(hardware_class(unit), settings)
    files = [*(liberty or []), *(more or [])]
    for file in files:
        if file.is_dir():
            raise BadInput(f"--liberty: {file}: wanted Liberty files (NAME.lib or NAME.lib.gz), got a folder")
        if not file.is_file():
            raise BadInput(f"--liberty: {file}: no such file")
    if not files:
        name, found = _committed(chosen)
        emit("characterize", _plain(name, found), _listed(name, found), json, out)
        return
    path = None if out is None else out / f"{unit}.toml"
    if path is not None:
        _check_place(path)
    with tools("characterize"), progress(None) as shown:
        from accel.base.activity import MappingError
        from accel.base.characterize import UnitError, characterize
        from accel.base.figures import write_entries
        from accel.base.liberty import LibertyError

        try:
            result = characterize(chosen, files, seed=seed, progress=_counted(shown))
        except (LibertyError, UnitError) as error:
            raise BadInput(str(error)) from None
        except (MappingError, ValueError) as error:
            raise CheckFailed(str(error)) from None
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_entries(path, [result])
        except (OSError, ValueError) as error:
            emit("characterize", result.summary(), _text(result), json, None)  # what took minutes is shown all the same
            if isinstance(error, OSError):
                raise StorageError(f"{path}: cannot write: {error.strerror}") from None
            raise BadInput(str(error)) from None
        log(f"wrote {path}")
    emit("characterize", result.summary(), _text(result), json, out)


def _check_place(path: Path) -> None:
    """Say now, and not after minutes, that the technology file ``path`` cannot be written."""
    there = next(folder for folder in (path.parent, *path.parent.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise StorageError(f"{there}: cannot write there: it is no folder")
    try:
        with tempfile.TemporaryDirectory(dir=there):  # tried, because permissions do not tell (of a superuser, or of /proc)
            pass
    except OSError as error:
        raise StorageError(f"{path.parent}: cannot write in {there}: {error.strerror}") from None
    if not path.exists():
        return
    try:
        Tech.from_data(tomllib.loads(path.read_text()))
    except OSError as error:
        raise StorageError(f"{path}: cannot read: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"{path} is not a technology file, and is left as it is: {error}") from None


def _committed(unit: Any) -> tuple[str, list[Entry]]:
    """The technology with figures of the netlist at the parameters of ``unit``, and these: those that name all of them, be they
    synthesised or scaled from smaller ones. Raises BadInput where there is none."""
    known: dict[str, list[Entry]] = {}
    for name in sorted(available(), key=lambda name: name != COMMITTED):
        entries = [
            e for e in Tech.load(name).entry if e.component == unit.kind() and (e.rtlil or set(e.parameters) == set(dict(unit)))
        ]
        found = [e for e in entries if e.matches(unit.kind(), dict(unit)) and set(e.parameters) == set(dict(unit))]
        if found:
            return name, found
        if entries:
            known[name] = entries
    where = " or ".join(known) or COMMITTED
    having = list(dict.fromkeys(_parameters(e) for entries in known.values() for e in entries)) or ["none of this unit"]
    having[MOST_NAMED:] = [f"{len(having) - MOST_NAMED} more"] if len(having) > MOST_NAMED else []
    raise BadInput(
        f"technology {where} has no figures of {unit.kind()} at these parameters (it has {' and '.join(having)}); to make them, "
        "give the Liberty files of a standard-cell library: --liberty FILE [FILE ...]"
    )


def _parameters(entry: Entry) -> str:
    return ", ".join(f"{k}={v}" for k, v in entry.parameters.items())


def _plain(name: str, entries: list[Entry]) -> dict[str, Any]:
    rows = [e.model_dump(mode="json", by_alias=True, exclude_none=True) for e in entries]
    return {"component": entries[0].component, "parameters": dict(entries[0].parameters), "committed": name, "entry": rows}


def _listed(name: str, entries: list[Entry]) -> str:
    static = next((e for e in entries if e.area is not None), None)
    lines = [f"{entries[0].component}({_parameters(entries[0])}), committed in technology {name}; --liberty FILE makes them anew"]
    if static is not None and static.area is not None:
        lines += [
            f"area    {static.area:.1f} um2",
            f"clock   {static.clock / 1e6:.0f} MHz" if static.clock else "clock   not known",
        ]
        lines.append(f"leakage {static.power * 1e6:.4g} uW" if static.power is not None else "leakage not known")
        lines.append(f"source  {static.source}")
    rows = [[e.event, e.energy * 1e15] for e in entries if e.event is not None and e.energy is not None]
    return "\n".join([*lines, *(["", table(rows, ("event", "energy (fJ)"))] if rows else [])])


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
    if len(result.parts) > 1:
        rows = [[p.module, p.count, p.cells, p.area_um2, p.count * p.area_um2] for p in result.parts]
        lines += ["", table(rows, ("module", "count", "cells each", "area each (um2)", "area (um2)"))]
    if result.composed_vs_flat:
        lines += ["", f"composed against flat: {result.composed_vs_flat}"]
    if result.fit is not None:
        rows = [[event, joules * 1e15, result.fit.carrier.get(event)] for event, joules in result.fit.joules.items()]
        quality = f"residual {result.fit.residual:.1%}, held out {result.fit.held_out:.1%}"
        lines += [
            "",
            table(rows, ("event", "energy (fJ)", "carried by")),
            "",
            f"{quality}, {result.checked_cycles:,} cycles checked; {result.statistics}",
        ]
    return "\n".join(lines + [line for line in (result.how, result.note) if line])
