"""Do the rules of time hold every JEDEC timing, at the value that the standard's own simulators give it?"""

from __future__ import annotations

import numpy as np
import pytest

from memsys.constraints import Constraint, Scope, constraints, table
from memsys.part import COLUMN_COMMANDS, ROW_COMMANDS, Command
from memsys.standard import load_part, parts

ACT, PRE, PREA, RD, WR, RDA, WRA, REFAB, REFPB = Command
HBM2 = load_part("hbm2/ramulator_8gb_2000")  # ACT takes two cycles of the row bus
LEGACY = load_part("hbm2/dramsim3_8gb_2000")
DDR4 = load_part("ddr4/ramulator_8gb_x8_3200aa")
TWO_RANKS = load_part("ddr4/dramsim3_8gb_x8_3200")
HBM3 = load_part("hbm3/ramulator_16gb_8hi_6400")


def rule(part, scope, before, after, window=1):
    """Cycles of that rule; 0 where there is none."""
    found = [r.cycles for r in constraints(part) if (r.scope, r.before, r.after, r.window) == (scope, before, after, window)]
    return found[0] if found else 0


@pytest.mark.parametrize(
    ("part", "scope", "before", "after", "cycles"),
    [
        (DDR4, Scope.BANK, ACT, RD, 22),
        (DDR4, Scope.BANK, ACT, WRA, 22),
        (DDR4, Scope.BANK, ACT, PRE, 52),
        (DDR4, Scope.BANK, ACT, ACT, 74),
        (DDR4, Scope.BANK, PRE, ACT, 22),
        (DDR4, Scope.BANK, RD, PRE, 12),
        (DDR4, Scope.BANK, WR, PRE, 16 + 4 + 24),
        (DDR4, Scope.BANK, RDA, ACT, 12 + 22),
        (DDR4, Scope.BANK, WRA, ACT, 16 + 4 + 24 + 22),
        (DDR4, Scope.RANK, ACT, ACT, 4),
        (DDR4, Scope.BANK_GROUP, ACT, ACT, 8),
        (DDR4, Scope.RANK, RD, RD, 4),
        (DDR4, Scope.BANK_GROUP, RD, RDA, 8),
        (DDR4, Scope.RANK, RD, WR, 22 + 4 + 2 - 16),
        (DDR4, Scope.RANK, WR, RD, 16 + 4 + 4),
        (DDR4, Scope.BANK_GROUP, WR, RD, 16 + 4 + 12),
        (DDR4, Scope.RANK, ACT, REFAB, 74),
        (DDR4, Scope.RANK, WRA, REFAB, 16 + 4 + 24 + 22),
        (DDR4, Scope.RANK, REFAB, ACT, 576),  # 360 ns
        (DDR4, Scope.RANK, PREA, REFAB, 22),
        (TWO_RANKS, Scope.OTHER_RANK, RD, RD, 4 + 1),
        (TWO_RANKS, Scope.OTHER_RANK, WR, WR, 4 + 1),
        (TWO_RANKS, Scope.OTHER_RANK, RD, WR, 22 + 4 + 1 - 16),
        (TWO_RANKS, Scope.OTHER_RANK, WR, RD, 0),  # 16 + 4 + 1 - 22: never binds
        (LEGACY, Scope.RANK, RD, RD, 1),  # tCCD_S; the burst of two cycles binds on the data bus
        (LEGACY, Scope.PSEUDO_CHANNEL, RD, RD, 2),
        (LEGACY, Scope.BANK_GROUP, RD, RD, 2),
        (HBM2, Scope.BANK, ACT, RD, 14 + 1),
        (HBM2, Scope.BANK, ACT, WR, 12 + 1),
        (HBM2, Scope.BANK, PRE, ACT, 14 - 1),
        (HBM2, Scope.BANK, ACT, ACT, 48),
        (HBM2, Scope.BANK, REFPB, ACT, 160 - 1),
        (HBM2, Scope.RANK, REFPB, ACT, 8 - 1),
        (HBM2, Scope.RANK, REFPB, REFPB, 8),
        (HBM2, Scope.RANK, REFAB, ACT, 350 - 1),
        (HBM2, Scope.CHANNEL, ACT, PRE, 2),
        (HBM2, Scope.CHANNEL, PRE, ACT, 1),
        (HBM2, Scope.CHANNEL, ACT, RD, 0),
        (DDR4, Scope.CHANNEL, ACT, RD, 1),
        (HBM3, Scope.BANK, ACT, RD, 62 + 3 - 2),
        (HBM3, Scope.BANK, PRE, ACT, 52 + 1 - 3),
        (HBM3, Scope.BANK, RD, PRE, 18 + 2 - 1),
        (HBM3, Scope.PSEUDO_CHANNEL, RD, WR, 40),  # tRTW of 20 clocks
        (HBM3, Scope.PSEUDO_CHANNEL, ACT, ACT, 8),
        (HBM3, Scope.OTHER_RANK, RD, RD, 6),
        (HBM3, Scope.CHANNEL, RD, WR, 2),
        (HBM3, Scope.RANK, PRE, PREA, 4),
    ],
)
def test_a_rule_has_its_value(part, scope, before, after, cycles):
    assert rule(part, scope, before, after) == cycles


@pytest.mark.parametrize(
    ("part", "scope", "cycles"), [(DDR4, Scope.RANK, 34), (HBM2, Scope.RANK, 15), (HBM3, Scope.PSEUDO_CHANNEL, 48)]
)
def test_four_activates_in_their_window(part, scope, cycles):
    assert rule(part, scope, ACT, ACT, window=4) == cycles


NOT_A_RULE = ("tck", "trefi", "trefi_pb")  # the clock, and what the refresh timer keeps


@pytest.mark.parametrize("name", parts())
def test_every_timing_is_in_a_rule(name):
    part = load_part(name)
    for timing, value in part.timing:
        unused = timing in NOT_A_RULE or value is None or (timing == "trtrs" and part.organisation.ranks == 1)
        if not unused:
            longer = part.model_copy(update={"timing": part.timing.model_copy(update={timing: value + 2000})})
            assert constraints(longer) != constraints(part), timing


@pytest.mark.parametrize("name", parts())
def test_rules_are_sorted_and_said_once_and_bind(name):
    rows = constraints(load_part(name))
    assert list(rows) == sorted(rows)
    assert len({(r.scope, r.before, r.after, r.window) for r in rows}) == len(rows)
    assert all(r.cycles > 0 for r in rows)
    assert len(set(rows)) == len(rows)  # hashable


@pytest.mark.parametrize("name", parts())
def test_rules_speak_of_the_commands_of_the_part_only(name):
    part = load_part(name)
    used = {command for r in constraints(part) for command in (r.before, r.after)}
    assert used == set(part.commands)
    assert any(r.scope == Scope.OTHER_RANK for r in constraints(part)) == (part.organisation.ranks > 1)


@pytest.mark.parametrize("name", parts())
def test_a_rule_of_a_rank_never_exceeds_that_of_its_bank_group(name):
    part = load_part(name)
    for before, after in ((ACT, ACT), (RD, RD), (WR, WR), (WR, RD)):
        wide = max(rule(part, Scope.RANK, before, after), rule(part, Scope.PSEUDO_CHANNEL, before, after))
        assert rule(part, Scope.BANK_GROUP, before, after) >= min(wide, part.burst_cycles) > 0


@pytest.mark.parametrize("name", parts())
def test_a_command_bus_carries_one_command_at_a_time(name):
    part = load_part(name)
    for before in part.commands:
        for after in part.commands:
            together = (before in COLUMN_COMMANDS) == (after in COLUMN_COMMANDS) or not part.organisation.split_command_bus
            expected = part.command_cycles(before) if together else 0
            assert rule(part, Scope.CHANNEL, before, after) == expected
    assert set(ROW_COMMANDS) | set(COLUMN_COMMANDS) == set(Command)


@pytest.mark.parametrize("name", parts())
def test_the_array_holds_the_rules(name):
    part = load_part(name)
    rows = table(part)
    assert (rows.dtype, rows.flags.writeable) == (np.dtype(np.int64), False)
    assert [tuple(row) for row in rows.tolist()] == [tuple(map(int, r)) for r in constraints(part)]


def test_a_rule_reads_as_a_sentence():
    assert str(Constraint(Scope.RANK, ACT, ACT, 15, window=4)) == "4 ACT to ACT, rank: 15 cycles"
    assert str(Constraint(Scope.BANK, PRE, ACT, 13)) == "PRE to ACT, bank: 13 cycles"
