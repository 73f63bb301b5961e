"""Are Cambricon-LLM's published figures met by the whole step, from mechanisms, and do they move as the mechanisms predict?"""

from __future__ import annotations

import pytest

from sim.pricing import StepPricer
from sim.reproduce import reproduce
from sim.reproductions import cambricon
from sim.reproductions.cambricon import CONTEXT, W8A8, pricer, tokens_per_s
from sim.system import load_device
from workloads.ops import Attention, Linear

ROWS = reproduce("cambricon")
SPEEDS = [row for row in ROWS if row.metric == "decode"]


@pytest.mark.parametrize("row", [row for row in SPEEDS if "llama-2-70b W8A8" not in row.setup], ids=lambda row: row.setup)
def test_published_speeds_within_ten_percent(row):
    assert abs(row.error) < 0.10


def test_nothing_is_fitted_and_every_miss_is_explained():
    assert all(row.status != "missing" and not row.constants for row in ROWS)
    missed = [row.setup for row in ROWS if row.status == "explained"]
    assert missed == [
        "platform S, llama-2-70b W8A8, context 1000",
        "platform L, llama-2-70b W8A8, context 1000",
        "platform L, the largest share of the platforms",
        "platform S, OPT-6.7B, FlexGen on a drive over it",
    ]


def test_what_is_printed_with_one_digit_lies_in_its_range():
    """But for Llama-2-70B as released, and the two that are 1.7 and 3.4 % too fast."""
    outside = [row.setup for row in SPEEDS if row.unit == "tokens/s" and row.note.startswith("printed") and not _inside(row)]
    assert outside == ["platform S, opt-6.7b W8A8, context 1000"]


def _inside(row) -> bool:
    return abs(row.simulated - row.published) <= 0.05


def test_the_weights_and_keys_of_the_explanation():
    grouped, ungrouped = (pricer("s", "llama-2-70b", each) for each in (True, False))
    assert [round(each.weight_bytes / 1e9, 1) for each in (grouped, ungrouped)] == [69.0, 78.4]
    per_token = [each.model.kv_bytes_per_token(W8A8) * CONTEXT for each in (grouped, ungrouped)]
    assert [round(nbytes / 1e9, 2) for nbytes in per_token] == [0.16, 1.31]


def test_the_step_is_whole():
    """Embedding, norms, attention and head are in the time, and linear operators are nearly all of it."""
    prices = pricer("s", "opt-6.7b")
    steps = prices.step(decodes=1, context=CONTEXT)
    assert sum(step.times * step.timing.ps for step in steps) == prices.step_ps(1, 1, [], 1, CONTEXT)
    linear = sum(step.times * step.timing.ps for step in steps if isinstance(step.stage.op, Linear))
    attention = sum(step.times * step.timing.ps for step in steps if isinstance(step.stage.op, Attention))
    whole = prices.step_ps(1, 1, [], 1, CONTEXT)
    assert linear > 0.95 * whole
    assert attention == pytest.approx(prices.model.kv_bytes_per_token(W8A8) * CONTEXT / 40e9 * 1e12, rel=0.01)
    assert {step.stage.op.role for step in steps} >= {"embedding", "input_norm", "lm_head"}


def test_the_closed_form_of_the_notes_is_near():
    """t = weights / (cores page / t_rc + channels (1 - rate_rc) rate) + keys and values / 40 GB/s, where nothing is padded."""
    prices, rounds = pricer("s", "opt-6.7b"), cambricon.published_rounds("s")
    part = rounds.part
    dies = part.total_dies * part.page_bytes / rounds.round_ps
    channels = part.channels * part.channel_mb_per_s / 1e6 * float(1 - rounds.channel_share)
    closed = prices.weight_bytes / (dies + channels) + prices.model.kv_bytes_per_token(W8A8) * CONTEXT / 40e9 * 1e12
    assert prices.step_ps(1, 1, [], 1, CONTEXT) == pytest.approx(closed, rel=0.01)


def test_more_dies_and_channels_are_faster_by_what_they_bring():
    speed = {platform: tokens_per_s(pricer(platform, "opt-6.7b")) for platform in "sml"}
    assert speed["s"] < speed["m"] < speed["l"]
    assert speed["m"] < 4 * speed["s"]  # four times the dies, twice the channels
    assert speed["l"] < 16 * speed["s"]


@pytest.mark.parametrize("platform", "sml")
@pytest.mark.parametrize("model", ["opt-13b", "llama-2-7b"])
def test_a_searched_tile_is_no_slower(platform, model):
    base = pricer(platform, model)
    searched = StepPricer(load_device(f"cambricon_llm_{platform}", ["placement.offload.tiling=search"]), base.model, W8A8)
    assert tokens_per_s(searched) >= tokens_per_s(base)


def test_padding_is_what_slows_platform_l_on_wide_models():
    """9216 columns fill 9/16 of a tile of 16384; a tile found for the matrix leaves less idle."""
    base = pricer("l", "opt-66b")
    searched = StepPricer(load_device("cambricon_llm_l", ["placement.offload.tiling=search"]), base.model, W8A8)
    assert tokens_per_s(searched) > 1.3 * tokens_per_s(base)
