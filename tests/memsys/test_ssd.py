"""Do drives offer what their NAND, their link and their queues allow, and nothing more?"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from accel.base.spec import discover
from memsys.base import Memory
from memsys.link import load_link
from memsys.nand_ops.operations import Kind, Operations, run, striped
from memsys.nand_part import load_nand, nands
from memsys.ssd import Ssd

CSD = {"kind": "ssd", "part": "instattention", "link": "pcie4_x4_measured"}
MQSIM = {"kind": "ssd", "part": "mqsim", "link": "pcie_x4_mqsim"}


def test_discovered_by_its_file_name():
    assert discover("memsys", Memory)["ssd"] is Ssd


def test_a_design_file_makes_one_and_gets_it_back():
    memory = Ssd.from_data(CSD | {"drives": 4})
    assert Ssd.from_data(memory.model_dump()) == memory
    assert memory.link == load_link("pcie4_x4_measured")


def test_the_drive_of_instattention():
    """8 channels of 1.4 GB/s inside, 7 GB/s outside (HPCA'25); commands take 0.2 % of the channels."""
    memory = Ssd.from_data(CSD)
    assert memory.internal_mb_per_s == pytest.approx(11200, rel=0.003)
    assert memory.bandwidth == 7000 == memory.read_mb_per_s(1 << 20)


@pytest.mark.parametrize("name", nands())
def test_totals_are_those_of_the_drives_less_their_spare_blocks(name):
    one, four = (Ssd.from_data(CSD | {"part": name, "drives": n}) for n in (1, 4))
    assert (four.capacity, four.bandwidth) == (4 * one.capacity, 4 * one.bandwidth)
    part = load_nand(name)
    assert 0.92 < one.capacity / part.capacity <= 0.93
    assert one.capacity % part.block_bytes == 0
    assert one.bandwidth == min(one.link.payload_mb_per_s, part.read_mb_per_s)


def test_a_bandwidth_stated_lower_holds_for_commands_too():
    memory = Ssd.from_data(CSD | {"drives": 4, "bandwidth": "2 GB/s"})
    assert memory.read_mb_per_s(1 << 20) == memory.write_mb_per_s(1 << 24) == 500
    assert memory.internal_mb_per_s == Ssd.from_data(CSD).internal_mb_per_s  # reads inside do not pass it


def test_small_random_reads_wait_for_the_queue():
    """MQSim's drive at a depth of 32: 1.29 GB/s in pages of 4 KiB, where InstAttention's FlexGen needs about 1.3 GB/s."""
    memory = Ssd.from_data(MQSIM)
    assert memory.read_mb_per_s(4096) == 32 * 4096 * 10**6 // memory.read_ps(4096) == 1286
    assert memory.read_mb_per_s(1 << 20) == memory.internal_mb_per_s == 2632


@pytest.mark.parametrize("table", [CSD, MQSIM])
def test_a_deeper_queue_helps_until_flash_or_link_is_full(table):
    rates = [Ssd.from_data(table | {"queue_depth": depth}).read_mb_per_s(4096) for depth in (1, 2, 4, 8, 16, 1 << 16)]
    assert all(twice == pytest.approx(2 * once, abs=2) for once, twice in pairwise(rates[:5]))
    part = load_nand(table["part"])
    assert rates[-1] == min(Ssd.from_data(table).link.payload_mb_per_s, part.read_mb_per_s * 4096 // part.page_bytes)


@given(st.sampled_from(nands()), st.sampled_from(["pcie3_x4", "pcie4_x4_measured"]), st.integers(1, 1 << 26), st.integers(1, 256))
def test_no_rate_passes_link_or_dies(name, link, chunk, depth):
    memory = Ssd.from_data({"part": name, "link": link, "queue_depth": depth})
    assert memory.read_mb_per_s(chunk) <= min(memory.link.payload_mb_per_s + 1, memory.internal_mb_per_s)
    assert memory.write_mb_per_s(chunk) <= min(memory.link.payload_mb_per_s + 1, memory.program_mb_per_s)
    assert memory.read_ps(chunk) > memory.link.time_ps(chunk) + memory.nand.read_latency_ps() - max(memory.nand.read_ps)


@given(st.lists(st.integers(1, 1 << 40), min_size=1, max_size=8), st.sampled_from([1, 32, 65536]))
def test_arrays_take_the_times_and_rates_of_their_entries(chunks, depth):
    memory = Ssd.from_data(MQSIM | {"queue_depth": depth})
    for form in (memory.read_ps, memory.write_ps, memory.read_mb_per_s, memory.write_mb_per_s, memory.pages):
        assert form(np.array(chunks)).tolist() == [form(chunk) for chunk in chunks]


def test_a_command_of_one_page_takes_its_trips_its_page_and_its_bytes():
    memory, part = Ssd.from_data(MQSIM), load_nand("mqsim")
    once = 290_000 + 75_000_000 + part.page_transfer_ps
    assert memory.read_ps(8192) == 3 * 250_000 + once + 250_000 + 2_048_000
    assert memory.write_ps(8192) == 6 * 250_000 + 2_048_000 + 290_000 + part.page_transfer_ps + 750_000_000
    assert memory.read_ps(1) == memory.read_ps(8192) - 2_047_750  # a page is read whole


def test_long_commands_reach_the_rate_of_the_dies():
    memory = Ssd.from_data(MQSIM)
    pages = 8 * 100_000
    ps = memory.flash_ps(pages * 8192) - memory.flash_ps(8 * 8192)
    assert (pages - 8) * 8192 * 10**6 / ps == pytest.approx(memory.internal_mb_per_s, rel=1e-3)


@pytest.mark.parametrize("name", ["mqsim", "cambricon_llm"])
@pytest.mark.parametrize("kind", [Kind.READ, Kind.PROGRAM])
def test_a_command_takes_what_its_pages_take_die_by_die(name, kind):
    """Parts whose page types take one time: within 3 % of the engine of page operations, at any number of pages."""
    part, memory = load_nand(name), Ssd.from_data({"part": name, "link": "pcie4_x4"})
    for pages in (1, 8, 9, 64, 100, 128, 256, 1000, 4096):
        done = run(part, Operations(np.full(pages, int(kind)), striped(np.arange(pages), part)))
        form = memory.flash_ps(pages * part.page_bytes, program=kind is Kind.PROGRAM)
        assert form == pytest.approx(done.elapsed_ps, rel=0.03)


def test_joules_of_a_byte_a_page_and_a_block():
    memory = Ssd.from_data({"part": "simplessd", "link": "pcie4_x4", "drives": 2})
    found = {(entry.event, entry.part): entry for entry in memory.entries()}
    assert found["read_byte", ""].energy == pytest.approx(8 * 7.5e-12 * 280 / 256)
    assert found["page_read", ""].energy == pytest.approx(3.3 * 25e-3 * 52.5e-6)  # 4.3 uJ, as the facts derive
    assert found["page_read", "channel"].energy == pytest.approx(16384 * 336e-12)
    assert found["page_program", ""].energy == pytest.approx(3.3 * 25e-3 * 900e-6)
    assert found[None, "standby"].power == pytest.approx(64 * 3.3 * 10e-6)  # of one of the
    assert memory.copies == 2
    assert {event for event, _ in found if event} == set(Ssd.events)
    assert all(entry.matches("ssd", dict(memory)) for entry in memory.entries())
    assert not any(entry.matches("ssd", dict(Ssd.from_data(CSD))) for entry in memory.entries())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part": "instatention"}, "part\n.*unknown NAND part 'instatention'; did you mean 'instattention'"),
        ({"part": 3}, "part\n.*valid string"),
        ({"link": "pcie4x4"}, "link\n.*unknown link 'pcie4x4'; did you mean 'pcie4_x4'"),
        ({"link": {"bandwidth": "1 GB/s"}}, r"link\.latency\n.*required"),
        ({"drives": 0}, "drives\n.*greater than 0"),
        ({"queue_depth": 0}, "queue_depth\n.*greater than 0"),
        ({"spare_permille": 1000}, "spare_permille\n.*less than 1000"),
        ({"capacity": "3 TB"}, "capacity: wanted at most the 2045088104448 B of 1 drives of instattention on pcie4_x4_measured"),
        ({"bandwidth": "8 GB/s"}, "bandwidth: wanted at most the 7000 MB/s"),
    ],
)
def test_the_field_at_fault_is_named(change, message):
    with pytest.raises(ValidationError, match=message):
        Ssd.from_data(CSD | change)


@pytest.mark.parametrize("change", [{"part": 7}, {"part": "mqsin"}, {"link": "pcie"}, {"drives": 10**30}, {"spare_permille": -1}])
def test_one_wrong_field_is_one_fault(change):
    with pytest.raises(ValidationError) as refused:
        Ssd.from_data(CSD | change)
    assert [fault["loc"] for fault in refused.value.errors()] == [(*change,)]
