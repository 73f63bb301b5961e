"""Do the rules of time of a PIM channel follow from its part, for two row buffers and for one, and does a channel keep each?"""

import pytest

from memsys.constraints import Scope, constraints
from memsys.part import Command
from memsys.standard import load_part, parts
from pim.channel import Channel
from pim.commands import Issued, PimCommand, expanded, reach
from pim.monitor import violations
from pim.rules import COMP, GEMV, GWRITE, HEADER, PACT, PPRE, READRES, Rule, gwrite_cycles, rules

ACT, PRE, RD, WR, REFAB = Command.ACT, Command.PRE, Command.RD, Command.WR, Command.REFAB
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
