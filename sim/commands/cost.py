"""`rtloom cost`: cycles and events of one op on one unit, and the runs that it is cut into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from accel.base.unit import RtlUnit
from sim.commands import parse, proof
from sim.commands.catalogue import unit_class
from sim.commands.emit import emit
from sim.commands.output import table
from sim.errors import BadInput
from sim.provenance import resolved
from workloads.formats import Format


def main(
    *,
    unit: str,
    op: str,
    shape: str,
    weights: str | None,
    activations: str | None,
    kv: str | None,
    output: str | None,
    settings: list[str] | None,
    out: Path | None,
    json: bool,
) -> None:
    """Price ``op`` of ``shape`` on ``unit``."""
    priced = parse.unit(unit_class(unit), settings)
    given = {"weights": weights, "activations": activations, "kv": kv, "output": output}
    usual = _usual_formats(priced, op, parse.pairs(shape, "--shape").get("function"))
    work = parse.op(op, shape, usual | {name: text for name, text in given.items() if text is not None})
    try:
        runs = [_run(priced, tile, count) for tile, count in priced.runs(work)]
    except ValueError as error:
        message = str(error)
        raise BadInput(message if unit in message.split() else f"{unit}: {message}") from None
    total = priced.cost(work)
    shown = proof.status(priced)
    data = {
        "unit": unit,
        "parameters": {k: v for k, v in resolved(priced).items() if k != "kind"},
        "op": work.describe(),
        "cycles": int(total.cycles),
        "events": {name: int(count) for name, count in total.events.items()},
        "runs": runs,
        **shown,
    }
    emit("cost", data, _text(data), json, out)


def _usual_formats(unit: Any, kind: str, function: str | None) -> dict[str, str]:
    """The formats that the user does not give, as in the first example of such an op that this very unit accepts; none of
    analytical units. Where it accepts no example: those of an op drawn for it, or else of the first example."""
    if not isinstance(unit, RtlUnit):
        return {}
    examples = [example for _, example in unit.examples()]
    try:
        drawn = [unit.draw_op(np.random.default_rng(0))]
    except ValueError:
        drawn = []
    for op in [*filter(unit.takes, examples), *drawn, *examples]:
        if op.kind == kind and (function is None or getattr(op, "function", None) == function):
            return {name: str(value) for name, value in vars(op).items() if isinstance(value, Format)}
    return {}


def _run(unit: Any, tile: Any, count: int) -> dict[str, Any]:
    cost = unit.tile_cost(tile)
    flags = {"accumulate": tile.accumulate} if hasattr(tile, "accumulate") else {}
    return {
        "tile": {name: int(extent) for name, extent in tile.extents().items()} | flags,
        "invocations": int(count),
        "latency": int(cost.latency),
        "interval": int(cost.interval),
        "cycles": int(cost.run(count).cycles),
    }


def _text(data: dict[str, Any]) -> str:
    parameters = ", ".join(f"{k}={v}" for k, v in data["parameters"].items())
    columns = ("tile", "invocations", "latency", "interval", "cycles")
    runs = [[_tile(run["tile"]) or "whole", *(run[c] for c in columns[1:])] for run in data["runs"]]
    return "\n".join(
        [
            f"{data['unit']}({parameters})",
            f"{data['op']}: {data['cycles']:,} cycles",
            f"proof: {data['proof']} ({data['detail']})",
            "",
            table(runs, columns),
            "",
            table(list(data["events"].items()), ("event", "count")),
        ]
    )


def _tile(tile: dict[str, Any]) -> str:
    """Extents by name; a flag is only named, where it is set."""
    return " ".join(name if value is True else f"{name}={value}" for name, value in tile.items() if value is not False)
