"""Is the golden kernel of the flash core the mathematics within the power of its code, and the decoded page beyond it?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_ref.flash_compute import ideal_page_gemv, page_gemv
from kernels_ref.inputs import corners, inputs
from pim.outlier_ecc import COPIES, OutlierCode
from workloads.page_gemv import PageGemv

SMALL = {"macs": 4, "page_values": 256, "permille": 60}
CODE = OutlierCode(256, 60)

seeds = st.integers(0, 1 << 32).map(np.random.default_rng)
shapes = st.builds(PageGemv, rows=st.integers(1, 8), columns=st.integers(1, 32), flips=st.integers(0, 60))


def filled(op, weights, macs):
    """The values of the page: rows filled up with zeros to whole words."""
    return np.pad(weights, ((0, 0), (0, -op.columns % macs))).ravel()


def within_power(op, weights, rng):
    """Positions of wrong bits that the code mends: of each entry's address and code one at most, of each bit of a protected value
    one copy at most, of each bit of the threshold four at most."""
    page = filled(op, weights, SMALL["macs"])
    stored = CODE.encode(page)
    spare, hamming = 8 * len(page), CODE.address_bits + CODE.parity_bits
    flips = [spare + 8 * copy + bit for bit in range(8) for copy in rng.permutation(COPIES)[: rng.integers(5)]]
    for i, address in enumerate(stored.addresses.tolist()):
        entry = spare + 8 * COPIES + CODE.entry_bits * i
        flips += [entry + int(rng.integers(hamming))] if rng.random() < 0.5 else []
        starts = (8 * address, entry + hamming, entry + hamming + 8)
        flips += [starts[int(rng.integers(3))] + bit for bit in range(8) if rng.random() < 0.5]
    return np.array(flips)


@given(shapes, seeds)
def test_without_wrong_bits_it_is_the_mathematics_and_counts_nothing(op, rng):
    weights, vector, _ = inputs(op, rng)
    sums, counts = page_gemv(op.resized(flips=0), weights, vector, np.zeros(0, np.int64), **SMALL)
    assert np.array_equal(sums, ideal_page_gemv(op, weights, vector))
    assert not counts.any()


@given(shapes, seeds)
def test_wrong_bits_within_the_power_of_the_code_change_no_sum(op, rng):
    weights, vector, _ = inputs(op, rng)
    flips = within_power(op, weights, rng)
    sums, (_, _, _, clipped, lost, _) = page_gemv(op.resized(flips=len(flips)), weights, vector, flips, **SMALL)
    assert np.array_equal(sums, ideal_page_gemv(op, weights, vector))
    assert clipped == lost == 0


@given(shapes, seeds, st.integers(0, 4).map(lambda bits: 1 << bits))
def test_any_wrong_bits_give_the_products_and_counts_of_the_code_in_numpy(op, rng, macs):
    weights, vector, flips = inputs(op, rng)
    code = OutlierCode(512, 60)
    found, counted = code.decode(code.flipped(code.encode(filled(op, weights, macs)), flips))
    sums, counts = page_gemv(op, weights, vector, flips, macs=macs, page_values=512, permille=60)
    assert np.array_equal(sums, found.reshape(op.rows, -1)[:, : op.columns] @ vector)
    assert tuple(counts) == counted


@pytest.mark.parametrize("op", [PageGemv(rows=4, columns=64), PageGemv(rows=1, columns=1, flips=7)])
def test_corners_agree_too(op):
    for name, (weights, vector, flips) in corners(op):
        found, counted = CODE.decode(CODE.flipped(CODE.encode(filled(op, weights, 4)), flips))
        sums, counts = page_gemv(op, weights, vector, flips, **SMALL)
        assert np.array_equal(sums, found.reshape(op.rows, -1)[:, : op.columns] @ vector), name
        assert tuple(counts) == counted, name


def test_two_wrong_bits_of_an_address_are_reported():
    """Of all pairs of wrong bits in an entry's address and code, with 163 entries by ascending address: a few remain in order and
    are met by a stored value that is near enough; all others are counted."""
    rng = np.random.default_rng(1)
    op = PageGemv(rows=64, columns=256, flips=2)
    weights = np.rint(rng.normal(0, 20, (64, 256))).clip(-128, 127).astype(np.int64)
    vector = rng.integers(-128, 128, 256)
    first = 8 * (1 << 14) + 8 * COPIES
    silent = reported = 0
    for entry in range(0, 163, 20):
        for a, b in ((0, 13), (3, 5), (1, 12), (2, 16), (7, 18)):
            sums, counts = page_gemv(op, weights, vector, np.array([first + 35 * entry + a, first + 35 * entry + b]))
            wrong = not np.array_equal(sums, ideal_page_gemv(op, weights, vector))
            known = counts[4] + counts[5] > 0
            reported += known
            silent += wrong and not known
    assert reported >= 40
    assert silent == 0
