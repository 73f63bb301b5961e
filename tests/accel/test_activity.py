"""Does the netlist see what the RTL sees, on operands like real ones, and is it said where they differ?"""

from collections import Counter

import numpy as np
import pytest
from dot_product import DotProduct

from accel.base.activity import MappingError, Workload, record, replay
from accel.base.operands import operands
from accel.base.rtl import elaborate
from accel.base.synthesis import synthesize
from workloads.formats import FORMATS
from workloads.ops import Linear


def _workload(unit, k=6):
    tile = Linear(m=1, n=1, k=k, weights=FORMATS["uint2"], activations=FORMATS["int8"])
    return Workload(((tile, (operands(tile, np.random.default_rng(1)),)),), idle=3)


def test_a_netlist_that_differs_from_the_rtl_is_found(asap7):
    unit = DotProduct()
    mapped = synthesize(elaborate(unit)[1], asap7, period_ps=709)
    recordings = record(unit, [_workload(unit)], 0, lambda line: None)
    assert replay(mapped.netlist, recordings)[0].cycles == len(recordings[0].inputs)
    wrong = recordings[0].outputs[-5]
    wrong["config__ready"] ^= 1
    with pytest.raises(MappingError, match=r"differs from the RTL: workload 0, cycle \d+, config__ready: wanted 0x"):
        replay(mapped.netlist, recordings)


def test_a_unit_that_stops_is_reported_with_its_state():
    unit = DotProduct(hangs=True)
    with pytest.raises(MappingError, match=r"dot_product hangs in simulation: words still due \{'results': 1\}, words taken"):
        record(unit, [_workload(unit)], 0, lambda line: None)


def test_an_input_changes_only_when_its_word_has_been_taken():
    """As behind a producer's register: gaps filled with zeros would toggle the logic twice for each word."""
    unit = DotProduct()
    tile, arrays = _workload(unit, k=20).runs[0]
    (recording,) = record(unit, [Workload(((tile, arrays),), stall=0.6)], 0, lambda line: None)
    words = [row["operands__payload"] for row in recording.inputs]
    taken = [i["operands__valid"] and o["operands__ready"] for i, o in zip(recording.inputs, recording.outputs, strict=True)]
    offered = [row["operands__valid"] for row in recording.inputs]
    assert any(not o for o in offered[10:30])
    for t in range(1, len(words)):
        assert words[t] == words[t - 1] or (offered[t] and not offered[t - 1]) or taken[t - 1]


def test_events_of_a_workload_are_those_that_the_rtl_counts():
    (recording,) = record(DotProduct(), [_workload(DotProduct(), k=9)], 0, lambda line: None)
    assert recording.events == Counter(mac=9, result=1)


def test_operands_have_the_statistics_that_the_source_names():
    op = Linear(m=200, n=300, k=100, weights=FORMATS["ternary"], activations=FORMATS["int8"])
    activations, weights = operands(op, np.random.default_rng(0))
    assert (activations.shape, weights.shape) == ((200, 100), (300, 100))
    assert activations.std() == pytest.approx(32, rel=0.02)
    assert np.bincount(weights.ravel()) / weights.size == pytest.approx([1 / 3] * 3, abs=0.01)
