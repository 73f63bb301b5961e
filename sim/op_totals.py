"""Where the time and energy of a run went, op by op: the sums behind a run's totals, for its per-op Parquet file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.base.clock import PS_PER_MS
from sim import energy
from sim.lowering import Stage
from sim.system import Device
from sim.tiling import time_stage
from workloads.ops import Attention

if TYPE_CHECKING:
    from sim.base import Tally
    from sim.pricing import StepPricer

Key = tuple[str, str, str]  # op kind, role, unit


@dataclass
class _Total:
    """All executions of one op on one unit."""

    times: int = 0
    ps: int = 0
    work: energy.Work = field(default_factory=energy.Work)


def op_totals(pricer: StepPricer, tallies: Sequence[Tally]) -> list[dict[str, Any]]:
    """One row per op and unit: executions, time, bytes and energy, summed over replicas. Their times add up to the busy time.

    ``tallies`` are those of a run that served something. Ops are priced for all numbers of tokens in one array, as the run did.
    Attention has the time that the others leave, since its price follows each batch; its two kinds, where there are both, share
    it by their bytes of KV cache.
    """
    device, blocks = pricer.device, pricer.blocks
    linear, heads = Counter[int](), Counter[int]()
    for tally in tallies:
        linear.update(tally.linear)
        heads.update({rows: n for rows, n in tally.head.items() if rows})
    totals: dict[Key, _Total] = {}
    tokens = np.array(list(linear), dtype=np.int64)
    before, attention, after = pricer.block_stages(tokens)
    _add(totals, pricer.embed_stages(tokens), linear, 1, device)
    _add(totals, before, linear, blocks, device)
    place = len(totals)
    _add(totals, after, linear, blocks, device)
    _add(totals, pricer.head_stages(np.array(list(heads), dtype=np.int64)), heads, 1, device)
    host = _Total(linear.total(), device.host_overhead * linear.total())
    rest_ps = sum(tally.busy_ps for tally in tallies) - host.ps - sum(total.ps for total in totals.values())
    attended = _attention(pricer, tallies, attention, rest_ps)
    next(iter(attended.values())).work.add(energy.weighted([energy.op_work(attention.fused, device)], linear.values()), blocks)
    ordered = list(totals.items())
    ordered[place:place] = attended.items()
    return [_row(key, total, device) for key, total in [(("host", "overhead", "host"), host), *ordered]]


def _add(totals: dict[Key, _Total], stages: Sequence[Stage], counts: Mapping[int, int], times: int, device: Device) -> None:
    """Count stages whose extents are arrays, entry i of them executed ``times`` x the i-th of ``counts``."""
    weights = list(counts.values())
    for stage in stages:
        total = totals.setdefault(_key(stage), _Total())
        each = np.broadcast_to(time_stage(stage, device).ps, len(weights)).tolist()
        total.times += times * sum(weights)
        total.ps += times * sum(ps * n for ps, n in zip(each, weights, strict=True))
        total.work.add(energy.weighted([energy.stage_work(stage, device)], weights), times)


def _attention(pricer: StepPricer, tallies: Sequence[Tally], lowered: Stage, rest_ps: int) -> dict[Key, _Total]:
    """Attention of a whole run, which takes ``rest_ps``."""
    assert isinstance(lowered.op, Attention)
    shape = pricer.model.attention_shape(pricer.precision) | {"output": lowered.op.output}
    ops = [op for tally in tallies for op in energy.attention_ops(tally, shape)]
    moved = sum(op.kv_bytes for op in ops)
    totals: dict[Key, _Total] = {}
    given = 0
    for number, op in enumerate(ops, 1):
        stage = Stage(op, pricer.device.placement.unit_of(op) or lowered.unit)
        total = totals.setdefault(_key(stage), _Total())
        share = rest_ps - given if number == len(ops) else rest_ps * op.kv_bytes // moved
        given += share
        total.times += pricer.blocks * op.requests
        total.ps += share
        total.work.add(energy.stage_work(stage, pricer.device), pricer.blocks)
    return totals


def _key(stage: Stage) -> Key:
    return stage.op.kind, stage.op.role or getattr(stage.op, "function", ""), stage.unit


def _row(key: Key, total: _Total, device: Device) -> dict[str, Any]:
    events = total.work.events
    return {
        "op": key[0],
        "role": key[1],
        "unit": key[2],
        "times": total.times,
        "time_ms": total.ps / PS_PER_MS,
        "read_bytes": sum(n for (_, event), n in events.items() if event == "read_byte"),
        "write_bytes": sum(n for (_, event), n in events.items() if event == "write_byte"),
        "energy_j": energy.total(energy.ledger(device, events, 0)),
    }
