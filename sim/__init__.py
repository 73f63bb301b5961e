"""The system simulator. From Python: ``from sim import System, Plan, load_device, load_model, simulate``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "simulate": "sim.simulation",
    "System": "sim.system",
    "Plan": "sim.system",
    "Device": "sim.system",
    "load_device": "sim.system",
    "load_experiment": "sim.experiment",
    "load_model": "sim.experiment",
    "Result": "sim.result",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Imported when first used, so that the command starts without loading the simulator."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sim' has no attribute {name!r}")
