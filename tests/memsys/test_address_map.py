"""Is every address map one to one, and does it place addresses as the simulators that it is named after?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsys.address_map import FIELDS, MAPPINGS, AddressMap, Location, address_map
from memsys.standard import load_part, parts

HBM2 = load_part("hbm2/ramulator_8gb_2000")
DDR4 = load_part("ddr4/ramulator_8gb_x8_3200aa")


@given(
    name=st.sampled_from(parts()), mapping=st.sampled_from(MAPPINGS), channels=st.sampled_from([1, 2, 8]), seed=st.integers(0, 99)
)
def test_a_map_is_one_to_one(name, mapping, channels, seed):
    part = load_part(name)
    channels = min(channels, part.organisation.channels)
    known = address_map(mapping, part)
    bursts = part.capacity // part.organisation.channels * channels // part.burst_bytes
    addresses = np.random.default_rng(seed).integers(0, bursts, 100) * part.burst_bytes
    place = known.decode(addresses, part, channels)
    assert (known.encode(place, part, channels) == addresses).all()
    for values, limit in zip(place, (channels, part.banks_per_channel, part.organisation.rows, part.bursts_per_row), strict=True):
        assert (values >= 0).all()
        assert (values < limit).all()


@given(
    order=st.permutations(FIELDS),
    split=st.integers(0, 3),
    xor=st.sets(
        st.tuples(st.sampled_from(["pc", "ra", "bg", "ba"]), st.sampled_from(["ro", "co"]), st.integers(0, 3)), max_size=4
    ),
)
def test_so_is_any_order_with_any_xor(order, split, xor):
    fields = " ".join(order) + (f" co{split}" if split else "")
    own = AddressMap("own", fields, " ".join(f"{a}^{b}{shift or ''}" for a, b, shift in sorted(xor)))
    addresses = np.arange(0, HBM2.capacity, HBM2.capacity // 997) // 32 * 32
    assert (own.encode(own.decode(addresses, HBM2), HBM2) == addresses).all()


def test_row_bank_rank_column_channel():
    addresses = np.arange(0, 4096) * 64
    place = address_map("RoBaRaCoCh", DDR4).decode(addresses, DDR4, 1)
    assert (place.column == np.arange(4096) % 128).all()
    assert (place.bank == np.arange(4096) // 128 % 4 * 4 + np.arange(4096) // 512 % 4).all()  # bank groups first
    assert (place.row == np.arange(4096) // 2048).all()


def test_four_bursts_then_the_next_bank_permuted_by_the_column():
    """Checked against the published mapping: the bits of the column go to pseudo channel, bank group, bank and row in turn."""
    index = np.arange(1 << 16)
    place = address_map("MOP4CLXOR", HBM2).decode(index * 32, HBM2, 1)
    column = (index & 3) | (index >> 7 & 7) << 2
    channel = (index >> 2 & 1) ^ (column & 1)
    group, bank = (index >> 3 & 3) ^ (column >> 1 & 3), (index >> 5 & 3) ^ (column >> 3 & 3)
    assert (place.column == column).all()
    assert (place.bank == channel * 16 + group * 4 + bank).all()
    assert (place.row == index >> 10).all()


def test_what_is_no_map_is_refused():
    with pytest.raises(ValueError, match=r"did you mean 'RoBaRaCoCh'"):
        address_map("RoBaRaCoCch", DDR4)
    with pytest.raises(ValueError, match=r"wanted each of ch pc ra bg ba ro co once without a number, got 'ro ba co'"):
        AddressMap("mine", "ro ba co")
    with pytest.raises(ValueError, match=r"no field is both changed and a source"):
        AddressMap("mine", "ro ba bg ra pc co ch", "ba^bg bg^ba")
    with pytest.raises(ValueError, match=r"wanted pairs such as ba\^ro or bg\^co1, got 'ba\+ro'"):
        AddressMap("mine", "ro ba bg ra pc co ch", "ba+ro")
    with pytest.raises(ValueError, match=r"wanted co of at least 9 bits in .*, got 7"):
        AddressMap("mine", "ro co ba bg ra pc co9 ch").decode(np.array([0]), DDR4)
    with pytest.raises(ValueError, match="wanted addresses from 0 to"):
        address_map("RoBaRaCoCh", DDR4).decode(np.array([DDR4.capacity]), DDR4)
    with pytest.raises(ValueError, match="wanted a power of two of channels"):
        address_map("RoBaRaCoCh", DDR4).decode(np.array([0]), DDR4, 3)


@pytest.mark.parametrize(
    ("addresses", "channels", "message"),
    [
        ([-64, 0], None, r"wanted addresses from 0 to \d+ \(hbm2/ramulator_8gb_2000, 8 channels\), got -64$"),
        ([0, 32, HBM2.capacity], None, rf"got {HBM2.capacity}$"),
        ([0.0, 32.5], None, r"addresses: wanted integers, got float64"),
        ([0, 33, 65], None, r"wanted addresses that are multiples of a burst of 32 B \(hbm2/ramulator_8gb_2000\), got 33$"),
        ([0], 64, r"wanted at most the 8 channels of hbm2/ramulator_8gb_2000, got 64"),
        ([0], 0, r"wanted a power of two of channels"),
    ],
)
def test_addresses_of_no_burst_are_refused(addresses, channels, message):
    with pytest.raises(ValueError, match=message):
        address_map("RoBaRaCoCh", HBM2).decode(np.array(addresses), HBM2, channels)


@pytest.mark.parametrize(
    ("field", "value", "limit"), [("channel", -1, 7), ("bank", 32, 31), ("row", -5, 65535), ("column", 99, 31)]
)
def test_a_location_outside_of_the_part_has_no_address(field, value, limit):
    zero = np.zeros(2, np.int64)
    place = Location(zero, zero, zero, zero)._replace(**{field: np.array([0, value])})
    with pytest.raises(ValueError, match=rf"{field}: wanted 0 to {limit} .*, got {min(value, 0)} to {max(value, 0)}"):
        address_map("RoBaRaCoCh", HBM2).encode(place, HBM2)
