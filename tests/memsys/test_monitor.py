"""Does the monitor see each command that comes too soon, that its bank's state forbids, that is missing or out of order?"""

from __future__ import annotations

import numpy as np
import pytest

from memsys.address_map import Location
from memsys.constraints import Scope, constraints
from memsys.monitor import POSTPONED, unserved, violations
from memsys.part import COLUMN_COMMANDS, Command
from memsys.reference.controller import Controller, Issued, Requests, trace
from memsys.standard import load_part

HBM2 = load_part("hbm2/ramulator_8gb_2000")
TWO_RANKS = load_part("ddr4/dramsim3_8gb_x8_3200")
ACT, PRE, PREA, RD, WR, RDA, WRA, REFAB, REFPB = Command


def mixed(part, size=1500, **controller):
    rng = np.random.default_rng(11)
    place = Location(
        np.zeros(size, np.int64),
        rng.integers(0, part.banks_per_channel, size),
        rng.integers(0, 3, size),
        rng.integers(0, part.bursts_per_row, size),
    )
    requests = Requests(place, rng.random(size) < 0.3)
    [commands] = trace(part, requests, Controller(**controller))
    return requests, commands


@pytest.mark.parametrize(
    ("part", "timings"),
    [
        (HBM2, ("trcd_rd", "trcd_wr", "trp", "tras", "trrd_s", "twr", "trtp", "trfc", "turnaround")),
        (TWO_RANKS, ("trcd_rd", "tccd_l", "tfaw", "twtr_l", "trfc", "trtrs")),
    ],
    ids=str,
)
def test_each_timing_is_watched(part, timings):
    """The commands of a part that is a cycle faster in one timing break that rule of the true part, and no other kind."""
    for name in timings:
        faster = {name: getattr(part.timing, name) - 1, "trefi": part.timing.trfc + 500}
        _, commands = mixed(part.model_copy(update={"timing": part.timing.model_copy(update=faster)}), size=700)
        found = violations(part, commands, "none")
        assert found, name
        assert all("before cycle" in line for line in found)


def test_a_rule_is_reported_with_its_cycles():
    commands = [Issued(0, ACT, 0, 5, 0), Issued(14, RD, 0, 5, 0)]
    assert violations(HBM2, commands) == ["cycle 14: RD to bank 0 before cycle 15 (ACT to RD, bank: 15 cycles)"]
    assert violations(HBM2, [commands[0], commands[1]._replace(cycle=15)]) == []


def test_a_window_and_another_rank():
    four = [Issued(8 * i, ACT, 4 * i, 0, i) for i in range(4)]
    faw = TWO_RANKS.timing.tfaw
    assert violations(TWO_RANKS, [*four, Issued(faw - 1, ACT, 1, 0, 4)]) == [
        f"cycle {faw - 1}: ACT to bank 1 before cycle {faw} (4 ACT to ACT, rank: {faw} cycles)"
    ]
    rules = [r for r in constraints(TWO_RANKS) if r.scope is Scope.OTHER_RANK and (r.before, r.after) == (RD, RD)]
    opened = [Issued(0, ACT, 0, 0, 0), Issued(1, ACT, 16, 0, 1)]
    commands = [*opened, Issued(50, RD, 0, 0, 0), Issued(50 + rules[0].cycles - 1, RD, 16, 0, 1)]
    assert [line for line in violations(TWO_RANKS, commands) if "other_rank" in line]


@pytest.mark.parametrize(
    ("commands", "wrong"),
    [
        ([Issued(0, RD, 0, 5, 0)], "cycle 0: RD to bank 0, row 5, where row None is open"),
        ([Issued(0, ACT, 0, 4, 0), Issued(99, WR, 0, 5, 0)], "cycle 99: WR to bank 0, row 5, where row 4 is open"),
        ([Issued(0, ACT, 0, 4, 0), Issued(99, ACT, 0, 5, 0)], "cycle 99: ACT to bank 0, while bank 0 is open"),
        ([Issued(0, ACT, 3, 4, 0), Issued(99, REFAB, 0, -1, -1)], "cycle 99: REFAB to bank 0, while bank 3 is open"),
        ([Issued(0, ACT, 3, 4, 0), Issued(99, REFPB, 3, -1, -1)], "cycle 99: REFPB to bank 3, while bank 3 is open"),
        ([Issued(0, PRE, 3, -1, -1)], "cycle 0: PRE to bank 3, which is closed"),
        ([Issued(0, ACT, 3, 4, 0), Issued(99, PREA, 16, -1, -1)], "cycle 99: PREA to bank 16, which is closed"),
        ([Issued(9, ACT, 0, 4, 0), Issued(9, REFAB, 16, -1, -1)], "cycle 9: REFAB on a bus that carries ACT"),
        ([Issued(9, REFAB, 0, -1, -1), Issued(5, REFAB, 16, -1, -1)], "cycle 5: REFAB stands after a command of cycle 9"),
    ],
)
def test_what_the_state_of_a_bank_or_a_bus_forbids(commands, wrong):
    assert wrong in violations(HBM2, commands, "none")


def test_both_buses_of_hbm_carry_a_command_in_one_cycle():
    commands = [Issued(0, ACT, 0, 4, 0), Issued(30, RD, 0, 4, 0), Issued(30, ACT, 16, 4, 1)]
    assert violations(HBM2, commands) == []


def test_refresh_in_time():
    interval = HBM2.timing.trefi
    late = [Issued(interval * (POSTPONED + 1) - 1, REFAB, bank, -1, -1) for bank in (0, 16)]
    late[1] = late[1]._replace(cycle=late[1].cycle + 2)
    found = violations(HBM2, late)
    assert found == [f"cycle {late[1].cycle}: rank 1 owes 9 refreshes, at most 8 may be postponed"]
    assert violations(HBM2, late, "none") == []
    assert violations(HBM2, [], "all_bank", cycles=interval * 9) == [
        f"cycle {interval * 9}: rank {rank} owes 9 refreshes, at most 8 may be postponed" for rank in (0, 1)
    ]
    often = [Issued(400 * i, REFAB, 0, -1, -1) for i in range(10)]
    assert any("rank 0 is refreshed more than 8 times too often" in line for line in violations(HBM2, often))


def test_banks_in_their_turn():
    pair = [Issued(300, REFPB, 0, -1, -1), Issued(600, REFPB, 2, -1, -1)]
    assert violations(HBM2, pair, "per_bank") == ["cycle 600: REFPB to bank 2 out of turn"]


def test_requests_that_are_left_out_misplaced_or_overtaken():
    requests, commands = mixed(HBM2, size=50)
    assert unserved(requests, commands) == []
    columns = [i for i in commands if i.command in COLUMN_COMMANDS]
    without = [i for i in commands if i is not columns[0]]
    assert unserved(requests, without) == [f"request {columns[0].request} is never served"]
    assert "is served again" in unserved(requests, [*commands, columns[0]])[0]
    elsewhere = [i._replace(row=77) if i is columns[0] else i for i in commands]
    assert "wanted bank" in unserved(requests, elsewhere)[0]
    zeros = np.zeros(2, np.int64)
    both = Requests(Location(zeros, zeros, zeros, zeros), np.array([True, False]))
    swapped = [Issued(9, RD, 0, 0, 1), Issued(30, WR, 0, 0, 0)]
    assert unserved(both, swapped) == ["cycle 9: request 1 is served before request 0 to the same burst"]
