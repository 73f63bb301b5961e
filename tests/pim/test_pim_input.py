"""Is what cannot be refused in one line that says what was wanted, what was got, and the nearest that can?"""

import numpy as np
import pytest

from memsys.standard import load_part
from pim.checks import whole
from pim.layout import KvLayout
from pim.mixed import play_beside
from pim.price import PimPrice
from pim.schedule import play
from pim.tiles import Gwrite, Tile, attend, layout_on, logits
from pim.traffic import Access, Traffic

PART = load_part("hbm2/neupims_8gb_2000")
LAYOUT = layout_on(PART, heads=8, head_dim=128)
PRICE = PimPrice(PART, LAYOUT)
MOST = 262_144
"""32,768 rows of a bank by 64 for 512 tokens: 16 times 2 of keys, 8 heads times 4 of values."""


def refusal(function, *arguments, **named):
    """The one line that says why."""
    with pytest.raises(ValueError, match="wanted") as refused:
        function(*arguments, **named)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("kind", ["logits", "attend"])
@pytest.mark.parametrize(
    ("context", "got", "nearest"),
    [
        (-1, "-1", 1),
        (0, "0", 1),
        (1.5, "1.5", 2),
        (-0.5, "-0.5", 1),
        (10**7, "10000000", MOST),
        (1e9, "1000000000.0", MOST),
        (np.array([5, -3, 7]), "-3", 1),
        (np.array([5, MOST + 1]), str(MOST + 1), MOST),
    ],
)
def test_a_context_that_no_channel_holds_has_no_price(kind, context, got, nearest):
    line = refusal(getattr(PRICE, kind), context)
    assert line == f"context: wanted whole numbers from 1 to {MOST}, got {got}; the nearest is {nearest}"


@pytest.mark.parametrize("context", [np.array([1.0, 2.0]), True, "many", float("nan"), None])
def test_a_context_that_is_no_whole_number_has_no_price(context):
    for kind in (PRICE.logits, PRICE.attend):
        assert f"context: wanted whole numbers from 1 to {MOST}, got" in refusal(kind, context)


def test_the_longest_context_has_a_price_and_arrays_of_any_integers_are_taken():
    assert LAYOUT.capacity == MOST
    assert LAYOUT.rows(MOST) <= LAYOUT.rows_per_bank < LAYOUT.rows(MOST + 1)
    for kind in (PRICE.logits, PRICE.attend):
        assert kind(MOST).latency > kind(MOST - 512).latency
        for dtype in (np.int64, np.int32, np.uint16):
            assert list(kind(np.array([33, 600], dtype)).latency) == [kind(33).latency, kind(600).latency]
        assert type(kind(np.int64(33)).latency) is int
        assert kind(np.array([], np.int64)).latency.shape == (0,)


@pytest.mark.parametrize("accesses", [-5, -1, 2.5, np.array([3, -5])])
def test_fewer_accesses_than_none_have_no_price(accesses):
    for kind in (PRICE.logits, PRICE.attend):
        assert "accesses: wanted whole numbers from 0 on, got" in refusal(kind, 100, accesses)


@pytest.mark.parametrize("context", [-1, 0, 1.5, MOST + 1])
def test_a_request_of_such_a_context_has_no_operations(context):
    for of in (logits, attend):
        assert "context: wanted" in refusal(lambda of=of: list(of(LAYOUT, context)))


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        (Tile(8, 0), "results: wanted whole numbers from 1 on, got 0; the nearest is 1"),
        (Tile(8, -2), "results: wanted whole numbers from 1 on, got -2"),
        (Tile(0, 4), "bursts: wanted whole numbers from 1 on, got 0; the nearest is 1"),
        (Tile(1.5, 4), "bursts: wanted whole numbers from 1 on, got 1.5; the nearest is 2"),
        (Tile(8, 4, row=10**9), "row: wanted whole numbers from 0 to 32767, got 1000000000; the nearest is 32767"),
        (Tile(8, 4, row=-2), "row: wanted whole numbers from 0 to 32767, got -2; the nearest is 0"),
        (Gwrite(99), "bank: wanted whole numbers from 0 to 31, got 99; the nearest is 31"),
        (Gwrite(-1), "bank: wanted whole numbers from 0 to 31, got -1; the nearest is 0"),
        (Gwrite(0, 40_000), "row: wanted whole numbers from 0 to 32767, got 40000; the nearest is 32767"),
        ("refresh", "wanted a Gwrite or a Tile, got 'refresh'"),
    ],
)
def test_an_operation_that_no_channel_has_is_not_played(operation, wanted):
    assert wanted in refusal(play, PART, [operation])
    assert wanted in refusal(play_beside, PART, [operation], Traffic.of([]))


def test_neither_is_one_before_time_begins():
    line = "start: wanted whole numbers from 0 on, got -5; the nearest is 0"
    assert refusal(play, PART, [Tile(8, 4)], start=-5) == line
    assert refusal(play_beside, PART, [Tile(8, 4)], Traffic.of([]), start=-5) == line
    assert "patience: wanted" in refusal(play_beside, PART, [Tile(8, 4)], Traffic.of([]), patience=-1)


@pytest.mark.parametrize(
    ("access", "wanted"),
    [
        (Access(0, 32, 5), "bank: wanted whole numbers from 0 to 31, got 32; the nearest is 31"),
        (Access(0, 3, 32_768), "row: wanted whole numbers from 0 to 32767, got 32768; the nearest is 32767"),
        (Access(-1, 3, 5), "arrival: wanted whole numbers from 0 on, got -1; the nearest is 0"),
    ],
)
def test_an_access_to_no_place_of_the_channel_is_refused(access, wanted):
    assert wanted in refusal(play_beside, PART, [Tile(8, 4)], Traffic.of([access]))


@pytest.mark.parametrize("name", ["heads", "head_dim", "banks", "row_bytes", "multipliers", "rows_per_bank"])
@pytest.mark.parametrize("value", [0, -3, 2.5])
def test_a_layout_of_nothing_is_refused(name, value):
    line = refusal(KvLayout, **({"heads": 8, "head_dim": 128} | {name: value}))
    assert line.startswith(f"{name}: wanted whole numbers from 1 on, got {value}; the nearest is ")


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"banks": 31}, "wanted one of banks = 32 or row_bytes = 992"),
        ({"row_bytes": 1000}, "wanted one of row_bytes = 1024"),
        ({"multipliers": 15}, "wanted one of multipliers = 16 or row_bytes = 960"),
    ],
)
def test_rows_that_no_head_fills_are_refused_with_the_nearest_that_one_does(changed, wanted):
    line = refusal(KvLayout, heads=8, head_dim=128, **changed)
    assert line.startswith("no head fills rows of ")
    assert line.endswith(wanted)


def test_every_row_that_is_named_as_the_nearest_is_one():
    for changed in ({"banks": 32}, {"row_bytes": 1024}, {"multipliers": 16}):
        KvLayout(heads=8, head_dim=128, **changed)
    KvLayout(heads=8, head_dim=496, banks=31, row_bytes=992)
    KvLayout(heads=8, head_dim=480, multipliers=15, row_bytes=960)


def test_banks_that_hold_no_token_are_refused_with_as_many_rows_as_one_takes():
    line = refusal(KvLayout, heads=8, head_dim=128, rows_per_bank=33)
    assert line == "rows_per_bank: wanted at least 34, which one token takes, got 33"
    assert KvLayout(heads=8, head_dim=128, rows_per_bank=34).capacity == 32


@pytest.mark.parametrize("length", [-5, 1.5])
def test_requests_of_no_length_do_not_fit(length):
    line = refusal(LAYOUT.fit, [3, length])
    assert line.startswith(f"tokens of request 1: wanted whole numbers from 0 on, got {length}; the nearest is ")
    assert "tokens: wanted" in refusal(LAYOUT.rows, length)


def test_whole_numbers_are_taken_as_they_are():
    assert whole("n", 5, 0) == 5
    assert type(whole("n", np.int32(5), 0)) is int
    assert whole("n", np.array([1, 2], np.uint8), 0).dtype == np.int64
