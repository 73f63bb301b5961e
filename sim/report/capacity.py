"""Which systems cannot keep up with the load: only then does throughput say what a system can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

EQUAL_RATES = 0.02
"""Throughputs that differ by less are those of one load: the last requests end at slightly different times."""
BACKLOG = 0.5
"""A system whose requests wait for more than this share of their latency is at its capacity."""
SLOWED = 0.1
"""So is one with this share, if its throughput is lower than another's."""


def offline(systems: Sequence[dict[str, Any]]) -> bool:
    """Whether all requests were there from the start: no load then sets the rate, and every system works as fast as it can."""
    return all(system["trace"].get("offline", False) for system in systems)


def at_capacity(systems: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the systems that cannot keep up with the load: their requests wait for a large part of their latency."""
    if offline(systems):
        return [system["name"] for system in systems]
    best = max(s["metrics"]["output_throughput"] or 0.0 for s in systems)
    found = []
    for system in systems:
        metrics = system["metrics"]
        waiting = (metrics["mean_queue_ms"] or 0.0) / (metrics["mean_e2el_ms"] or 1.0)
        slowed = (metrics["output_throughput"] or 0.0) < best * (1 - EQUAL_RATES)
        if waiting > BACKLOG or (slowed and waiting > SLOWED):
            found.append(system["name"])
    return found
