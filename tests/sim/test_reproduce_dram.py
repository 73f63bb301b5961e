"""Does the DRAM reference give the bandwidths of other simulators, and move as their mechanisms predict?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from memsys.reference.controller import Controller
from sim.reproductions import dram

ROWS = list(dram.rows())
EXPLAINED = {
    ("ddr4/dramsim3_8gb_x8_3200, rochrababgco, random reads", "bandwidth"),
    ("hbm2/ramulator_8gb_2000, rows of 32 bursts, RoBaRaCoCh, sequential reads", "bandwidth"),
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.setup}, {row.metric}")
def test_every_figure_is_within_five_percent_but_those_that_are_explained(row):
    assert row.tolerance == 0.05
    assert row.status == ("explained" if (row.setup, row.metric) in EXPLAINED else "reproduced")
    assert row.constants == []  # nothing is fitted


def faster(stream: dram.Stream, **changes) -> float:
    """Bandwidth of ``stream`` with ``changes``, by that without, over fewer requests."""
    fewer = replace(stream, requests=30_000)
    return replace(fewer, **changes).play().gb_per_s / fewer.play().gb_per_s


def retimed(part, **timing):
    return part.model_copy(update={"timing": part.timing.model_copy(update=timing)})


STREAMS = {(str(s.part), s.mapping, s.pattern): s for s in dram.streams()}
DDR4 = "ddr4/ramulator_8gb_x8_3200aa"
IN_ROW, INTERLEAVED, RANDOM = (
    STREAMS[DDR4, mapping, pattern]
    for mapping, pattern in (("RoBaRaCoCh", "sequential"), ("MOP4CLXOR", "sequential"), ("RoBaRaCoCh", "random"))
)


def test_a_stream_along_rows_is_bound_by_the_bank_group_and_one_across_banks_is_not():
    quick = retimed(IN_ROW.part, tccd_l=IN_ROW.part.timing.tccd_s)
    assert faster(IN_ROW, part=quick) > 1.5
    assert faster(INTERLEAVED, part=quick) == pytest.approx(1, abs=0.01)


def test_refresh_costs_its_share_of_the_time():
    t = INTERLEAVED.part.timing
    never = faster(INTERLEAVED, controller=Controller(depth=34, refresh="none"))
    assert never == pytest.approx(1 / (1 - t.trfc / t.trefi), rel=0.02)


def test_random_reads_are_bound_by_four_activates_in_their_window_and_sequential_ones_are_not():
    """Which is why a longer queue is of no use to them."""
    slow = retimed(RANDOM.part, tfaw=2 * RANDOM.part.timing.tfaw)
    assert faster(RANDOM, part=slow) == pytest.approx(0.5, abs=0.02)
    assert faster(INTERLEAVED, part=slow) > 0.99
    assert faster(RANDOM, controller=Controller(depth=128)) == pytest.approx(1, abs=0.01)
    assert faster(RANDOM, controller=Controller(depth=4)) < 0.9


def test_rows_of_eight_bursts_are_those_of_the_published_runs():
    """With the rows of the standard a stream along rows stays in one bank for four times as long, and gets two thirds."""
    short = STREAMS["hbm2/ramulator_8gb_2000", "RoBaRaCoCh", "sequential"]
    columns = 4 * short.part.organisation.columns
    long = short.part.model_copy(update={"organisation": short.part.organisation.model_copy(update={"columns": columns})})
    assert faster(short, part=long) < 0.7
