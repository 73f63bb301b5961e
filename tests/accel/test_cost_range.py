"""Is a cost that depends on data a range that sums, repeats, and is held against the RTL at both ends?"""

import re

import numpy as np
import pytest
from wrapped import OP, failure_of

from accel.base.conformance import conform
from accel.base.cost import NOTHING, Cost
from accel.base.cost_range import CostRange, least_of
from accel.table_precompute import TablePrecomputeUnit

EXACT = Cost(10, 4, {"read": 2})
RANGE = CostRange(12, 5, {"read": 3}, least=Cost(9, 4, {"read": 1}))


def ends(cost):
    return [(c.latency, c.interval, dict(c.events)) for c in (least_of(cost), cost)]


def test_an_exact_cost_is_its_own_least():
    assert least_of(EXACT) is EXACT


@pytest.mark.parametrize("total", [EXACT + RANGE, RANGE + EXACT, NOTHING + EXACT + RANGE], ids=["right", "left", "sum"])
def test_an_exact_cost_and_a_range_make_a_range(total):
    assert ends(total) == [(19, 19, {"read": 3}), (22, 22, {"read": 5})]


def test_two_ranges_add_at_both_ends():
    assert ends(RANGE + RANGE) == [(18, 18, {"read": 2}), (24, 24, {"read": 6})]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_run_of_a_range_is_the_range_of_its_runs(n):
    least, most = ((n > 0) * (first + next_ * (n - 1)) for first, next_ in ((9, 4), (12, 5)))
    assert ends(RANGE.run(n)) == [(least, least, {"read": n}), (most, most, {"read": 3 * n})]


def test_ranges_take_arrays():
    assert RANGE.run(np.array([1, 2])).least.cycles.tolist() == [9, 13]


class Ranged(TablePrecomputeUnit):
    """The unit with its exact cost put between two others."""

    rows: int = 1
    group: int = 2
    below: int = 0
    above: int = 0
    fewer: int = 0
    more: int = 0

    def tile_cost(self, tile):
        cost, writes = super().tile_cost(tile), super().tile_cost(tile).events["table_write"]
        least = Cost(cost.latency - self.below, cost.interval, {"table_write": writes - self.fewer})
        return CostRange(cost.latency + self.above, cost.interval, {"table_write": writes + self.more}, least)


@pytest.mark.parametrize("ends", [{"below": 1}, {"above": 2}, {"fewer": 1}, {"more": 2, "above": 1}])
def test_what_lies_in_its_range_passes(ends):
    conform([(Ranged(**ends), OP)], artifacts=None).assert_passed()


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ({"below": -1, "above": 3}, r"cost says (\d+) to (\d+) cycles .* the RTL took (\d+)"),
        ({"below": 3, "above": -1}, r"cost says (\d+) to (\d+) cycles .* the RTL took (\d+)"),
        ({"fewer": -1, "more": 2}, r"cost says (\d+) to (\d+) of event 'table_write', the RTL counted (\d+)"),
        ({"fewer": 2, "more": -1}, r"cost says (\d+) to (\d+) of event 'table_write', the RTL counted (\d+)"),
    ],
)
def test_what_lies_outside_of_its_range_fails(ends, message):
    failure = failure_of(Ranged(**ends))
    least, most, seen = map(int, re.search(message, failure).groups())
    assert not least <= seen <= most
