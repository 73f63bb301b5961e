"""simulate: serve a trace on a system and account for every second and joule. What `rtloom run` does, from Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from accel.base.clock import PS_PER_MS, PS_PER_S, cycles_to_ps
from accel.base.proofs import proof_status
from accel.base.spec import lookup
from sim.energy import Work, area, breakdown, ledger, synthesized_clock, tally_work, total
from sim.engine import Served, serve
from sim.errors import BadInput, CheckFailed, Infeasible
from sim.metrics import serving_metrics
from sim.peaks import roofline, unit_class
from sim.policies.base import Policy
from sim.pricing import BLOCK_TOKENS, StepPricer
from sim.provenance import resolved
from sim.result import Result
from sim.system import Device, System
from sim.timeline import Timeline
from workloads.model import Precision, Transformer
from workloads.trace import Trace, TraceError


def simulate(
    system: System,
    model: Transformer,
    trace: Trace,
    policy: Policy,
    *,
    seed: int = 0,
    precision: Precision | None = None,
    router: str = "round_robin",
    overlong: Literal["error", "reject", "clip"] = "reject",
    run_ahead: bool = True,
    name: str | None = None,
    timeline: Timeline | None = None,
    progress: Callable[[int, int], None] | None = None,
    cuts: Mapping[str, int] | None = None,
) -> Result:
    """Serve ``trace`` with ``model`` on every replica of ``system`` under ``policy``.

    Requests longer than the model's context are an error, rejected or clipped as ``overlong`` says, and counted in the metrics.
    ``cuts``: when (ps from the start) the link of a memory, by its name, is cut, as a fault.

    Raises Infeasible where the model does not fit, no request can be served, or a link is cut before the end; BadInput where an
    energy entry is missing; CheckFailed where an invariant does not hold.
    """
    for value, wanted in ((system, System), (model, Transformer), (trace, Trace), (policy, Policy)):
        if not isinstance(value, wanted):
            raise TypeError(f"simulate: wanted a {wanted.__name__}, got {value!r}")
    check_cuts(system, cuts or {})
    precision = precision or Precision()
    pricer = StepPricer(system.device, model, precision)
    kept, clipped = trace, 0
    if overlong != "reject":  # the engine rejects, so that what it rejects keeps its place among the requests
        try:
            kept, counts = trace.overlong(pricer.max_context, overlong)
        except TraceError as error:
            raise BadInput(str(error)) from None
        clipped = counts["clipped"]
    _check_requests(system, policy, len(trace))
    replicas = system.plan.replicas
    try:
        served = serve(
            [pricer] * replicas,
            kept,
            policy,
            kv_tokens=pricer.kv_tokens,
            block_tokens=BLOCK_TOKENS,
            max_context=pricer.max_context,
            router=router,
            run_ahead=run_ahead,
            seed=seed,
            timeline=timeline,
            progress=progress,
            cuts=cuts,
        )
    except Infeasible as error:
        raise Infeasible(f"{name or system.name}: {error}") from None
    metrics: dict[str, Any] = serving_metrics(served)
    if metrics["rejected_context"] == len(trace):
        raise Infeasible(
            f"{trace.name}: all {len(trace)} requests exceed the context of {model.name}, {pricer.max_context} tokens"
        )
    if not metrics["completed"]:
        raise Infeasible(
            f"{system.name}: no request of {trace.name} fits the KV cache of {pricer.kv_tokens} tokens beside the weights"
        )
    metrics["clipped"] = clipped
    work = Work()
    for tally in served.tallies:
        work.add(tally_work(pricer, tally))
    check_conservation(pricer, served, work)
    rows = ledger(system.device, work.events, served.makespan_ps, replicas)
    metrics |= _energy(rows, served) | _utilisation(system, work, served)
    if (offload := system.device.placement.offload) is not None:
        metrics |= offload.account(work, pricer, served)
    return Result(
        name=name or system.name,
        served=served,
        metrics=metrics,
        energy=[row.as_dict() for row in rows],
        about=describe(system, pricer, served, trace)
        | {"serving": {"policy": resolved(policy), "router": router, "overlong": overlong}},
        timeline=timeline,
    )


def _ends(pricer: StepPricer, decodes: int, context: int) -> dict[str, float]:
    """Milliseconds of the mean decode step as it was priced, and at either end where it depends on data: by the end's name."""
    offload = pricer.device.placement.offload
    if offload is None or not (ends := offload.ends()):
        return {}

    def step_ms(device: Device) -> float:
        priced = StepPricer(device, pricer.model, pricer.precision)
        return priced.step_ps(decodes, decodes, (), decodes, decodes * max(context, 1)) / PS_PER_MS

    place = pricer.device.placement
    devices = {
        end: pricer.device.model_copy(update={"placement": place.model_copy(update={"offload": at})}) for end, at in ends.items()
    }
    return {"profile": step_ms(pricer.device)} | {end: step_ms(device) for end, device in devices.items()}


def _check_requests(system: System, policy: Policy, requests: int) -> None:
    """Raise BadInput where the policy may admit more requests at a time than the offload stores."""
    offload = system.device.placement.offload
    most = None if offload is None else offload.most_requests()
    admitted = min(getattr(policy, "max_num_seqs", requests), requests)
    if most is not None and admitted > most:
        raise BadInput(
            f"{system.name}: policy.max_num_seqs: wanted at most the {most} requests that the drives store at a time "
            f"(placement.offload.sequences), got {admitted}"
        )


def _energy(rows: list[Any], served: Served) -> dict[str, Any]:
    joules, tokens = total(rows), int(served.output[served.status == 0].sum())
    return {
        "total_energy_j": joules,
        "energy_per_output_token_j": joules / tokens,
        "average_power_w": joules / (served.makespan_ps / PS_PER_S),
        "energy_breakdown_j": breakdown(rows),
    }


def _utilisation(system: System, work: Work, served: Served) -> dict[str, Any]:
    """Share of the replicas' time in which each unit would be busy at its peak rate, and each memory at its peak bandwidth."""
    device, elapsed = system.device, served.makespan_ps * system.plan.replicas
    shares = {
        f"{name}_utilization": cycles_to_ps(work.cycles[name], slot.clock) / (slot.count * elapsed)
        for name, slot in device.units.items()
        if work.cycles[name]
    }
    for name, memory in device.memories.items():
        carried_ps = memory.carried_ps(work.events[name, "read_byte"], work.events[name, "write_byte"])
        shares[f"{name}_bandwidth_utilization"] = carried_ps / elapsed
    return shares


def check_conservation(pricer: StepPricer, served: Served, work: Work) -> None:
    """Laws of every run: tokens executed = tokens asked (plus recomputed), no unit or memory busier than the run, weights read.

    Raises CheckFailed with what was wanted and what was got.
    """
    device, done = pricer.device, served.status == 0
    executed = sum(tokens * n for tally in served.tallies for tokens, n in tally.linear.items())
    asked = int(served.prompt[done].sum() + served.output[done].sum() - done.sum())
    if executed < asked or (executed > asked and not served.preemptions.any()):
        raise CheckFailed(f"conservation: {executed} tokens executed, {asked} asked, {int(served.preemptions.sum())} preemptions")
    busy = sum(tally.busy_ps for tally in served.tallies)
    for name, slot in device.units.items():
        if cycles_to_ps(work.cycles[name], slot.clock) > busy * slot.count:
            raise CheckFailed(f"conservation: unit {name} works {work.cycles[name]} cycles in {busy} ps on {slot.count} copies")
    for name, memory in device.memories.items():
        moved = work.events[name, "read_byte"], work.events[name, "write_byte"]
        if memory.carried_ps(*moved) > busy:
            raise CheckFailed(f"conservation: memory {name} moves {sum(moved)} bytes in {busy} ps, above its peak bandwidth")
    iterations = sum(tally.iterations for tally in served.tallies)
    weights = iterations * pricer.model.block_weight_bytes(pricer.precision) * pricer.blocks
    read = work.events[device.placement.weights, "read_byte"]
    if (offload := device.placement.offload) is not None:
        weights, read = offload.weights_wanted(weights), offload.weights_read(work, device)
    if read < weights:
        raise CheckFailed(f"conservation: {read} bytes read where the weights of {iterations} iterations alone are {weights}")


def check_cuts(system: System, cuts: Mapping[str, int]) -> None:
    """Raise BadInput where a link that is to be cut is none: the memory is not there, or not behind a link."""
    linked = {name: True for name, memory in system.device.memories.items() if hasattr(memory, "link")}
    for name in cuts:
        try:
            lookup(name, linked, "memory behind a link")
        except ValueError as error:
            raise BadInput(f"{system.name}: cuts: {error}") from None


def describe(system: System, pricer: StepPricer, served: Served, trace: Trace) -> dict[str, Any]:
    """What a report shows beside the metrics: the system, proofs, areas, roofline."""
    device = system.device
    proofs = {name: proof_status(slot.unit) for name, slot in device.units.items()}
    tallies = served.tallies
    decodes = max(sum(t.decode_tokens for t in tallies) // max(sum(t.decode_iterations for t in tallies), 1), 1)
    context = sum(t.decode_context for t in tallies) // max(sum(t.decode_tokens for t in tallies), 1)
    chunk = max(sum(t.chunk_tokens for t in tallies) // max(sum(t.chunks for t in tallies), 1), 1)
    steps = {
        f"decode of {decodes}": pricer.step(decodes=decodes, context=decodes * max(context, 1)),
        f"prefill of {chunk}": pricer.step(prefill=[(chunk, 0)]),
    }
    return {
        "system": {
            "name": system.name,
            "device": device.name,
            "replicas": system.plan.replicas,
            "model": pricer.model.name,
            "precision": pricer.precision.to_data(),
            "kv_tokens": pricer.kv_tokens,
            "weight_bytes": pricer.weight_bytes,
            "power_limit_w": None if device.power_limit is None else device.power_limit * system.plan.replicas,
            "mapping": str(device.placement.mapping),
            "units": [
                {"name": name, "kind": slot.unit.kind(), "count": slot.count, "clock_hz": slot.clock, "class": unit_class(slot)}
                | {"proof": proofs[name].status, "proof_detail": proofs[name].detail}
                | {"synthesized_clock_hz": synthesized_clock(device, name)}
                for name, slot in device.units.items()
            ],
        },
        "trace": {
            "name": trace.name,
            "source": trace.source,
            "requests": len(trace),
            "digest": trace.digest(),
            "offline": bool(len(trace) > 1 and (trace.arrival_ps == trace.arrival_ps[0]).all()),
        },
        "area": area(device),
        "activity": _ends(pricer, decodes, context),
        "assumptions": [assumption.model_dump(by_alias=True) for assumption in device.assumptions],
        "roofline": roofline(device, steps),
    }
