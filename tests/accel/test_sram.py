"""Are the SRAM figures those that were published, and can something of this size find them?"""

import pytest

from accel.base.tech import Tech

PUBLISHED = {  # size and block in bytes: read and write in nJ, leakage in mW, area in mm2 (CACTI 28 nm, MixPE simulator)
    (4096, 64): (0.01689, 0.02034, 2.966, 0.0461),
    (8192, 64): (0.01777, 0.02489, 5.498, 0.0556),
    (128, 4): (0.000295, 0.000416, 0.128, 0.00103),
}


@pytest.mark.parametrize("macro", PUBLISHED)
def test_each_macro_has_the_published_figures(macro):
    size, block = macro
    found = {e.event: e for e in Tech.load("sram_cacti").entry if e.matches("sram", {"size": size, "block": block})}
    assert set(found) == {None, "read", "write"}
    static = found[None]
    figures = (found["read"].energy / 1e-9, found["write"].energy / 1e-9, static.power / 1e-3, static.area / 1e6)
    assert figures == pytest.approx(PUBLISHED[macro])


def test_the_node_is_said_and_nothing_is_scaled():
    tech = Tech.load("sram_cacti")
    assert {e.source_class for e in tech.entry} == {"published"}
    assert all("28 nm" in e.source and "CACTI" in e.source and "not scaled" in e.source for e in tech.entry)
    assert len(tech.entry) == 3 * len(PUBLISHED)


def test_a_read_of_the_small_buffer_is_the_derived_energy_per_bit():
    read = next(e for e in Tech.load("sram_cacti").entry if e.matches("sram", {"size": 4096, "block": 64}) and e.event == "read")
    assert read.energy / (64 * 8) == pytest.approx(0.033e-12, rel=0.01)


def test_another_size_has_no_figure():
    assert not [e for e in Tech.load("sram_cacti").entry if e.matches("sram", {"size": 1024, "block": 64})]
