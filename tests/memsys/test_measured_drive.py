"""Does a drive by measured rates give back what was measured, and something sensible between and beyond?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from memsys.measured_drive import MeasuredDrive
from memsys.ssd import Ssd

M1_MAX = {
    "capacity": "1 TB",
    "bandwidth": "6.1 GB/s",
    "random_reads": [{"chunk": "8192 B", "rate": "1.25 GB/s"}, {"chunk": "16384 B", "rate": "2.25 GB/s"}],
    "source_class": "published",
    "source": "test",
}


def drive(**changes) -> MeasuredDrive:
    return MeasuredDrive.from_data(M1_MAX | changes)


def test_what_was_measured_comes_back():
    assert drive().read_mb_per_s(8192) == 1250
    assert drive().read_mb_per_s(16384) == 2250


def test_a_third_size_is_predicted():
    """FP32 neurons of OPT-6.7B: 2.4 % of 17.2 GB in reads of 32 KiB take 125 ms (LLM in a flash, version 1; 105 in version 3)."""
    ms = 0.024 * 17.18e9 / (int(drive().read_mb_per_s(32768)) * 1e6) * 1e3
    assert ms == pytest.approx(125, rel=0.02)


def test_a_drive_of_nand_and_link_alone_is_quicker_than_the_one_measured():
    """Queue depth and latency of NAND do not explain the measured rates: software takes most of the time of a read."""
    nand = Ssd.from_data({"part": "mqsim", "link": "pcie4_x4", "queue_depth": 32})
    assert int(nand.read_mb_per_s(8192)) > 2 * int(drive().read_mb_per_s(8192))


@given(st.integers(1, 1 << 24), st.integers(1, 1 << 24))
def test_larger_reads_take_longer_at_no_lower_rate(one, other):
    small, large = sorted((one, other))
    assert drive().read_ps(small) <= drive().read_ps(large)
    assert drive().read_mb_per_s(small) <= drive().read_mb_per_s(large) + 1
    assert drive().read_mb_per_s(large) <= 6100


def test_long_reads_reach_the_sequential_rate_and_arrays_are_as_ints():
    assert drive().read_mb_per_s(1 << 30) == pytest.approx(6100, rel=0.001)
    sizes = np.array([1, 4096, 8192, 9000, 16384, 1 << 20], np.int64)
    assert drive().read_ps(sizes).tolist() == [drive().read_ps(int(n)) for n in sizes]


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ([], "at least 1"),
        ([["8192 B", "2 GB/s"], ["4096 B", "3 GB/s"]], "wanted larger reads at rates that do not fall, got 4096 B at 3000 MB/s"),
        ([["4096 B", "2 GB/s"], ["8192 B", "1 GB/s"]], "wanted larger reads at rates that do not fall, got 8192 B at 1000 MB/s"),
        ([["4096 B", "1 GB/s"], ["8192 B", "3 GB/s"]], "wanted a read of 8192 B to take no less time than one of 4096 B"),
        ([["4096 B", "7 GB/s"]], "wanted at most the 6100 MB/s of sequential reads, got 7000 MB/s"),
    ],
)
def test_rates_that_cannot_be_are_refused(reads, message):
    with pytest.raises(ValidationError, match=message):
        drive(random_reads=[{"chunk": chunk, "rate": rate} for chunk, rate in reads])
