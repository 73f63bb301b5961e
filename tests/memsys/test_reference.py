"""Does the compiled DRAM reference issue the commands of its specification, each in its cycle, lawfully, to all requests?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_controller import Naive
from pydantic import ValidationError

from memsys.address_map import Location, address_map
from memsys.controller import ChannelController
from memsys.monitor import unserved, violations
from memsys.part import Command, Part
from memsys.reference.controller import Controller, Requests, run, trace
from memsys.standard import load_part, parts

HBM2 = load_part("hbm2/ramulator_8gb_2000")  # two pseudo channels, two command buses, ACT of two cycles, per-bank refresh
TWO_RANKS = load_part("ddr4/dramsim3_8gb_x8_3200")
HBM3 = load_part("hbm3/ramulator_16gb_8hi_6400")  # pseudo channels and stack ids
LPDDR4X = load_part("lpddr4x/dramsys_8gb_x16_4266")
PARTS = (HBM2, TWO_RANKS, HBM3, LPDDR4X)


def often_refreshed(part: Part) -> Part:
    """``part`` with refresh so often that short streams meet several."""
    t = part.timing
    pace = {"trefi": t.trfc + 2 * t.trc}
    if part.per_bank_refresh:
        pace["trefi_pb"] = 3 * t.trc
    return part.model_copy(update={"timing": t.model_copy(update=pace)})


def stream(part: Part, seed: int, size: int, rows: int, writes: float, pace: int) -> Requests:
    """Requests to some banks and few rows, so that hits, conflicts and equal addresses occur; now and then none for a while."""
    rng = np.random.default_rng(seed)
    banks = rng.choice(part.banks_per_channel, rng.integers(1, part.banks_per_channel + 1), replace=False)
    place = Location(
        np.zeros(size, np.int64), rng.choice(banks, size), rng.integers(0, rows, size), rng.integers(0, 3, size, dtype=np.int64)
    )
    gaps = rng.integers(0, pace + 1, size) * (rng.random(size) < 0.5) + (rng.random(size) < 0.03) * 700
    return Requests(place, rng.random(size) < writes, np.cumsum(gaps))


class Impatient(Controller):
    """Meets any part, so that short streams meet urgent requests, and the rules are compared where they starve too."""

    def least_patience(self, part: Part) -> int:
        return 1


CONTROLLERS = st.builds(
    lambda page, refresh, depth, held, patience: Impatient(page=page, refresh=refresh, depth=depth, held=held, patience=patience),
    page=st.sampled_from(["open", "closed"]),
    refresh=st.sampled_from(["all_bank", "all_bank", "per_bank", "none"]),
    depth=st.sampled_from([2, 3, 8, 32]),
    held=st.sampled_from([1, 3, 16]),
    patience=st.sampled_from([1, 40, 2048]),
)
STREAMS = {
    "seed": st.integers(0, 1 << 32),
    "size": st.integers(0, 150),
    "rows": st.integers(1, 4),
    "writes": st.sampled_from([0.0, 0.3, 0.9]),
    "pace": st.sampled_from([0, 4, 60]),
}


@pytest.mark.parametrize("part", PARTS, ids=str)
@settings(max_examples=30)
@given(controller=CONTROLLERS, often=st.booleans(), until=st.sampled_from([0, 3000]), **STREAMS)
def test_commands_are_those_of_the_specification(part, controller, often, until, **chosen):
    part = often_refreshed(part) if often else part
    if controller.refresh == "per_bank" and not part.per_bank_refresh:
        controller = controller.model_copy(update={"refresh": "all_bank"})
    requests = stream(part, **chosen)
    [commands] = trace(part, requests, controller, until=until)
    assert commands == Naive(part, controller, requests).run(until)
    assert violations(part, commands, controller.refresh) == []
    assert unserved(requests, commands) == []


def test_what_a_run_says_follows_from_its_commands():
    requests = stream(HBM2, seed=5, size=400, rows=3, writes=0.3, pace=2)
    done = run(HBM2, requests, traced=True)
    [commands] = done.trace
    for rank in range(2):
        for command in Command:
            count = sum(i.command is command and i.bank // HBM2.banks_per_rank == rank for i in commands)
            assert done.counts[0, rank, command] == count
    t = HBM2.timing
    for issued in commands:
        if issued.command in (Command.RD, Command.WR):
            latency = t.cl if issued.command is Command.RD else t.cwl
            assert done.done[issued.request] == issued.cycle + latency + HBM2.burst_cycles
    opened_by = {i.request for i in commands if i.command is Command.ACT}
    assert done.row_hits == 400 - len(opened_by)
    assert done.cycles == done.done.max()
    assert done.activity.cycles["active"] + done.activity.cycles["precharged"] == 2 * done.cycles
    open_cycles = [0, 0]
    for rank in range(2):
        rows: set[int] = set()
        since = 0
        for issued in [i for i in commands if i.bank // HBM2.banks_per_rank == rank]:
            was_open = bool(rows)
            if issued.command is Command.ACT:
                rows.add(issued.bank)
            elif issued.command is Command.PRE:
                rows.remove(issued.bank)
            elif issued.command is Command.PREA:
                rows.clear()
            if rows and not was_open:
                since = issued.cycle
            elif was_open and not rows:
                open_cycles[rank] += issued.cycle - since
        open_cycles[rank] += done.cycles - since if rows else 0
    assert done.active[0].tolist() == open_cycles


def test_channels_are_independent():
    part = load_part("hbm2/dramsim3_8gb_2000")
    addresses = np.random.default_rng(2).integers(0, part.capacity // part.burst_bytes, 3000) * part.burst_bytes
    requests = Requests.at(addresses, part, address_map("rorabgbachco", part))
    together = run(part, requests)
    for channel in range(8):
        own = requests.location.channel == channel
        alone = run(
            part,
            Requests(Location(*(f[own] * (f is not requests.location.channel) for f in requests.location)), requests.write[own]),
        )
        assert (alone.done == together.done[own]).all()
        assert (alone.counts[0] == together.counts[channel]).all()
    assert together.cycles == together.done.max()


def test_a_row_hit_waits_for_ccd_and_a_conflict_for_precharge_and_activate():
    part = load_part("ddr4/ramulator_8gb_x8_3200aa")
    zeros = np.zeros(3, np.int64)
    requests = Requests(Location(zeros, zeros, np.array([7, 7, 8]), np.array([0, 1, 0])), np.zeros(3, np.bool_))
    [commands] = trace(part, requests)
    t = part.timing
    assert [(i.cycle, i.command) for i in commands] == [
        (1, Command.ACT),  # accepted in cycle 0
        (1 + t.trcd_rd, Command.RD),
        (1 + t.trcd_rd + t.tccd_l, Command.RD),
        (1 + max(t.tras, t.trcd_rd + t.tccd_l + t.trtp), Command.PRE),
        (1 + max(t.trc, max(t.tras, t.trcd_rd + t.tccd_l + t.trtp) + t.trp), Command.ACT),
        (1 + max(t.trc, max(t.tras, t.trcd_rd + t.tccd_l + t.trtp) + t.trp) + t.trcd_rd, Command.RD),
    ]
    [closed] = trace(part, requests, Controller(page="closed"))
    assert [i.command for i in closed] == [Command.ACT, Command.RD, Command.RDA, Command.ACT, Command.RDA]


@pytest.mark.parametrize("refresh", ["all_bank", "per_bank"])
def test_an_idle_channel_is_refreshed_in_time(refresh):
    nothing = np.zeros(0, np.int64)
    requests = Requests(Location(nothing, nothing, nothing, nothing), np.zeros(0, np.bool_))
    [commands] = trace(HBM2, requests, Controller(refresh=refresh), until=100_000)
    interval = HBM2.timing.trefi if refresh == "all_bank" else HBM2.timing.trefi_pb
    assert len(commands) == 2 * (99_999 // interval)
    assert violations(HBM2, commands, refresh, cycles=99_999) == []


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_nobody_starves_where_others_would_be_served_for_ever(part):
    """A read of another row of a bank whose open row is always wanted, a write among endless reads, and one in another rank."""
    size = 6000
    bank = np.zeros(size, np.int64)
    row, write = np.zeros(size, np.int64), np.zeros(size, np.bool_)
    bank[1::2] = part.banks_per_rank // 2  # hits in two bank groups keep the bus busy
    row[100], write[200], bank[300] = 1, True, part.banks_per_channel - 1
    column = np.arange(size) % part.bursts_per_row
    done = run(part, Requests(Location(np.zeros(size, np.int64), bank, row, column), write), Controller(patience=500))
    waited = done.done - done.entered
    assert waited.max() < 500 + 32 * part.burst_cycles * 4 + 2 * part.timing.trfc


def conflicts(part: Part, size: int, writes: list[int]) -> Requests:
    """Every request wants another row of bank 0."""
    zero = np.zeros(size, np.int64)
    return Requests(Location(zero, zero, np.arange(size), zero), np.isin(np.arange(size), writes))


@pytest.mark.parametrize("part", [load_part(name) for name in parts()], ids=str)
@pytest.mark.parametrize("page", ["open", "closed"])
def test_with_the_least_patience_no_write_starves_among_conflicting_reads(part, page):
    patience = Controller().least_patience(part)
    requests = conflicts(part, 600, [1, 70, 71, 300])
    done = run(part, requests, Controller(page=page, patience=patience))
    waited = done.done - done.entered
    assert waited.max() < 68 * patience + 2 * part.timing.trfc
    assert waited[1] < 8 * patience
    starved = run(part, requests, Impatient(page=page, patience=part.timing.trc - 2))
    assert (starved.done - starved.entered)[1] > 0.9 * starved.cycles


def test_no_hostile_stream_starves_a_request():
    rng = np.random.default_rng(1)
    for number in range(300):
        part = load_part(parts()[number % len(parts())])
        requests = stream(
            part, number, 300, rows=int(rng.choice([1, 3, 1000])), writes=rng.choice([0.01, 0.1, 0.5, 0.99]), pace=0
        )
        depth, held = int(rng.choice([1, 2, 8, 32])), int(rng.choice([1, 3, 16]))
        patience = Controller().least_patience(part)
        done = run(part, requests, Controller(depth=depth, held=held, patience=patience))
        assert (done.done - done.entered).max() < (2 * depth + 4) * patience + 2 * part.timing.trfc


def test_a_patience_with_which_writes_starve_is_refused():
    part = load_part("ddr4/ramulator_8gb_x8_3200aa")
    message = r"patience: wanted at least the 88 cycles between rows of a bank of ddr4/ramulator_8gb_x8_3200aa.*, got 60"
    for meeting in (run, trace):
        with pytest.raises(ValueError, match=message):
            meeting(part, conflicts(part, 3, [1]), Controller(patience=60))
    with pytest.raises(ValueError, match=message):
        ChannelController(part, Controller(patience=60))


def test_parameters_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match=r"wanted drain_stop < drain_start <= depth, got 5, 4 and 32"):
        Controller(drain_stop=5, drain_start=4)
    with pytest.raises(ValidationError, match="depth"):
        Controller(depth=0)
    assert (Controller(depth=10).drain_start, Controller(depth=10).drain_stop) == (9, 1)
    assert (Controller(depth=1).drain_start, Controller(depth=1).drain_stop) == (1, 0)


def test_requests_outside_of_the_part_are_refused():
    one = np.array([0])
    with pytest.raises(ValueError, match=r"bank: wanted 0 to 31 .*, got 32 to 32"):
        run(HBM2, Requests(Location(one, one + 32, one, one), np.array([False])))
    with pytest.raises(ValueError, match=r"wanted a row for each of the 1 requests, got 2"):
        run(HBM2, Requests(Location(one, one, np.array([0, 1]), one), np.array([False])))
    with pytest.raises(ValueError, match=r"ddr4/dramsim3_8gb_x8_3200 has no per-bank refresh"):
        run(TWO_RANKS, Requests(Location(one, one, one, one), np.array([False])), Controller(refresh="per_bank"))
    with pytest.raises(ValueError, match=r"channel: wanted 0 to 7 .*, got -1 to -1"):
        run(HBM2, Requests(Location(one - 1, one, one, one), np.array([False])))
    with pytest.raises(ValueError, match=r"wanted a channel for each of the 1 requests, got 2"):
        run(HBM2, Requests(Location(np.array([0, 0]), one, one, one), np.array([False])))
    with pytest.raises(ValueError, match=r"addresses: wanted integers, got float64"):
        Requests.at(np.array([0.0, 64.0]), HBM2, address_map("RoBaRaCoCh", HBM2))


@pytest.mark.parametrize(
    ("arrival", "message"),
    [
        ([0, 1], "wanted an arrival for each of the 3 requests, got 2"),
        ([0, 9, 4], r"arrival: wanted cycles in order, got 4 after 9 \(request 2\)"),
        ([-3, 0, 0], "arrival: wanted cycles from 0 on, got -3"),
        ([0.0, 1.5, 2.0], "arrival: wanted integers, got float64"),
    ],
)
def test_arrivals_that_are_none_are_refused(arrival, message):
    zero = np.zeros(3, np.int64)
    with pytest.raises(ValueError, match=message):
        run(HBM2, Requests(Location(zero, zero, zero, zero), np.zeros(3, np.bool_), np.array(arrival)))


@pytest.mark.parametrize("until", [0, 5000])
def test_without_requests_nothing_is_moved(until):
    nothing = np.zeros(0, np.int64)
    done = run(HBM2, Requests(Location(nothing, nothing, nothing, nothing), np.zeros(0, np.bool_)), until=until)
    assert (done.cycles, done.gb_per_s, done.hit_rate, done.latency) == (until, 0.0, 0.0, 0.0)
