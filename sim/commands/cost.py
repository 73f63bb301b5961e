"""`rtloom cost`: cycles and events of one op on one unit, and the runs that it is cut into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    work = parse.op(op, shape, _usual_formats(priced, op) | {name: text for name, text in given.items() if text is not None})
    try:
        runs = [_run(priced, tile, count) for tile, count in priced.runs(work)]
    except ValueError as error:
        raise BadInput(f"{unit}: {error}") from None
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


def _usual_formats(unit: Any, kind: str) -> dict[str, str]:
    """The formats of the unit's first example of such an op, for those that the user does not give; none of analytical units."""
    for _, example in unit.examples() if isinstance(unit, RtlUnit) else ():
        if example.kind == kind:
            return {name: str(value) for name, value in vars(example).items() if isinstance(value, Format)}
    return {}


def _run(unit: Any, tile: Any, count: int) -> dict[str, Any]:
    cost = unit.tile_cost(tile)
    return {
        "tile": {name: int(extent) for name, extent in tile.extents().items()},
        "invocations": int(count),
        "latency": int(cost.latency),
        "interval": int(cost.interval),
        "cycles": int(cost.run(count).cycles),
    }


def _text(data: dict[str, Any]) -> str:
    parameters = ", ".join(f"{k}={v}" for k, v in data["parameters"].items())
    columns = ("tile", "invocations", "latency", "interval", "cycles")
    runs = [
        [" ".join(f"{k}={v}" for k, v in run["tile"].items()) or "whole", *(run[c] for c in columns[1:])] for run in data["runs"]
    ]
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
