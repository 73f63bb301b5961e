"""The energy ledger: joules = sum over (component, event) of count x joules per event, each with its source.

Counts are Python ints, summed over a whole run and multiplied once. Dynamic rows come from events of units and bytes of memories;
static rows from power x time. An event without an entry is an error, never zero.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.base.clock import PS_PER_S
from accel.base.tech import Entry
from accel.base.unit import RtlUnit
from sim.errors import BadInput, CheckFailed
from sim.lowering import Stage
from sim.system import Device
from sim.tiling import traffic
from sim.work import CYCLE, Events, Work
from workloads.ops import Attention, Collective, Op

if TYPE_CHECKING:
    from sim.pricing import StepPricer


@dataclass(frozen=True)
class Row:
    """One line of the ledger. ``count`` is events, or picoseconds for static rows (``event`` = "static")."""

    component: str
    kind: str
    event: str
    count: int
    joules_per_event: float
    joules: float
    source_class: str
    source: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def stage_work(stage: Stage, device: Device) -> Work:
    """One execution of ``stage``: events of its units, fused ops included, bytes at its memories, and pages of those of flash."""
    if isinstance(stage.op, Collective):  # time that is not hidden; what is shipped belongs to the stage that makes it
        return Work()
    offload = device.placement.offload
    if offload is not None and offload.takes(stage.op):
        return offload.work(stage, device, stage_work)
    done = op_work(((stage.op, stage.unit), *stage.fused), device)
    slot = device.units[stage.unit]
    read, written = traffic(slot.unit.fetched(stage.op), slot, device)
    for event, moved in (("read_byte", read), ("write_byte", written)):
        for memory, count in moved.items():
            done.events[memory, event] = done.events[memory, event] + count
    for memory in {**read, **written}:
        for event, count in device.memories[memory].cell_events(read.get(memory, 0), written.get(memory, 0)).items():
            done.events[memory, event] = done.events[memory, event] + count
    return done


def op_work(placed: Iterable[tuple[Op, str]], device: Device) -> Work:
    """Events and cycles of ops on units, by (op, unit); their bytes are their producers'."""
    done = Work()
    for op, name in placed:
        unit = device.units[name].unit
        cost = unit.cost(op)
        done.cycles[name] = done.cycles[name] + cost.cycles
        if isinstance(unit, RtlUnit):  # clock and control of a working copy; one without work is gated
            done.events[name, CYCLE] = done.events[name, CYCLE] + cost.cycles
        for event, count in cost.events.items():
            done.events[name, event] = done.events[name, event] + count
    return done


def weighted(works: Iterable[Work], times: Iterable[int]) -> Work:
    """The sum of ``works`` of array extents, entry i of every count taken ``times[i]`` times, in exact Python ints."""
    weights = list(times)
    total = Work()
    for work in works:
        for mine, theirs in ((total.events, work.events), (total.cycles, work.cycles)):
            for key, counts in theirs.items():
                each = counts.tolist() if isinstance(counts, np.ndarray) else [counts] * len(weights)
                mine[key] += sum(map(operator.mul, each, weights))
    return total


def tally_work(pricer: StepPricer, tally: Any) -> Work:
    """Everything that a `Tally` of the engine counts.

    Ops that depend on the number of tokens are counted for all values in one array; attention once from its sums, in which it is
    linear.
    """
    device, blocks = pricer.device, pricer.blocks
    total = Work()
    if not tally.linear:
        return total
    tokens = np.array(list(tally.linear), dtype=np.int64)
    before, attention, after = pricer.block_stages(tokens)
    block = [*(stage_work(stage, device) for stage in (*before, *after)), op_work(attention.fused, device)]
    total.add(weighted(block, tally.linear.values()), blocks)
    total.add(weighted((stage_work(s, device) for s in pricer.embed_stages(tokens)), tally.linear.values()))
    sampled = {rows: n for rows, n in tally.head.items() if rows}
    heads = pricer.head_stages(np.array(list(sampled), dtype=np.int64))
    total.add(weighted((stage_work(s, device) for s in heads), sampled.values()))
    shape = pricer.model.attention_shape(pricer.precision) | {"output": attention.op.output}
    for op in attention_ops(tally, shape):
        unit = device.placement.unit_of(op) or attention.unit
        total.add(stage_work(Stage(op, unit), device), blocks)
    return total


def attention_ops(tally: Any, shape: dict[str, Any]) -> Iterable[Attention]:
    """All decode attention of a tally as one op, and all of its prefill attention as another."""
    if tally.decode_tokens:
        yield Attention.decode(tally.decode_tokens, tally.decode_context, **shape | {"role": "decode"})
    if tally.chunks:
        sums = {"tokens": tally.chunk_tokens, "context": tally.chunk_context, "pairs": tally.chunk_pairs}
        yield Attention(requests=tally.chunks, **sums, **shape | {"role": "prefill"})


def ledger(device: Device, events: Events, elapsed_ps: int, replicas: int = 1) -> list[Row]:
    """Rows for ``events`` and for ``elapsed_ps`` of static power on ``replicas`` devices.

    Raises BadInput that names every event without an entry.
    """
    entries = cache(device.entries)
    rows, missing = [], []
    for (component, event), count in sorted(events.items()):
        parts = _parts(entries(component), device, component, event)
        if not parts:
            missing.append(f"{component} ({_kind(device, component)}) event {event!r}")
        elif count:
            rows += [_row(component, device, event, count, entry.energy, entry) for entry in parts]
    if missing:
        known = ", ".join(device.technology) or "none"
        raise BadInput(
            f"{device.name}: no energy entry in technology {known} for: {'; '.join(missing)}; "
            "add one to the design's [[tech]], or run 'rtloom characterize' for a unit with RTL"
        )
    for component, copies in _static_components(device):
        for entry in _parts([e for e in entries(component) if e.power is not None], device, component, None):
            rows.append(_row(component, device, "static", elapsed_ps * copies * replicas, entry.power / PS_PER_S, entry))
    check(rows)
    return rows


def _static_components(device: Device) -> Iterable[tuple[str, int]]:
    yield "device", 1
    yield from ((name, slot.count) for name, slot in device.units.items())
    yield from ((name, memory.copies) for name, memory in device.memories.items())


def _row(component: str, device: Device, event: str, count: int, joules: float, entry: Entry) -> Row:
    name = f"{event} ({entry.part})" if entry.part else event
    return Row(component, _kind(device, component), name, count, joules, count * joules, entry.source_class, entry.source)


def _kind(device: Device, component: str) -> str:
    if component == "device":
        return "device"
    part = device.units[component].unit if component in device.units else device.memories[component]
    return part.kind()


def _applies(entry: Entry, device: Device, component: str) -> bool:
    if component == "device":
        return entry.component == "device"
    part = device.units[component].unit if component in device.units else device.memories[component]
    return entry.matches(part.kind(), dict(part))


def _parts(entries: list[Entry], device: Device, component: str, event: str | None) -> list[Entry]:
    """The first matching entry of each part of ``event``'s cost; None: of figures without an event."""
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.event == event and _applies(entry, device, component):
            found.setdefault(entry.part, entry)
    return list(found.values())


def synthesized_clock(device: Device, name: str) -> int | None:
    """Hz that the netlist of unit ``name`` meets, where a technology knows it."""
    return next((e.clock for e in device.entries(name) if e.clock is not None and _applies(e, device, name)), None)


def area(device: Device) -> list[dict[str, Any]]:
    """Area of each unit where a technology knows it: um2 each, copies, mm2 in all, class and source."""
    rows = []
    for name, slot in device.units.items():
        entry = next((e for e in device.entries(name) if e.area is not None and _applies(e, device, name)), None)
        if entry is not None:
            rows.append(
                {"component": name, "kind": slot.unit.kind(), "area_um2": entry.area, "copies": slot.count}
                | {"total_mm2": entry.area * slot.count / 1e6, "source_class": entry.source_class, "source": entry.source}
            )
    return rows


def breakdown(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Joules by component and event."""
    nested: dict[str, dict[str, float]] = {}
    for row in rows:
        nested.setdefault(row.component, {})[row.event] = nested.get(row.component, {}).get(row.event, 0.0) + row.joules
    return nested


def total(rows: Iterable[Row]) -> float:
    """Joules in all, summed exactly so that the order of the rows does not matter."""
    return math.fsum(row.joules for row in rows)


def check(rows: list[Row]) -> None:
    """The ledger's invariants: no negative count, and the total equals the sum of its parts."""
    for row in rows:
        if row.count < 0 or row.joules < 0:
            raise CheckFailed(f"ledger: {row.component} {row.event}: negative count {row.count} or energy {row.joules}")
    whole, parts = total(rows), math.fsum(j for events in breakdown(rows).values() for j in events.values())
    if not math.isclose(whole, parts, rel_tol=1e-12, abs_tol=1e-30):
        raise CheckFailed(f"ledger: total {whole} J differs from the sum of its parts {parts} J")
