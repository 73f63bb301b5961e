"""Do the rules of time of a PIM channel follow from its part, for two row buffers and for one, and does a channel keep each?"""

import pytest

from memsys.constraints import Scope, constraints
from memsys.part import Command
from memsys.standard import load_part, parts
from pim.channel import Channel
from pim.commands import Issued, PimCommand, expanded, reach, result_cycles
from pim.monitor import violations
from pim.rules import COMP, GEMV, GWRITE, HEADER, PACT, PPRE, READRES, Rule, gwrite_cycles, rules

ACT, PRE, RD, WR, REFAB = Command.ACT, Command.PRE, Command.RD, Command.WR, Command.REFAB
PREA, RDA, WRA = Command.PREA, Command.RDA, Command.WRA
BANK, GROUP, RANK, CHANNEL = Scope.BANK, Scope.BANK_GROUP, Scope.RANK, Scope.CHANNEL
PART = load_part("hbm2/neupims_8gb_2000")


def cycles(scope, before, after, dual):
    return next((r.cycles for r in rules(PART, dual) if r[:3] == (scope, before, after) and r.window == 1), 0)


@pytest.mark.parametrize(
    ("scope", "before", "after", "single", "dual"),
    [  # NeuPIMs simulator, HBM2 at 1 GHz: the table of its PIM rules
        (CHANNEL, GWRITE, COMP, 96, 96),
        (RANK, PACT, PACT, 30, 30),
        (RANK, PACT, ACT, 30, 30),
        (CHANNEL, PACT, COMP, 14, 14),
        (CHANNEL, COMP, COMP, 2, 2),
        (CHANNEL, COMP, READRES, 2, 2),
        (CHANNEL, READRES, READRES, 2, 2),
        (BANK, PACT, ACT, 48, 6),
        (BANK, ACT, PACT, 48, 6),
        (CHANNEL, RD, COMP, 2, 0),
        (CHANNEL, WR, COMP, 4 + 2 + 8, 0),
        (CHANNEL, COMP, PRE, 5, 0),
        (CHANNEL, COMP, PPRE, 5, 5),
        (BANK, PACT, PPRE, 34, 34),
        (BANK, PPRE, PACT, 14, 14),
        (BANK, PPRE, ACT, 14, 0),
        (RANK, REFAB, PACT, 260, 260),
        (CHANNEL, READRES, RD, 4, 4),
        (CHANNEL, READRES, WR, 14, 14),
        (GROUP, PACT, PACT, 48, 48),  # tRC
        (CHANNEL, READRES, PPRE, 5, 5),  # tRTP
        (RANK, PACT, REFAB, 48, 48),  # tRC
        (RANK, PPRE, REFAB, 14, 14),  # tRP
        (BANK, GWRITE, RD, 96, 96),  # (1 + 2) x 32
        (GROUP, GWRITE, RD, 2, 2),  # tCCD_L
        (RANK, GWRITE, RD, 2, 2),  # a burst
        (BANK, GWRITE, WR, 96, 96),
        (RANK, GWRITE, WR, 14, 14),  # CL 14 + burst 2 + tRTRS 2 - CWL 4
        (BANK, GWRITE, PRE, 96, 96),
        (RANK, GWRITE, PREA, 96, 96),
        (GROUP, RD, GWRITE, 2, 2),
        (RANK, RD, GWRITE, 2, 2),
        (GROUP, WR, GWRITE, 14, 14),  # CWL 4 + burst 2 + tWTR_L 8
        (RANK, WR, GWRITE, 12, 12),  # CWL 4 + burst 2 + tWTR_S 6
        (RANK, PREA, PACT, 14, 0),  # tRP
        (BANK, PRE, PACT, 14, 0),
        (BANK, RDA, PACT, 19, 0),  # tRTP 5 + tRP 14
        (BANK, WRA, PACT, 36, 0),  # CWL 4 + burst 2 + tWR 16 + tRP 14
        (CHANNEL, COMP, RD, 2, 0),
        (CHANNEL, COMP, WR, 14, 0),
    ],
)
def test_the_rules_of_the_neupims_simulator_follow_from_its_part(scope, before, after, single, dual):
    assert cycles(scope, before, after, dual=False) == single
    assert cycles(scope, before, after, dual=True) == dual


def test_a_grouped_act_is_four_acts_in_the_window_of_four():
    assert cycles(RANK, ACT, PACT, dual=True) == PART.timing.tfaw


@pytest.mark.parametrize("dual", [True, False])
def test_every_rule_of_the_dram_holds_for_the_pim_channel(dual):
    strictest = {(r.scope, r.before, r.after, r.window): r.cycles for r in rules(PART, dual)}
    for row in constraints(PART):
        assert strictest[row.scope, row.before, row.after, row.window] >= row.cycles


def places(rule):
    """Banks of ``before`` and ``after`` that meet in the scope of ``rule``."""
    near = {GROUP: 1, RANK: 5, Scope.OTHER_RANK: PART.banks_per_rank}.get(rule.scope, 0)
    if rule.after in (PACT, PRE, PPRE, Command.PREA, REFAB):
        near -= near % len(reach(PART, rule.after, near))
    return 0, near


@pytest.mark.parametrize("dual", [True, False])
def test_no_command_is_ready_a_cycle_before_its_rule_and_each_is_then(dual):
    """Of all rules between their two commands at a place, the strictest decides."""
    checked = 0
    for rule in rules(PART, dual):
        if rule.window > 1 or rule.cycles == 1 or {rule.before, rule.after} & {COMP, READRES, GEMV}:
            continue
        first, second = places(rule)
        channel = Channel(PART, dual)
        channel.issue(Issued(1000, rule.before, first, 7))
        wanted = max(r.cycles for r in rules(PART, dual) if r.cycles > 1 and meets(r, rule, first, second))
        assert channel.earliest(rule.after, second) == 1000 + wanted
        checked += wanted == rule.cycles
    assert checked > 90


def meets(rule, like, first, second):
    if (rule.before, rule.after, rule.window) != (like.before, like.after, 1):
        return False
    early, late = Issued(0, like.before, first), Issued(rule.cycles - 1, like.after, second)
    return any(str(rule) in line for line in violations(PART, [early, late], True) + violations(PART, [early, late], False))


@pytest.mark.parametrize("bursts", [1, 6, 7, 32])
def test_gemvs_follow_each_other_when_the_first_one_has_its_result(bursts):
    channel = Channel(PART)
    channel.issue(Issued(100, GEMV, 0, 7, bursts))
    assert channel.earliest(GEMV, 0, 8) == 100 + 2 * (max(bursts, 6) + 1)
    assert channel.earliest(PPRE, 3) == 100 + 2 * max(bursts, 6) + 5


def test_a_gemv_is_its_dot_products_and_a_result():
    each = list(expanded(PART, Issued(10, GEMV, 0, 7, 8)))
    assert [(i.cycle, i.command) for i in each] == [*((10 + 2 * i, COMP) for i in range(8)), (26, READRES)]
    assert [i.cycle for i in expanded(PART, Issued(10, GEMV, 0, 7, 1))] == [10, 22]  # the adder tree fills


@pytest.mark.parametrize(("bursts", "cycles"), [(1, 12), (5, 12), (6, 12), (7, 14), (8, 16), (16, 32), (32, 64)])
def test_a_gemv_has_its_result_after_two_cycles_a_burst_and_no_less_than_six_bursts(bursts, cycles):
    *comps, result = expanded(PART, Issued(100, GEMV, 0, 7, bursts))
    assert [(i.cycle, i.command) for i in comps] == [(100 + 2 * i, COMP) for i in range(bursts)]
    assert (result.cycle, result.command) == (100 + cycles, READRES)
    assert result_cycles(PART, bursts) == cycles


@pytest.mark.parametrize("bursts", [1, 6, 8, 32])
def test_the_monitor_takes_a_gemv_for_as_long_as_the_facts_say(bursts):
    """2 (max(n, 6) + 1) to the next one, and 2 max(n, 6) + tRTP to the close of its rows."""
    result = 2 * max(bursts, 6)
    for after, wanted in ((Issued(0, GEMV, 0, 7, bursts), result + 2), (Issued(0, PPRE, 9), result + 5)):
        for late in (wanted - 1, wanted):
            trace = [Issued(0, GEMV, 0, 7, bursts), after._replace(cycle=late)]
            assert any("READRES to" in line for line in violations(PART, trace)) == (late < wanted)


@pytest.mark.parametrize("group", range(8))
def test_a_grouped_act_reaches_the_four_banks_of_its_group_and_no_other(group):
    """With a single row buffer an ACT to one of them waits for tRC 48, to the others of the rank for tFAW 30."""
    own = range(4 * group, 4 * group + 4)
    for bank in range(32):
        assert (reach(PART, PACT, bank) == own) == (bank in own)
        trace = [Issued(0, PACT, own.start, 7), Issued(47, ACT, bank, 8)]
        assert any("PACT to ACT, bank" in line for line in violations(PART, trace, dual=False)) == (bank in own)


def test_what_the_source_leaves_open_is_left_open_here():
    """GWRITE beside another rank; and with two row buffers a row that goes from one to the other in the next cycle."""
    assert not [r for r in rules(PART) if GWRITE in r[1:3] and r.scope is Scope.OTHER_RANK]
    channel = Channel(PART)
    channel.issue(Issued(100, GWRITE, 0, 7))
    assert channel.earliest(RD, 16, since=101) == 101
    for before, after in ((PPRE, ACT), (PRE, PACT)):
        channel = Channel(PART)
        channel.issue(Issued(100, before, 0, 7))
        assert channel.earliest(after, 0, since=101) == 101


def test_memory_reads_beside_a_gemv_but_not_where_its_result_is_on_the_bus():
    for cycle, wanted in ((105, 105), (112, 112), (113, 120), (116, 120), (120, 120)):
        channel = Channel(PART)
        channel.issue(Issued(0, ACT, 0, 3))
        channel.issue(Issued(100, GEMV, 0, 7, 8))  # its result in cycle 116, for 4 cycles either side
        assert channel.earliest(RD, 0, since=cycle) == wanted


def test_a_single_row_buffer_neither_reads_nor_writes_during_a_gemv():
    channel = Channel(PART, dual=False)
    channel.issue(Issued(100, GEMV, 0, 7, 8))
    assert channel.earliest(RD, 0) == 100 + 16 + 4
    assert channel.earliest(WR, 0) == 100 + 16 + 14


def test_commands_reach_the_banks_that_they_name():
    assert reach(PART, PACT, 21) == range(20, 24)
    assert reach(PART, REFAB, 17) == range(16, 32)
    assert reach(PART, GEMV, 0) == reach(PART, HEADER, 0) == range(32)
    assert reach(PART, PPRE, 21) == range(21, 22)


def test_a_page_takes_96_cycles_to_the_vector_buffer():
    assert gwrite_cycles(PART) == 96


def test_rules_say_what_they_mean():
    assert str(Rule(CHANNEL, GWRITE, COMP, 96)) == "GWRITE to COMP, channel: 96 cycles"
    assert str(Issued(5, PimCommand.GEMV, 0, 7, 8)) == "5 GEMV(8) bank 0 row 7"


@pytest.mark.parametrize("name", parts())
def test_parts_that_cannot_be_a_pim_channel_are_refused_with_one_that_can(name):
    part = load_part(name)
    o = part.organisation
    if o.pseudo_channels == 1 and not o.stack_ids and part.command_cycles(ACT) == part.command_cycles(RD) == 1:
        assert rules(part)
    else:
        with pytest.raises(ValueError, match=r"wanted (channels with one data bus|commands of one cycle)"):
            rules(part)
