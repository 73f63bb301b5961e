"""Published against simulated, for every system that is modelled."""

from __future__ import annotations

import importlib
import pkgutil

from accel.base.spec import lookup
from sim import reproductions
from sim.errors import BadInput
from sim.reproductions.base import Row


def systems() -> list[str]:
    """The systems that can be reproduced: the modules of `sim.reproductions`."""
    return sorted(m.name for m in pkgutil.iter_modules(reproductions.__path__) if m.name != "base")


def reproduce(system: str | None = None) -> list[Row]:
    """Every published figure of ``system`` (of all systems where it is None) beside the simulated one.

    Raises BadInput, with the nearest right name, where there is no such system.
    """
    if system is not None:
        try:
            lookup(system, dict.fromkeys(systems(), True), "system")
        except ValueError as error:
            raise BadInput(str(error)) from None
    names = systems() if system is None else [system]
    return [row for name in names for row in importlib.import_module(f"sim.reproductions.{name}").rows()]
