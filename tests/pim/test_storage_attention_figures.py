"""Are the committed figures of the attention engine there for each of its events, and still those of its RTL?"""

import pytest

from accel.base.characterize import CYCLE
from accel.base.rtl import rtlil_hash
from accel.base.tech import Tech
from pim.storage_attention.figures import TARGETS, modules

ENTRIES = Tech.load("asap7").entry


@pytest.mark.parametrize("unit", TARGETS, ids=lambda unit: f"{unit.max_tokens} tokens")
def test_each_event_has_joules_of_the_rtl_as_it_is(unit):
    """Where this fails: python -m pim.storage_attention.figures LIBERTY..."""
    found = {entry.event: entry for entry in ENTRIES if entry.matches(unit.kind(), dict(unit))}
    op = unit.op(tokens=64, channels=16, selected=8)
    assert found.keys() == {None, CYCLE, *unit.tile_cost(op).events}
    assert all(set(entry.parameters) == set(dict(unit)) and entry.source_class == "scaled" for entry in found.values())
    assert all(modules() in entry.source for event, entry in found.items() if event)
    assert rtlil_hash(unit)[:12] in found[None].source


def test_the_engine_is_faster_than_the_published_one_on_an_fpga():
    assert all(entry.clock > 285e6 for entry in ENTRIES if entry.component == "storage_attention" and entry.clock)


def test_a_word_that_is_multiplied_takes_more_than_one_that_is_dropped():
    """A word of keys carries the joules of one of values, as there are equally many."""
    unit = TARGETS[0]
    joules = {entry.event: entry.energy for entry in ENTRIES if entry.matches(unit.kind(), dict(unit))}
    assert joules["channel_word"] > joules["word_dropped"]
    assert joules["key_word"] > joules["channel_word"]
