"""`rtloom rtl`: the Verilog of a unit, or of a controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim.commands import parse
from sim.commands.catalogue import named, unit_class, units
from sim.commands.foreign import tools
from sim.commands.output import emit_json, log, say
from sim.errors import BadInput
from sim.store import write_file


def rtl_class(kind: str) -> type[Any]:
    """The class of a unit with RTL. Raises BadInput where there is none of that name, or no RTL of it."""
    from accel.base.unit import RtlUnit

    cls = unit_class(kind)
    if not issubclass(cls, RtlUnit):
        raise BadInput(f"{kind} is priced from calibrated figures and has no RTL; 'rtloom list units' shows which have")
    return cls


def hardware_class(kind: str) -> type[Any]:
    """The class of a unit with RTL, or of a controller. Raises BadInput with the nearest right name."""
    from memsys.controller.exercise import DramController
    from pim.pim_controller.exercise import PimControllerExercise

    controllers: dict[str, type[Any]] = {cls.kind(): cls for cls in (DramController, PimControllerExercise)}
    found = named(kind, {**units(), **controllers}, "unit")
    return found if kind in controllers else rtl_class(kind)


def main(*, unit: str, settings: list[str] | None, out: Path | None, json: bool) -> None:
    """Write the Verilog to stdout, to the file ``out``, or to ``UNIT.v`` in the folder ``out``."""
    from accel.base.rtl import rtlil_hash, verilog

    chosen = parse.unit(hardware_class(unit), settings)
    with tools("rtl"):
        text = verilog(chosen)
    path = None
    if out is not None:
        path = out if out.suffix == ".v" and not out.is_dir() else out / f"{unit}.v"
        write_file(path, text)
        log(f"wrote {path}")
    if json:
        parameters = chosen.model_dump(mode="json")
        data = {"unit": unit, "parameters": parameters, "rtlil_sha256": rtlil_hash(chosen), "top": "top"}
        emit_json(data | ({"file": str(path)} if path else {"verilog": text}))
    elif path is None:
        say(text)
    else:
        say(str(path))
