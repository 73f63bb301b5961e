"""How does a matrix lie on the cores of flash, how is it split with the chip, and is a channel, event by event, as fast?"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.base.clock import cycles_to_ps
from accel.base.mapping import ceil_div
from memsys.nand_part import load_nand
from pim.flash_channel import Channel, Share
from pim.flash_compute import FlashCompute
from pim.flash_split import ReadCompute
from pim.flash_tiling import CoreArray, Tile
from workloads.page_gemv import PageGemv

PLATFORMS = {"s": (8, 2), "m": (16, 4), "l": (32, 8)}
PUBLISHED = {"s": (256, 2048), "m": (512, 4096), "l": (512, 16384)}
OPT_6_7B = [(12288, 4096), (4096, 4096), (16384, 4096), (4096, 16384)]  # qkv, o, up, down
OPT_66B = [(27648, 9216), (9216, 9216), (36864, 9216), (9216, 36864)]
US = 10**6


def rounds_of(platform: str, tile: Tile | None = None) -> ReadCompute:
    channels, chips = PLATFORMS[platform]
    part = load_nand("cambricon_llm").resized(channels=channels, chips=chips)
    tile = tile or CoreArray(part.channels, part.dies_per_channel, part.page_bytes).published()
    cycles = FlashCompute().cost(PageGemv(rows=tile.page_rows, columns=tile.page_columns)).cycles
    return ReadCompute(part, tile, int(cycles_to_ps(cycles, 400_000_000)), vector_bits=8, slice_bytes=2048)


# --- tiles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", PLATFORMS)
def test_published_tiles_move_least(platform):
    tile = rounds_of(platform).tile
    assert (tile.rows, tile.columns) == PUBLISHED[platform]
    array = tile.array
    assert all(tile.moved <= other.moved for other in array.tiles())
    edge = isqrt(array.cores * array.page)
    if edge**2 == array.cores * array.page:  # where the formula gives whole numbers, it is the one
        assert (tile.rows, tile.columns) == (edge, array.channels * edge)


@given(st.integers(1, 8), st.integers(1, 8), st.sampled_from([64, 96, 1024]))
def test_every_tile_gives_every_core_one_page(channels, cores, page):
    for tile in CoreArray(channels, cores, page).tiles():
        assert tile.page_rows * tile.page_columns == page
        assert tile.rounds(tile.rows, tile.columns) == 1
        assert tile.pages(tile.rows, tile.columns) == channels * cores
        assert tile.utilisation(tile.rows, tile.columns) == 1


def test_a_tile_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"wanted a tile of 524288 values.*got 256x1024"):
        Tile(CoreArray(8, 4, 16384), 256, 1024)


@given(st.sampled_from(list(PLATFORMS)), st.integers(1, 60_000), st.integers(1, 60_000))
def test_rounds_hold_the_matrix_and_are_no_more_than_whole_tiles(platform, n, k):
    tile = rounds_of(platform).tile
    rounds = tile.rounds(n, k)
    assert rounds * tile.array.values >= n * k
    assert rounds <= ceil_div(n, tile.rows) * ceil_div(k, tile.columns)
    assert tile.pages(n, k) <= rounds * tile.array.channels * tile.array.cores
    assert 0 < tile.utilisation(n, k) <= 1


def test_blocks_of_rows_share_a_round_as_published():
    tile = rounds_of("l").tile
    for k in (512, 4096, 5120, 7168, 8192):  # floor(columns / k) blocks, where k is less than a tile
        assert tile.rounds(tile.rows * (tile.columns // k), k) == 1
        assert tile.rounds(tile.rows * (tile.columns // k) + 1, k) == 2


def test_utilisation_of_real_matrices():
    assert rounds_of("s").tile.utilisation(12288, 4096) == 1
    assert rounds_of("s").tile.utilisation(4096, 11008) == Fraction(43, 44)  # the last 768 columns: two blocks of 3 channels in 8
    assert rounds_of("l").tile.utilisation(27648, 9216) == Fraction(9, 16)
    assert rounds_of("l").tile.utilisation(8192, 28672) == Fraction(7, 8)


# --- the split --------------------------------------------------------------------------------------------------------


def test_a_core_keeps_up_with_the_cells():
    for platform in PLATFORMS:
        timing = rounds_of(platform)
        assert 21 * US < timing.core_ps < 22 * US < timing.part.mean_read_ps
        assert timing.round_ps == timing.part.mean_read_ps + timing.send_ps


def test_a_slow_core_is_what_a_round_waits_for():
    timing = rounds_of("s")
    slow = ReadCompute(timing.part, timing.tile, 50 * US, vector_bits=8, slice_bytes=2048)
    assert slow.round_ps == 50 * US + timing.send_ps


@given(st.sampled_from(list(PLATFORMS)), st.integers(1, 40_000), st.integers(1, 40_000), st.integers(0, 10**12), st.data())
def test_no_other_split_is_faster(platform, n, k, chip_ps, data):
    timing = rounds_of(platform)
    found = timing.split(n, k, nbytes=n * k, chip_ps=chip_ps)
    dies, chip = timing.dies_ps(n, k), max(timing.stream_ps(n * k), chip_ps)
    assert 0 <= found.rows < n
    rows = data.draw(st.integers(0, n))
    other = max(ceil_div(dies * rows, n), ceil_div(chip * (n - rows), n))
    assert found.ps <= other + ceil_div(max(dies, chip), n) + 1  # up to one row
    assert found.ps <= min(dies, chip) + ceil_div(max(dies, chip), n) + 1


def test_channels_are_not_asked_for_more_than_they_carry():
    for platform in PLATFORMS:
        timing = rounds_of(platform)
        for n, k in OPT_6_7B:
            found = timing.split(n, k, nbytes=n * k, chip_ps=0)
            streamed = (n - found.rows) * k
            beside = (
                timing.tile.rounds(n, k) * timing.part.channels * (timing.vector_bytes + timing.result_bytes) * found.rows // n
            )
            assert (streamed + beside) * US <= found.ps * timing.part.channels_mb_per_s


def test_one_plane_or_a_full_channel_is_refused():
    timing = rounds_of("s")
    single = type(timing.part).from_data(timing.part.model_dump(by_alias=True, exclude_none=True) | {"planes": 1})
    with pytest.raises(ValueError, match="wanted 2 planes in a die, one to compute and one to read, got 1"):
        ReadCompute(single, timing.tile, timing.core_ps, vector_bits=8, slice_bytes=2048)
    tall = Tile(timing.tile.array, 4 * 8192, 8 * 2)
    with pytest.raises(ValueError, match=r"wanted rounds of 32768x16 that leave time on the channels, got 13\d+ ps"):
        ReadCompute(timing.part, tall, timing.core_ps, vector_bits=8, slice_bytes=2048)


# --- a channel, event by event ----------------------------------------------------------------------------------------


def layer(timing: ReadCompute, matrices, attention_ps: int, between_ps: int) -> tuple[list[Share], int]:
    """What one channel has of each matrix, and the closed form of all of them; attention comes before the second."""
    shares, closed = [], 0
    for i, (n, k) in enumerate(matrices):
        split = timing.split(n, k, nbytes=n * k, chip_ps=0)
        pages = n * k / (timing.part.channels * timing.part.page_bytes)
        computed = timing.tile.rounds(n, k) * timing.tile.array.cores * split.rows / n
        before = attention_ps if i == 1 else between_ps
        shares.append(Share(round(computed), round(pages * (n - split.rows) / n), before))
        closed += split.ps + before
    return shares, closed


def steady(timing: ReadCompute, shares: list[Share], *, room: int, sliced: bool = True, layers: int = 4) -> float:
    """Time of a layer behind others, in ps."""
    ends = Channel(timing, shares * layers, room_pages=room, sliced=sliced).run()
    return (ends[-1] - ends[len(shares) - 1]) / (layers - 1)


@pytest.mark.parametrize(("platform", "bound"), [("s", 0.01), ("m", 0.01), ("l", 0.03)])
@pytest.mark.parametrize("room", [1, 8])
def test_the_closed_form_is_what_a_channel_takes(platform, bound, room):
    """With room for a single page on the chip: parts of a round come from registers, in which pages wait for their vector."""
    timing = rounds_of(platform)
    shares, closed = layer(timing, OPT_6_7B, attention_ps=205 * US, between_ps=3 * US)
    assert steady(timing, shares, room=room) == pytest.approx(closed, rel=bound)


@pytest.mark.parametrize(("platform", "bound"), [("s", 0.01), ("l", 0.01)])
def test_the_closed_form_where_tiles_are_padded(platform, bound):
    timing = rounds_of(platform)
    shares, closed = layer(timing, OPT_66B, attention_ps=461 * US, between_ps=3 * US)
    assert steady(timing, shares, room=1, layers=2) == pytest.approx(closed, rel=bound)


@pytest.mark.parametrize(("platform", "bound"), [("s", 0.01), ("m", 0.01), ("l", 0.06)])
def test_the_closed_form_without_a_pause_between_matrices(platform, bound):
    """The worst case: nothing is read ahead while the chip does something else, and o has but two rounds on platform L."""
    timing = rounds_of(platform)
    shares, closed = layer(timing, OPT_6_7B, attention_ps=0, between_ps=0)
    assert steady(timing, shares, room=1) == pytest.approx(closed, rel=bound)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_whole_pages_on_the_bus_keep_vectors_waiting(platform):
    timing = rounds_of(platform)
    shares, _ = layer(timing, OPT_6_7B, attention_ps=205 * US, between_ps=3 * US)
    assert steady(timing, shares, room=8, sliced=False) > 1.1 * steady(timing, shares, room=8)


def test_computing_alone_takes_a_read_per_page():
    """Nothing but rounds: cells are read all the time, and vectors and sums hide behind them."""
    timing = rounds_of("s")
    rounds = 50
    (end,) = Channel(timing, [Share(rounds * timing.tile.array.cores, 0)], room_pages=1).run()
    tail = timing.send_ps + timing.core_ps + timing.tile.array.cores * timing.result_ps
    assert end == rounds * timing.part.mean_read_ps + tail
    assert end <= rounds * timing.round_ps + tail


def test_reading_alone_takes_the_bus():
    timing = rounds_of("s")
    (end,) = Channel(timing, [Share(0, 100)], room_pages=1).run()
    assert end == timing.part.mean_read_ps + 100 * timing.page_ps
