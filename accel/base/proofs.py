"""Proofs are records: what conformance has shown, of which sources, and whether that still holds. Needs neither torch nor cocotb.

A record in ``accel/proofs/<kind>.json`` names one set of parameters, the hash of its RTLIL, and the hashes of the sources behind
the unit (RTL, cost, codec) and behind its golden kernel (`accel.base.sources`). A record whose hashes no longer match proves
nothing.
"""

from __future__ import annotations

import inspect
import json
import textwrap
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from accel.base.cost import Cost
from accel.base.rtl import digest, rtlil_hash, write_atomically
from accel.base.sources import source_hash
from accel.base.unit import RtlUnit, Unit, _at_least_one

FOLDER = Path(__file__).parent.parent / "proofs"
# Validation and discovery: what of these decides a number is named in `unit_sources`.
FRAMEWORK = frozenset(f"accel.base.{name}" for name in ("unit", "spec", "quantity"))


@dataclass(frozen=True)
class ProofStatus:
    """Whether a unit is ``proved`` at its parameters, at ``other`` parameters only, or not (``none``), and why."""

    status: Literal["proved", "other", "none"]
    detail: str


def proof_status(unit: Unit, folder: Path = FOLDER) -> ProofStatus:
    """What the records say about ``unit``, judged by today's sources."""
    if not isinstance(unit, RtlUnit):
        return ProofStatus("none", f"{unit.kind()} is priced from calibrated figures, not from RTL")
    records = load(unit.kind(), folder)
    parameters = parameters_of(unit)
    held = [r for r in records if _holds(type(unit), r)]
    for record in held:
        if record["parameters"] == parameters:
            count = f"{record['cases']} case{'s' * (record['cases'] != 1)}"
            return ProofStatus("proved", f"{count} on {record['date']} with {record['simulator']}")
    if held:
        return ProofStatus("other", f"proved at {len(held)} other sets of parameters, not at {parameters}")
    if records:
        return ProofStatus("none", "the records are stale: RTL, cost or golden kernel have changed; run `rtloom verify` again")
    return ProofStatus("none", "never proved; run `rtloom verify`")


def _holds(cls: type[RtlUnit], record: dict[str, Any]) -> bool:
    if record["unit_sources"] != unit_sources(cls) or record["golden_sources"] != golden_sources(cls):
        return False
    # Equal sources under an equal Amaranth give equal RTLIL; only under another one is it worth elaborating.
    return record["tools"]["amaranth"] == version("amaranth") or record["rtlil"] == rtlil_hash(
        cls.from_data(record["parameters"])
    )


def parameters_of(unit: RtlUnit) -> dict[str, Any]:
    """The parameters that a proof is about: all but the clock, since cycles and events do not depend on it."""
    return unit.model_dump(mode="json", exclude={"clock"})


def load(kind: str, folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The records of ``kind``; none where it has never been proved."""
    path = folder / f"{kind}.json"
    return json.loads(path.read_text())["proofs"] if path.exists() else []


def record(unit: RtlUnit, facts: dict[str, Any], folder: Path = FOLDER) -> None:
    """Add what was shown of ``unit`` (cases, cycles, seed, simulator, tools, date), replacing what was known at its parameters.

    Records that no longer hold are dropped. One line per record keeps the file's history readable.
    """
    new = {"parameters": parameters_of(unit), "rtlil": rtlil_hash(unit)}
    new |= {"unit_sources": unit_sources(type(unit)), "golden_sources": golden_sources(type(unit)), **facts}
    _write(unit, [*_others(unit, folder), new], folder)


def withdraw(unit: RtlUnit, folder: Path = FOLDER) -> None:
    """Remove the record at the parameters of ``unit``, which a failed case has refuted."""
    if load(unit.kind(), folder):
        _write(unit, _others(unit, folder), folder)


def _others(unit: RtlUnit, folder: Path) -> list[dict[str, Any]]:
    """The records of other parameters that hold."""
    own = parameters_of(unit)
    return [r for r in load(unit.kind(), folder) if r["parameters"] != own and _holds(type(unit), r)]


def _write(unit: RtlUnit, records: list[dict[str, Any]], folder: Path) -> None:
    records = sorted(records, key=lambda r: json.dumps(r["parameters"], sort_keys=True))
    lines = ",\n".join(json.dumps(r) for r in records)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{unit.kind()}.json", f'{{"kind": "{unit.kind()}", "proofs": [\n{lines}\n]}}\n')


@cache
def unit_sources(cls: type[RtlUnit]) -> str:
    """Hash of the sources of RTL, cost and codec of ``cls``, and of how costs of runs add up to that of an op."""
    own = [(c.__module__, None) for c in cls.__mro__ if issubclass(c, RtlUnit) and c is not RtlUnit]
    summing = [textwrap.dedent(inspect.getsource(part)) for part in (Unit.cost, Unit.runs, _at_least_one)]
    return source_hash([*own, (Cost.__module__, None)], stop=FRAMEWORK, extra=summing)


@cache
def golden_sources(cls: type[RtlUnit]) -> str:
    """Hash of the sources of the golden kernel of ``cls``, and its name."""
    module, _, function = cls.golden.rpartition(".")
    return digest(cls.golden + source_hash([(f"kernels_ref.{module}", function)], stop=FRAMEWORK))
