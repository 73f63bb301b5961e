"""Is every standard there, with parts within it, and do they hold the figures of their sources?"""

from __future__ import annotations

import copy
import re
import tomllib
from importlib.resources import files

import pytest
from pydantic import ValidationError

from memsys.standard import load_part, load_standard, parts, standard_from, standards

NINE = ("ddr4", "ddr5", "lpddr4x", "lpddr5x", "gddr6", "hbm2", "hbm2e", "hbm3", "hbm4")
HBM2 = tomllib.loads((files("memsys") / "standards" / "hbm2.toml").read_text())

# memories.md, section 1, by its columns: CL CWL tRCD_RD tRCD_WR tRP tRAS tRC tRRD_S tRRD_L tFAW tWR tWTR_S tWTR_L tCCD_S tCCD_L.
FACTS = {
    "hbm2/dramsim3_8gb_2000": (14, 4, 14, 14, 14, 34, 48, 4, 6, 30, 16, 6, 8, 1, 2),
    "hbm2/ramulator_8gb_2000": (14, 5, 14, 12, 14, 34, 48, 4, 4, 15, 16, 6, 8, 2, 4),
    "hbm2/pimsimulator_2000": (20, 8, 14, 10, 14, 33, 47, 4, 6, 16, 16, 4, 9, 2, 4),
    "hbm3/ramulator_16gb_8hi_6400": (20, 10, 31, 15, 26, 45, 72, 4, 5, 24, 33, 7, 10, 2, 4),
    "hbm4/ramulator_32gb_8hi_8000": (20, 10, 39, 19, 33, 57, 90, 5, 7, 30, 42, 9, 13, 2, 4),
    "lpddr5/ramulator_8gb_x16_6400": (17, 9, 15, 15, 15, 34, 49, 4, 4, 16, 28, 5, 10, 2, 4),
    "ddr4/ramulator_8gb_x8_3200aa": (22, 16, 22, 22, 22, 52, 74, 4, 8, 34, 24, 4, 12, 4, 8),
    "ddr4/dramsim3_8gb_x8_3200": (22, 16, 22, 22, 22, 52, 74, 4, 8, 34, 24, 4, 12, 4, 8),
    "gddr6/dramsim3_8gb_x16_12000": (24, 16, 24, 20, 24, 54, 78, 9, 9, 32, 16, 7, 7, 3, 4),
}
NAMES = [
    "cl",
    "cwl",
    "trcd_rd",
    "trcd_wr",
    "trp",
    "tras",
    "trc",
    "trrd_s",
    "trrd_l",
    "tfaw",
    "twr",
    "twtr_s",
    "twtr_l",
    "tccd_s",
    "tccd_l",
]


@pytest.mark.parametrize("name", NINE)
def test_each_standard_has_a_part(name):
    assert name in standards()
    assert load_standard(name).parts


@pytest.mark.parametrize("name", FACTS)
def test_timings_are_those_of_the_sources(name):
    part = load_part(name)
    steps = 2 if part.standard in ("hbm3", "hbm4") else 1  # of a clock
    assert [getattr(part.timing, timing) for timing in NAMES] == [steps * cycles for cycles in FACTS[name]]


@pytest.mark.parametrize(
    ("name", "trfc_ns", "trefi_ns"),
    [
        ("hbm2/dramsim3_8gb_2000", 260, 3900),
        ("hbm2/ramulator_8gb_2000", 350, 3900),
        ("hbm3/ramulator_16gb_8hi_6400", 350, 3900),
        ("hbm4/ramulator_32gb_8hi_8000", 450, 3900),
        ("lpddr5/ramulator_8gb_x16_6400", 210, 3906),
        ("ddr4/ramulator_8gb_x8_3200aa", 360, 7800),
        ("ddr4/dramsim3_8gb_x8_3200", 352.8, 7862.4),
    ],
)
def test_refresh_is_that_of_the_density(name, trfc_ns, trefi_ns):
    part = load_part(name)
    assert part.timing.trfc * part.timing.tck / 1000 == pytest.approx(trfc_ns, rel=0.003)
    assert part.timing.trefi * part.timing.tck / 1000 == pytest.approx(trefi_ns, rel=0.003)


@pytest.mark.parametrize("name", parts())
def test_a_part_says_where_it_is_from(name):
    part = load_part(name)
    assert part.source
    assert part.about
    assert all(part.scaled.values())
    assert all(part.assumed.values())
    assert part.name.split("_")[0] in ("dramsim3", "ramulator", "pimsimulator", "neupims", "dramsys", "scaled")
    assert part.name.startswith("scaled") == ("tck" in part.scaled)
    for table in (*part.currents, *filter(None, (part.io,))):
        assert table.source


def test_currents_of_ddr4_do_not_pass_for_those_of_lpddr():
    """DRAMsim3's LPDDR4 file holds those of DDR4 x16 2400: IDD0 80, IDD4W 228, IDD4R 243."""
    for name in parts():
        if name.startswith("lpddr"):
            assert all((c.idd0, c.idd4w, c.idd4r) != (80, 228, 243) for c in load_part(name).currents)


@pytest.mark.parametrize(
    ("name", "gigabytes_per_s"),
    [("hbm2/dramsim3_8gb_2000", 256), ("ddr4/ramulator_8gb_x8_3200aa", 25.6), ("hbm3/ramulator_16gb_8hi_6400", 819.2)],
)
def test_peak_of_a_part(name, gigabytes_per_s):
    assert load_part(name).peak_mb_per_s == gigabytes_per_s * 1000


@pytest.mark.parametrize(
    ("table", "entries", "message"),
    [
        ("organisation", {"channels": 4}, "wanted the 1024 data pins of one device, got 512"),
        ("organisation", {"rows": 1 << 17}, "wanted at most the 25769803776 B of one device, got 34359738368 B"),
        ("timing", {"tck": "0.5 ns"}, "wanted at most the 307200 MB/s of one device, got 512000 MB/s"),
    ],
)
def test_a_part_beyond_its_standard_is_refused(table, entries, message):
    data = copy.deepcopy(HBM2)
    part = data["parts"]["dramsim3_8gb_2000"]
    part[table] |= entries
    part["speed"] = "4000 MT/s" if "tck" in entries else part["speed"]
    with pytest.raises(ValidationError, match=re.escape(f"hbm2/dramsim3_8gb_2000: {message}")):
        standard_from("hbm2", data)


def test_a_fault_in_a_file_names_its_part_and_table():
    data = copy.deepcopy(HBM2)
    del data["parts"]["dramsim3_8gb_2000"]["timing"]["tfaw"]
    with pytest.raises(ValidationError) as refused:
        standard_from("hbm2", data)
    (error,) = refused.value.errors()
    assert error["loc"] == ("parts", "dramsim3_8gb_2000", "timing")
    assert error["msg"].endswith("wanted 'tfaw' (Window that holds at most four ACT of a rank), which is missing")


@pytest.mark.parametrize(
    ("load", "name", "message"),
    [
        (load_part, "hbm2/dramsim3_8gb_200", "unknown DRAM part 'hbm2/dramsim3_8gb_200'; did you mean 'hbm2/dramsim3_8gb_2000'?"),
        (load_part, "hbm2", "unknown DRAM part 'hbm2'"),
        (load_standard, "hbm5", "unknown DRAM standard 'hbm5'; did you mean 'hbm"),
    ],
)
def test_a_wrong_name_gets_the_nearest_right_one(load, name, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(name)
