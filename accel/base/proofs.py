"""Proofs are records: what conformance has shown, of which sources, and whether that still holds. Needs neither torch nor cocotb.

A record in ``accel/proofs/<kind>.json`` names one set of parameters, the hash of its RTLIL, and the hashes of the sources behind
the unit (RTL, cost, codec) and behind its golden kernel. A source hash covers the module and every module of ours that it
imports, of the framework only what decides numbers; comments, docstrings and blank lines do not count. A record whose
hashes no longer match proves nothing.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import io
import json
import textwrap
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from accel.base import cost as cost_module
from accel.base.rtl import digest, rtlil_hash, write_atomically
from accel.base.unit import RtlUnit, Unit, _at_least_one
from workloads.formats import Format
from workloads.ops import Op

FOLDER = Path(__file__).parent.parent / "proofs"
OURS = {"accel", "pim", "memsys", "kernels_ref", "workloads"}
# Of these modules only the parts named in `_framework` decide a number; the rest may change without touching a proof.
FRAMEWORK = {f"accel.base.{name}" for name in ("unit", "spec", "cost", "quantity")} | {"workloads.ops", "workloads.formats"}


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
            return ProofStatus("proved", f"{record['cases']} cases on {record['date']} with {record['simulator']}")
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
    kept = [r for r in load(unit.kind(), folder) if r["parameters"] != new["parameters"] and _holds(type(unit), r)]
    records = sorted([*kept, new], key=lambda r: json.dumps(r["parameters"], sort_keys=True))
    lines = ",\n".join(json.dumps(r) for r in records)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{unit.kind()}.json", f'{{"kind": "{unit.kind()}", "proofs": [\n{lines}\n]}}\n')


@cache
def unit_sources(cls: type[RtlUnit]) -> str:
    """Hash of the sources of RTL, cost and codec of ``cls``."""
    own = [c.__module__ for c in cls.__mro__ if issubclass(c, RtlUnit) and c is not RtlUnit]
    return _hash(cls, own)


@cache
def golden_sources(cls: type[RtlUnit]) -> str:
    """Hash of the sources of the golden kernel of ``cls``, and its name."""
    module, _, function = cls.golden.rpartition(".")
    return digest(function + _hash(cls, [f"kernels_ref.{module}"]))


def _hash(cls: type[RtlUnit], roots: Iterable[str]) -> str:
    modules = sorted(_closure(roots) - FRAMEWORK)
    texts = [f"{name}\n{significant(path.read_text())}" for name in modules for path in _files(name)]
    return digest("\0".join(texts + _framework(cls)))


def _framework(cls: type[RtlUnit]) -> list[str]:
    """The parts of the framework that decide numbers: how costs add up, how ops are cut, what the op and its formats mean."""
    parts: list[Any] = [cost_module.Cost, Unit.cost, Unit.runs, _at_least_one, Format]
    parts += sorted({c for op in cls.executes for c in op.__mro__ if issubclass(c, Op)}, key=lambda c: c.__name__)
    return [significant(textwrap.dedent(inspect.getsource(part))) for part in parts]


def _closure(roots: Iterable[str]) -> set[str]:
    """``roots`` and every module that they import, directly or not, of their own packages and ours."""
    found, waiting = set(), list(roots)
    packages = OURS | {name.partition(".")[0] for name in waiting}
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] not in packages or not (files := _files(name)):
            continue
        found.add(name)
        if name not in FRAMEWORK:
            waiting += [imported for path in files for imported in _imports(path, name)]
    return found


@cache
def _files(name: str) -> tuple[Path, ...]:
    """The files of a module; of a package (a unit that is a folder) all of its modules; none where ``name`` is no module."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # the parent is a module, not a package: ``name`` is one of its attributes
        return ()
    if spec is None or spec.origin is None:
        return ()
    path = Path(spec.origin)
    top = "." not in name or name.endswith(".base")
    return tuple(sorted(path.parent.rglob("*.py"))) if path.name == "__init__.py" and not top else (path,)


def _imports(path: Path, module: str) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def significant(source: str) -> str:
    """``source`` without comments, docstrings and blank lines: what can change behaviour."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())
