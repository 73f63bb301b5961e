"""Does a NAND part say what it is, refuse what no NAND can be, and give the figures of its source?"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from memsys.nand_part import BITS, NandPart, load_nand, nands


def data_of(name="mqsim"):
    return load_nand(name).model_dump(by_alias=True, exclude_none=True)


def test_the_parts_are_there_and_know_their_names():
    assert nands() == ["cambricon_llm", "instattention", "mqsim", "simplessd", "simplessd_slc", "simplessd_tlc"]
    assert [load_nand(name).name for name in nands()] == nands()


@pytest.mark.parametrize("name", nands())
def test_what_is_not_from_the_source_is_marked_and_the_text_reads_back(name):
    part = load_nand(name)
    assert part.source
    assert all(draw.source for _, draw in part.energies)
    assert "assumed" in part.source_classes  # no source gives the joules of a byte on the channel
    assert NandPart.from_data(data_of(name)) == part


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mqsim", (128, 512 << 30, 8192, 448, 75_000_000, 750_000_000, 3_800_000_000, 333)),
        ("simplessd", (128, 512 << 30, 16384, 0, 52_500_000, 900_000_000, 3_500_000_000, 400)),
        ("simplessd_slc", (128, 512 << 30, 16384, 0, 25_000_000, 300_000_000, 2_000_000_000, 400)),
        ("simplessd_tlc", (128, 512 << 30, 16384, 0, 81_000_000, 2_586_666_667, 2_274_000_000, 400)),
        ("cambricon_llm", (64, 512 << 30, 16384, 1664, 30_000_000, 600_000_000, 3_500_000_000, 1000)),
        ("instattention", (1024, 2 << 40, 4096, 224, 52_500_000, 900_000_000, 3_500_000_000, 1400)),
    ],
)
def test_figures_of_the_sources(name, expected):
    p = load_nand(name)
    rate = p.channel_mb_per_s
    means = p.mean_read_ps, p.mean_program_ps
    assert (p.total_planes, p.capacity, p.page_bytes, p.spare_bytes, *means, p.erase_ps, rate) == expected


def test_platforms_of_cambricon_are_one_part_resized():
    small = load_nand("cambricon_llm")
    for channels, chips, mb_per_s in ((8, 2, 8000), (16, 4, 16000), (32, 8, 32000)):
        part = small.resized(channels=channels, chips=chips)
        assert (part.channels_mb_per_s, part.total_dies) == (mb_per_s, channels * chips * 2)
        assert part.capacity == small.capacity * channels * chips // 16
    assert small.resized() == small
    with pytest.raises(ValidationError, match=r"channels\n.*greater than 0"):
        small.resized(channels=0)


@given(st.sampled_from(nands()), st.integers(1, 64), st.integers(1, 16))
def test_bandwidths_are_ordered_whatever_the_size(name, channels, chips):
    part = load_nand(name).resized(channels=channels, chips=chips)
    assert part.read_mb_per_s <= min(part.bus_read_mb_per_s, part.array_read_mb_per_s) <= part.bus_read_mb_per_s
    assert part.bus_read_mb_per_s <= part.channels_mb_per_s
    assert part.program_mb_per_s <= min(part.channels_mb_per_s, part.array_program_mb_per_s)
    assert part.read_latency_ps() == part.command_ps + part.read_ps[0] + part.page_transfer_ps


def test_the_drive_of_instattention_writes_as_fast_as_was_measured_of_it():
    """Prompts are written at 3.78 GB/s, and 8 channels of 1.4 GB/s are the limit of reads (HPCA'25)."""
    part = load_nand("instattention")
    assert part.program_mb_per_s > 3780
    assert part.array_read_mb_per_s > part.channels_mb_per_s == 11200


def test_pages_of_a_block_take_turns_among_the_types():
    part = load_nand("simplessd_tlc")
    shares = [part.read_latency_ps(page) - part.read_latency_ps(0) for page in range(6)]
    assert shares == [0, 20_000_000, 49_000_000, 0, 20_000_000, 49_000_000]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chanels": 8}, "unknown name 'chanels'; did you mean 'channels'?"),
        ({"page_bytes": 0}, "page_bytes Input should be greater than 0"),
        ({"spare_bytes": -1}, "spare_bytes Input should be greater than or equal to 0"),
        ({"cell": "plc"}, "cell Input should be 'slc', 'mlc', 'tlc' or 'qlc'"),
        ({"cell": "tlc"}, "mqsim: read: wanted a time for each of the 3 page types of tlc, got 2; program: wanted a time"),
        ({"read": ["75 us"]}, "read: wanted a time for each of the 2 page types of mlc, got 1"),
        ({"read": []}, "read: wanted a time for each of the 2 page types of mlc, got 0"),
        ({"read": ["75 us", "0 us"]}, "read Value error, wanted times above zero, got 0"),
        ({"read": [75, 75]}, "wanted a time with its unit, such as '200 us', got the bare value 75"),
        ({"erase": "0 ms"}, "erase Value error, wanted a time above zero, got 0"),
        ({"erase": "3.8 GB"}, "is a unit of capacity"),
        ({"channel_rate": "0 MB/s"}, "must be above zero"),
        ({"suspend_erase": "3.8 ms"}, "suspend_erase: wanted less than the 3800000000 ps of what it suspends, got 3800000000 ps"),
        ({"assumed": {"tR": "?"}}, "assumed: no entry is named 'tR'"),
        ({"source": ""}, "source String should have at least 1 character"),
    ],
)
def test_bad_files_are_refused_in_words(change, message):
    with pytest.raises(ValidationError) as refused:
        NandPart.from_data(data_of() | change)
    assert re.search(re.escape(message), re.sub(r"\s+", " ", str(refused.value))), refused.value


def test_what_is_missing_is_named_with_its_meaning():
    data = data_of()
    del data["erase"]
    with pytest.raises(ValidationError, match=r"wanted 'erase' \(tBERS of a block\), which is missing"):
        NandPart.from_data(data)


@pytest.mark.parametrize(
    ("event", "draw", "message"),
    [
        ("page_read", {"volts": 3.3}, "wanted an energy, or volts and milliamps, and not both"),
        ("page_read", {}, "wanted an energy, or volts and milliamps"),
        ("page_read", {"energy": "1 uJ", "volts": 3.3, "milliamps": 25.0}, "and not both"),
        ("channel_byte", {"volts": 3.3, "milliamps": 5.0}, "channel_byte: wanted an energy, as a byte has no time of its own"),
        ("standby", {"energy": "1 uJ"}, "standby: wanted volts and milliamps, as it lasts"),
        ("page_read", {"energy": "1 uW"}, "'uW' is a unit of power"),
    ],
)
def test_energies_without_a_figure_are_refused(event, draw, message):
    data = data_of()
    energies = data["energies"] | {event: {"class": "assumed", "source": "a test", **draw}}
    with pytest.raises(ValidationError) as refused:
        NandPart.from_data(data | {"energies": energies})
    assert message in str(refused.value)


def test_unknown_parts_are_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown NAND part 'cambricon'; did you mean 'cambricon_llm'"):
        load_nand("cambricon")


def test_cells_of_more_bits_are_slower():
    slc, mlc, tlc = (load_nand(name) for name in ("simplessd_slc", "simplessd", "simplessd_tlc"))
    assert [part.page_types for part in (slc, mlc, tlc)] == [BITS[part.cell] for part in (slc, mlc, tlc)] == [1, 2, 3]
    assert slc.mean_read_ps < mlc.mean_read_ps < tlc.mean_read_ps
    assert slc.mean_program_ps < mlc.mean_program_ps < tlc.mean_program_ps
