"""Do InstInfer's figures follow from what its drive moves, and is nothing fitted that is then counted?"""

import pytest

from sim.reproduce import reproduce
from sim.reproductions import instinfer as it

ROWS = {(row.setup, row.metric): row for row in reproduce("instinfer")}
RATIOS = [row for row in ROWS.values() if row.unit == "ratio"]
KV_STEP = 64 * 1536 * 819200  # bytes of keys and values of a decode step at the mean context


def test_none_is_missing_and_the_rows_are_those_of_the_issue():
    assert {row.status for row in ROWS.values()} == {"reproduced", "explained"}
    inferred = [row for row in ROWS.values() if row.setup.endswith("weights in host memory")]
    assert sorted(row.published for row in inferred) == [80.7, 82.3, 92.4, 98.9]
    assert all(abs(row.error) < 0.15 and "inferred" in row.note for row in inferred)
    assert sorted(row.published for row in ROWS.values() if row not in inferred) == sorted(
        [1.34, 1.93, 1085.65, 32263877, 768, 6.85, 11.1, 2.08, 1.713, 1.046, 32.6, 98.9, 92.4, 80.7, 82.3]
    )


@pytest.mark.parametrize("setup", ["prefill, batch 64, one block", "decode, batch 64, one block"])
def test_writes_of_a_block_within_ten_percent(setup):
    (row,) = (row for (name, _), row in ROWS.items() if name == setup)
    assert abs(row.error) < 0.10
    assert not row.constants


@pytest.mark.parametrize("row", [r for r in RATIOS if r.published in (6.85, 11.1, 2.08)], ids=lambda r: r.setup)
def test_speed_over_flexgen_within_fifteen_percent(row):
    assert abs(row.error) < 0.15


def test_what_was_fitted_predicts_more_rows_than_it_was_fitted_on():
    resting = [row for row in ROWS.values() if row.constants]
    assert all(row.constants == it.VOLUME for row in resting)
    fitted = [row for row in resting if "fitted" in row.note]
    assert len(fitted) == 1
    assert len(resting) - len(fitted) > len(fitted)


def test_dense_over_flexgen_is_the_ratio_of_the_rates_at_which_they_read():
    flexgen, dense = (it.step_s(design)[0] for design in (it.FLEXGEN, it.DENSE))
    assert flexgen == pytest.approx(KV_STEP / 1.25e9, rel=0.002)
    assert dense == pytest.approx(KV_STEP / 7.66e9, rel=0.006)
    assert ROWS["dense over FlexGen, batch 64", "throughput"].simulated == pytest.approx(flexgen / dense, rel=0.01)


def test_at_full_rate_dense_reads_in_the_7_19_s_of_its_channels():
    assert it.step_s(it.DENSE, it.AT_CHANNELS)[1] == pytest.approx(7.19, rel=0.01)


def test_a_batch_of_any_size_is_as_fast_on_one_drive():
    assert it.tokens_per_s(it.DENSE, 16) == pytest.approx(it.tokens_per_s(it.DENSE, 64), rel=0.02)


@pytest.mark.parametrize("row", [r for r in ROWS.values() if r.status == "explained"], ids=lambda r: r.setup)
def test_an_explanation_says_by_how_much_it_would_move(row):
    assert any(character.isdigit() for character in row.note)
