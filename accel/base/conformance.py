"""Conformance: shows that a unit's RTL, its price and its golden kernel agree. Works on any `RtlUnit`, also a user's own.

For each case (a unit, an op, a seed) the bench drives the RTL through the passes of `accel.base.script` and asserts, with
equality and nothing less:

* the output values are those of the golden kernel;
* each run makes the events that `tile_cost` states, stalled or not;
* without stalls each run takes ``latency + (n - 1) * interval`` cycles, and the next config word is taken in the next cycle;
* the price is whole, and the same for an op alone and in an array of ops;
* a word once offered stays until it is taken, ``valid`` does not wait for ``ready``, no word is lost, none comes after the last.

A failure says what was expected and what was seen, where; it leaves the waves and a command that repeats it.
This is the one module of ``accel`` that imports the golden kernels (and with them torch).
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from accel.base import proofs, simulation
from accel.base.judge import difference, price_difference, whole_difference
from accel.base.report import Report, Row
from accel.base.rtl import elaborate, rtlil_hash
from accel.base.script import Case, Pass, passes
from accel.base.spec import discover, lookup
from accel.base.unit import RtlUnit
from workloads.formats import parse_format
from workloads.ops import Op, op_kinds

PACKAGES = ("accel", "pim")
ARTIFACTS = Path("out") / "conformance"
SLOWEST_CYCLES_PER_S = 200  # a simulation twenty times slower than this has hung
SLOWEST_TEXT_PER_S = 10_000_000  # characters of RTLIL times cycles: a larger unit takes longer for each
DRAWS_PER_CASE = 200
CASE_CYCLES = 500_000


@dataclass(frozen=True)
class Draws:
    """Random cases of a unit, and how many draws were refused by the unit itself."""

    cases: list[tuple[RtlUnit, Op]]
    rejected: int


def random_cases(cls: type[RtlUnit], rng: np.random.Generator, count: int) -> Draws:
    """``count`` cases by ``cls.draw``; a draw that the unit refuses (ValueError) is counted and drawn again."""
    cases: list[tuple[RtlUnit, Op]] = []
    rejected = 0
    while len(cases) < count:
        if rejected > DRAWS_PER_CASE * count:
            raise RuntimeError(f"{cls.kind()}.draw() gave {len(cases)} cases in {rejected + len(cases)} draws; narrow its ranges")
        try:
            unit, op = cls.draw(rng)
            unit.check(op)
        except ValueError:
            rejected += 1
        else:
            cases.append((unit, op))
    return Draws(cases, rejected)


def conform(
    cases: Iterable[tuple[RtlUnit, Op]],
    *,
    seed: int = 0,
    simulator: str = "auto",
    artifacts: Path | None = ARTIFACTS,
    progress: Callable[[Row], None] = lambda row: None,
) -> Report:
    """Play every (unit, op), in one simulation per set of parameters. Case i gets the seed ``seed + i``.

    Failed cases are repeated with waves below ``artifacts`` (None: not). Raises `accel.base.errors.ToolError` where a simulator
    fails or is missing, ValueError for an op too large to simulate; a unit that disagrees is a row with a failure.
    """
    by_unit: dict[RtlUnit, list[tuple[int, Op]]] = {}
    for i, (unit, op) in enumerate(cases):
        if unit.cost(op).cycles > CASE_CYCLES:
            wanted = f"wanted an op of at most {CASE_CYCLES} cycles, which a simulator plays in minutes"
            raise ValueError(f"{wanted}; {op.describe()} takes {unit.cost(op).cycles} on {unit!r}")
        by_unit.setdefault(unit, []).append((seed + i, op))
    report = Report()
    for unit, numbered in by_unit.items():
        ops = [op for _, op in numbered]
        group = [Case(unit, op, s, tuple(o for o in ops if o is not op)) for s, op in numbered]
        rows, note = _conform_unit(unit, group, simulator, artifacts)
        report.rows += rows
        if note not in report.notes:
            report.notes.append(note)
        for row in rows:
            progress(row)
    return report


def verify(
    kinds: Iterable[str] = (),
    *,
    random: int = 0,
    seed: int = 0,
    junit: Path | None = None,
    simulator: str = "auto",
    folder: Path | None = proofs.FOLDER,
    artifacts: Path | None = ARTIFACTS,
    progress: Callable[[Row], None] = lambda row: None,
) -> Report:
    """Conformance of the examples of ``kinds`` (default: every RTL unit) and of ``random`` draws of each; records what passed
    (unless ``folder`` is None). A failure withdraws the record of its parameters.

    Behind ``rtloom verify``. Raises ValueError for an unknown kind, TypeError for a unit without examples.
    """
    known = {kind: cls for package in PACKAGES for kind, cls in discover(package, RtlUnit).items()}
    whole = Report()
    for kind in list(kinds) or list(known):
        cls = lookup(kind, known, "RTL unit")
        cases = list(cls.examples())
        if not cases:
            raise TypeError(f"{kind}.examples() is empty: a unit without examples cannot be proved")
        draws = random_cases(cls, np.random.default_rng(seed), random)
        cases += draws.cases
        report = conform(cases, seed=seed, simulator=simulator, artifacts=artifacts, progress=progress)
        _record(dict.fromkeys(unit for unit, _ in cases), report, seed, folder)
        whole.rows += report.rows
        whole.notes += [note for note in report.notes if note not in whole.notes]
        whole.drawn += random
        whole.rejected += draws.rejected
    if junit is not None:
        whole.junit(junit)
    return whole


def prove(
    unit: RtlUnit,
    ops: Iterable[Op],
    *,
    seed: int = 0,
    simulator: str = "auto",
    folder: Path | None = proofs.FOLDER,
    artifacts: Path | None = ARTIFACTS,
    progress: Callable[[Row], None] = lambda row: None,
) -> Report:
    """Conformance of one unit, at a design's parameters, on ``ops``; records what passed. Raises as `conform` does."""
    report = conform([(unit, op) for op in ops], seed=seed, simulator=simulator, artifacts=artifacts, progress=progress)
    _record([unit], report, seed, folder)
    return report


def _record(units: Iterable[RtlUnit], report: Report, seed: int, folder: Path | None) -> None:
    if folder is None:
        return
    for unit in units:
        rows = [row for row in report.rows if row.parameters == proofs.parameters_of(unit)]
        if any(row.failure for row in rows):
            proofs.withdraw(unit, folder)  # whatever an earlier record says, it has been refuted
        elif rows:
            proofs.record(unit, _facts(rows, seed), folder)


def _facts(rows: list[Row], seed: int) -> dict[str, Any]:
    return {
        "cases": len(rows),
        "invocations": sum(row.invocations for row in rows),
        "cycles": sum(row.simulated_cycles for row in rows),
        "seed": seed,
        "simulator": rows[0].simulator,
        "tools": simulation.tool_versions(rows[0].simulator),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _conform_unit(unit: RtlUnit, cases: list[Case], simulator: str, artifacts: Path | None) -> tuple[list[Row], str]:
    from kernels_ref.inputs import corners, inputs

    golden = golden_kernel(unit)
    played = [list(passes(case, inputs, corners, golden)) for case in cases]
    cycles = sum(_expected_cycles(unit, p) for some in played for p in some)
    chosen, why = simulation.choose(simulator, cycles)
    rows = []
    for case, some, seen in zip(cases, played, _simulate(unit, played, chosen, cycles), strict=True):
        row = _row(case, some, seen, chosen)
        if row.failure and artifacts is not None:
            row = dataclasses.replace(row, reproduce=_leave_waves(case, some, chosen, cycles, artifacts))
        rows.append(row)
    return rows, f"{chosen}: {why}"


def _simulate(unit: RtlUnit, played: list[list[Pass]], simulator: str, cycles: int, waves: Path | None = None) -> list:
    face = simulation.interface(unit)
    names = [name for name, _ in face.inputs], [name for name, _ in face.outputs]
    scripts = [[p.script(unit, *names) for p in some] for some in played]
    size = len(elaborate(unit)[1])
    timeout_s = 120 + 20 * cycles // SLOWEST_CYCLES_PER_S + size * cycles // SLOWEST_TEXT_PER_S
    return simulation.run(unit, scripts, simulator=simulator, timeout_s=timeout_s, waves=waves)


def _expected_cycles(unit: RtlUnit, some: Pass) -> int:
    return sum(int(unit.tile_cost(run.tile).run(len(run.arrays)).cycles) for run in some.runs)


def _row(case: Case, played: list[Pass], seen: list[dict[str, Any]], simulator: str) -> Row:
    cost = case.unit.cost(case.op)
    face = simulation.interface(case.unit)
    failure = None
    stopped = bool(seen[-1]["fault"])  # then the passes after it were not played
    for some, record in zip(played, seen, strict=not stopped):
        if failure := difference(case.unit, face, some, record, golden_kernel(case.unit)):
            failure = f"{case.describe()}\n  pass {some.name!r}: {failure}"
            break
    if not failure and (failure := _price_difference(case, played)):
        failure = f"{case.describe()}\n  price of {failure}"
    whole = seen[0]["runs"]
    row = Row(
        unit=case.unit.kind(),
        parameters=proofs.parameters_of(case.unit),
        op=case.op.describe(),
        seed=case.seed,
        cycles_rtl=sum(last - first + 1 for first, last, _ in whole),
        cycles_cost=int(cost.cycles),
        events_rtl={name: sum(run[2][i] for run in whole) for i, (name, _, _) in enumerate(face.events)},
        events_cost={name: int(count) for name, count in cost.events.items()},
        invocations=sum(len(run.arrays) for some in played for run in some.runs),
        simulated_cycles=sum(record["cycle"] + 1 for record in seen),
        simulator=simulator,
        failure=failure,
    )
    if not failure and (wrong := whole_difference(cost, row.cycles_rtl, row.events_rtl)):
        failure = f"{case.describe()}\n  {wrong}"
        row = dataclasses.replace(row, failure=failure)
    return row


def _price_difference(case: Case, played: list[Pass]) -> str | None:
    """Of the tiles that were played, and of the op and those it is mixed with."""
    tiles = [run.tile for some in played for run in some.runs]
    return price_difference(case.unit.tile_cost, tiles) or price_difference(case.unit.cost, [case.op, *case.others])


def golden_kernel(unit: RtlUnit) -> Callable[..., Any]:
    """The function of `kernels_ref` that ``unit.golden`` names, with the unit's numerics; it returns a tuple of arrays."""
    module, _, name = unit.golden.rpartition(".")
    kernel = getattr(importlib.import_module(f"kernels_ref.{module}"), name)

    def golden(op: Op, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        results = kernel(op, *arrays, **unit.numerics())
        return tuple(np.asarray(a) for a in (results if isinstance(results, tuple) else (results,)))

    return golden


def _leave_waves(case: Case, played: list[Pass], simulator: str, cycles: int, artifacts: Path) -> str:
    """Repeat a failed case with waves, save it, and return the command that repeats it."""
    folder = artifacts / f"{case.unit.kind()}-{rtlil_hash(case.unit)[:8]}-seed{case.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.json").write_text(json.dumps(_case_to_json(case, simulator), indent=1))
    _simulate(case.unit, [played], simulator, cycles, waves=(folder / simulation.WAVES[simulator]).resolve())
    return f"python -m accel.base.conformance '{folder / 'case.json'}'  # seed {case.seed}, waves in {folder}"


def _case_to_json(case: Case, simulator: str) -> dict[str, Any]:
    cls = type(case.unit)
    return {
        "unit": f"{cls.__module__}:{cls.__qualname__}",
        "parameters": proofs.parameters_of(case.unit),
        "op": _op_to_json(case.op),
        "others": [_op_to_json(op) for op in case.others],
        "seed": case.seed,
        "simulator": simulator,
    }


def _op_to_json(op: Op) -> dict[str, Any]:
    return {"kind": op.kind, **{f.name: _plain(getattr(op, f.name)) for f in dataclasses.fields(op)}}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    return int(value) if hasattr(value, "__index__") else str(value)


def _op_from_json(saved: Mapping[str, Any]) -> Op:
    cls = op_kinds()[saved["kind"]]
    types = {f.name: str(f.type) for f in dataclasses.fields(cls)}
    fields: dict[str, Any] = {n: parse_format(saved[n]) if "Format" in kind else saved[n] for n, kind in types.items()}
    return cls(**fields)


def _repeat(path: Path) -> int:
    """Play a saved case again; 1 if it fails, with its waves beside it."""
    saved = json.loads(path.read_text())
    module, _, name = saved["unit"].partition(":")
    unit = getattr(importlib.import_module(module), name).from_data(saved["parameters"])
    case = Case(unit, _op_from_json(saved["op"]), saved["seed"], tuple(_op_from_json(op) for op in saved["others"]))
    rows, _ = _conform_unit(unit, [case], saved["simulator"], path.parent.parent)
    print(rows[0].failure or "passed")
    return 1 if rows[0].failure else 0


if __name__ == "__main__":
    sys.exit(_repeat(Path(sys.argv[1])))
