"""Do the figures of small arrays give those of one that is too large to be built, and are they still those of its RTL?"""

import numpy as np
import pytest

from accel.base.characterize import CYCLE
from accel.base.enlarged import ARRAYS, Enlarged, polynomial, powers
from accel.base.rtl import rtlil_hash
from accel.base.scaling import extrapolate
from accel.base.tech import Tech

WHOLE = {"rows": 128, "columns": 128}
GRID = Enlarged("systolic_array", WHOLE, ARRAYS[0].played, ((16, 16),))
LANES = Enlarged("vector_unit", {"lanes": 128}, ((4,), (8,), (16,)), (), frozenset({"word_in"}))


def test_an_array_keeps_its_parameters_at_other_extents():
    unit = ARRAYS[0].of((2, 8))
    assert (unit.rows, unit.columns, unit.operands, unit.add_depth) == (2, 8, "fp16", 1)


def test_what_grows_is_the_clock_and_the_words():
    assert powers(GRID.of((3, 5))) == [1, 3, 5, 9, 15, 25]
    assert powers(LANES.of((8,))) == [1, 8]
    assert [GRID.growth(GRID.unit, event) for event in (CYCLE, "mac")] == [powers(GRID.unit), [1.0]]
    assert [LANES.growth(LANES.unit, event) for event in ("word_in", "reduce")] == [[1, 128], [1.0]]


def test_areas_follow_from_smaller_arrays():
    def area(unit):
        return 100 + 7 * unit.rows + 2 * unit.columns + 40 * unit.rows * unit.columns + 3 * unit.columns**2

    known = [(unit, area(unit)) for unit in map(GRID.of, (*GRID.played, *GRID.mapped))]
    assert polynomial(GRID.unit, known) == pytest.approx(area(GRID.unit), rel=1e-6)


def _cycle(x):
    return 50 + 3 * x[1] + (40 * x[4] + 9 * x[5] if len(x) > 2 else 0)


def _word(x):
    return 5.0 + (20 * x[1] if len(x) == 2 else 0)


@pytest.mark.parametrize("array", [GRID, LANES], ids=["grid", "lanes"])
@pytest.mark.parametrize("noise", [0, 0.02])
def test_joules_follow_from_smaller_arrays_in_spite_of_noise(array, noise):
    """A fit in which every event's joules may grow would be off by a multiple."""
    truth = {CYCLE: _cycle, "word_in": _word, "mac": lambda x: 400.0}
    rng = np.random.default_rng(1)
    rows = []
    for unit in map(array.of, array.played):
        counts = [dict.fromkeys(truth, 0) | {CYCLE: 60}]
        counts += [{event: int(n) for event, n in zip(truth, rng.integers(1, 300, 3), strict=True)} for _ in range(40)]
        joules = [sum(n * truth[event](powers(unit)) for event, n in row.items()) * rng.normal(1, noise) for row in counts]
        rows.append((unit, counts, joules))
    found = extrapolate(array.unit, rows[:-1], rows[-1], array.growth)
    for event in (CYCLE, "mac"):
        assert found.joules[event] == pytest.approx(truth[event](powers(array.unit)), rel=0.15 if noise else 1e-6)
    assert found.held_out <= 1.5 * noise + 1e-9


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.kind)
def test_committed_figures_are_whole_and_of_this_rtl(array):
    """Where this fails: python -m accel.base.enlarged accel/tech/asap7.toml LIBERTY..."""
    unit = array.unit
    found = {e.event: e for e in Tech.load("asap7").entry if e.matches(unit.kind(), dict(unit))}
    op = next(op for other, op in unit.examples() if unit.takes(op))
    assert set(found) == {None, CYCLE, *unit.cost(op).events}
    assert {e.source_class for e in found.values()} == {"scaled"}
    assert f"RTLIL {rtlil_hash(array.of(array.played[0]))[:12]}" in found[None].source
