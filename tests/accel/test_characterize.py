"""Is a unit characterised from end to end, and is it said when it cannot be?"""

import datetime

import pytest
from dot_product import DotProduct

from accel.base import characterize as subject
from accel.base import power
from accel.base.characterize import UnitError, characterize
from accel.base.figures import entries
from accel.base.synthesis import LibertyFiles
from accel.systolic_array import SystolicArray

DAY = datetime.date(2026, 1, 2)


@pytest.fixture(scope="module")
def figures(liberty, opensta):
    lines = []
    result = characterize(DotProduct(), liberty, seed=3, progress=lines.append)
    return result, lines


def test_a_unit_is_characterised_from_end_to_end(figures):
    result, lines = figures
    assert result.area_um2 > result.sequential_um2 > 10
    assert result.clock_mhz > 300
    assert 0 < result.leakage_w < 1e-6
    assert result.checked_cycles > 2000
    assert set(result.fit.joules) == {"cycle", "mac", "result"}
    assert result.fit.joules["mac"] > result.fit.joules["cycle"] > 0
    assert 1e-15 < result.fit.joules["mac"] < 1e-12
    assert max(result.fit.residual, result.fit.held_out) < 0.15
    assert result.fit.condition < subject.WORST_CONDITION
    assert lines[0] == "reading Liberty files"
    assert any(line.startswith("simulating workload 2 of") for line in lines)


def test_without_opensta_there_is_the_area_and_it_says_so(monkeypatch, figures, liberty):
    monkeypatch.setattr(power, "COMMAND", "no-such-sta")
    lines = []
    result = characterize(DotProduct(), liberty, progress=lines.append)
    assert result.area_um2 == figures[0].area_um2
    assert (result.fit, result.clock_mhz, result.leakage_w) == (None, None, None)
    assert "OpenSTA is not installed: area only" in result.note
    assert result.note in lines
    assert [set(row) & {"area", "power", "energy"} for row in entries(result, DAY)] == [{"area"}]


def test_a_unit_for_which_no_op_can_be_drawn_is_said(liberty, opensta, monkeypatch):
    monkeypatch.setattr(DotProduct, "check", _refuse)
    with pytest.raises(UnitError, match=r"none of \d+ examples and draws of dot_product fits these parameters"):
        characterize(DotProduct(), liberty)


def _refuse(unit, op):
    raise ValueError("never")


def test_an_array_too_large_to_elaborate_is_refused_at_once(liberty, monkeypatch):
    monkeypatch.setattr(LibertyFiles, "read", lambda files: pytest.fail("it went on"))
    said = r"systolic_array\(rows=256, .* would be about [\d,]+ MB of RTLIL, wanted at most 150; .* accel.base.enlarged"
    with pytest.raises(UnitError, match=said):
        characterize(SystolicArray(rows=256, columns=256), liberty)
