"""Workloads for characterisation: what a unit is made to do so that its events can be told apart.

One is idle; the others are runs of full and partial tiles, short and long, of every op that the unit takes, with and without
stalls and idle cycles. Operands are drawn as `accel.base.operands` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from accel.base.activity import Workload
from accel.base.operands import operands
from accel.base.unit import DRAWS_PER_OP, RtlUnit
from workloads.formats import Format
from workloads.ops import Op

WORKLOADS, HELD_OUT = 30, 6
PER_EVENT = 3  # workloads that are fitted for each event at least
MOST_WORKLOADS = 60
BUSY_CYCLES = 60  # of a workload, at least
DRAWS = 100  # of ops beside the examples
TRIES = 60  # of extents until the unit takes them
LONGEST = 4096  # extent of a dimension that hardly adds to the latency
MOST_CYCLES = 4 * BUSY_CYCLES  # of an invocation: the product of several long extents could be thousands


def draw_workloads(unit: RtlUnit, rng: np.random.Generator, most: int = MOST_WORKLOADS) -> list[Workload]:
    """At most ``most`` workloads. Raises ValueError where neither an example nor a draw of its class fits the unit."""
    ops = templates(unit, rng)
    events = {name for op in ops for name in unit.tile_cost(_cut(unit, op)).events}
    wanted = min(max(WORKLOADS, PER_EVENT * (1 + len(events)) + HELD_OUT), most)
    workloads = [Workload((), idle=BUSY_CYCLES)]
    while len(workloads) < wanted:
        runs, cycles = [], 0
        while cycles < BUSY_CYCLES:
            tile = draw_tile(unit, ops[int(rng.integers(len(ops)))], rng)
            cost = unit.tile_cost(tile)
            n = int(rng.integers(1, 4))
            runs.append((tile, tuple(operands(tile, rng) for _ in range(n))))
            cycles += int(cost.latency + (n - 1) * cost.interval)
        stall = 0.0 if rng.random() < 0.5 else float(rng.uniform(0.1, 0.6))
        idle = 0 if rng.random() < 0.5 else int(rng.integers(1, BUSY_CYCLES))
        workloads.append(Workload(tuple(runs), stall, idle))
    return workloads


def templates(unit: RtlUnit, rng: np.random.Generator) -> list[Op]:
    """One op per combination of everything but extents that ``unit`` takes, out of its class's examples and draws.

    Ops with grouped weights only where there are none without, and long groups only where there are no short ones.
    """
    found: dict[Any, Op] = {}
    for op in _candidates(unit, rng):
        found.setdefault(_kind(op), op)
    groups = {key: max((operand.format.group or 0) for operand in op.operands()) for key, op in found.items()}
    return next(
        some
        for longest in (0, BUSY_CYCLES, max(groups.values()))
        if (some := [op for key, op in found.items() if groups[key] <= longest])
    )


def _candidates(unit: RtlUnit, rng: np.random.Generator) -> Iterator[Op]:
    examples = [op for _, op in unit.examples()]
    fitting = [op for op in examples if unit.takes(op)]
    yield from fitting
    for _ in range(DRAWS):
        try:
            yield unit.draw_op(rng)
        except ValueError:
            if fitting:
                return
            count = len(examples) + DRAWS_PER_OP
            raise ValueError(f"none of {count} examples and draws of {unit.kind()} fits these parameters: {dict(unit)}") from None


def _kind(op: Op) -> tuple[Any, ...]:
    """Everything of ``op`` but its extents, its role and its traffic."""
    left_out = {*op.dimensions, "role", "read_bytes", "write_bytes", "head_dim"}
    return (op.kind, *(str(getattr(op, f.name)) for f in fields(op) if f.name not in left_out))


def draw_tile(unit: RtlUnit, template: Op, rng: np.random.Generator) -> Op:
    """``template`` with new extents: half of them the whole limit, others less, large ones up to a long enough invocation, and
    none so long that one run takes longer to play than all others.

    Where the unit refuses extents (a k that is not of whole groups), multiples of the op's own granules are tried too, and at
    last the extents that the op has. A unit that takes partial sums gets them half of the time.
    """
    for _ in range(TRIES):
        tile = _resized(unit, template, rng)
        try:
            unit.check(tile)
        except ValueError:
            continue
        if any(getattr(tile, name) > most for name, most in unit.limits(tile).items() if name in tile.dimensions):
            continue
        if (short := _short_enough(unit, tile, rng)) is not None:
            return short
    return _cut(unit, template)


def _short_enough(unit: RtlUnit, tile: Op, rng: np.random.Generator) -> Op | None:
    """``tile``, one extent after another drawn again below what it is while it takes too long; None where the unit refuses."""
    while unit.tile_cost(tile).latency > MOST_CYCLES:
        sizes = {name: size for name in tile.dimensions if (size := getattr(tile, name)) > 1}
        if not sizes:
            return None
        name = list(sizes)[int(rng.integers(len(sizes)))]
        tile = tile.resized(**{name: int(sizes[name] ** rng.random())})
        try:
            unit.check(tile)
        except ValueError:
            return None
    return tile


def _cut(unit: RtlUnit, op: Op) -> Op:
    """The first tile of ``op``."""
    return next(tile for tile, count in unit.runs(op) if count)


def _resized(unit: RtlUnit, template: Op, rng: np.random.Generator) -> Op:
    changed: dict[str, Any] = {}
    if unit.partial_sums and hasattr(template, "accumulate"):
        changed["accumulate"] = bool(rng.integers(2))
    template = template.resized(**changed)
    limits = unit.limits(template)
    granules = _granules(template)
    long = []
    for name in template.dimensions:
        most = limits.get(name, 1 << 30)
        if most > BUSY_CYCLES:
            long.append(name)
            changed[name] = granules[int(rng.integers(len(granules)))]
        else:
            changed[name] = most if rng.random() < 0.5 else int(rng.integers(1, most + 1))
    for name in long:
        granule, most = changed[name], limits.get(name, 1 << 30)
        size = 1
        while size * granule < min(most, LONGEST):
            if unit.tile_cost(template.resized(**changed | {name: size * granule})).latency >= BUSY_CYCLES // 2:
                break
            size *= 2
        changed[name] = min(int(size ** rng.uniform(0.3, 1)) * granule, most)
    return template.resized(**changed)


def _granules(op: Op) -> list[int]:
    """1, and the lengths that extents of ``op`` may have to be multiples of: groups of weights, of a table, a head's vector."""
    values = [getattr(op, f.name) for f in fields(op) if f.name not in (*op.dimensions, "read_bytes", "write_bytes")]
    found = [v.group if isinstance(v, Format) else v for v in values]
    return sorted({1, *(v for v in found if isinstance(v, int) and not isinstance(v, bool) and 1 < v <= 4 * BUSY_CYCLES)})
