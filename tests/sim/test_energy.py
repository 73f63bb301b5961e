"""Does the ledger count everything once, multiply it by a cited figure, and refuse what has none?"""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.base import Tally
from sim.energy import Row, Work, area, breakdown, check, ledger, stage_work, tally_work, total
from sim.errors import BadInput, CheckFailed
from sim.experiment import load_model
from sim.pricing import StepPricer
from sim.system import load_device
from workloads.model import Precision

W2A8 = Precision.from_data({"weights": "ternary", "activations": "int8"})
PRICERS = {
    "gpu": StepPricer(load_device("a100_80gb"), load_model("llama-2-7b"), Precision()),
    "lut": StepPricer(load_device("a100_lut_4x"), load_model("bitnet-b1.58-3b"), W2A8),
}
CHUNKS = st.lists(st.tuples(st.integers(1, 400), st.integers(0, 900)), max_size=2)
STEPS = st.lists(st.tuples(CHUNKS, st.integers(0, 60), st.integers(1, 2000)), min_size=1, max_size=6)


@pytest.mark.parametrize("system", PRICERS)
@given(steps=STEPS)
@settings(max_examples=15)
def test_a_tally_counts_what_its_steps_do_one_by_one(system, steps):
    """The sums over a run against the stages of every step, priced apart."""
    pricer = PRICERS[system]
    tally, apart = Tally(), Work()
    for chunks, decodes, mean in steps:
        tokens = decodes + sum(chunk for chunk, _ in chunks)
        if not tokens:
            continue
        tally.linear[tokens] += 1
        tally.head[decodes + len(chunks)] += 1
        tally.add_chunks(chunks)
        if decodes:
            tally.add_decodes(decodes, decodes * mean, 1)
        for priced in pricer.step(prefill=chunks, decodes=decodes, context=decodes * mean):
            apart.add(stage_work(priced.stage, pricer.device), priced.times)
    together = tally_work(pricer, tally)
    assert dict(together.events) == dict(apart.events)


def test_every_row_has_a_source_and_the_rows_add_up():
    work = Work()
    for priced in PRICERS["lut"].step(decodes=64, context=64 * 500):
        work.add(stage_work(priced.stage, PRICERS["lut"].device), priced.times)
    rows = ledger(PRICERS["lut"].device, work.events, elapsed_ps=10**10)
    assert all(row.source and row.source_class and row.joules == row.count * row.joules_per_event for row in rows)
    assert {"accumulate", "weight_load (delivery)", "static"} <= {row.event for row in rows}
    assert total(rows) == pytest.approx(math.fsum(j for events in breakdown(rows).values() for j in events.values()))


def test_static_energy_is_power_times_time():
    rows = ledger(PRICERS["gpu"].device, Counter(), elapsed_ps=10**12, replicas=3)
    assert [(row.component, row.event) for row in rows] == [("device", "static")]
    assert total(rows) == pytest.approx(3 * 80.0)


def test_an_event_without_an_energy_is_an_error_that_names_it():
    device = load_device("a100_lut_4x", ['technology=["gpu_n7"]'])
    with pytest.raises(BadInput, match=r"no energy entry in technology gpu_n7 for: lut \(lut_tensor_core\) event 'accumulate'"):
        ledger(device, Counter({("lut", "accumulate"): 5, ("hbm", "read_byte"): 7}), elapsed_ps=1)


def test_energies_of_other_parameters_do_not_apply():
    device = load_device("a100_lut_4x", ["units.lut.rows=4"])
    with pytest.raises(BadInput, match="event 'accumulate'"):
        ledger(device, Counter({("lut", "accumulate"): 5}), elapsed_ps=1)


def test_the_area_of_the_lut_cores_is_known():
    (lut, *_) = [row for row in area(PRICERS["lut"].device) if row["component"] == "lut"]
    assert lut["total_mm2"] == pytest.approx(lut["area_um2"] * 1728 / 1e6)
    assert area(PRICERS["gpu"].device) == []


@pytest.mark.parametrize("fault", [{"count": -1}, {"joules": -1.0}])
def test_a_negative_row_is_caught(fault):
    row = {"component": "a", "kind": "b", "event": "c", "count": 1, "joules_per_event": 1.0, "joules": 1.0}
    with pytest.raises(CheckFailed, match="negative"):
        check([Row(**row | fault, source_class="assumed", source="test")])
