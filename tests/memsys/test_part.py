"""Does a part hold what its file says, derive the rest exactly, and refuse what no DRAM can be with one clear line?"""

from __future__ import annotations

import copy
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from accel.base.quantity import parse
from memsys.part import Command, Part
from memsys.standard import load_part, parts

HBM2 = load_part("hbm2/ramulator_8gb_2000")
DDR4 = load_part("ddr4/dramsim3_8gb_x8_3200")
TIMING = type(HBM2.timing).model_fields


def changed(part: Part, **tables: dict[str, object]) -> Part:
    """``part`` with entries of its tables replaced; None takes one away."""
    data = copy.deepcopy(part.model_dump(by_alias=True))
    for table, entries in tables.items():
        data[table] |= entries
        data[table] = {name: value for name, value in data[table].items() if value is not None}
    return Part.from_data(data)


@pytest.mark.parametrize("name", parts())
def test_a_part_is_written_and_read_again(name):
    part = load_part(name)
    again = Part.from_data(part.model_dump(by_alias=True))
    assert again == part
    assert hash(again) == hash(part)
    assert str(part) == name


def test_parts_that_differ_in_a_timing_are_different_keys():
    other = changed(HBM2, timing={"tfaw": 16})
    assert len({HBM2: 1, other: 2, changed(HBM2): 3}) == 2


def test_figures_that_follow():
    assert (HBM2.burst_cycles, HBM2.burst_bytes, HBM2.row_bytes, HBM2.bursts_per_row) == (2, 32, 1024, 32)
    assert (HBM2.banks_per_rank, HBM2.banks_per_channel, HBM2.devices_per_rank, HBM2.pins) == (16, 32, 1, 1024)
    assert (HBM2.peak_mb_per_s, HBM2.channel_peak_mb_per_s) == (256_000, 32_000)
    assert (DDR4.burst_cycles, DDR4.burst_bytes, DDR4.row_bytes, DDR4.bursts_per_row) == (4, 64, 8192, 128)
    assert (DDR4.banks_per_channel, DDR4.devices_per_rank, DDR4.capacity) == (32, 8, 16 << 30)
    assert DDR4.peak_mb_per_s == 25_396  # 25.4 GB/s at tCK 0.63 ns
    assert (HBM2.read_to_write, HBM2.write_recovery) == (14 + 2 + 2 - 5, 5 + 2 + 16)
    assert DDR4.time_ps(10) == 6300


def test_commands_are_those_whose_timings_are_given():
    assert Command.REFPB in HBM2.commands
    assert Command.REFPB not in DDR4.commands


@given(st.integers(1, 10**6), st.integers(1, 4000))
def test_a_time_is_rounded_up_to_cycles(tenths, tck):
    """Of tRFC in tenths of ns, with tCK in ps."""
    time, period = parse(f"{tenths / 10} ns", "time"), Fraction(tck)
    cycles = -(-time // period)
    if cycles < 1 << 24:
        timing = HBM2.timing.model_dump() | {"tck": f"{tck} ps", "trfc": f"{tenths / 10} ns"}
        assert type(HBM2.timing).from_data(timing).trfc == cycles
        assert (cycles - 1) * period < time <= cycles * period


def test_half_a_clock_is_exact():
    part = load_part("hbm3/ramulator_16gb_8hi_6400")
    assert part.timing.tck == Fraction(625, 2)
    assert part.model_dump()["timing"]["tck"] == "312.5 ps"
    assert part.timing.trfc == 1120  # 350 ns
    assert part.burst_cycles == 4  # two clocks
    assert [part.command_cycles(c) for c in (Command.ACT, Command.PRE, Command.RD)] == [3, 1, 2]


def test_all_banks_close_as_one_where_the_standard_makes_no_difference():
    assert HBM2.timing.trp_ab == HBM2.timing.trp
    assert load_part("lpddr5/ramulator_8gb_x16_6400").timing.trp_ab == 17


@pytest.mark.parametrize("name", [name for name, field in TIMING.items() if field.is_required()])
def test_each_missing_timing_is_named(name):
    with pytest.raises(ValidationError, match=rf"wanted '{name}' \(.+\), which is missing"):
        changed(HBM2, timing={name: None})


@pytest.mark.parametrize(
    ("part", "tables", "message"),
    [
        (HBM2, {"timing": {"tfwa": 3}}, "unknown name 'tfwa'; did you mean 'tfaw'?"),
        (HBM2, {"organisation": {"bankgroups": 3}}, "unknown name 'bankgroups'; did you mean 'bank_groups'?"),
        (HBM2, {"timing": {"cl": 14.0}}, "wanted whole cycles or a time with its unit, such as 14 or '14 ns', got 14.0"),
        (HBM2, {"timing": {"cl": "14 MHz"}}, "'MHz' is a unit of frequency"),
        (HBM2, {"timing": {"cwl": 0}}, "greater than 0"),
        (HBM2, {"timing": {"tck": 1000}}, "wanted a time with its unit, such as '200 us', got the bare value 1000"),
        (HBM2, {"timing": {"tck": "0 ns"}}, "greater than 0"),
        (HBM2, {"organisation": {"rows": 40000}}, "wanted a power of two, so that it is a field of an address, got 40000"),
        (HBM2, {"organisation": {"beats": 8}}, "a burst of 4 beats is not a whole number of cycles at 8 beats per tCK"),
        (HBM2, {"organisation": {"columns": 2}}, "a row of 2 columns does not hold whole bursts of 4"),
        (HBM2, {"organisation": {"device_width": 128}}, "width: wanted a multiple of device_width 128, got 64"),
        (HBM2, {"timing": {"tck": "1.1 ns"}}, "speed: 2000 MT/s contradicts tCK 1100 ps, which makes 1818 MT/s"),
        (HBM2, {"timing": {"trc": 47}}, "trc 47 contradicts tras 34 + trp 14"),
        (HBM2, {"timing": {"tccd_l": 1}}, "tccd_s 2 contradicts tccd_l 1: the same bank group is never faster"),
        (HBM2, {"timing": {"tccd_l_wr": 3}}, "tccd_l 4 contradicts tccd_l_wr 3"),
        (HBM2, {"timing": {"trrd_l": 3}}, "trrd_s 4 contradicts trrd_l 3"),
        (HBM2, {"timing": {"twtr_l": 5}}, "twtr_s 6 contradicts twtr_l 5"),
        (HBM2, {"timing": {"trp_ab": 13}}, "trp 14 contradicts trp_ab 13"),
        (HBM2, {"timing": {"tfaw": 3}}, "trrd_s 4 contradicts tfaw 3"),
        (HBM2, {"timing": {"tras": 13, "trc": 48}}, "trcd_rd 14 contradicts tras 13"),
        (HBM2, {"timing": {"trfc": "3900 ns"}}, "trfc 3900 contradicts trefi 3900: a rank would do nothing but refresh"),
        (HBM2, {"timing": {"cwl": 40}}, "cl 14 contradicts cwl 40"),
        (HBM2, {"timing": {"trrefd": None}}, "wanted 'trrefd', which REFPB needs beside the others"),
        (HBM2, {"timing": {"trfc_pb": 351}}, "trfc_pb 351 contradicts trfc 350"),
        (HBM2, {"timing": {"trrefd": 300}}, "trrefd 300 contradicts trefi_pb 243: the banks could not be refreshed in time"),
        (HBM2, {"timing": {"tpbr2pbr": 300}}, "tpbr2pbr 300 contradicts trefi_pb 243"),
        (HBM2, {"timing": {"trefi_pb": 244}}, "trefi_pb 244 contradicts trefi 3900: 16 banks take longer than that"),
        (HBM2, {"scaled": {"tfwa": "so"}}, "scaled: no entry is named 'tfwa'"),
        (DDR4, {"timing": {"trtrs": None}}, "wanted 'trtrs', which commands to several ranks need"),
        (DDR4, {"organisation": {"stack_ids": True}}, "wanted 'tccd_r', which commands to several stack ids need"),
    ],
)
def test_what_no_dram_can_be_is_refused_in_one_line(part, tables, message):
    with pytest.raises(ValidationError) as refused:
        changed(part, **tables)
    (line,) = [error["msg"] for error in refused.value.errors() if re.search(re.escape(message), error["msg"])]
    assert "\n" not in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"idd4r": 50.0}, "currents at 1.2 V: idd3n 52.0 contradicts idd4r 50.0"),
        ({"idd5pb": 45.0}, "idd3n 52.0 contradicts idd5pb 45.0"),
        ({"idd2p": 38.0}, "idd2p 38.0 contradicts idd2n 37.0"),
        ({"idd0": 47.0}, "idd0 47.0 contradicts the 47.5 of standby over tRC"),
        ({"idd9": 1.0}, "unknown name 'idd9'"),
    ],
)
def test_currents_that_would_give_energy_back_are_refused(change, message):
    data = DDR4.model_dump(by_alias=True)
    data["currents"] = [data["currents"][0] | change]
    with pytest.raises(ValidationError, match=re.escape(message)):
        Part.from_data(data)


def test_all_faults_are_reported_at_once():
    with pytest.raises(ValidationError) as refused:
        changed(HBM2, timing={"tras": None, "tfaww": 3}, organisation={"rows": 3})
    assert {"tras", "tfaww", "power of two"} <= set(re.findall(r"tras|tfaww|power of two", str(refused.value)))


@pytest.mark.parametrize("speed", ["2 Gb/s", "2000", 2000, "2000.5 MT/s", "0 MT/s"])
def test_a_speed_has_its_unit(speed):
    with pytest.raises(ValidationError, match="wanted the transfers of one data pin per second, such as '3200 MT/s'"):
        Part.from_data(HBM2.model_dump(by_alias=True) | {"speed": speed})


def test_a_window_of_four_shorter_than_three_gaps_is_legal():
    assert changed(HBM2, timing={"tfaw": 4}).timing.tfaw == 4
