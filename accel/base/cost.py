"""Cost: what one kernel invocation takes, in cycles and events.

A *run* of n invocations of one shape takes ``latency + (n - 1) * interval`` cycles, from the handshake of its config word to
that of its last output word, both included; runs follow one another and their cycles add up. Events are counts of what the RTL
does (a table lookup, an accumulator write), n times those of one invocation. All are ints or int64 arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Count = Any  # int or int64 array


@dataclass(frozen=True, eq=False)
class Cost:
    """Cycles and events of one invocation (``RtlUnit.tile_cost``) or of a whole op (``Unit.cost``)."""

    latency: Count
    interval: Count
    events: Mapping[str, Count] = field(default_factory=dict)

    def run(self, n: Count) -> Cost:
        """The cost of a run of ``n`` invocations as one piece of work; none for n = 0."""
        cycles = (n > 0) * (self.latency + (n - 1) * self.interval)
        return Cost(cycles, cycles, {name: n * count for name, count in self.events.items()})

    def __add__(self, other: Cost) -> Cost:
        """One after the other, without overlap."""
        events = dict(self.events)
        for name, count in other.events.items():
            events[name] = events.get(name, 0) + count
        cycles = self.latency + other.latency
        return Cost(cycles, cycles, events)

    @property
    def cycles(self) -> Count:
        """Cycles of the work this cost stands for."""
        return self.latency


NOTHING = Cost(0, 0, {})
