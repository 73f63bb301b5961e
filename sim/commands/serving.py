"""Serve the systems of an experiment: each one once, stored as a run of its own, and taken from the store where it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sim import energy, simulate
from sim.commands.output import log, progress
from sim.errors import StorageError
from sim.experiment import Case, Experiment, Subject, load_trace, resolve
from sim.op_totals import op_totals
from sim.pricing import StepPricer
from sim.provenance import provenance, resolved
from sim.simulation import check_cuts
from sim.store import Store
from sim.stored import StoredResult, write_run
from sim.timeline import Timeline
from workloads.trace import Trace


@dataclass(frozen=True)
class _Job:
    """One system to be served."""

    experiment: Experiment
    base: Path | None
    subject: Subject
    case: Case
    pricer: StepPricer
    trace: Trace


def serve_all(experiment: Experiment, base: Path | None, store: Store) -> list[StoredResult]:
    """Results of every system, in order. Raises before serving anything where one of them cannot be served or stored."""
    cases = resolve(experiment, base)
    pricers = [_checked(case) for case in cases]
    trace = load_trace(experiment.trace, experiment.seed, base)
    store.prepare()
    results = []
    with progress(len(cases) * len(trace)) as shown:
        for i, (subject, case, pricer) in enumerate(zip(experiment.systems, cases, pricers, strict=True)):
            job = _Job(experiment, base, subject, case, pricer, trace)
            results.append(_result(job, store, partial(_advance, shown, case.name, i * len(trace))))
            shown(case.name, (i + 1) * len(trace))
    return results


def listed(results: Sequence[StoredResult]) -> list[dict[str, Any]]:
    """What ``--json`` prints of each result: all but its arrays, and the folder that holds them."""
    return [result.as_dict() | {"run": str(result.folder)} for result in results]


def _advance(shown: Callable[[str, int], None], name: str, before: int, done: int, requests: int) -> None:
    shown(name, before + done)


def _checked(case: Case) -> StepPricer:
    """The pricer of a case, shown to fit its device and to have an energy for all that it does."""
    pricer = StepPricer(case.system.device, case.model, case.precision)
    check_cuts(case.system, case.cuts)
    work = energy.Work()
    for priced in pricer.step(prefill=[(1, 0)], decodes=1, context=1):
        work.add(energy.stage_work(priced.stage, case.system.device))
    energy.ledger(case.system.device, work.events, 0)
    return pricer


def _result(job: _Job, store: Store, shown: Callable[[int, int], None]) -> StoredResult:
    """The stored result of a job, served where it is not there yet."""
    source = provenance(describe(job.experiment, job.case, job.trace), job.experiment.seed)
    folder = store.find(source["hash"])
    if folder is not None:
        log(f"{job.case.name}: taken from {folder}, where the same run is stored")
    else:
        folder = _serve(job, store, source, shown)
    result = StoredResult.load(folder)
    if result.provenance.get("hash") != source["hash"]:
        raise StorageError(f"{folder}: holds the run {result.provenance.get('hash')}, wanted {source['hash']}; remove the folder")
    return result


def describe(experiment: Experiment, case: Case, trace: Trace) -> dict[str, Any]:
    """All that the result of a case depends on, as plain data."""
    return {
        "name": case.name,
        "system": resolved(case.system),
        "model": resolved(case.model),
        "precision": resolved(case.precision),
        "policy": resolved(experiment.policy),
        "router": experiment.router,
        "overlong": experiment.trace.overlong,
        "seed": experiment.seed,
        "trace": trace.digest(),
        "cuts": case.cuts,
    }


def _serve(job: _Job, store: Store, source: dict[str, Any], shown: Callable[[int, int], None]) -> Path:
    experiment, case = job.experiment, job.case
    result = simulate(
        case.system,
        case.model,
        job.trace,
        experiment.policy,
        seed=experiment.seed,
        precision=case.precision,
        router=experiment.router,
        overlong=experiment.trace.overlong,
        name=case.name,
        timeline=Timeline(),
        progress=shown,
        cuts=case.cuts,
    )
    result = replace(result, provenance=source)
    ops = op_totals(job.pricer, result.served.tallies)
    files = rerunnable(job), resolved(case.system.device), ops
    return store.put(source["hash"], lambda folder: write_run(folder, result, *files))


def rerunnable(job: _Job) -> dict[str, Any]:
    """The experiment of one system as a file beside its resolved design; files of users by absolute path."""
    data, subject = resolved(job.experiment), resolved(job.subject)
    if job.experiment.trace.file is not None:
        data["trace"]["file"] = str(_absolute(job.experiment.trace.file, job.base))
    model = data.pop("model", None) if job.subject.model is None else job.subject.model
    path = _absolute(model, job.base)
    subject |= {"name": job.case.name, "design": "design.toml", "set": {}, "model": str(path) if path.exists() else model}
    return data | {"systems": [subject]}


def _absolute(name: str, base: Path | None) -> Path:
    beside = (base or Path()) / name
    return (beside if beside.exists() else Path(name)).absolute()


def merge(experiments: Sequence[Experiment]) -> Experiment:
    """One experiment with the systems of several."""
    first = experiments[0]
    name = first.name if len({e.name for e in experiments}) == 1 else " and ".join(e.name for e in experiments)
    return first.model_copy(update={"name": name, "systems": tuple(s for e in experiments for s in e.systems)})
