"""Does the bench find every event that is counted too rarely, on the cheapest example that has it?"""

import re

import numpy as np
import pytest
from wrapped import gated

from accel.base.conformance import PACKAGES, conform
from accel.base.cost_range import least_of
from accel.base.spec import discover
from accel.base.unit import RtlUnit


def exact(unit, op, event) -> bool:
    """Whether the price states one number for ``event``, where data decide others: half of them may lie within a range."""
    cost = unit.cost(op)
    return least_of(cost).events[event] == cost.events[event]


def every_event():
    for package in PACKAGES:
        for kind, cls in discover(package, RtlUnit).items():
            cheapest = sorted(cls.examples(), key=lambda e: np.prod([v for v in vars(e[0]).values() if type(v) is int and v]))
            for event in dict.fromkeys(event for unit, op in cheapest for event in unit.cost(op).events):
                counted = [(unit, op) for unit, op in cheapest if unit.cost(op).events.get(event)]
                unit, op = next((each for each in counted if exact(*each, event)), counted[0])
                yield pytest.param(unit, op, event, id=f"{kind}-{event}")


@pytest.mark.parametrize(("unit", "op", "event"), [*every_event()])
def test_an_event_whose_enable_is_gated_fails(unit, op, event):
    (row,) = conform([(gated(unit, event), op)], artifacts=None).rows
    told = rf"cost says (?:\d+ to )?(\d+) of event '{event}', the RTL counted (?!\1\b)\d+"
    assert re.search(told, row.failure or "passed"), row
