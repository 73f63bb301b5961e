"""The energy ledger: joules = sum over (component, event) of count x joules per event, each with its source.

Counts are Python ints, summed over a whole run and multiplied once. Dynamic rows come from events of units and bytes of memories;
static rows from power x time. An event without an entry is an error, never zero.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from accel.base.clock import PS_PER_S
from accel.base.tech import Entry
from sim.errors import BadInput, CheckFailed
from sim.lowering import Stage
from sim.system import Device
from sim.tiling import traffic
from workloads.ops import Attention

if TYPE_CHECKING:
    from sim.pricing import StepPricer

Events = Counter  # (component name, event) -> count


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


def stage_events(stage: Stage, device: Device) -> Events:
    """Events of one execution of ``stage``: those of its units, fused ops included, and bytes at its memories."""
    found: Events = Counter()
    for op, name in ((stage.op, stage.unit), *stage.fused):
        for event, count in device.units[name].unit.cost(op).events.items():
            found[name, event] += int(count)
    read, written = traffic(device.units[stage.unit].unit.fetched(stage.op), device)
    for memory, count in read.items():
        found[memory, "read_byte"] += int(count)
    for memory, count in written.items():
        found[memory, "write_byte"] += int(count)
    return found


def _times(events: Events, n: int) -> Events:
    return Counter({key: n * count for key, count in events.items()})


def _sum(stages: Iterable[Stage], device: Device) -> Events:
    total: Events = Counter()
    for stage in stages:
        total.update(stage_events(stage, device))
    return total


def tally_events(pricer: StepPricer, tally: Any) -> Events:
    """Events of everything that a `Tally` of the engine counts.

    Ops that depend on the number of tokens are priced once per value; attention once from its sums, in which it is linear.
    """
    device, blocks = pricer.device, pricer.blocks
    total: Events = Counter()
    attention = None
    for tokens, iterations in tally.linear.items():
        before, attention, after = pricer.block_stages(tokens)
        fused = Stage(attention.op, attention.unit, attention.fused)
        total.update(_times(_sum([*before, *after], device), blocks * iterations))
        total.update(_times(_fused_events(fused, device), blocks * iterations))
        total.update(_times(_sum(pricer.embed_stages(tokens), device), iterations))
    for sequences, iterations in tally.head.items():
        if sequences:
            total.update(_times(_sum(pricer.head_stages(sequences), device), iterations))
    if attention is not None:
        shape = pricer.model.attention_shape(pricer.precision) | {"output": attention.op.output}
        for op in _attention_ops(tally, shape):
            unit = device.placement.unit_of(op) or attention.unit
            total.update(_times(stage_events(Stage(op, unit), device), blocks))
    return total


def _fused_events(stage: Stage, device: Device) -> Events:
    found: Events = Counter()
    for op, name in stage.fused:
        for event, count in device.units[name].unit.cost(op).events.items():
            found[name, event] += int(count)
    return found


def _attention_ops(tally: Any, shape: dict[str, Any]) -> Iterable[Attention]:
    if tally.decode_tokens:
        yield Attention.decode(tally.decode_tokens, tally.decode_context, **shape | {"role": "decode"})
    if tally.chunks:
        sums = {"tokens": tally.chunk_tokens, "context": tally.chunk_context, "pairs": tally.chunk_pairs}
        yield Attention(requests=tally.chunks, **sums, **shape | {"role": "prefill"})


def ledger(device: Device, events: Events, elapsed_ps: int, replicas: int = 1) -> list[Row]:
    """Rows for ``events`` and for ``elapsed_ps`` of static power on ``replicas`` devices.

    Raises BadInput that names every event without an entry.
    """
    entries = device.entries()
    rows, missing = [], []
    for (component, event), count in sorted(events.items()):
        entry = _find(entries, device, component, event)
        if entry is None:
            missing.append(f"{component} ({_kind(device, component)}) event {event!r}")
        elif count:
            rows.append(_row(component, device, event, count, entry.energy, entry))
    if missing:
        known = ", ".join(device.technology) or "none"
        raise BadInput(
            f"{device.name}: no energy entry in technology {known} for: {'; '.join(missing)}; "
            "add one to the design's [[tech]], or run 'rtloom characterize' for a unit with RTL"
        )
    for component, copies in _static_components(device):
        entry = next((e for e in entries if e.power is not None and _applies(e, device, component)), None)
        if entry is not None:
            rows.append(_row(component, device, "static", elapsed_ps * copies * replicas, entry.power / PS_PER_S, entry))
    check(rows)
    return rows


def _static_components(device: Device) -> Iterable[tuple[str, int]]:
    yield "device", 1
    yield from ((name, slot.count) for name, slot in device.units.items())
    yield from ((name, 1) for name in device.memories)


def _row(component: str, device: Device, event: str, count: int, joules: float, entry: Entry) -> Row:
    kind = _kind(device, component)
    return Row(component, kind, event, count, joules, count * joules, entry.source_class, entry.source)


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


def _find(entries: list[Entry], device: Device, component: str, event: str) -> Entry | None:
    return next((e for e in entries if e.event == event and _applies(e, device, component)), None)


def area(device: Device) -> list[dict[str, Any]]:
    """Area of each unit where a technology knows it: um2 each, copies, mm2 in all, class and source."""
    rows = []
    for name, slot in device.units.items():
        entry = next((e for e in device.entries() if e.area is not None and _applies(e, device, name)), None)
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
