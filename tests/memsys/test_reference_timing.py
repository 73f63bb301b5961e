"""Device timings, rule by rule: is a command not ready at t - 1, ready at t, and free where the rule does not reach?"""

from __future__ import annotations

import numpy as np
import pytest

from memsys.constraints import Scope, constraints, table
from memsys.monitor import WHOLE_RANK, instance
from memsys.part import Command
from memsys.reference import engine
from memsys.reference.controller import nodes, rules_by_command
from memsys.standard import load_part, parts


class Device:
    """The banks of a channel under some of its rules: the compiled S4 alone."""

    def __init__(self, part, rows):
        self.part, self.nodes = part, nodes(part)
        self.rules, self.first = rules_by_command(np.array(rows, dtype=np.int64).reshape(-1, 5))
        self.ready = np.zeros((self.nodes.max() + 1, len(Command)), np.int64)
        self.past = np.zeros((len(rows), len(self.ready), 4), np.int64)
        self.issued = np.zeros((len(rows), len(self.ready)), np.int64)
        self.rank_of = np.arange(part.banks_per_channel) // part.banks_per_rank

    def issue(self, command, bank, cycle):
        siblings = self.part.organisation.ranks
        arrays = (self.ready, self.past, self.issued, self.nodes, self.rules, self.first, self.rank_of)
        engine.note(*arrays, siblings, bank, int(command), cycle)

    def is_ready(self, command, bank, cycle):
        return engine.earliest(self.ready, self.nodes, bank, int(command)) <= cycle


def targets(part, command):
    """Banks that a command may name, near to each other and far: the first of a rank for those of a whole rank."""
    step = part.banks_per_rank
    if command in WHOLE_RANK:
        return range(0, part.banks_per_channel, step)
    ranks = range(0, part.banks_per_channel, step)
    return sorted({rank + bank for rank in ranks for bank in (0, 1, part.organisation.banks % step, step - 1)})


def meets(part, rule, before, after):
    one, other = instance(part, rule.scope, before), instance(part, rule.scope, after)
    ranks = part.organisation.ranks
    return (one != other and one // ranks == other // ranks) if rule.scope is Scope.OTHER_RANK else one == other


@pytest.mark.parametrize("name", parts())
def test_each_rule_alone_holds_to_the_cycle_and_where_it_should(name):
    part = load_part(name)
    for rule in constraints(part):
        for bank in (0, part.banks_per_channel - part.banks_per_rank):
            device = Device(part, [tuple(map(int, rule))])
            for issued in range(rule.window):
                free = all(device.is_ready(rule.after, target, 100 + 3 * issued) for target in targets(part, rule.after))
                assert free, f"{rule}: bound after {issued} of {rule.window} commands"
                device.issue(rule.before, bank, 100 + 3 * issued)
            first = 100 + rule.cycles  # counted from the first of the window
            for target in targets(part, rule.after):
                if meets(part, rule, bank, target):
                    assert not device.is_ready(rule.after, target, first - 1), f"{rule}: ready a cycle too early"
                    assert device.is_ready(rule.after, target, first), f"{rule}: not ready in its cycle"
                else:
                    assert device.is_ready(rule.after, target, 0), f"{rule}: bank {target} is bound, which it does not reach"


@pytest.mark.parametrize("name", parts())
def test_a_command_is_ready_when_no_rule_forbids_it(name):
    """Random commands: the first cycle in which a command is ready is the latest that any rule demands."""
    part = load_part(name)
    device, rng = Device(part, table(part)), np.random.default_rng(3)
    history, cycle = [], 0
    for _ in range(60):
        cycle += int(rng.integers(0, 4))
        command = Command(int(rng.choice([int(known) for known in part.commands])))
        bank = int(rng.choice(list(targets(part, command))))
        device.issue(command, bank, cycle)
        history.append((cycle, command, bank))
        after = Command(int(rng.choice([int(known) for known in part.commands])))
        target = int(rng.choice(list(targets(part, after))))
        due = 0
        for rule in constraints(part):
            if rule.after is after:
                cycles = sorted(c for c, before, b in history if before is rule.before and meets(part, rule, b, target))
                if len(cycles) >= rule.window:
                    due = max(due, cycles[-rule.window] + rule.cycles)
        assert engine.earliest(device.ready, device.nodes, target, int(after)) == due
