"""TOML files that a package brings along, by name."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from accel.base.spec import lookup


def committed(package: str, folder: str) -> list[str]:
    """Names (file stems) of the TOML files in ``folder`` of ``package``, in alphabetical order."""
    found = (files(package) / folder).iterdir()
    return sorted(f.name.removesuffix(".toml") for f in found if f.name.endswith(".toml"))


def read_committed(package: str, folder: str, name: str, what: str) -> dict[str, Any]:
    """What the file ``name`` holds. Raises ValueError, with the nearest right name, where there is no such ``what``."""
    lookup(name, dict.fromkeys(committed(package, folder), True), what)
    return tomllib.loads((files(package) / folder / f"{name}.toml").read_text())
