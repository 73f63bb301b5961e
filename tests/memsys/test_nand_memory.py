"""Does NAND as the memory of a device follow its part, and is every joule of it in one event?"""

from __future__ import annotations

import re

import numpy as np
import pytest
from pydantic import ValidationError

from accel.base.spec import discover
from memsys.base import Memory
from memsys.nand import Nand
from memsys.nand_part import load_nand


def test_discovered_by_its_file_name():
    assert discover("memsys", Memory)["nand"] is Nand


def test_capacity_and_bandwidth_are_those_of_the_channels_built():
    small = Nand.from_data({"kind": "nand", "part": "cambricon_llm"})
    large = Nand.from_data({"part": "cambricon_llm", "channels": 32, "chips": 8})
    assert (small.capacity, small.bandwidth) == (512 << 30, 8000)
    assert (large.capacity, large.bandwidth) == (16 * (512 << 30), 32000)
    assert Nand.from_data(small.model_dump()) == small


def test_a_stream_loses_its_commands_and_no_more():
    assert Nand.from_data({"part": "cambricon_llm"}).stream_permille == 999
    assert Nand.from_data({"part": "mqsim"}).stream_permille == 987  # 24.6 us of data, 0.29 us of command
    assert Nand.from_data({"part": "mqsim", "bandwidth": "1 GB/s"}).stream_permille == 1000


def test_slow_cells_limit_a_stream():
    """One chip of MQSim on a channel: two dies are each busy for 0.58 + 75 + 49.2 us with two pages, without a cache register."""
    one_chip = Nand.from_data({"part": "mqsim", "chips": 1})
    assert one_chip.bandwidth == 2664
    assert one_chip.stream_permille == 1000 * (8 * 2 * 2 * 8192 * 10**6 // (580_000 + 75_000_000 + 2 * 24_600_601)) // 2664


def test_pages_of_bytes_are_whole():
    memory = Nand.from_data({"part": "cambricon_llm"})
    assert memory.pages(np.array([0, 1, 16384, 16385])).tolist() == [0, 1, 1, 2]


def test_each_event_has_one_entry_and_the_page_is_apart_from_the_channel():
    memory = Nand.from_data({"part": "simplessd", "chips": 2})
    entries = {entry.event: entry for entry in memory.entries()}
    assert len(entries) == len(memory.entries()) == len(Nand.events) + 1
    assert set(entries) == {*Nand.events, None}
    assert all(entry.matches("nand", dict(memory)) for entry in memory.entries())
    assert not entries["page_read"].matches("nand", dict(Nand.from_data({"part": "simplessd"})))
    assert entries["page_read"].energy == pytest.approx(4.33e-6, rel=1e-3)
    assert entries["read_byte"].energy == entries["write_byte"].energy == pytest.approx(336e-12)
    assert entries[None].power == pytest.approx(8 * 2 * 2 * 33e-6)
    assert (entries["page_read"].source_class, entries["read_byte"].source_class) == ("published", "assumed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part": "mqsin"}, "unknown NAND part 'mqsin'; did you mean 'mqsim'"),
        ({"part": 7}, "part: Input should be a valid string"),
        ({"channels": 0}, "channels: Input should be greater than 0"),
        ({"chips": "two"}, "chips: Input should be a valid integer"),
        (
            {"capacity": "1 TiB"},
            "capacity: wanted at most the 549755813888 B of 8 channels of 4 chips of mqsim, got 1099511627776 B",
        ),
        ({"bandwidth": "3 GB/s"}, "bandwidth: wanted at most the 2664 MB/s of 8 channels of 4 chips of mqsim, got 3000 MB/s"),
        ({"bandwidth": 3}, "wanted a bandwidth with its unit"),
    ],
)
def test_what_the_part_is_not_is_refused(change, message):
    with pytest.raises(ValidationError) as refused:
        Nand.from_data({"part": "mqsim"} | change)
    said = "\n".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in refused.value.errors())
    assert re.search(re.escape(message), said), said


@pytest.mark.parametrize("change", [{"part": 7}, {"part": "mqsin"}, {"part": ["mqsim"]}, {"channels": 10**30}, {"chips": True}])
def test_one_wrong_field_is_one_fault(change):
    with pytest.raises(ValidationError) as refused:
        Nand.from_data({"part": "mqsim"} | change)
    assert [fault["loc"] for fault in refused.value.errors()] == [(*change,)]
    with pytest.raises(ValidationError) as refused:
        Nand.from_data({})
    assert [fault["loc"] for fault in refused.value.errors()] == [("part",)]


def test_the_part_is_the_one_that_is_built():
    assert Nand.from_data({"part": "mqsim", "chips": 1}).nand == load_nand("mqsim").resized(chips=1)
