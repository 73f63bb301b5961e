"""Are the committed joules those of the RTL as it is, for every event?"""

import doctest
from pathlib import Path

import numpy as np
import pytest

from accel.arithmetic import Arithmetic
from accel.base import tech as tech_module
from accel.base.characterize import characterize
from accel.base.figures import stale, units_of
from accel.base.rtl import rtlil_hash
from accel.base.stimuli import templates
from accel.base.tech import Tech
from accel.base.unit import rtl_units


def test_committed_figures_are_of_the_rtl_as_it_is():
    """Where this fails: python -m accel.base.characterize accel/tech/asap7.toml LIBERTY... (accel/tech/README.md)."""
    tech, known = Tech.load("asap7"), rtl_units()
    assert stale(tech, known) == []
    changed = tech.entry[0].model_copy(update={"rtlil": "0" * 64})
    assert stale(tech.model_copy(update={"entry": (changed,)}), known) != []


@pytest.mark.parametrize("unit", units_of(Tech.load("asap7"), rtl_units()), ids=str)
def test_each_unit_has_an_entry_for_each_of_its_events_at_all_its_parameters(unit):
    found = [e for e in Tech.load("asap7").entry if e.matches(unit.kind(), dict(unit))]
    tiles = [next(tile for tile, count in unit.runs(op) if count) for op in templates(unit, np.random.default_rng(0))]
    assert {e.event for e in found} == {None, "cycle"}.union(*(unit.tile_cost(tile).events for tile in tiles))
    assert {e.rtlil for e in found} == {rtlil_hash(unit)}
    assert all(set(e.parameters) == set(dict(unit)) for e in found)


def test_the_readme_tells_the_truth():
    readme = Path(tech_module.__file__).parent.parent / "tech" / "README.md"
    failures, tried = doctest.testfile(str(readme), module_relative=False)
    assert (failures, tried > 3) == (0, True)


def test_the_joules_of_one_unit_come_out_again(liberty, opensta):
    """The RTL is not all that they follow from: workloads, tools and library are played again."""
    unit = Arithmetic(format="int8", function="add")
    found = {entry.event: entry for entry in Tech.load("asap7").entry if entry.matches(unit.kind(), dict(unit))}
    again = characterize(unit, liberty)
    assert again.clock_mhz == pytest.approx(found[None].clock / 1e6, rel=0.01)
    assert again.fit.joules == pytest.approx({event: e.energy for event, e in found.items() if event}, rel=0.01)
