"""Tiling: the time of one op on the copies of a unit, and its traffic at each level of memory.

A GEMM on proved units is cut three times: into thread blocks, one per core at a time (the waves); each block over the copies of
its core; each share into the runs that the unit's `cost` prices. With double buffers in the core

    time = load of the first slab + max(compute, traffic) + store of the last tiles

where compute is waves x block cycles, and the first slab and the last tiles are what no other work can hide. A unit that cuts the
reduction keeps its partial sums in the core: they are events of the unit, and no traffic of main memory.

Point-wise ops on proved units deal their rows over all copies: time = max(compute of one share, traffic).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, reduce
from math import isqrt
from typing import Any

from accel.base.clock import bytes_to_ps, cycles_to_ps
from accel.base.extent import at_share, larger, smaller
from accel.base.mapping import Mapping, ceil_div
from accel.base.unit import AnalyticalUnit, RtlUnit
from sim.lowering import Stage
from sim.system import Device, Slot
from sim.timing import Bytes, Timing
from workloads.ops import Attention, Linear, Op, Pointwise, TablePrecompute

SLAB: int = Mapping.model_fields["k"].default  # depth in k of the first load, where no mapping says it
COUNTER = 1 << 12  # limits from here on are those of a counter: no grid has as many rows or columns


def traffic(op: Op, slot: Slot, device: Device) -> tuple[Bytes, Bytes]:
    """Bytes (read, written) by memory where ``slot`` executes ``op``, which carries the formats as fetched."""
    place = device.placement
    read: Bytes = {}
    written: Bytes = {}

    def add(into: Bytes, memory: str, nbytes: Any) -> None:
        into[memory] = into.get(memory, 0) + nbytes

    if isinstance(op, Linear):
        activations, weights, results = slot.unit.operand_traffic(op, copies=slot.count, buffer=device.buffer)
        add(read, place.activations, activations)
        add(read, place.weights, weights)
        add(written, place.activations, results)
    elif isinstance(op, Attention):
        elements = op.tokens * op.heads * op.head_dim
        add(read, place.activations, op.activations.nbytes(elements))
        add(read, place.kv, op.kv_bytes)
        add(written, place.activations, op.output.nbytes(elements))
    elif isinstance(op, Pointwise):
        add(read, place.activations, op.read_bytes)
        add(written, place.activations, op.write_bytes)
    elif isinstance(op, TablePrecompute):
        add(read, place.activations, op.activations.nbytes(op.m * op.k))
        add(written, place.activations, slot.unit.table_bytes(op))
    return read, written


def time_stage(stage: Stage, device: Device) -> Timing:
    """The time of ``stage`` on an otherwise idle device; ints or arrays like the op's extents."""
    offload = device.placement.offload
    if offload is not None and offload.takes(stage.op):
        return offload.time(stage, device, time_stage)
    slot = device.units[stage.unit]
    op = slot.unit.fetched(stage.op)
    read, written = traffic(op, slot, device)
    memory_ps = _traffic_ps(read, written, device)
    if isinstance(slot.unit, AnalyticalUnit):
        fixed = device.placement.mapping if isinstance(device.placement.mapping, Mapping) and isinstance(op, Linear) else None
        bandwidth = device.memories[_main_memory(op, device)].bandwidth
        ps = slot.unit.time_ps(op, copies=slot.count, clock=slot.clock, bandwidth=bandwidth, buffer=device.buffer, mapping=fixed)
        compute_ps = cycles_to_ps(ceil_div(slot.unit.cost(op).cycles, slot.count), slot.clock)
        mapping = _named(fixed) if isinstance(op, Linear) else "own"
    else:
        streamed_ps = _traffic_ps(read, written, device, streamed=True)
        ps, compute_ps, mapping = _time_proved(stage.op, op, slot, device, streamed_ps)
        ps = ps + device.launch_overhead
    beside = companion_ps(stage, device)
    if stage.unit in beside:  # the same lanes do both, one after the other
        compute_ps = compute_ps + beside.pop(stage.unit)
        ps = larger(ps, compute_ps + device.launch_overhead)
    for busy_ps in beside.values():
        ps = larger(ps, busy_ps)
    return Timing(ps, compute_ps, memory_ps, read, written, mapping)


def companion_ps(stage: Stage, device: Device) -> dict[str, Any]:
    """Compute time of what is fused into ``stage``, by proved unit: ops of one unit follow one another, units work side by side.

    An analytical vector pass that is fused adds no time of its own.
    """
    busy: dict[str, Any] = {}
    for op, name in stage.fused:
        if isinstance(device.units[name].unit, RtlUnit):
            busy[name] = busy.get(name, 0) + _compute_ps(op, device.units[name])
    return busy


def _named(mapping: Mapping | None) -> str:
    return "search" if mapping is None else f"fixed {mapping.m}x{mapping.n}x{mapping.k}"


def _main_memory(op: Op, device: Device) -> str:
    place = device.placement
    return place.weights if isinstance(op, Linear) else place.kv if isinstance(op, Attention) else place.activations


def _traffic_ps(read: Bytes, written: Bytes, device: Device, streamed: bool = False) -> Any:
    """Time of the traffic at peak bandwidth, or at what streams reach; memories work at the same time, reads and writes of one
    share it."""
    times = {m: bytes_to_ps(read.get(m, 0) + written.get(m, 0), device.memories[m].bandwidth) for m in {**read, **written}}
    return reduce(larger, (at_share(ps, device.stream_share(m)) if streamed else ps for m, ps in times.items()))


def _compute_ps(op: Op, slot: Slot) -> Any:
    """Compute time of an op other than a GEMM on all copies of a proved unit."""
    if isinstance(op, Pointwise):
        return cycles_to_ps(slot.unit.cost(op.resized(rows=ceil_div(op.rows, slot.count))).cycles, slot.clock)
    return cycles_to_ps(ceil_div(slot.unit.cost(op).cycles, slot.count), slot.clock)


def _time_proved(op: Op, fetched: Op, slot: Slot, device: Device, memory_ps: Any) -> tuple[Any, Any, str]:
    if not isinstance(op, Linear):
        compute_ps = _compute_ps(op, slot)
        return larger(compute_ps, memory_ps), compute_ps, "own"
    copies = slot.count // device.cores
    ps = best_compute = None
    label = ""
    fixed = device.placement.mapping
    depth = fixed.k if isinstance(fixed, Mapping) else SLAB
    for rows, columns in _blocks(op, slot, device):
        count = ceil_div(op.m, rows) * ceil_div(op.n, columns)
        cycles = ceil_div(count, device.cores) * _share_cycles(slot.unit, op, rows, columns, copies)
        compute_ps = cycles_to_ps(cycles, slot.clock)
        edges = _first_slab(fetched, rows, columns, depth, count, device)
        edges = edges + _last_tiles(fetched, rows, columns, count, slot, device)
        found = edges + larger(compute_ps, memory_ps)
        if ps is None:
            ps, best_compute, label = found, compute_ps, _block_label(rows, columns, depth)
        elif isinstance(found, int):
            if found < ps:
                ps, best_compute, label = found, compute_ps, _block_label(rows, columns, depth)
        else:
            best_compute = best_compute + (compute_ps - best_compute) * (found < ps)
            ps = smaller(ps, found)
    return ps, best_compute, f"{'fixed' if isinstance(fixed, Mapping) else 'search'} {label}"


def _block_label(rows: Any, columns: Any, depth: int) -> str:
    return f"{rows}x{columns}x{depth}" if isinstance(rows, int) else ""


def _blocks(op: Linear, slot: Slot, device: Device) -> Iterator[tuple[Any, Any]]:
    """Rows and columns of the thread blocks to try: those of the placement's mapping, or all that are worth it."""
    fixed = device.placement.mapping
    if isinstance(fixed, Mapping):
        yield smaller(fixed.m, op.m), smaller(fixed.n, op.n)
        return
    limits = slot.unit.limits(op)
    for rows in _extents(op.m, _grid(limits, "m"), slot, device):
        for columns in _extents(op.n, _grid(limits, "n"), slot, device):
            yield rows, columns


def _grid(limits: dict[str, int], name: str) -> int | None:
    """What one tile holds of a dimension; None where it streams through, one after the other, in any number."""
    limit = limits.get(name, COUNTER)
    return limit if limit < COUNTER else None


def _extents(extent: Any, limit: int | None, slot: Slot, device: Device) -> Iterator[Any]:
    """1, 2, 4, ... unit tiles, up to four per copy in a core; of a dimension that streams, even parts."""
    if limit is not None:
        for up in range((4 * slot.count // device.cores).bit_length()):
            yield smaller(limit << up, extent)
    else:
        for parts in range((4 * slot.count).bit_length()):
            yield ceil_div(extent, 1 << parts)


def _share_cycles(unit: RtlUnit, op: Linear, rows: Any, columns: Any, copies: int) -> Any:
    """Cycles of a block on ``copies`` copies of ``unit``: the best even split in rows and columns."""
    best = None
    for split in _divisors(copies):
        share = op.resized(m=ceil_div(rows, split), n=ceil_div(columns, copies // split))
        cycles = unit.cost(share).cycles
        best = cycles if best is None else smaller(best, cycles)
    return best


@cache
def _divisors(number: int) -> tuple[int, ...]:
    small = [d for d in range(1, isqrt(number) + 1) if number % d == 0]
    return tuple(sorted({*small, *(number // d for d in small)}))


def _first_slab(op: Linear, rows: Any, columns: Any, depth: int, count: Any, device: Device) -> Any:
    """Time to load the first k-slab of the distinct operands of the first wave (multicast within the wave)."""
    across = ceil_div(op.m, rows)
    wave = smaller(device.cores, count)
    all_rows = smaller(op.m, smaller(across, wave) * rows)
    all_columns = smaller(op.n, ceil_div(wave, across) * columns)
    depth = min(depth, op.k)
    place = device.placement
    activations = bytes_to_ps(op.activations.nbytes(all_rows * depth), device.memories[place.activations].bandwidth)
    return activations + bytes_to_ps(op.weights.nbytes(all_columns * depth), device.memories[place.weights].bandwidth)


def _last_tiles(op: Linear, rows: Any, columns: Any, count: Any, slot: Slot, device: Device) -> Any:
    """Time to store the last tile of every copy that works in the last wave; of a dimension that streams, the last of it."""
    limits = slot.unit.limits(op)
    last_wave = (count - 1) % device.cores + 1
    tile = smaller(_grid(limits, "m") or 1, rows) * smaller(_grid(limits, "n") or 1, columns)
    elements = smaller(last_wave * (slot.count // device.cores) * tile, op.m * op.n)
    return bytes_to_ps(op.output.nbytes(elements), device.memories[device.placement.activations].bandwidth)
