"""Does DRAM refuse what its standard cannot offer, and does time follow bytes exactly?"""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from accel.base.spec import discover
from memsys.base import Memory
from memsys.dram import Dram
from memsys.dram_energy import Activity, energy
from memsys.efficiency import efficiency
from memsys.part import Command
from memsys.standard import load_part, load_standard, parts, standards

A100 = {"kind": "dram", "standard": "hbm2e", "capacity": "80 GB", "bandwidth": "2039 GB/s", "devices": 5}


def test_discovered_by_its_file_name():
    assert discover("memsys", Memory)["dram"] is Dram


def test_a_design_file_makes_one_and_gets_it_back():
    memory = Dram.from_data(A100)
    assert (memory.capacity, memory.bandwidth) == (80 * 10**9, 2_039_000)
    assert Dram.from_data(memory.model_dump()) == memory


@pytest.mark.parametrize("name", standards())
def test_peak_of_every_standard_is_reached_and_never_passed(name):
    peak = load_standard(name).peak
    assert Dram.from_data(A100 | {"standard": name, "capacity": "1 GB", "bandwidth": f"{4 * peak} MB/s", "devices": 4})
    with pytest.raises(ValidationError, match=re.escape(f"wanted at most the {4 * peak} MB/s that 4 devices of {name} offer")):
        Dram.from_data(A100 | {"standard": name, "capacity": "1 GB", "bandwidth": f"{4 * peak + 1} MB/s", "devices": 4})


@pytest.mark.parametrize("name", standards())
def test_peak_is_pins_times_their_rate(name):
    standard = load_standard(name)
    (gbit_per_s,) = re.findall(r"up to ([\d.]+) Gb/s per pin", standard.about)
    assert standard.peak == pytest.approx(standard.width * float(gbit_per_s) * 1000 / 8, abs=1e-6)


def test_capacity_beyond_the_standard_is_refused():
    with pytest.raises(ValidationError, match="capacity: wanted at most"):
        Dram.from_data(A100 | {"capacity": "1 TB"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"standard": "hbm2x"}, "unknown DRAM standard 'hbm2x'; did you mean 'hbm2'"),
        ({"bandwidth": 2039}, "wanted a bandwidth with its unit"),
        ({"bandwidth": "0 GB/s"}, "must be above zero"),
        ({"capacity": "80 GB/s"}, "is a unit of bandwidth"),
        ({"devices": 0}, "greater than 0"),
        ({"stacks": 5}, "Extra inputs are not permitted"),
    ],
)
def test_faults_are_named(change, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        Dram.from_data(A100 | change)


@given(st.integers(0, 10**12), st.integers(1, 10**7))
def test_time_is_exact_and_rounds_up_once(nbytes, mb_per_s):
    memory = Dram(standard="hbm3", capacity="80 GB", bandwidth=f"{mb_per_s} MB/s")
    ps = memory.time_ps(nbytes)
    assert (ps - 1) * mb_per_s < nbytes * 10**6 <= ps * mb_per_s
    assert memory.time_ps(np.array([nbytes], dtype=np.int64))[0] == ps


def test_readme_examples_run(root):
    import doctest

    found = doctest.testfile(str(root / "memsys" / "README.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted >= 4
    assert found.failed == 0


@pytest.mark.parametrize("name", parts())
def test_a_part_gives_capacity_bandwidth_and_what_streams_reach(name):
    standard, _, part = name.partition("/")
    memory = Dram.from_data({"standard": standard, "part": part, "devices": 3, "mapping": "MOP4CLXOR"})
    assert memory.capacity == 3 * load_part(name).capacity
    assert memory.bandwidth == 3 * load_part(name).peak_mb_per_s
    share = efficiency(name, "MOP4CLXOR", "sequential").share
    assert memory.stream_permille == int(1000 * share) < 1000
    best = Dram.from_data({"standard": standard, "part": part, "devices": 3})
    assert best.stream_permille >= memory.stream_permille


def test_a_stream_costs_what_its_commands_do():
    """The joules of a second of reads at peak rate, byte by byte, are those of the commands and cycles that make it."""
    memory = Dram.from_data({"standard": "ddr4", "part": "dramsim3_8gb_x8_3200", "devices": 1, "mapping": "RoBaRaCoCh"})
    part = load_part("ddr4/dramsim3_8gb_x8_3200")
    hits = efficiency(str(part), "RoBaRaCoCh", "sequential").hits
    bursts, cycles = 1_000_000, 5_000_000
    ranks = part.organisation.ranks
    refreshes = round(cycles / part.timing.trefi * ranks)
    commands = {Command.ACT: round(bursts * (1 - hits)), Command.RD: bursts, Command.REFAB: refreshes}
    account = energy(part, Activity(commands, {"active": cycles * ranks}))
    figures = {(entry.event, entry.part): entry for entry in memory.entries()}
    read = bursts * part.burst_bytes * figures["read_byte", ""].energy
    assert read == pytest.approx(account.of("activate", "read"), rel=1e-6)
    assert bursts * part.burst_bytes * figures["read_byte", "io"].energy == pytest.approx(account.io)
    seconds = part.time_ps(cycles) * 1e-12
    assert figures[None, "standby"].power * seconds == pytest.approx(account.background)
    assert figures[None, "refresh"].power * seconds == pytest.approx(account.refresh, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part": "dramsim3_8gb"}, "unknown part of hbm2 'dramsim3_8gb'; did you mean 'dramsim3_8gb_2000'"),
        ({"devices": None}, "devices: wanted the number of devices beside part 'dramsim3_8gb_2000', got None"),
        ({"mapping": "RoBaRaCoC"}, "unknown mapping 'RoBaRaCoC'; did you mean 'RoBaRaCoCh'"),
        ({"bandwidth": "1025 GB/s"}, "at most the 1024000 MB/s that 4 devices of hbm2/dramsim3_8gb_2000 offer, got 1025000 MB/s"),
        ({"part": None, "bandwidth": "1 GB/s", "capacity": "1 GB", "mapping": "RoBaRaCoCh"}, "mapping: wanted a part beside"),
        ({"standard": "hbm"}, "unknown DRAM standard 'hbm'"),
    ],
)
def test_a_part_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        Dram.from_data({"standard": "hbm2", "part": "dramsim3_8gb_2000", "devices": 4} | change)
