"""`rtloom rtl`: the Verilog of a unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim.commands import parse
from sim.commands.catalogue import unit_class
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


def main(*, unit: str, settings: list[str] | None, out: Path | None, json: bool) -> None:
    """Write the Verilog to stdout, to the file ``out``, or to ``UNIT.v`` in the folder ``out``."""
    from accel.base.rtl import rtlil_hash, verilog

    chosen = parse.unit(rtl_class(unit), settings)
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
