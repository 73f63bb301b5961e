"""Provenance: what a result was made from. The hash of a run covers its resolved experiment and the code that priced it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accel.base.spec import ENTRY_POINTS

PACKAGES = ("accel", "kernels_ref", "memsys", "pim", "sim", "workloads")
HASHED = (".py", ".toml", ".json")
NAMED_VERSIONS = ("rtloom", "amaranth", "numpy", "pandas", "pyarrow", "pydantic", "simpy")


def resolved(value: Any) -> Any:
    """``value`` as data that a file can hold: Specs as the tables that would rebuild them (``kind`` included), formats by name.

    Raises TypeError on what has no such form, rather than hash or store a memory address.
    """
    from accel.base.spec import Spec
    from workloads.formats import Format

    if isinstance(value, Spec):
        return _table(value)
    if isinstance(value, Format):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: resolved(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): resolved(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [resolved(v) for v in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"no file can hold {value!r}")


def _table(spec: Any) -> dict[str, Any]:
    """A Spec as its table in a file. Quantities come with their units; nested Specs keep their kinds."""
    from accel.base.unit import Unit
    from memsys.base import Memory
    from sim.offloads.base import Offload
    from sim.policies.base import Policy

    table = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        if value is not None and _holds_spec(value):
            table[field.alias or name] = resolved(value)
    if isinstance(spec, Unit | Memory | Offload | Policy):
        return {"kind": spec.kind(), **table}
    if isinstance(table.get("unit"), dict) and "count" in table:  # a Slot is written flat
        return {**table.pop("unit"), **table}
    return table


def _holds_spec(value: Any) -> bool:
    from accel.base.spec import Spec

    if isinstance(value, Mapping):
        return any(_holds_spec(v) for v in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_spec(v) for v in value)
    return isinstance(value, Spec)


def digest(data: Any) -> str:
    """SHA-256 of ``data`` in canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def code_digest() -> str:
    """SHA-256 over the path and content of every .py, .toml and .json file, in order of path.

    Of the six packages, and of those outside the repository that join with units or policies of their own.
    """
    total = hashlib.sha256()
    joined = {entry.value.partition(".")[0] for entry in entry_points(group=ENTRY_POINTS)}
    for package in (*PACKAGES, *sorted(joined.difference(PACKAGES))):
        for path, content in sorted(_sources_of(package)):
            total.update(f"{path}\0{len(content)}\0".encode())
            total.update(content)
    return total.hexdigest()


def _sources_of(package: str) -> Iterator[tuple[str, bytes]]:
    """Path and content of each source of a package, or of a module that is one file."""
    found = find_spec(package)
    if found is not None and found.submodule_search_locations is None and found.origin is not None:
        yield package, Path(found.origin).read_bytes()
    else:
        yield from _sources(files(package), package)


def _sources(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.name.startswith("."):  # what editors and tools put beside sources
            continue
        below = f"{path}/{entry.name}"
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _sources(entry, below)
        elif entry.name.endswith(HASHED):
            yield below, entry.read_bytes()


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for name in NAMED_VERSIONS:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "not installed"))
    return tuple(found)


def versions() -> dict[str, str]:
    """Versions of Python, of rtloom, and of the packages that shape its numbers."""
    return dict(_versions())


def provenance(experiment: Any, seed: int) -> dict[str, Any]:
    """Where a result comes from: the hash of the resolved ``experiment``, of the code, both as the run's name, versions, seed.

    ``experiment`` is plain data (see `resolved`) that holds everything a result depends on, the seed included.
    """
    parts = {"experiment": digest(experiment), "code": code_digest(), "versions": versions()}
    return {"hash": digest(parts), **parts, "seed": seed}
