"""Work: what has been done, in events of units, bytes of memories and cycles; the ledger of `sim.energy` makes joules of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

Events = Counter  # (component name, event) -> count
CYCLE = "cycle"  # what a proved unit spends in every cycle of work, besides its events


@dataclass
class Work:
    """What a run has done: events and bytes by (component, event), and cycles of every unit, summed over its copies."""

    events: Events = field(default_factory=Counter)
    cycles: Counter = field(default_factory=Counter)

    def add(self, other: Work, times: int = 1) -> None:
        for mine, theirs in ((self.events, other.events), (self.cycles, other.cycles)):
            for key, count in theirs.items():
                mine[key] += times * count
