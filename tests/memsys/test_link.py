"""Is time on a link that of its bytes and headers, in scalar and array code alike?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from memsys.link import Link, links, load_link

PCIE = load_link("pcie4_x4")
SIZES = st.integers(min_value=0, max_value=1 << 40)


@pytest.mark.parametrize("name", links())
def test_every_known_link_says_where_its_figures_come_from(name):
    link = load_link(name)
    assert all([link.about, link.source, link.energy_source, link.payload_mb_per_s > 0])


def test_a_packet_carries_its_header():
    assert PCIE.wire_bytes(256) == 280
    assert PCIE.wire_bytes(257) == 257 + 2 * 24
    assert PCIE.transfer_ps(256) == -(-280 * 10**6 // 7877)
    assert PCIE.payload_mb_per_s == 7877 * 256 // 280


def test_a_measured_bandwidth_is_taken_as_it_is():
    link = load_link("pcie4_x4_measured")
    assert link.time_ps(7_000_000) == 250_000 + 10**9  # 1 ms at 7 GB/s, as InstAttention measures
    assert link.payload_mb_per_s == link.bandwidth == 7000


@given(SIZES, SIZES)
def test_more_bytes_never_take_less_and_halves_never_less_than_the_whole(a, b):
    assert PCIE.time_ps(a + b) >= PCIE.time_ps(a)
    assert PCIE.transfer_ps(a) + PCIE.transfer_ps(b) >= PCIE.transfer_ps(a + b)


@given(st.lists(SIZES, min_size=1, max_size=20))
def test_arrays_take_the_times_of_their_entries(sizes):
    assert PCIE.time_ps(np.array(sizes)).tolist() == [PCIE.time_ps(size) for size in sizes]


def test_no_stream_beats_the_payload_bandwidth():
    assert 10**12 * 10**6 / PCIE.transfer_ps(10**12) <= PCIE.payload_mb_per_s + 1


def test_joules_are_those_of_all_bits_on_the_wire():
    assert PCIE.joules(256) == pytest.approx(280 * 8 * 7.5e-12)


def test_a_table_makes_one_and_gets_it_back():
    assert Link.from_data(PCIE.model_dump()) == PCIE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": None}, "header: wanted the bytes of one beside 'packet', got none"),
        ({"packet": None}, "packet: wanted the bytes of one beside 'header', got none"),
        ({"bandwidth": 7877}, "wanted a bandwidth with its unit"),
        ({"source": ""}, "at least 1 character"),
    ],
)
def test_a_wrong_table_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        Link.from_data(PCIE.model_dump() | change)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="unknown link 'pcie4x4'; did you mean 'pcie4_x4'"):
        load_link("pcie4x4")
