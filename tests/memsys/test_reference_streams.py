"""Do the streams of addresses go where their names say?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsys.reference.streams import PATTERNS, addresses


@given(pattern=st.sampled_from(PATTERNS), count=st.integers(0, 300), blocks=st.integers(1, 8), span=st.integers(1, 40))
def test_a_stream_stays_in_its_span_and_on_bursts(pattern, count, blocks, span):
    span = max(span, blocks) * 64
    got = addresses(pattern, count, 64, span, stride=64 * blocks, block=64 * blocks)
    assert got.shape == (count,)
    assert (got % 64 == 0).all()
    assert ((got >= 0) & (got < span)).all()


def test_each_pattern():
    assert addresses("sequential", 5, 32, 128).tolist() == [0, 32, 64, 96, 0]
    assert addresses("strided", 5, 32, 128, stride=64).tolist() == [0, 64, 32, 96, 64]
    blocks = addresses("random", 300, 32, 1 << 20, block=128, seed=3).reshape(75, 4)
    assert (blocks[:, 0] % 128 == 0).all()
    assert (np.diff(blocks, axis=1) == 32).all()
    assert len(set(blocks[:, 0])) > 70
    assert (addresses("random", 9, 32, 1 << 20, seed=3) != addresses("random", 9, 32, 1 << 20, seed=4)).any()


@pytest.mark.parametrize(("what", "size"), [("stride", 0), ("stride", 33), ("stride", 4096), ("block", 48), ("block", 4096)])
def test_what_does_not_fit_is_refused(what, size):
    pattern = "strided" if what == "stride" else "random"
    with pytest.raises(ValueError, match=f"{what}: wanted a multiple of a burst of 32 B up to 1024 B, got {size} B"):
        addresses(pattern, 9, 32, 1024, **{what: size})
