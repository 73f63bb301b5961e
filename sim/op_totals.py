"""Where the time and energy of a run went, op by op: the sums behind a run's totals, for its per-op Parquet file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from accel.base.clock import PS_PER_MS
from sim import energy
from sim.lowering import Stage
from sim.tiling import time_stage

if TYPE_CHECKING:
    from sim.base import Tally
    from sim.pricing import StepPricer


@dataclass
class _Total:
    """All executions of one op on one unit."""

    times: int = 0
    ps: int = 0
    work: energy.Work = field(default_factory=energy.Work)

    def add(self, stage: Stage, times: int, ps: int, device: Any) -> None:
        self.times += times
        self.ps += times * ps
        self.work.add(energy.stage_work(stage, device), times)


def op_totals(pricer: StepPricer, tallies: Sequence[Tally]) -> list[dict[str, Any]]:
    """One row per op and unit: executions, time, bytes and energy, summed over replicas. Their times add up to the busy time.

    Ops are priced once per number of tokens, as the run itself did. Attention has the time that the others leave, since its price
    follows each batch; its two kinds share one row for the time, by their bytes of KV cache where there are both.
    """
    device, blocks = pricer.device, pricer.blocks
    linear, heads = Counter[int](), Counter[int]()
    for tally in tallies:
        linear.update(tally.linear)
        heads.update(tally.head)
    totals: dict[tuple[str, str, str], _Total] = {}

    def add(stages: Sequence[Stage], times: int) -> None:
        for stage in stages:
            total = totals.setdefault(_key(stage), _Total())
            total.add(stage, times, int(time_stage(stage, device).ps), device)

    attention = None
    fused = energy.Work()
    for tokens, iterations in linear.items():
        before, attention, after = pricer.block_stages(tokens)
        add([*before, *after], blocks * iterations)
        fused.add(energy.op_work(attention.fused, device), blocks * iterations)
        add(pricer.embed_stages(tokens), iterations)
    for sequences, iterations in heads.items():
        if sequences:
            add(pricer.head_stages(sequences), iterations)
    host_ps = device.host_overhead * linear.total()
    rest_ps = sum(t.busy_ps for t in tallies) - host_ps - sum(total.ps for total in totals.values())
    if attention is not None:
        _add_attention(totals, pricer, tallies, attention, rest_ps)
    rows = [
        {"op": "host", "role": "overhead", "unit": "host", "times": linear.total(), "time_ms": host_ps / PS_PER_MS} | _NOTHING
    ]
    return rows + [_row(key, total, device) for key, total in totals.items()]


_NOTHING = {"read_bytes": 0, "write_bytes": 0, "energy_j": 0.0}


def _add_attention(totals: dict, pricer: StepPricer, tallies: Sequence[Tally], attention: Stage, rest_ps: int) -> _Total:
    """Rows of attention; returns the first of them."""
    device, blocks = pricer.device, pricer.blocks
    shape = pricer.model.attention_shape(pricer.precision) | {"output": attention.op.output}
    ops = [op for tally in tallies for op in energy.attention_ops(tally, shape)]
    moved = sum(op.kv_bytes for op in ops)
    rows = []
    given = 0
    for i, op in enumerate(ops):
        stage = Stage(op, pricer.device.placement.unit_of(op) or attention.unit)
        total = totals.setdefault(_key(stage), _Total())
        rows.append(total)
        total.times += blocks * op.requests
        total.work.add(energy.stage_work(stage, device), blocks)
        share = rest_ps - given if i == len(ops) - 1 else rest_ps * op.kv_bytes // moved
        total.ps += share
        given += share
    return rows[0]


def _key(stage: Stage) -> tuple[str, str, str]:
    return stage.op.kind, stage.op.role or getattr(stage.op, "function", ""), stage.unit


def _row(key: tuple[str, str, str], total: _Total, device: Any) -> dict[str, Any]:
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
