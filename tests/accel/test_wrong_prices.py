"""Does a wrong price or a wrong reference fail, with a message that names the difference and a command that repeats it?"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from wrapped import OP, failure_of

import kernels_ref.tables
from accel.base.conformance import conform
from accel.base.cost import Cost
from accel.table_precompute import TablePrecomputeUnit


class Priced(TablePrecomputeUnit):
    """The unit with its cost off by the given amounts."""

    rows: int = 1
    group: int = 2
    latency: int = 0
    interval: int = 0
    writes: int = 0

    def tile_cost(self, tile):
        cost = super().tile_cost(tile)
        events = {"table_write": cost.events["table_write"] + self.writes}
        return Cost(cost.latency + self.latency, cost.interval + self.interval, events)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latency": 1}, r"cost says (\d+) cycles \(latency \d+ \+ \d+ \* interval \d+\), the RTL took (\d+)"),
        ({"latency": -1}, r"cost says (\d+) cycles .* the RTL took (\d+)"),
        ({"interval": 1}, r"run \d+ \(n=[2-9].*cost says (\d+) cycles .* the RTL took (\d+)"),
        ({"writes": 1}, r"cost says (\d+) of event 'table_write', the RTL counted (\d+)"),
    ],
)
def test_a_wrong_price_fails(wrong, message):
    failure = failure_of(Priced(**wrong))
    match = re.search(message, failure)
    assert match, failure
    assert match[1] != match[2]


class Renamed(TablePrecomputeUnit):
    """Its cost names an event that the RTL does not have."""

    def tile_cost(self, tile):
        cost = super().tile_cost(tile)
        return Cost(cost.latency, cost.interval, {"table_writes": cost.events["table_write"]})


def test_events_of_other_names_fail():
    assert "cost states the events ['table_writes'], the RTL has ['table_write']" in failure_of(Renamed(rows=1, group=2))


class PricedInHalves(TablePrecomputeUnit):
    """Its cost forgets to round up, which cutting off the half hides."""

    def tile_cost(self, tile):
        cost = super().tile_cost(tile)
        return Cost(cost.latency + 0.5, cost.interval, cost.events)


def test_a_price_that_is_not_whole_fails():
    message = r"price of table_precompute .*: wanted a whole number for latency, cost says \d+\.5"
    assert re.search(message, failure_of(PricedInHalves(rows=1, group=2)))


class PricedApart(TablePrecomputeUnit):
    """Its cost of arrays is another formula."""

    def tile_cost(self, tile):
        cost = super().tile_cost(tile)
        return cost if isinstance(tile.k, int) else Cost(cost.latency, np.maximum(cost.interval, 2), cost.events)


def test_a_price_that_differs_for_arrays_fails():
    message = r"price of table_precompute .*: cost says 1 for interval, and np\.int64\(2\) where the extents are arrays"
    assert re.search(message, failure_of(PricedApart(rows=1, group=2)))


class PricedAlone(TablePrecomputeUnit):
    """Its cost takes no arrays."""

    def tile_cost(self, tile):
        return super().tile_cost(tile) if tile.k > 0 else None


def test_a_price_that_takes_no_arrays_fails():
    message = "wanted a price also where the extents are arrays, got ValueError: The truth value of an array"
    assert message in failure_of(PricedAlone(rows=1, group=2))


@pytest.mark.parametrize("index", [(0, 0, 0), (0, -1, 1)])
def test_a_wrong_reference_fails(monkeypatch, index):
    right = kernels_ref.tables.half_table

    def wrong(op, activations):
        tables = right(op, activations)
        tables[index] += 1
        return tables

    monkeypatch.setattr(kernels_ref.tables, "half_table", wrong)
    failure = failure_of(TablePrecomputeUnit(rows=1, group=2))
    match = re.search(r"result 0 at \[.*\] should be (-?\d+) \(tables.half_table\), the RTL gave (-?\d+) \(1 of", failure)
    assert match, failure
    assert int(match[1]) == int(match[2]) + 1


def test_a_reference_of_another_shape_fails(monkeypatch):
    monkeypatch.setattr(kernels_ref.tables, "half_table", lambda op, activations: np.zeros((1, 1), np.int64))
    assert "should have the shape (1, 1)" in failure_of(TablePrecomputeUnit(rows=1, group=2))


def test_a_failure_leaves_its_waves_and_a_command_that_repeats_it(tmp_path):
    (row,) = conform([(Priced(latency=1), OP)], artifacts=tmp_path / "failed cases").rows
    (folder,) = (tmp_path / "failed cases").iterdir()
    assert (folder / "waves.fst").stat().st_size > 1000
    assert str(folder / "case.json") in row.reproduce
    assert "seed 0" in row.reproduce
    command = row.reproduce.replace("python", shlex.quote(sys.executable), 1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 1, done.stderr
    assert done.stdout.strip() == row.failure
