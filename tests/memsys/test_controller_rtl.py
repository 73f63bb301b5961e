"""Does the RTL of the DRAM controller issue the reference's commands, each in its cycle, and what if a rule is weaker in it?"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from channel_replay import Seen, replay
from test_reference import Impatient, often_refreshed, stream

from accel.base.simulation import LONG_RUN_CYCLES, choose
from memsys.address_map import Location, address_map
from memsys.constraints import constraints
from memsys.controller import ChannelController
from memsys.controller.timing import timers
from memsys.monitor import unserved, violations
from memsys.part import COLUMN_COMMANDS, Command, Part
from memsys.reference.controller import Controller, Requests, run
from memsys.standard import load_part, parts

HBM2 = load_part("hbm2/ramulator_8gb_2000")  # two pseudo channels, two command buses, ACT of two cycles, per-bank refresh
LEGACY = load_part("hbm2/dramsim3_8gb_2000")  # tFAW binds
TWO_RANKS = load_part("ddr4/dramsim3_8gb_x8_3200")
HBM3 = load_part("hbm3/ramulator_16gb_8hi_6400")  # pseudo channels and stack ids
LPDDR4X = load_part("lpddr4x/dramsys_8gb_x16_4266")
ID_BITS = 12


def small(part: Part) -> Part:
    """``part`` with eight banks in a rank: built and simulated in a fraction of the time."""
    return part.model_copy(update={"organisation": part.organisation.model_copy(update={"bank_groups": 2, "banks": 4})})


def mapped(part: Part, name: str, bursts: np.ndarray, writes: float, seed: int) -> Requests:
    """Bursts of one channel by a mapping, some of them written."""
    write = np.random.default_rng(seed).random(bursts.size) < writes
    return Requests.at(bursts * part.burst_bytes, part, address_map(name, part), 1, write)


def cases(part: Part, seed: int, size: int = 150) -> list[tuple[Requests, int]]:
    """Sequential and random, hits and conflicts at several paces and mixtures, and a request long after refreshes without any."""
    bursts = part.capacity // part.organisation.channels // part.burst_bytes
    anywhere = np.random.default_rng(seed).integers(0, bursts, size)
    place = Location(*(np.array([value]) for value in (0, part.banks_per_channel - 1, 1, 0)))
    pause = min(2 * part.timing.trefi + 50, 16_000)
    return [
        (mapped(part, "RoBaRaCoCh", np.arange(size) + 60, 0.0, seed), 0),
        (mapped(part, "MOP4CLXOR", np.arange(size), 0.3, seed), 0),
        (mapped(part, "RoBaRaCoCh", anywhere, 0.3, seed), 0),
        (stream(part, seed + 1, size, rows=2, writes=0.3, pace=0), 0),
        (stream(part, seed + 2, size, rows=3, writes=0.9, pace=4), 0),
        (stream(part, seed + 3, size, rows=4, writes=0.3, pace=60), 0),
        (Requests(place, np.array([True]), np.array([pause])), pause + 500),
    ]


def check(part: Part, controller: Controller, streams: list[tuple[Requests, int]], simulator: str = "icarus") -> None:
    """The RTL's commands, acceptances and data of each stream are the reference's, in the same cycles, and lawful."""
    hardware = ChannelController(part, controller, ID_BITS)
    for number, ((requests, until), seen) in enumerate(zip(streams, replay(hardware, streams, simulator), strict=True)):
        wanted = run(part, requests, controller, until=until, traced=True)
        [commands] = wanted.trace
        # The row bus does not say for which request a row is closed; and the reference stops behind the last column command.
        expected = [i._replace(request=-1) if i.command is Command.PRE else i for i in commands]
        end = max(until, *(i.cycle + 1 for i in commands if i.command in COLUMN_COMMANDS))
        assert [i for i in seen.commands if i.cycle < end] == expected, f"stream {number}"
        assert (seen.entered, seen.done) == (wanted.entered.tolist(), wanted.done.tolist())
        assert violations(part, seen.commands, controller.refresh) == []
        assert unserved(requests, seen.commands) == []
        check_bursts(part, seen)


def check_bursts(part: Part, seen: Seen) -> None:
    """Each burst starts CL or CWL after its command, and no two of a pseudo channel touch."""
    t, per_bus = part.timing, part.banks_per_channel // part.organisation.pseudo_channels
    latency = {Command.RD: t.cl, Command.RDA: t.cl, Command.WR: t.cwl, Command.WRA: t.cwl}
    expected = sorted(
        (i.bank // per_bus, i.cycle + latency[i.command], i.command in (Command.WR, Command.WRA), i.request)
        for i in seen.commands
        if i.command in COLUMN_COMMANDS
    )
    assert sorted(seen.bursts) == expected
    for (bus, start, _, _), (other, following, _, _) in itertools.pairwise(expected):
        assert bus != other or following - start >= part.burst_cycles


CONFIGURATIONS = {
    "two pseudo channels": (HBM2, Controller(depth=8)),
    "two ranks": (TWO_RANKS, Controller(depth=8, held=5)),
    "refreshed often": (often_refreshed(small(TWO_RANKS)), Controller(depth=6, patience=100)),
    "closed page, refresh by bank": (often_refreshed(small(HBM2)), Controller(page="closed", refresh="per_bank", depth=5)),
    "closed page, one bus": (often_refreshed(small(LPDDR4X)), Impatient(page="closed", depth=4, held=2, patience=40)),
    "impatient": (small(LEGACY), Impatient(refresh="none", depth=2, held=1, patience=1)),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_commands_and_their_cycles_are_those_of_the_reference(name):
    part, controller = CONFIGURATIONS[name]
    check(part, controller, cases(part, seed=len(name)))


LARGE = {
    "HBM2": (HBM2, Controller()),
    "HBM2, closed page": (HBM2, Controller(page="closed", refresh="per_bank")),
    "two ranks": (TWO_RANKS, Controller()),
    "HBM3": (HBM3, Controller()),
    "LPDDR4X": (LPDDR4X, Controller(page="closed", refresh="per_bank", patience=200)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", LARGE)
def test_with_full_queues_over_many_requests(name):
    part, controller = LARGE[name]
    check(part, controller, cases(part, seed=100, size=2000), choose("auto", LONG_RUN_CYCLES)[0])


@pytest.mark.long
@pytest.mark.parametrize("name", parts())
def test_every_part(name):
    part = often_refreshed(load_part(name))
    refresh = "per_bank" if part.per_bank_refresh else "all_bank"
    check(part, Controller(refresh=refresh, depth=6, patience=300), cases(part, seed=7))


def weakened(part: Part, timing: str) -> Part:
    """``part`` with one timing a cycle short: what a controller believes that does not know the rule."""
    return part.model_copy(update={"timing": part.timing.model_copy(update={timing: getattr(part.timing, timing) - 1})})


def mutant(part: Part, controller: Controller, timing: str) -> None:
    """A controller built for the weakened part differs from the reference of the part, and breaks its rules."""
    streams = [(stream(part, seed, 300, rows, 0.4, pace), 0) for seed, (rows, pace) in enumerate([(2, 0), (2000, 0), (3, 30)])]
    found, lawful = [], []
    for (requests, _), seen in zip(
        streams, replay(ChannelController(weakened(part, timing), controller, ID_BITS), streams), strict=True
    ):
        [wanted] = run(part, requests, controller, traced=True).trace
        found.append([i[:3] for i in seen.commands[: len(wanted)]] == [i[:3] for i in wanted])
        lawful.append(not violations(part, seen.commands, controller.refresh))
    assert not all(found), f"with {timing} a cycle short, commands are those of the reference"
    assert not all(lawful), f"with {timing} a cycle short, no rule is broken"


OPEN, CLOSED = Controller(depth=8), Controller(depth=8, page="closed", refresh="per_bank")
PER_BANK = often_refreshed(small(HBM2))
MUTANTS = [(small(LEGACY), OPEN, "tfaw"), (small(TWO_RANKS), OPEN, "trtrs"), (PER_BANK, CLOSED, "trfc_pb")]
LATER = [
    (small(LEGACY), OPEN, ("trcd_rd", "trcd_wr", "trp", "tras", "trrd_s", "trrd_l", "twr", "twtr_s", "twtr_l", "trtp")),
    (often_refreshed(small(LEGACY)), OPEN, ("trfc", "trp_ab", "turnaround")),
    (often_refreshed(small(TWO_RANKS)), OPEN, ("tccd_l", "trp_ab")),
    (PER_BANK, CLOSED, ("trc", "trrefd")),
]
OTHERS = [(part, controller, timing) for part, controller, timings in LATER for timing in timings]


@pytest.mark.parametrize(("part", "controller", "timing"), MUTANTS, ids=[m[2] for m in MUTANTS])
def test_a_weaker_rule_is_seen_by_the_reference_and_by_the_monitor(part, controller, timing):
    mutant(part, controller, timing)


@pytest.mark.long
@pytest.mark.parametrize(("part", "controller", "timing"), OTHERS, ids=[m[2] for m in OTHERS])
def test_every_other_weaker_rule_too(part, controller, timing):
    mutant(part, controller, timing)


CHANGES = {"depth": 7, "held": 3, "drain_start": 5, "drain_stop": 2, "patience": 61, "page": "closed", "refresh": "none"}


@pytest.mark.long
@pytest.mark.parametrize("parameter", CHANGES)
def test_every_parameter_is_seen_in_the_commands(parameter):
    part, controller = often_refreshed(small(TWO_RANKS)), Impatient(depth=8, held=4, drain_start=6, drain_stop=1, patience=60)
    changed = controller.model_copy(update={parameter: CHANGES[parameter]})
    requests = stream(part, seed=3, size=400, rows=3, writes=0.4, pace=4)
    [seen] = replay(ChannelController(part, changed, ID_BITS), [(requests, 0)])
    [wanted] = run(part, requests, controller, traced=True).trace
    assert [i[:3] for i in seen.commands[: len(wanted)]] != [i[:3] for i in wanted]


@pytest.mark.parametrize("name", parts())
def test_rules_that_others_imply_are_not_built(name):
    part = load_part(name)
    built = timers(part, part.commands)
    counted = sum(len(after) * len(timer.before) for timer in built for after in timer.waits.values())
    assert 0 < counted < len(constraints(part))
    for timer in built:
        assert min(timer.waits) > 1


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match=r"refresh: wanted all_bank or none, as ddr4/.* has no per-bank refresh, got per_bank"):
        ChannelController(TWO_RANKS, Controller(refresh="per_bank"))
    with pytest.raises(ValueError, match="id_bits: wanted at least 7, as 80 requests wait, got 6"):
        ChannelController(HBM2, Controller(), id_bits=6)
