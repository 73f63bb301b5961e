"""Lowering: the ops of a step become stages on the units of a device, with companions inserted and fused as the placement says.

A fused op costs no pass over memory: what it writes replaces what its producer would have written, and its work overlaps the
producer's. Its events are counted all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sim.errors import BadInput
from sim.system import Device
from workloads.formats import Format
from workloads.ops import Attention, Linear, Op, Pointwise, TablePrecompute


@dataclass(frozen=True)
class Stage:
    """One op on one unit, with the (op, unit) pairs that are fused into it."""

    op: Op
    unit: str
    fused: tuple[tuple[Op, str], ...] = ()


def lower(ops: Iterable[Op], device: Device) -> list[Stage]:
    """The stages of ``ops`` in order. Raises BadInput where an op has no unit, or one that cannot execute it.

    A unit may need companions around an op (tables of its activations before, a dequantisation after). Projections of the same
    activations share what prepares them.
    """
    stages: list[Stage] = []
    # What prepares one input has one m; k tells inputs apart. Array extents (m only) are not hashable and not needed.
    prepared: set[tuple[Any, ...]] = set()
    for op in (_as_executed(op, device) for op in ops):
        before, after = device.units[_unit(op, device)].unit.companions(op)
        if not isinstance(op, Linear):
            prepared.clear()
        for companion in before:
            key = (companion.kind, *(e for e in companion.extents().items() if isinstance(e[1], int)))
            if key not in prepared:
                prepared.add(key)
                _append(stages, companion, device)
        _append(stages, op, device)
        for companion in after:
            if not _fuses(companion, device):  # then the op leaves what the companion reads, not what that makes of it
                stages[-1] = replace(stages[-1], op=_writing(stages[-1].op, companion.read_bytes))
            _append(stages, companion, device)
    return stages


def _as_executed(op: Op, device: Device) -> Op:
    """``op`` with the scales of its weights as operands, where its unit applies them."""
    name = device.placement.unit_of(op)
    if name is None or not isinstance(op, Linear) or op.weights.kind == "float" or not device.units[name].unit.dequantizes:
        return op
    return replace(op, dequantized=True)


def _fuses(op: Op, device: Device) -> bool:
    return (op.function if isinstance(op, Pointwise) else op.kind) in device.placement.fuse


def _append(stages: list[Stage], op: Op, device: Device) -> None:
    name = _unit(op, device)
    if not _fuses(op, device) or not stages:
        stages.append(Stage(op, name))
        return
    producer = stages[-1]
    stages[-1] = Stage(_writing(producer.op, written_bytes(op, device)), producer.unit, (*producer.fused, (op, name)))


def _writing(producer: Op, nbytes: Any) -> Op:
    """``producer`` leaving ``nbytes`` in memory in place of its own result."""
    if isinstance(producer, Pointwise):
        return replace(producer, write_bytes=nbytes)
    if isinstance(producer, Attention):
        elements = producer.tokens * producer.heads * producer.head_dim
    elif isinstance(producer, Linear):
        elements = producer.m * producer.n
    else:
        raise BadInput(f"placement.fuse: nothing can be fused into {producer.kind} ops")
    bits = int(np.min(8 * nbytes // elements))  # bytes are rounded up, so that the quotient is rounded down
    return replace(producer, output=Format(f"fused{bits}", bits, "uint"))


def written_bytes(op: Op, device: Device) -> Any:
    """Bytes that a fusible op leaves in memory."""
    if isinstance(op, TablePrecompute):
        return device.units[_unit(op, device)].unit.table_bytes(op)
    return op.write_bytes


def _unit(op: Op, device: Device) -> str:
    name = device.placement.unit_of(op)
    key = f"{op.kind}.{op.role}" if op.role else op.kind
    if name is None:
        raise BadInput(f"{device.name}: placement.{op.kind}: missing; wanted the name of a unit that executes {op.kind} ops")
    try:
        device.units[name].unit.check(op)
    except ValueError as error:
        raise BadInput(f"{device.name}: units.{name} cannot execute {key}: {error}; place it with '\"{key}\" = ...'") from None
    return name
