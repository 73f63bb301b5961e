"""Are the committed figures of the controllers those of their RTL, for every command that they send?"""

import numpy as np
import pytest

from accel.base.figures import hardware
from accel.base.rtl import elaborate, rtlil_hash
from accel.base.tech import Tech
from pim.areas import CONTROLLERS, FILE, HALF_ROWS


@pytest.mark.parametrize("controller", CONTROLLERS, ids=lambda controller: controller.kind())
def test_the_committed_figures_of_a_controller_are_of_its_rtl_as_it_is(controller):
    """Where this fails: python -m pim.areas LIBERTY..."""
    found = [e for e in Tech.load(FILE.stem).entry if e.matches(controller.kind(), hardware(controller))]
    assert {e.event for e in found} == {None, "cycle", *controller.events([])}
    assert {e.rtlil for e in found} == {rtlil_hash(controller)}


def test_the_committed_area_of_the_smaller_bank_is_of_its_rtl_as_it_is():
    [found] = [e for e in Tech.load(FILE.stem).entry if e.matches(HALF_ROWS.kind(), hardware(HALF_ROWS))]
    assert found.rtlil == rtlil_hash(HALF_ROWS)


@pytest.mark.parametrize("controller", CONTROLLERS, ids=lambda controller: controller.kind())
def test_every_request_and_operation_is_drawn_within_its_ports(controller):
    streams = {name: member for name, member in elaborate(controller)[0].signature.members.items() if member.is_signature}
    first, *others = controller.traffic(np.random.default_rng(0))
    assert not any(first.words.values())
    for traffic in others:
        for name, words in traffic.words.items():
            bits = streams[name].signature.members["payload"].shape.size
            assert all(0 <= word < 1 << bits for _, word in words)
            assert [cycle for cycle, _ in words] == sorted(cycle for cycle, _ in words)
