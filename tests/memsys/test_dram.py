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
from memsys.standard import load_standard, standards

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
