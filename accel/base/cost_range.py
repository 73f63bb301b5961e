"""CostRange: the cost of work whose cycles or events depend on data, or on what else goes on: between a least and a most.

It is itself the most, as an `accel.base.cost.Cost`, so that whoever takes a cost takes the worst case; `least` is the other end.
Sums and runs of ranges are ranges.
"""

from __future__ import annotations

from dataclasses import dataclass

from accel.base.cost import NOTHING, Cost, Count


@dataclass(frozen=True, eq=False)
class CostRange(Cost):
    """The most that the work costs, and the least: conformance wants what it sees to lie between, both included."""

    least: Cost = NOTHING

    def run(self, n: Count) -> CostRange:
        """The range of a run of ``n`` invocations."""
        most = super().run(n)
        return CostRange(most.latency, most.interval, most.events, self.least.run(n))

    def __add__(self, other: Cost) -> CostRange:
        """One after the other, without overlap."""
        most = super().__add__(other)
        return CostRange(most.latency, most.interval, most.events, self.least + least_of(other))

    def __radd__(self, other: Cost) -> CostRange:
        """Python asks the subclass first: an exact cost and a range make a range."""
        most = Cost.__add__(other, self)
        return CostRange(most.latency, most.interval, most.events, least_of(other) + self.least)


def least_of(cost: Cost) -> Cost:
    """The least that the work costs: ``cost`` itself where it is exact."""
    return cost.least if isinstance(cost, CostRange) else cost
