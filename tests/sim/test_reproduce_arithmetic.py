"""Are ratios of operations taken within one technology, and does the table of ISSCC'14 stand beside every one of them?"""

import pytest

from accel.base.tech import Entry, Tech
from sim.reproduce import reproduce
from sim.reproductions import arithmetic
from sim.reproductions.arithmetic import TABLE, pairs, rows, synthesized
from workloads.formats import FORMATS


def entries(function, number, depth, energy, area, event="operation"):
    base = {
        "component": "arithmetic",
        "parameters": {"function": function, "format": number, "depth": depth},
        "class": "synthesized",
        "source": "test",
    }
    return [Entry.from_data(base | {"event": event, "energy": f"{energy} pJ"}), Entry.from_data(base | {"area": f"{area} um2"})]


SHELL = (0.004, 10)  # pJ and um2 of what every unit holds whatever its width


def unit(function, number, depth=1):
    """A unit in proportion to the table, with the registers and the shell that ours have."""
    energy, area = LINEAR.get((function, number), TABLE[function, number])
    registers = 2 * FORMATS[number].bits * arithmetic.FLIPFLOP_UM2
    return entries(function, number, depth, energy + SHELL[0], area + registers + SHELL[1])


LINEAR = {("add", f"int{bits}"): (bits * 0.003, bits * 4.3) for bits in (8, 16, 32)}  # of adders alone the table is not quite
PLAIN = [e for operation in TABLE for e in unit(*operation)]


def test_what_a_unit_holds_beside_its_operator_is_found_and_taken_off():
    found = arithmetic.operators(synthesized(PLAIN))
    for operation, figures in found.items():
        energy, area = LINEAR.get(operation, TABLE[operation])
        assert figures.energy == pytest.approx(energy * 1e-12)
        assert figures.area == pytest.approx(area)


def test_every_operation_of_the_table_is_compared_in_energy_and_area():
    compared = {operation for pair in pairs() for operation in pair}
    assert compared == set(TABLE)
    assert len(list(rows(PLAIN))) == 2 * len(list(pairs())) == 16


@pytest.mark.parametrize(
    ("setup", "energy", "area"),
    [
        ("FP16 multiply by INT8 multiply", 5.5, 5.816),
        ("FP32 multiply by INT8 multiply", 18.5, 27.305),
        ("INT32 multiply by INT8 multiply", 15.5, 12.394),
        ("FP16 add by INT8 add", 13.333, 37.778),
        ("INT8 multiply by INT8 add", 6.667, 7.833),
    ],
)
def test_the_published_ratios_are_those_of_the_table(setup, energy, area):
    published = {(row.setup.replace(" of depth 1", ""), row.metric): row.published for row in rows(PLAIN)}
    assert published[setup, "energy"] == pytest.approx(energy, abs=1e-3)
    assert published[setup, "area"] == pytest.approx(area, abs=1e-3)


def test_the_shallowest_pipeline_stands_for_an_operation_and_its_clock_is_left_out():
    cycle = entries("multiply", "fp16", 1, 0.3, 1, event="cycle")[:1]
    deeper = entries("multiply", "fp16", 3, 9, 9)
    known = synthesized([*deeper, *PLAIN, *cycle])
    assert known == synthesized(PLAIN)
    assert known["multiply", "fp16"].depth == 1


def test_entries_of_other_units_and_formats_are_left_out():
    strange = [*entries("multiply", "e4m3", 1, 1, 1), *Tech.load("gpu_n7").entry]
    assert synthesized(strange) == {}


def test_every_row_is_of_synthesised_units_and_says_what_differs():
    used = {e.source_class for e in Tech.load(arithmetic.TECHNOLOGY).entry if e.component == "arithmetic"}
    assert used == {"synthesized"}
    found = reproduce("arithmetic")
    assert len(found) == 16
    assert all(row.note and row.constants == [] for row in found)
