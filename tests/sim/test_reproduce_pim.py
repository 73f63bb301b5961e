"""Do the cycles of NeuPIMs' simulator come out of commands and rules, on its own batch, without a fitted constant?"""

import pytest

from pim.channel import Practice
from sim.reproduce import reproduce
from sim.reproductions.pim import BATCH, LAYOUT, LOGITS, PART, PUBLISHED, channels, slowest


@pytest.fixture
def batch(shared_file):
    """The tests with it need the batch of the published run."""
    return shared_file(str(BATCH))


def test_without_the_batch_its_rows_are_left_out_and_said(rtloom, monkeypatch):
    monkeypatch.delenv("RTLOOM_SHARED", raising=False)
    done = rtloom("reproduce", "pim", "--json")
    assert [row["setup"] for row in done.json()] == ["GWRITE", "tile of logits, rows closed"]
    assert "pim: cycles of a batch left out: wanted RTLOOM_SHARED with traces" in done.stderr


def row(setup):
    (found,) = [r for r in reproduce("pim") if r.setup == setup]
    return found


def test_both_operators_within_four_percent_as_the_simulator_does(batch):
    assert abs(row(f"{LOGITS}, as the simulator does").error) < 0.04
    assert abs(row("attend, as the simulator does").error) < 0.01


def test_what_its_rules_cost_is_told_where_they_are_kept(batch):
    kept = row("attend, with its rules kept during a GEMV")
    assert kept.status == "explained"
    assert kept.error == pytest.approx(0.158, abs=0.01)


def test_no_row_rests_on_a_constant(batch):
    assert all(r.constants == [] for r in reproduce("pim"))


def test_the_batch_is_that_of_the_published_run(batch):
    assert sum(map(sum, channels())) == 153_548
    assert [len(channels()), sum(map(len, channels()))] == [32, 512]


def test_a_third_of_the_time_goes_to_refresh_and_to_waiting_for_it(batch):
    """What is left of the facts' fitted 24 cycles per GEMV: none is in the tile, which takes 143 + 3 x 18 cycles of 288."""
    found = slowest(LOGITS, Practice.NEUPIMS)
    assert found.refreshes == PUBLISHED[LOGITS] // (PART.timing.trefi // 2) - 2
    assert 0.1 < found.waited / found.cycles < 0.2


@pytest.mark.long
@pytest.mark.parametrize("operator", list(PUBLISHED))
@pytest.mark.parametrize("practice", list(Practice))
def test_the_slowest_channel_is_among_the_busiest(operator, practice, batch):
    assert slowest(operator, practice).cycles == slowest(operator, practice, count=32).cycles


def test_the_layout_is_that_of_a_quarter_of_gpt3_7b():
    assert (LAYOUT.heads, LAYOUT.head_dim, LAYOUT.banks, LAYOUT.row) == (8, 128, 32, 512)
