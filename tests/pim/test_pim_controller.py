"""Does the RTL send what the schedule sends, cycle for cycle, and beside reads and writes nothing that a rule forbids?"""

import numpy as np
import pytest
from pim_channel_replay import replay

from memsys.part import Command
from memsys.standard import load_part
from pim.monitor import late_refreshes, violations
from pim.pim_controller import PimController
from pim.price import PimPrice
from pim.rules import GEMV
from pim.schedule import closed_within, fixed_of_gwrite, fixed_of_tile, per_result, play
from pim.tiles import Gwrite, Tile, attend, layout_on, logits
from pim.traffic import Access

PART = load_part("hbm2/neupims_8gb_2000")
BOTH = {"dual": PimController(PART), "single": PimController(PART, dual=False)}
REFRESHED_WITHIN = closed_within(PART) + 2 * PART.banks_per_rank + PART.timing.trp + 1
LONG = 40_000


def drawn_operations(rng, most=40):
    """GWRITEs of few rows among tiles, each on a row of its own."""
    return [
        Gwrite(int(rng.choice([0, 5, 31])), int(rng.integers(2)))
        if rng.random() < 0.2
        else Tile(int(rng.integers(1, 33)), int(rng.integers(1, 5)), 10 + i)
        for i in range(int(rng.integers(3, most)))
    ]


def drawn_accesses(rng):
    """A burst of accesses, or a trickle; to one bank or to all, to many rows or few, some to rows of tiles."""
    every, banks, rows = int(rng.choice([0, 3, 40])), int(rng.choice([1, 4, 32])), int(rng.choice([1, 3, 50]))
    first = 10 if rng.random() < 0.3 else 20_000
    return [
        Access(i * every, int(rng.integers(banks)), first + int(rng.integers(rows)), bool(rng.integers(2)))
        for i in range(int(rng.integers(1, 60)))
    ]


def drawn(seed):
    rng = np.random.default_rng(seed)
    return drawn_operations(rng), drawn_accesses(rng)


@pytest.mark.parametrize("buffers", list(BOTH))
def test_alone_its_commands_and_their_cycles_are_those_of_the_schedule(buffers):
    hardware, layout = BOTH[buffers], layout_on(PART, 8, 128)
    cases = [
        [*logits(layout, 700)],
        [*attend(layout, 530)],
        [*logits(layout_on(PART, 3, 64, full_rows=False), 40), *attend(layout_on(PART, 3, 64, full_rows=False), 17)],
        *(drawn_operations(np.random.default_rng(seed)) for seed in range(2)),
    ]
    for operations, seen in zip(cases, replay(hardware, [(o, []) for o in cases], LONG), strict=True):
        wanted = play(PART, operations, dual=hardware.dual).commands
        assert [c for c in seen.commands if c.cycle <= wanted[-1].cycle] == wanted
        assert seen.taken[-1] == wanted[-1].cycle


def held(hardware, seen, operations, accesses):
    """Every rule, every refresh in time, every operation done, every access served in its order and within the bound."""
    commands = seen.commands
    assert violations(PART, commands, hardware.dual) == []
    assert late_refreshes(PART, commands, 0, commands[-1].cycle, REFRESHED_WITHIN) == []
    assert [c.bursts for c in commands if c.command is GEMV] == [
        o.bursts for o in operations if isinstance(o, Tile) for _ in range(o.results)
    ]
    assert len(seen.taken) == len(operations)
    assert sorted(seen.served) == list(range(len(accesses)))
    for i, access in enumerate(accesses):
        got = seen.served[i]
        assert (got.bank, got.row, got.command is Command.WR) == (access.bank, access.row, access.write)
    in_bank = [[seen.served[i].cycle for i, a in enumerate(accesses) if a.bank == bank] for bank in range(32)]
    assert all(cycles == sorted(cycles) for cycles in in_bank)
    longest = max(
        [fixed_of_gwrite(PART)]
        + [fixed_of_tile(PART, hardware.dual) + o.results * per_result(PART, o.bursts) for o in operations if isinstance(o, Tile)]
    )
    waits = [seen.served[i].cycle - seen.entered[i] for i in seen.served]
    assert max(waits) <= hardware.waits_at_most(longest)


@pytest.mark.parametrize("buffers", list(BOTH))
def test_beside_reads_and_writes_no_rule_is_broken_nobody_starves_and_refreshes_come_in_time(buffers):
    cases = [drawn(seed) for seed in range(5)]
    for (operations, accesses), seen in zip(cases, replay(BOTH[buffers], cases, LONG), strict=True):
        held(BOTH[buffers], seen, operations, accesses)


@pytest.mark.long
@pytest.mark.parametrize("buffers", list(BOTH))
@pytest.mark.parametrize("first", [100, 200])
def test_the_same_for_many_more(buffers, first):
    cases = [drawn(seed) for seed in range(first, first + 60)]
    for (operations, accesses), seen in zip(cases, replay(BOTH[buffers], cases, LONG), strict=True):
        held(BOTH[buffers], seen, operations, accesses)


@pytest.mark.parametrize("buffers", list(BOTH))
def test_its_cycles_lie_in_the_range_of_the_price(buffers):
    hardware, layout = BOTH[buffers], layout_on(PART, 4, 128)
    rng = np.random.default_rng(7)
    cases = [(kind, context, drawn_accesses(rng)) for kind in ("logits", "attend") for context in (31, 300)]
    cases = [(kind, context, [a._replace(row=20_000 + a.row % 50) for a in accesses]) for kind, context, accesses in cases]
    work = {"logits": logits, "attend": attend}
    jobs = [([*work[kind](layout, context)], accesses) for kind, context, accesses in cases]
    for (kind, context, accesses), seen in zip(cases, replay(hardware, jobs, LONG), strict=True):
        cost = getattr(PimPrice(PART, layout, hardware.dual), kind)(context, len(accesses))
        last = next(c for c in reversed(seen.commands) if c.command is GEMV)
        took = last.cycle + 2 * max(last.bursts, 6) + PART.timing.cl + PART.burst_cycles
        assert cost.least.cycles <= took <= cost.cycles


def weaker(timing):
    """A controller built for a part with one timing a cycle, or a refresh ten, shorter than it is."""
    less = 10 if timing == "trfc" else 1
    times = PART.timing.model_copy(update={timing: getattr(PART.timing, timing) - less})
    return PimController(PART.model_copy(update={"timing": times}))


def mutant(timing, most=6):
    cases = [drawn(seed) for seed in range(most)]
    lines = [line for seen in replay(weaker(timing), cases, LONG) for line in violations(PART, seen.commands)]
    assert lines, f"nobody saw that {timing} is too short"


def test_a_controller_that_keeps_a_rule_a_cycle_short_is_seen():
    mutant("trcd_rd", most=1)


@pytest.mark.long
@pytest.mark.parametrize("timing", ["tfaw", "trtp", "trfc", "trp", "tras", "twr", "twtr_l", "trcd_wr", "turnaround", "cwl"])
def test_every_other_rule_too(timing):
    mutant(timing)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"depth": 0}, "depth: wanted 1 to 16 requests, got 0"), ({"patience": 0}, "patience: wanted 1 to 65536 cycles, got 0")],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        PimController(PART, **parameters)


def test_a_part_that_is_refreshed_all_the_time_is_refused():
    part = PART.model_copy(update={"timing": PART.timing.model_copy(update={"trefi": 600})})
    with pytest.raises(ValueError, match="a refresh every 300 cycles leaves no time"):
        PimController(part)
