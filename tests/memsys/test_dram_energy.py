"""Does the energy of DRAM follow from commands and cycles times tCK, with nothing lost, and does it meet what DRAMsim3 finds?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsys.address_map import address_map
from memsys.dram_energy import COMMANDS, IO, STATES, Activity, energy, figures
from memsys.part import Command
from memsys.reference.controller import Requests, run
from memsys.standard import load_part, parts

HBM2 = load_part("hbm2/dramsim3_8gb_2000")
DDR4 = load_part("ddr4/dramsim3_8gb_x8_3200")  # tCK 0.63 ns, eight chips per rank


def pj(part, event):
    return figures(part)[event].joules * 1e12


def test_events_of_hbm2_are_those_of_the_equations_at_1_ns():
    assert pj(HBM2, "activate") == pytest.approx(1.2 * (65 * 48 - 55 * 34 - 40 * 14))  # 828 pJ
    assert pj(HBM2, "read") == pytest.approx(804)  # 1.57 pJ/bit of 64 B
    assert pj(HBM2, "write") == pytest.approx(1.2 * (500 - 55) * 2)
    assert pj(HBM2, "refresh") == pytest.approx(1.2 * (250 - 55) * 260)
    assert (pj(HBM2, "active"), pj(HBM2, "precharged")) == pytest.approx((66, 48))
    assert (pj(HBM2, "precharged_power_down"), pj(HBM2, "self_refresh")) == pytest.approx((33.6, 37.2))


def test_away_from_1_ns_cycles_are_multiplied_by_the_clock():
    assert pj(DDR4, "read") == pytest.approx(1.2 * (168 - 52) * 4 * 0.63 * 8)
    assert pj(DDR4, "activate") == pytest.approx(1.2 * (57 * 74 - 52 * 52 - 37 * 22) * 0.63 * 8)
    assert pj(DDR4, "active") == pytest.approx(1.2 * 52 * 0.63 * 8)
    assert pj(DDR4, "refresh") == pytest.approx(1.2 * (250 - 52) * 560 * 0.63 * 8)


@pytest.mark.parametrize("clock", ["0.5 ns", "1 ns", "2 ns"])
def test_a_clock_of_another_period_at_equal_cycles_scales_every_event(clock):
    data = HBM2.model_dump(by_alias=True)
    data["timing"]["tck"] = clock
    data["speed"] = f"{round(2000 / float(clock.split()[0]))} MT/s"
    other = type(HBM2).from_data(data)
    for event in (*COMMANDS, *STATES):
        if event != "refresh_bank":
            assert pj(other, event) == pytest.approx(pj(HBM2, event) * float(clock.split()[0]))


def streamed(part, gb_per_s, bursts, bursts_per_act, active=1.0):
    """Activity of ``bursts`` reads at a bandwidth of one channel: what a run of the reference counts, in closed form."""
    cycles = round(bursts * part.burst_bytes / gb_per_s / float(part.timing.tck) * 1000)
    ranks = part.organisation.ranks * part.organisation.pseudo_channels
    commands = {
        Command.RD: bursts,
        Command.ACT: round(bursts / bursts_per_act),
        Command.REFAB: ranks * cycles // part.timing.trefi,
    }
    opened = round(active * cycles * ranks)
    return Activity(commands, {"active": opened, "precharged": cycles * ranks - opened})


def test_sequential_hbm2_takes_what_dramsim3_prints_at_1_ns():
    account = energy(HBM2, streamed(HBM2, 235.8 / 8, 125_000, HBM2.bursts_per_row))
    assert account.pj_per_bit(account.array) == pytest.approx(1.96, rel=0.01)  # memories.md, section 8


def test_sequential_ddr4_takes_what_dramsim3_prints_times_the_clock():
    least, most = (energy(DDR4, streamed(DDR4, 16.9, 200_000, DDR4.bursts_per_row, active)) for active in (0.5, 1.0))
    assert least.pj_per_bit(least.array) < 13.6 < most.pj_per_bit(most.array) < 14.3  # a refreshed rank stays closed for a while


def test_random_ddr4_takes_what_dramsim3_prints_times_the_clock():
    account = energy(DDR4, streamed(DDR4, 20.4, 200_000, 1))
    assert account.pj_per_bit(account.array) == pytest.approx(20.8, rel=0.12)  # its hit rate is not known; none is taken


@pytest.mark.parametrize(
    ("part", "mapping", "channels", "requests", "random", "published"),
    [
        (HBM2, "rorabgbachco", 8, 400_000, False, 1.96),
        (DDR4, "rochrababgco", 1, 200_000, False, 13.6),  # 21.6 printed
        (DDR4, "rochrababgco", 1, 200_000, True, 20.8),  # 33.1 printed
    ],
)
def test_runs_of_the_reference_take_what_dramsim3_prints_times_the_clock(part, mapping, channels, requests, random, published):
    """memories.md, section 8: reads of 64 B over 1 GiB."""
    bursts = np.random.default_rng(1).integers(0, 1 << 24, requests) if random else np.arange(requests)
    done = run(part, Requests.at(bursts * 64, part, address_map(mapping, part), channels))
    account = energy(part, Activity.of(done.counts, done.active, done.cycles))
    assert account.pj_per_bit(account.array) == pytest.approx(published, rel=0.05)
    assert sum(row.count for row in account.rows if row.event == "read") == requests
    ranks = channels * part.organisation.pseudo_channels * part.organisation.ranks
    assert sum(row.count for row in account.rows if row.event in STATES) == done.cycles * ranks


def test_refresh_and_the_pins_are_seen_apart():
    account = energy(HBM2, streamed(HBM2, 235.8 / 8, 125_000, HBM2.bursts_per_row))
    assert 0.02 < account.refresh / account.array < 0.05
    assert account.refresh == pytest.approx(account.of("refresh"))
    assert account.io == pytest.approx(125_000 * 512 * 0.8e-12)
    assert account.joules == pytest.approx(account.array + account.io)
    assert float(HBM2.refresh_share) == pytest.approx(260 / 3900)


def test_an_idle_memory_still_draws_its_background():
    account = energy(HBM2, Activity({}, {"precharged": 3900}))
    assert account.joules == account.background == pytest.approx(3900 * 48e-12)


def test_auto_precharge_counts_as_its_burst():
    one, other = (energy(HBM2, Activity({command: 7})) for command in (Command.RD, Command.RDA))
    assert one.rows == other.rows


def test_precharges_are_paid_with_their_activate():
    assert energy(HBM2, Activity({Command.PRE: 9, Command.PREA: 3})).rows == ()


@given(st.dictionaries(st.sampled_from(list(Command)), st.integers(0, 10**9)), st.integers(0, 10**12), st.sampled_from(parts()))
def test_the_account_adds_up(commands, cycles, name):
    part = load_part(name)
    commands = {command: count for command, count in commands.items() if command in part.commands}
    account = energy(part, Activity(commands, {"active": cycles}))
    assert account.joules == pytest.approx(sum(row.count * figures(part)[row.event].joules for row in account.rows))
    assert sum(row.count for row in account.rows if row.event == "read") == sum(
        commands.get(command, 0) for command in COMMANDS["read"]
    )
    assert all(row.source for row in account.rows)


@pytest.mark.parametrize("name", parts())
def test_every_event_of_every_part_takes_energy_and_says_whence(name):
    for event, figure in figures(load_part(name)).items():
        assert figure.joules > 0, event
        assert figure.source


@pytest.mark.parametrize("name", parts())
def test_a_refresh_of_one_bank_takes_its_share_of_all(name):
    part = load_part(name)
    if part.per_bank_refresh:
        one, all_banks = figures(part)["refresh_bank"], figures(part)["refresh"]
        assert one.joules * part.banks_per_rank == pytest.approx(all_banks.joules)
        assert one.source_class in ("scaled", "assumed")
    else:
        with pytest.raises(ValueError, match="no figure for 1 x 'refresh_bank'"):
            energy(part, Activity({Command.REFPB: 1}))


def test_a_measured_refresh_of_one_bank_is_used():
    data = HBM2.model_dump(by_alias=True)
    data["timing"] |= {"trfc_pb": 160, "trefi_pb": 243, "trrefd": 8}
    data["currents"] = [data["currents"][0] | {"idd5pb": 80.0}]
    assert pj(type(HBM2).from_data(data), "refresh_bank") == pytest.approx(1.2 * (80 - 55) * 160)


def test_two_supplies_add_up_and_the_weaker_source_counts():
    data = HBM2.model_dump(by_alias=True)
    data["currents"] = [data["currents"][0], data["currents"][0] | {"class": "assumed", "source": "here"}]
    both = figures(type(HBM2).from_data(data))["read"]
    assert both.joules == pytest.approx(2 * figures(HBM2)["read"].joules)
    assert both.source_class == "assumed"
    assert both.source.endswith("; here")


def test_without_currents_it_says_so():
    data = HBM2.model_dump(by_alias=True) | {"currents": []}
    with pytest.raises(ValueError, match=r"hbm2/dramsim3_8gb_2000: wanted supply currents"):
        figures(type(HBM2).from_data(data))


def test_without_a_figure_for_the_pins_they_have_no_row():
    data = HBM2.model_dump(by_alias=True) | {"io": None}
    account = energy(type(HBM2).from_data(data), Activity({Command.RD: 5}))
    assert {row.event for row in account.rows} == {"read"}
    assert account.io == 0
    assert set(IO) == {"read_io", "write_io"}


def test_counts_may_be_numpy_integers():
    counts = np.arange(len(Command), dtype=np.int64)
    account = energy(HBM2, Activity({command: counts[command] for command in HBM2.commands}))
    assert account.of("read") == pytest.approx((3 + 5) * 804e-12)
