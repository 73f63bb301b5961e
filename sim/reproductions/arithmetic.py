"""Arithmetic: energy and area of adders and multipliers in ratios to one another, beside the 45 nm table of ISSCC'14.

The table gives bare operators at 45 nm and 0.9 V. Ours are the synthesised units `arithmetic` in ASAP7 (7 nm, 0.7 V). Only ratios
within one technology are compared, each format to INT8 of the same function and multiply to add; nothing is scaled between nodes.

Our units hold more than the operator. What does not grow with the width (counter, handshake) is the constant of the line through
INT8, INT16 and INT32 addition; it is taken off both energy and area. Off the area go two operand registers as well, one flip-flop
per bit. Their joules cannot be told from those of the operator, and stay. Each row also says what the ratio of whole units is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from accel.base.tech import Entry, Tech
from sim.reproductions.base import Row
from workloads.formats import FORMATS

TECHNOLOGY = "asap7"
SOURCE = "M. Horowitz, Computing's energy problem, ISSCC'14: energy table, 45 nm, 0.9 V"
TABLE = {  # (function, format): pJ, um2
    ("add", "int8"): (0.03, 36),
    ("add", "int16"): (0.05, 67),
    ("add", "int32"): (0.1, 137),
    ("add", "fp16"): (0.4, 1360),
    ("add", "fp32"): (0.9, 4184),
    ("multiply", "int8"): (0.2, 282),
    ("multiply", "int32"): (3.1, 3495),
    ("multiply", "fp16"): (1.1, 1640),
    ("multiply", "fp32"): (3.7, 7700),
}
INTEGER_ADDERS = (("add", "int8"), ("add", "int16"), ("add", "int32"))
FLIPFLOP_UM2 = 0.2916  # DFFHQNx1_ASAP7_75t_R, the cell that registers map to (ASAP7, 7.5 tracks)
METRICS = ("energy", "area")
Operation = tuple[str, str]  # function and format
ALL_PRODUCTS = 32 * 32 / (32 * 33 / 2)
"""Partial products of a full INT32 product by those of its low 32 bits, which is all that ours keeps."""
WIDTHS = {"fp16": 11, "fp32": 24}  # of the significand, its leading one included


@dataclass(frozen=True)
class Figures:
    """Joules of one operation, area in um2, and depth of the pipeline of one unit."""

    energy: float
    area: float
    depth: int


def synthesized(entries: Iterable[Entry]) -> dict[Operation, Figures]:
    """The figures of every operation of the table that ``entries`` know, each at its shallowest pipeline."""
    found: dict[Operation, dict[int, dict[str, float]]] = {}
    for entry in entries:
        own = entry.parameters
        operation = str(own.get("function")), str(own.get("format"))
        if entry.component != "arithmetic" or operation not in TABLE or own.get("result", "none") != "none":
            continue
        figures = found.setdefault(operation, {}).setdefault(int(own.get("depth", 0)), {})
        if entry.area is not None:
            figures["area"] = entry.area
        elif entry.event == "operation" and entry.energy is not None:
            figures["energy"] = entry.energy
    return {operation: Figures(**depths[min(depths)], depth=min(depths)) for operation, depths in found.items()}


def operators(figures: Mapping[Operation, Figures]) -> dict[Operation, Figures]:
    """``figures`` less what the units hold beside the operator."""
    shared = {metric: _constant_part(figures, metric) for metric in METRICS}
    return {
        (function, number): Figures(
            whole.energy - shared["energy"],
            whole.area - shared["area"] - 2 * FORMATS[number].bits * FLIPFLOP_UM2,
            whole.depth,
        )
        for (function, number), whole in figures.items()
    }


def _constant_part(figures: Mapping[Operation, Figures], metric: str) -> float:
    """What an integer adder of no bits would take: the constant of the line through three of them."""
    bits = [FORMATS[number].bits for _, number in INTEGER_ADDERS]
    return float(np.polyfit(bits, [getattr(figures[operation], metric) for operation in INTEGER_ADDERS], 1)[1])


def pairs() -> Iterable[tuple[Operation, Operation]]:
    """(operation, what it is compared with)."""
    for function, number in TABLE:
        if number != "int8":
            yield (function, number), (function, "int8")
    yield ("multiply", "int8"), ("add", "int8")


def rows(entries: Iterable[Entry] | None = None) -> Iterable[Row]:
    whole = synthesized(Tech.load(TECHNOLOGY).entry if entries is None else entries)
    bare = operators(whole)
    for column, metric in enumerate(METRICS):
        for operation, reference in pairs():
            ours, units = (getattr(f[operation], metric) / getattr(f[reference], metric) for f in (bare, whole))
            yield Row(
                system="arithmetic",
                setup=f"{_named(operation, whole)} by {_named(reference, whole)}",
                metric=metric,
                unit="ratio",
                published=TABLE[operation][column] / TABLE[reference][column],
                simulated=ours,
                source=SOURCE,
                note=_note(metric, operation, whole[operation].depth, ours, units),
            )


def _note(metric: str, operation: Operation, depth: int, ours: float, units: float) -> str:
    function, number = operation
    parts = ["the table gives neither speed nor pipelining nor operands"]
    if number in WIDTHS and function == "multiply":
        grown = (WIDTHS[number] / 8) ** 2
        parts.append(
            f"{WIDTHS[number]} x {WIDTHS[number]} bits of significand are {grown:.1f} products of 8 x 8; rounding adds to that"
        )
    elif number in WIDTHS:
        parts.append(f"ours is cut into {depth + 1} stage{'s' * (depth > 0)}; the table's may hold the registers of more")
    elif operation == ("multiply", "int32"):
        parts.append(
            f"ours keeps the low half of the product; with all partial products it would be about {ALL_PRODUCTS * ours:.1f}"
        )
    if metric == "energy":
        parts.append("the joules of operand registers stay in, which lowers ratios to INT8")
        if number == "int32":
            parts.append("operands are as sums are, about 16 bits and their sign")
    return f"{'; '.join(parts)}. Whole units stand {units:.3g} to 1"


def _named(operation: Operation, figures: Mapping[Operation, Figures]) -> str:
    function, number = operation
    depth = figures[operation].depth
    return f"{number.upper()} {function}" + (f" of depth {depth}" if depth else "")
