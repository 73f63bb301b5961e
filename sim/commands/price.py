"""`rtloom price`: what one step of a model on a device takes, in all and per op."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accel.base.clock import PS_PER_MS
from sim import energy
from sim.commands import parse, proof
from sim.commands.emit import emit
from sim.commands.output import table
from sim.errors import BadInput, Infeasible
from sim.experiment import Formats, load_model, load_precision
from sim.files import validate
from sim.pricing import PricedStage, StepPricer
from sim.system import Device, load_device

MOST_PROMPTS = 4096
_SOURCE = ("component", "kind", "event", "joules_per_event", "source_class", "source")


@dataclass
class _Line:
    """All stages of one step that run the same op in the same way."""

    first: PricedStage
    times: int = 0
    ps: int = 0
    read: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    work: energy.Work = field(default_factory=energy.Work)

    def add(self, priced: PricedStage, device: Device) -> None:
        self.times += priced.times
        self.ps += priced.times * int(priced.timing.ps)
        for total, part in ((self.read, priced.timing.read), (self.written, priced.timing.written)):
            total.update({memory: priced.times * int(count) for memory, count in part.items()})
        self.work.add(energy.stage_work(priced.stage, device), priced.times)


def main(
    *,
    design: str,
    model: str,
    prefill: str | None,
    decode: str | None,
    precision: str | None,
    weights: str | None,
    activations: str | None,
    kv: str | None,
    settings: list[str] | None,
    out: Path | None,
    json: bool,
) -> None:
    """Price one step: prompts, decodes, or both at once."""
    if prefill is None and decode is None:
        raise BadInput("wanted --prefill TOKENS, --decode BATCHxCONTEXT, or both, got neither")
    chunks = parse.prefill(prefill) if prefill else []
    batch, context = parse.decode(decode) if decode else (0, 0)
    if len(chunks) > MOST_PROMPTS:
        raise BadInput(f"--prefill: wanted at most {MOST_PROMPTS} prompts in a step, got {len(chunks)}")
    formats = _formats(precision, weights, activations, kv)
    pricer = StepPricer(load_device(design, settings or ()), load_model(model), load_precision(formats))
    _check_fits(pricer, chunks, batch, context)
    step = {"prefill": [list(c) for c in chunks], "decode": {"batch": batch, "context": context}}
    data = {"design": design, "model": model, "precision": formats.model_dump(), "step": step}
    data |= price(pricer, chunks, batch, context)
    emit("price", data, _text(data), json, out)


def _formats(precision: str | None, weights: str | None, activations: str | None, kv: str | None) -> Formats:
    given = parse.pairs(precision, "--precision") if precision else {}
    apart = {"weights": weights, "activations": activations, "kv": kv}
    given |= {name: text for name, text in apart.items() if text is not None}
    return validate(Formats, given, "--precision")


def _check_fits(pricer: StepPricer, chunks: list[tuple[int, int]], batch: int, context: int) -> None:
    model = pricer.model
    longest = max([context, *(new + past for new, past in chunks)])
    if longest > pricer.max_context:
        raise BadInput(f"{model.name}: wanted a context of at most {pricer.max_context} tokens, got {longest}")
    tokens = batch * context + sum(new + past for new, past in chunks)
    if tokens > pricer.kv_tokens:
        raise Infeasible(
            f"{pricer.device.name}: the step attends {tokens:,} tokens; "
            f"the KV cache beside {model.name} holds {pricer.kv_tokens:,}"
        )


def price(pricer: StepPricer, chunks: list[tuple[int, int]], batch: int, context: int) -> dict[str, Any]:
    """Latency, energy, bound and bytes of the step, in all and per op."""
    device = pricer.device
    lines: dict[tuple, _Line] = {}
    bound_ps: Counter[str] = Counter({"latency": device.host_overhead})
    work = energy.Work()
    for priced in pricer.step(prefill=chunks, decodes=batch, context=batch * context):
        lines.setdefault(_key(priced), _Line(priced)).add(priced, device)
        bound_ps[priced.timing.bound] += priced.times * int(priced.timing.ps)
    for line in lines.values():
        work.add(line.work)
    total_ps = device.host_overhead + sum(line.ps for line in lines.values())
    ledger = energy.ledger(device, work.events, total_ps)
    static = sum(row.joules for row in ledger if row.event == "static")
    return {
        "latency_ms": total_ps / PS_PER_MS,
        "host_ms": device.host_overhead / PS_PER_MS,
        "energy_j": energy.total(ledger),
        "static_energy_j": static,
        "energy_breakdown_j": energy.breakdown(ledger),
        "bound": max(bound_ps, key=lambda bound: bound_ps[bound]),
        "bound_ms": {bound: ps / PS_PER_MS for bound, ps in bound_ps.items()},
        "bytes": _bytes(lines.values()),
        "weight_bytes": pricer.weight_bytes,
        "kv_cache_tokens": pricer.kv_tokens,
        "ops": [_row(line, total_ps, device) for line in lines.values()],
        "units": proof.of_device(device),
        "sources": [{name: getattr(row, name) for name in _SOURCE} for row in ledger],
    }


def _key(priced: PricedStage) -> tuple:
    op, timing = priced.stage.op, priced.timing
    return op.kind, op.role or getattr(op, "function", ""), priced.stage.unit, timing.mapping, timing.bound


def _bytes(lines: Any) -> dict[str, dict[str, int]]:
    total: dict[str, dict[str, int]] = {}
    for line in lines:
        for way, counts in (("read", line.read), ("written", line.written)):
            for memory, count in counts.items():
                at = total.setdefault(memory, {"read": 0, "written": 0})
                at[way] += count
    return total


def _row(line: _Line, total_ps: int, device: Device) -> dict[str, Any]:
    stage, timing = line.first.stage, line.first.timing
    slot = device.units.get(stage.unit)  # what ships beside the blocks is on a memory
    unit: Any = device.memories[stage.unit] if slot is None else slot.unit
    return {
        "op": stage.op.kind,
        "role": stage.op.role or getattr(stage.op, "function", ""),
        "unit": stage.unit,
        "kind": unit.kind(),
        "class": "" if slot is None else unit.proof_class,
        "fused": [op.role or getattr(op, "function", op.kind) for op, _ in stage.fused],
        "times": line.times,
        "latency_ms": line.ps / PS_PER_MS,
        "share": line.ps / total_ps,
        "bound": timing.bound,
        "read_bytes": line.read.total(),
        "write_bytes": line.written.total(),
        "energy_j": energy.total(energy.ledger(device, line.work.events, 0)),
        "mapping": timing.mapping,
    }


def _text(data: dict[str, Any]) -> str:
    columns = ("op", "unit", "times", "time (ms)", "share", "bound", "read (MB)", "written (MB)", "energy (mJ)", "mapping")
    rows = [
        [
            " + ".join([f"{op['op']} {op['role']}".strip(), *op["fused"]]),
            op["unit"],
            op["times"],
            op["latency_ms"],
            f"{op['share']:.1%}",
            op["bound"],
            op["read_bytes"] / 1e6,
            op["write_bytes"] / 1e6,
            op["energy_j"] * 1e3,
            op["mapping"],
        ]
        for op in data["ops"]
    ]
    moved = ", ".join(f"{m} {b['read'] / 1e9:.3f} GB read, {b['written'] / 1e9:.3f} GB written" for m, b in data["bytes"].items())
    bounds = ", ".join(f"{bound} {ms:.3f} ms" for bound, ms in data["bound_ms"].items() if ms)
    head = [
        f"{data['model']} on {data['design']}: {data['latency_ms']:.4g} ms, {data['energy_j']:.4g} J "
        f"(static {data['static_energy_j']:.3g} J), {data['bound']} bound",
        f"bound:  {bounds} (of it the host {data['host_ms']:.3f} ms)",
        f"bytes:  {moved}",
        f"memory: weights {data['weight_bytes'] / 1e9:.2f} GB, KV cache {data['kv_cache_tokens']:,} tokens",
        "",
    ]
    units = [[u["name"], u["kind"], u["count"], u["proof"], u["detail"]] for u in data["units"]]
    return "\n".join([*head, table(rows, columns), "", table(units, ("unit", "kind", "copies", "proof", "detail"))])
