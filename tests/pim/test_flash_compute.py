"""Is a page in the die's core the price that Cambricon-LLM counts on, for every shape, and is what does not fit refused?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.base.conformance import golden_kernel
from kernels_ref.inputs import inputs
from pim.flash_compute import FlashCompute
from pim.outlier_ecc import Counts
from workloads.ops import Linear
from workloads.page_gemv import PageGemv

CORE = FlashCompute()
TILE = PageGemv(rows=64, columns=256)  # of platform S: 256 x 2048 over 8 channels of 4 cores


def test_a_whole_page_takes_its_values_at_two_per_cycle_and_a_cycle_per_entry_beside_its_vector_and_results():
    cost = CORE.cost(TILE)
    assert cost.cycles == 1 + 128 + 64 * 128 + 163 + 64 + 4 == 8552
    assert cost.events["mac"] == 1 << 14
    assert cost.events["spare_in"] == 9 + 163


def test_a_page_is_done_at_400_mhz_before_the_cells_have_the_next_one():
    assert CORE.cost(TILE).interval * 2500 < 30_000_000  # ps; tR = 30 us


def test_more_multipliers_take_less_time_but_for_entries_vector_and_results():
    cycles = [FlashCompute(macs=macs).cost(TILE).cycles for macs in (1, 2, 4, 8, 16)]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[-1] == 1 + 16 + 64 * 16 + 163 + 64 + 4


shapes = st.builds(PageGemv, rows=st.integers(1, 64), columns=st.integers(1, 256), flips=st.integers(0, 9))


@given(st.lists(shapes, min_size=1, max_size=5))
def test_an_array_of_pages_is_priced_as_each_page_is(pages):
    together = CORE.cost(PageGemv(**{n: np.array([getattr(p, n) for p in pages]) for n in ("rows", "columns", "flips")}))
    for i, page in enumerate(pages):
        alone = CORE.cost(page)
        assert together.cycles[i] == alone.cycles
        assert {name: count[i] for name, count in together.events.items()} == alone.events


@given(shapes)
def test_every_lane_is_a_product_or_padding(page):
    events = CORE.cost(page).events
    assert events["mac"] == page.macs
    assert events["mac"] + events["padding"] == 2 * events["page_in"]
    assert events["entry"] == max(1, 2 * events["page_in"] // 100)


def test_the_inputs_of_the_examples_make_every_counter_move():
    rng = np.random.default_rng(0)
    total = np.zeros(len(Counts._fields), np.int64)
    for unit, op in FlashCompute.examples():
        if unit.page_values < CORE.page_values:
            total += sum(golden_kernel(unit)(op, *inputs(op, rng))[1] for _ in range(20))
    assert np.all(total > 20), dict(zip(Counts._fields, total, strict=True))


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (PageGemv(rows=65, columns=256), "wanted at most 16384 values in a page, got 65 rows of 256 in words of 2"),
        (PageGemv(rows=1, columns=2049), "has a buffer for 2048 columns, not for 2049"),
        (PageGemv(rows=513, columns=2), "has a buffer for 512 results, not for 513"),
        (PageGemv(rows=0, columns=2), "takes rows and columns of at least 1"),
        (PageGemv(rows=1, columns=2, flips=-1), "flips of at least 0"),
        (Linear(m=1, n=64, k=256), "executes page_gemv, not linear"),
    ],
)
def test_what_it_cannot_execute_is_refused_with_the_reason(op, message):
    with pytest.raises(ValueError, match=message):
        CORE.check(op)


def test_more_invocations_than_are_counted_are_refused():
    with pytest.raises(ValueError, match=r"counts less than 2\^32 invocations, got 4294967296"):
        CORE.encode_config(TILE, 1 << 32)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"macs": 3}, "macs\n.*wanted a power of two, such as 2 or 4, got 3"),
        ({"macs": 32}, "less than or equal to 16"),
        ({"page_values": 10_000}, "wanted a power of two, such as 8192 or 16384, got 10000"),
        ({"spare_bytes": 722}, "spare_bytes: wanted at least 723 to protect 163 of 16384 values, got 722"),
        ({"permille": 30}, "spare_bytes: wanted at least 2158 to protect 491 of 16384 values, got 1664"),
        ({"buffer_bytes": 8}, "greater than or equal to 16"),
    ],
)
def test_parameters_that_cannot_be_built_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        FlashCompute(**parameters)
