"""Published against simulated, for every system that is modelled."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from accel.base.spec import lookup
from sim import reproductions
from sim.errors import BadInput
from sim.reproductions.base import LeftOut, Row


def systems() -> list[str]:
    """The systems that can be reproduced: the modules of `sim.reproductions`."""
    return sorted(m.name for m in pkgutil.iter_modules(reproductions.__path__) if m.name != "base")


def reproduce(system: str | None = None, missing: Callable[[str], None] = lambda message: None) -> list[Row]:
    """Every published figure of ``system`` (of all systems where it is None) beside the simulated one.

    ``missing`` is told of rows that need a file which is not there. Raises BadInput, with the nearest right name, where there is
    no such system.
    """
    if system is not None:
        try:
            lookup(system, dict.fromkeys(systems(), True), "system")
        except ValueError as error:
            raise BadInput(str(error)) from None
    found = []
    for name in systems() if system is None else [system]:
        for row in importlib.import_module(f"sim.reproductions.{name}").rows():
            if isinstance(row, LeftOut):
                missing(f"{name}: {row.what} left out: wanted {row.wanted}")
            else:
                found.append(row)
    return found
