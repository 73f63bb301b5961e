"""Is the area that PIM adds to a bank made of committed and cited figures, and its difference from the published explained?"""

import pytest

from sim.reproduce import reproduce
from sim.reproductions import pim_area


def test_the_row_is_explained_and_rests_on_no_constant():
    [row] = reproduce("pim_area")
    assert (row.published, row.unit, row.constants) == (3.11, "%", [])
    assert row.status == "explained"
    assert row.simulated == pytest.approx(pim_area.overhead())


def test_the_datapath_is_what_the_row_buffers_leave():
    """Its 16 multipliers and adders alone, of some 90 and 120 um2, are most of it; row buffers are more than half of the bank."""
    assert 16 * (88 + 122) < pim_area.datapath() < 0.6 * pim_area.area(pim_area.BANK)


def test_each_change_that_the_note_names_moves_the_figure_as_it_says():
    assert pim_area.overhead(scale=0) < pim_area.overhead() < pim_area.overhead(scale=2 * pim_area.N)
    assert pim_area.overhead(pim_area.FORCED_CORE_UM2) > pim_area.overhead()
    assert f"{pim_area.overhead(scale=pim_area.N * 10):.2f} % with logic 10 times as large" in pim_area.note()
