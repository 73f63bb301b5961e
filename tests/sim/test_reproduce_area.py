"""Do the steps from UNPU save what the paper says, in its order, and where does looking up stop to pay?"""

import itertools

import pytest

from accel.base.tech import Tech
from accel.lut_ablation import STEPS
from accel.lut_ablation.areas import CELL_FILE, FILE
from sim.reproduce import reproduce
from sim.reproductions import lut_area

ROWS = reproduce("lut_area")


@pytest.fixture(scope="module")
def tech():
    return Tech.load(FILE.stem)


@pytest.mark.parametrize("row", [r for r in ROWS if r.source == lut_area.SOURCE_2], ids=lambda r: f"{r.setup}, {r.metric}")
def test_the_area_table_of_the_paper_within_five_percent(row):
    assert row.published > 1
    assert abs(row.error) < 0.05


def test_each_step_is_smaller_than_the_one_before(tech):
    assert all(lut_area.density(tech, a) < lut_area.density(tech, b) for a, b in itertools.pairwise(STEPS))


def test_published_densities_are_those_that_the_paper_prints():
    assert [round(row.published, 3) for row in ROWS if row.metric == "density, UNPU = 1"] == [1.317, 1.351, 1.440]


def test_the_half_table_moves_a_crossover_towards_wider_weights(tech):
    """Against the same products, looking up in half tables pays at least as far as in whole ones."""
    for bits in (8, None):
        assert lut_area.crossover(tech, "fused", bits) >= lut_area.crossover(tech, "unpu", bits)


def test_a_product_of_wider_weights_takes_more_area_and_a_look_up_more_cycles(tech):
    for step in ("mac", "fused"):
        rates = [lut_area.area_per_rate(tech, lut_area.rival(step, bits)) for bits in lut_area.WIDTHS]
        assert rates == sorted(rates)


def test_with_fp16_activations_looking_up_pays_furthest_and_adding_as_far_as_published():
    cells = Tech.load(CELL_FILE.stem)
    found = {kind: lut_area.fp16_crossover(cells, kind) for kind in ("look_up", "whole", "add")}
    assert found["look_up"] >= found["whole"] >= found["add"] == 2


def test_every_published_crossover_stands_beside_all_kinds_of_products():
    figure = [row for row in ROWS if row.source == lut_area.SOURCE_13]
    assert [row.published for row in figure] == [6] * 3 + [2] * 6
    assert all(row.note for row in figure if row.status != "reproduced")
