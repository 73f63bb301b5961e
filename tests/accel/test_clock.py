"""Is time exact, the same in scalar and array code, and free of overflow?"""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.base.clock import bytes_to_ps, cycles_to_ps, scale_up


@given(st.integers(0, 10**15), st.integers(10**6, 10**10))
def test_cycles_round_up_once(cycles, hertz):
    assert cycles_to_ps(cycles, hertz) == ceil(Fraction(cycles * 10**12, hertz))


@given(st.integers(0, 10**14), st.integers(1, 10**8))
def test_bytes_round_up_once(nbytes, mb_per_s):
    assert bytes_to_ps(nbytes, mb_per_s) == ceil(Fraction(nbytes * 10**6, mb_per_s))


@given(st.lists(st.integers(0, 9 * 10**14), min_size=1, max_size=20), st.integers(10**8, 10**10))
def test_arrays_equal_scalars(cycles, hertz):
    array = cycles_to_ps(np.array(cycles, dtype=np.int64), hertz)
    assert array.dtype == np.int64
    assert array.tolist() == [cycles_to_ps(c, hertz) for c in cycles]


def test_the_product_with_a_terahertz_does_not_overflow():
    cycles = np.array([10**15], dtype=np.int64)  # 10^15 x 10^12 needs 90 bits; the result, 7 x 10^17 ps, needs 60
    assert cycles_to_ps(cycles, 1_410_000_000).tolist() == [ceil(Fraction(10**27, 1_410_000_000))]


def test_a_result_beyond_int64_is_refused():
    with pytest.raises(OverflowError, match="does not fit in 63 bits"):
        cycles_to_ps(np.array([1, 10**15], dtype=np.int64), 10**8)


def test_a_share_of_nothing_is_nothing():
    assert scale_up(7, 0, 1000) == 0
    assert scale_up(np.array([0, 7, 10**15]), 0, 1000).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("hertz", "ps"), [(1_410_000_000, 710), (10**9, 1000), (3 * 10**9, 334)])
def test_one_cycle(hertz, ps):
    assert cycles_to_ps(1, hertz) == ps
