"""Timing: what `sim.tiling`, or an offload in its place, says of the time of a stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Bytes = dict[str, Any]  # memory name -> bytes


@dataclass(frozen=True)
class Timing:
    """Time of a stage and what bounds it. ``compute_ps`` and ``memory_ps`` are each alone, at full rate."""

    ps: Any
    compute_ps: Any
    memory_ps: Any
    read: Bytes
    written: Bytes
    mapping: str

    @property
    def bound(self) -> str:
        """ "compute" or "memory", whichever alone takes longer; "latency" where neither explains a third of the time."""
        if 3 * max(self.compute_ps, self.memory_ps) < self.ps:
            return "latency"
        return "compute" if self.compute_ps >= self.memory_ps else "memory"
