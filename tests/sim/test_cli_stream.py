"""`rtloom stream`: does it play what the reproductions play, add up, and answer wrong names with the nearest right one?"""

from __future__ import annotations

from itertools import islice

import pytest

from memsys.reference.controller import Controller
from sim.reproductions import dram

HBM2 = "hbm2/dramsim3_8gb_2000"
KEYS = (
    "part mapping pattern requests channels reads page refresh depth block stride span seed cycles time_ns bandwidth_gb_per_s "
    "peak_gb_per_s share_of_peak row_hit_rate latency_ns commands energy"
)
FEW = ("--requests", 2000)


def test_a_stream_is_that_of_the_reproductions(rtloom) -> None:
    published = next(iter(dram.streams()))
    assert (str(published.part), published.pattern, published.controller) == (HBM2, "sequential", Controller(depth=40))
    options = ("--requests", published.requests, "--depth", 40, "--mapping", published.mapping, "--seed", dram.SEED)
    data = rtloom("stream", HBM2, *options, "--json").json()
    bandwidth, pj_per_bit = [row.simulated for row in islice(dram.rows(), 2)]
    assert data["bandwidth_gb_per_s"] == bandwidth
    assert data["energy"]["pj_per_bit"]["without_pins"] == pj_per_bit


def test_what_is_printed_adds_up(rtloom, folder) -> None:
    call = ("stream", HBM2, *FEW, "--pattern", "random", "--block", 256, "--span", "64 MiB", "--reads", 0.5, "--channels", 2)
    data = rtloom(*call, "--json", "--out", "there").json()
    assert list(data) == KEYS.split()
    assert (data["channels"], data["block"], data["span"]) == (2, 256, 64 << 20)
    assert data["share_of_peak"] == pytest.approx(data["bandwidth_gb_per_s"] / 64)
    commands, energy = data["commands"], data["energy"]
    assert commands["RD"] + commands["WR"] == 2000
    assert 900 < commands["RD"] < 1100
    assert sum(row["joules"] for row in energy["events"]) == pytest.approx(sum(energy["joules"].values()))
    bits = energy["pj_per_bit"]
    assert bits["with_pins"] == pytest.approx(bits["without_pins"] + bits["pins"])
    assert bits["without_pins"] == pytest.approx(bits["array"] + bits["refresh"] + bits["background"])
    assert (folder / "there" / "stream.json").exists()
    assert f"{data['share_of_peak']:.1%} of the peak of 64 GB/s" in rtloom(*call).stdout


def test_all_channels_of_a_device_are_played_on_unless_said_otherwise(rtloom) -> None:
    assert rtloom("stream", HBM2, *FEW, "--json").json()["channels"] == 8


def test_options_reach_the_controller(rtloom) -> None:
    options = ("--page", "closed", "--refresh", "none", "--pattern", "strided", "--stride", 65536)
    commands = rtloom("stream", HBM2, *FEW, *options, "--json").json()["commands"]
    assert "RDA" in commands
    assert "REFAB" not in commands


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hbm2/dramsim3_8gb_200",), "unknown DRAM part 'hbm2/dramsim3_8gb_200'; did you mean 'hbm2/dramsim3_8gb_2000'?"),
        ((HBM2, "--mapping", "MOP4CLXR"), "unknown address map 'MOP4CLXR'; did you mean 'MOP4CLXOR'?"),
        ((HBM2, "--pattern", "sequental"), "unknown pattern 'sequental'; did you mean 'sequential'?"),
        ((HBM2, "--page", "close"), "unknown page policy 'close'; did you mean 'closed'?"),
        ((HBM2, "--refresh", "all-bank"), "unknown refresh 'all-bank'; did you mean 'all_bank'?"),
        ((HBM2, "--refresh", "per_bank"), f"{HBM2}: refresh: wanted all_bank or none"),
        ((HBM2, "--channels", "3"), f"{HBM2}: wanted a power of two of channels"),
        ((HBM2, "--pattern", "random", "--block", "100"), f"{HBM2}: block: wanted a multiple of a burst of 64 B"),
        ((HBM2, "--span", "1 TiB"), "--span: wanted up to the 8589934592 B of the channels, got 1 TiB"),
        ((HBM2, "--span", "64"), "--span: wanted a capacity with its unit"),
    ],
)
def test_what_is_wrong_is_said(rtloom, words, message: str) -> None:
    assert rtloom("stream", *words, code=2).stderr.startswith(f"rtloom: {message}")
