"""Does the code of a page's outliers mend what it should, lose no more than it must, and count what it cannot mend?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pim.outlier_ecc import COPIES, Counts, OutlierCode

CODE = OutlierCode()
SMALL = OutlierCode(page_values=256, permille=60)
CLEAN = Counts(0, 0, 0, 0, 0, 0)

values = st.lists(st.integers(-128, 127), min_size=1, max_size=256).map(np.array)
seeds = st.integers(0, 1 << 32).map(np.random.default_rng)


def heavy_tailed(rng, count):
    """INT8 weights with outliers, as of an LLM: Student's t with 4 degrees of freedom, the largest at 127."""
    drawn = rng.standard_t(4, count)
    return np.rint(drawn * 127 / np.abs(drawn).max()).astype(np.int64)


# Layout


def test_a_page_of_16384_values_takes_the_published_722_bytes_of_its_spare_area():
    assert CODE.entries(1 << 14) == 163
    assert (CODE.address_bits, CODE.parity_bits) == (14, 5)
    assert CODE.spare_bits(1 << 14) == 8 * 9 + (14 + 5 + 16) * 163
    assert CODE.spare_bits(1 << 14) // 8 == 722 < 1664


def test_of_equal_magnitudes_those_of_the_lowest_addresses_are_protected():
    stored = OutlierCode(page_values=64, permille=50).encode(np.array([3, -5, 5, 5, -5, 1] + [0] * 54))
    assert stored.addresses.tolist() == [1, 2, 3]
    assert stored.copies.tolist() == [5] * COPIES


def test_the_threshold_holds_the_largest_magnitude_there_is():
    assert set(SMALL.encode(np.full(256, -128)).copies) == {128}


@pytest.mark.parametrize(
    ("page", "got"),
    [
        (np.zeros(257), "got 257 from 0 to 0"),  # addresses have 8 bits
        (np.zeros(0), "got 0"),
        (np.array([5, 128]), "got 2 from 5 to 128"),
        (np.array([-129, 5]), "got 2 from -129 to 5"),
    ],
)
def test_what_is_no_page_is_refused(page, got):
    with pytest.raises(ValueError, match=f"wanted 1 to 256 values from -128 to 127 in a page, {got}"):
        SMALL.encode(page.astype(np.int64))


# Round trip, and what the code must mend


@given(values)
def test_a_page_without_wrong_bits_comes_back_and_nothing_is_counted(page):
    found, counts = SMALL.decode(SMALL.encode(page))
    assert np.array_equal(found, page)
    assert counts == CLEAN


@given(values, seeds)
def test_bits_flipped_twice_are_right(page, rng):
    stored = SMALL.encode(page)
    flips = np.tile(rng.integers(-(1 << 31), 1 << 31, 20), 2)
    assert all(np.array_equal(a, b) for a, b in zip(stored, SMALL.flipped(stored, flips), strict=True))


@pytest.mark.parametrize("bit", range(19))
def test_any_wrong_bit_of_an_address_or_its_code_is_corrected(bit):
    page = heavy_tailed(np.random.default_rng(bit), 1 << 14)
    stored = CODE.encode(page)
    if bit < 14:
        wrong = stored._replace(addresses=stored.addresses ^ (1 << bit))
    else:
        wrong = stored._replace(parities=stored.parities ^ (1 << (bit - 14)))
    found, counts = CODE.decode(wrong)
    assert np.array_equal(found, page)
    assert counts == CLEAN._replace(addresses=163)


@given(values, st.integers(0, 2), seeds)
def test_any_one_copy_of_a_protected_value_may_be_anything(page, which, rng):
    stored = SMALL.encode(page)
    noise = rng.integers(1, 256, len(stored.addresses))
    fields = {name: getattr(stored, name).copy() for name in ("values", "first", "second")}
    copies = list(fields.values())[which]
    copies[stored.addresses if which == 0 else slice(None)] ^= noise
    found, counts = SMALL.decode(stored._replace(**fields))
    assert np.array_equal(found, page)
    assert counts.values == len(stored.addresses)
    assert counts.lost == counts.clipped == 0
    # Of the stored value, two wrong bits may as well be another value, at a wrong address.
    assert counts.doubtful == (np.count_nonzero(np.bitwise_count(noise) > 1) if which == 0 else 0)


@given(values, st.lists(st.integers(0, 255), min_size=4, max_size=4))
def test_any_four_copies_of_the_threshold_may_be_anything(page, wrong):
    stored = SMALL.encode(page)
    found, counts = SMALL.decode(stored._replace(copies=np.concatenate([stored.copies[:5], wrong])))
    assert np.array_equal(found, page)
    differ = np.bitwise_or.reduce(np.array(wrong) ^ stored.copies[0])
    assert counts == CLEAN._replace(threshold=int(differ).bit_count())


# What it cannot mend


def test_an_unprotected_value_above_the_threshold_becomes_zero_and_is_counted():
    page = np.zeros(256, np.int64)
    page[:20] = 40
    flips = [8 * 100 + 6, 8 * 101 + 5, 8 * 102 + 3, 8 * 102 + 5]  # of zeros: 64 is above 40, 32 is not, 8 + 32 is equal to it
    found, counts = SMALL.decode(SMALL.flipped(SMALL.encode(page), np.array(flips)))
    assert found[100:103].tolist() == [0, 32, 40]
    assert counts == CLEAN._replace(clipped=1)
    assert SMALL.report(page, found) == (2, 0)


def test_the_report_tells_protected_values_from_others():
    page = np.arange(-128, 128)
    found = page.copy()
    found[[0, 100, 255]] += [1, 1, -1]
    assert SMALL.report(page, found) == (3, 2)


def lost_with(**fields):
    """Of a page with protected values at 10, 20, 30, 40 and a smaller one at 55: entries lost, and the values that are wrong."""
    page = np.zeros(64, np.int64)
    page[10:50:10] = [100, 101, 102, 103]
    page[55] = 99
    code = OutlierCode(page_values=64, permille=80)
    stored = code.encode(page)
    addresses = stored.addresses.copy()
    for at, address in fields.get("moved", {}).items():
        addresses[at] = address
    parities = code.parity(addresses)
    for at, parity in fields.get("parities", {}).items():
        parities[at] = parity
    found, counts = code.decode(stored._replace(addresses=addresses, parities=parities))
    return counts.lost, np.flatnonzero(found != page).tolist()


@pytest.mark.parametrize(
    ("fields", "gone"),
    [
        ({"moved": {1: 50}}, [20]),  # too far: those after it count
        ({"moved": {2: 5}}, [30]),  # too near: the one before it counts
        ({"moved": {0: 63}}, [10]),
        ({"moved": {3: 2}}, [40]),
    ],
)
def test_a_wrong_address_out_of_order_costs_its_own_entry(fields, gone):
    lost, wrong = lost_with(**fields)
    assert (lost, wrong) == (1, gone)


@pytest.mark.parametrize(("address", "wrong"), [(5, [5, 10, 20]), (10, [10, 20])])
def test_a_wrong_address_between_the_last_good_one_and_the_one_before_it_is_believed(address, wrong):
    assert lost_with(moved={1: address}) == (1, wrong)  # which of the two is wrong cannot be known


def test_a_syndrome_that_names_no_bit_costs_its_entry():
    code = OutlierCode(page_values=64, permille=80)
    assert (code.address_bits, code.parity_bits) == (6, 4)
    parity = int(code.parity(np.array([20]))[0]) ^ 0b1111  # 15, beyond the ten bits there are
    assert lost_with(parities={1: parity}) == (1, [20])


def test_an_address_beyond_the_page_costs_its_entry():
    page = np.zeros(40, np.int64)
    page[30] = 9
    code = OutlierCode(page_values=64, permille=10)
    stored = code.encode(page)
    address = np.array([50])
    _, counts = code.decode(stored._replace(addresses=address, parities=code.parity(address)))
    assert counts == CLEAN._replace(lost=1)


@given(values, seeds)
def test_one_entry_with_anything_in_it_harms_at_most_itself_the_one_before_it_and_the_value_that_it_names(page, rng):
    stored = SMALL.encode(page)
    at = int(rng.integers(len(stored.addresses)))
    fields = {name: getattr(stored, name).copy() for name in ("addresses", "parities", "first", "second")}
    for name, width in zip(fields, (SMALL.address_bits, SMALL.parity_bits, 8, 8), strict=True):
        fields[name][at] = rng.integers(1 << width)
    found, _ = SMALL.decode(stored._replace(**fields))
    assert np.count_nonzero(found != page) <= 3
    others = np.delete(stored.addresses, [at, at - 1] if at else [at])
    named = np.flatnonzero(found != page)
    assert np.count_nonzero(np.isin(others, named)) <= 1


@given(values, seeds)
def test_two_copies_with_the_same_wrong_bits_are_believed_and_said_to_be_doubtful(page, rng):
    stored = SMALL.encode(page)
    noise = np.array([0b11, 0b101, 0xFF, 0b110000])[rng.integers(4)]
    found, counts = SMALL.decode(stored._replace(first=stored.first ^ noise, second=stored.second ^ noise))
    assert counts.doubtful == counts.values == len(stored.addresses) == SMALL.report(page, found).protected


# Statistics


@pytest.mark.parametrize("rate", [0.01, 0.03])
def test_what_is_left_of_wrong_bits_in_protected_values_is_three_times_the_square(rate):
    """Of independent copies, a bit is wrong where two or three are: 3 x^2 - 2 x^3."""
    rng = np.random.default_rng(5)
    page = heavy_tailed(rng, 1 << 14)
    stored = CODE.encode(page)
    bits = wrong = 0
    for _ in range(300):
        noise = [(rng.random((163, 8)) < rate) @ (1 << np.arange(8)) for _ in range(3)]
        flipped = stored.values.copy()
        flipped[stored.addresses] ^= noise[0]
        received = stored._replace(values=flipped, first=stored.first ^ noise[1], second=stored.second ^ noise[2])
        found, _ = CODE.decode(received)
        wrong += int(np.bitwise_count((found ^ page)[stored.addresses] & 0xFF).sum())
        bits += 163 * 8
    expected = bits * (3 * rate**2 - 2 * rate**3)
    assert abs(wrong - expected) < 4 * expected**0.5


@pytest.mark.parametrize("rate", [2e-3, 5e-3])
def test_what_is_beyond_the_code_is_what_comes_back_wrong(rate):
    """But for what one wrong address does to others: a value that it names, and the entry before it."""
    rng = np.random.default_rng(9)
    page = heavy_tailed(rng, 1 << 14)
    stored = CODE.encode(page)
    bits = 8 * (1 << 14) + CODE.spare_bits(1 << 14)
    pages = round(60 / CODE.beyond(rate))
    wrong = 0
    for _ in range(pages):
        received = CODE.flipped(stored, rng.integers(0, bits, rng.binomial(bits, rate)))
        wrong += CODE.report(page, CODE.decode(received)[0]).protected
    assert abs(wrong - 60) < 4 * 60**0.5


def test_nothing_is_beyond_the_code_without_wrong_bits_and_no_rate_above_one_is_taken():
    assert CODE.beyond(0) == 0
    assert CODE.beyond(2e-4) == pytest.approx(163 * (171 + 24) * 4e-8, rel=0.01)
    with pytest.raises(ValueError, match="wanted a rate of wrong bits from 0 to 1, got 2"):
        CODE.beyond(2)


def product_error(rate, mended, pages=6):
    """Relative root mean square error of matrix-vector products with pages of 64 x 256 weights at this rate of wrong bits."""
    rng = np.random.default_rng(11)
    error = energy = 0.0
    for _ in range(pages):
        page = heavy_tailed(rng, 1 << 14)
        x = rng.normal(0, 32, 256).round()
        stored = CODE.encode(page)
        bits = 8 * (1 << 14) + CODE.spare_bits(1 << 14)
        received = CODE.flipped(stored, rng.choice(bits, rng.binomial(bits, rate), replace=False))
        found = CODE.decode(received)[0] if mended else received.values - 256 * (received.values > 127)
        products = page.reshape(64, 256) @ x
        error += np.sum((found.reshape(64, 256) @ x - products) ** 2)
        energy += np.sum(products**2)
    return (error / energy) ** 0.5


@pytest.mark.parametrize("rate", [2e-4, 8e-4])
def test_products_suffer_less_with_the_code_than_without(rate):
    without, mended = product_error(rate, mended=False), product_error(rate, mended=True)
    print(f"at {rate}: {without:.3f} without, {mended:.3f} with the code")
    assert mended < without / 2


def test_at_the_published_rate_of_2e_4_hardly_a_page_has_what_the_code_cannot_mend():
    rng = np.random.default_rng(3)
    stored = CODE.encode(heavy_tailed(rng, 1 << 14))
    bits = 8 * (1 << 14) + CODE.spare_bits(1 << 14)
    counts = np.array([CODE.decode(CODE.flipped(stored, rng.integers(0, bits, rng.binomial(bits, 2e-4))))[1] for _ in range(400)])
    mean = dict(zip(Counts._fields, counts.mean(axis=0), strict=True))
    assert Counts(**mean).uncorrectable < 0.02
    assert mean["addresses"] == pytest.approx(163 * 19 * 2e-4, rel=0.2)
    assert mean["values"] == pytest.approx(163 * 24 * 2e-4, rel=0.2)
