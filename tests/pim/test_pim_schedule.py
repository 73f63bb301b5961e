"""Is every schedule legal, as early as it can be, and refreshed in time; and do NeuPIMs' tile costs come out of it?"""

import csv
from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsys.part import Command
from memsys.standard import load_part
from pim import channel as channel_module
from pim import schedule as schedule_module
from pim.channel import Channel, Practice
from pim.commands import Issued
from pim.monitor import late_refreshes, violations
from pim.rules import COMP, GEMV, GWRITE, HEADER, PACT, PPRE, READRES, rules
from pim.schedule import play
from pim.tiles import Gwrite, Tile, attend, layout_on, logits

PART = load_part("hbm2/neupims_8gb_2000")
LAYOUT = layout_on(PART, heads=8, head_dim=128)  # GPT3-7B on four devices

operations = st.lists(
    st.one_of(
        st.builds(Gwrite, st.sampled_from([0, 5, 31]), st.integers(0, 2)),
        st.builds(Tile, st.integers(1, 32), st.integers(1, 4), st.integers(3, 9)),
    ),
    min_size=1,
    max_size=12,
)


def other_rows(work):
    """``work`` without two tiles in a row on one row, which no layout has."""
    return [o._replace(row=10 + i) if isinstance(o, Tile) else o for i, o in enumerate(work)]


@settings(max_examples=25, deadline=None)
@given(operations, st.booleans(), st.integers(0, 4000))
def test_no_schedule_breaks_a_rule_and_refreshes_come_in_time(work, dual, start):
    work = other_rows(work)
    found = play(PART, work, dual=dual, start=start)
    assert violations(PART, found.commands, dual) == []
    closing = PART.timing.tras + PART.write_recovery + 2 * PART.banks_per_rank + PART.timing.trp
    last = found.commands[-1].cycle
    assert late_refreshes(PART, found.commands, start, last, closing) == []
    assert sum(c.command is GEMV for c in found.commands) == sum(o.results for o in work if isinstance(o, Tile))
    assert sum(c.command is GWRITE for c in found.commands) == sum(isinstance(o, Gwrite) for o in work)


@settings(max_examples=25, deadline=None)
@given(operations, st.booleans())
def test_each_command_comes_in_the_first_legal_cycle(work, dual):
    commands = play(PART, other_rows(work), dual=dual, refresh=False).commands
    channel, before = Channel(PART, dual), -1
    for issued in commands:
        assert issued.cycle == max(before + 1, channel.earliest(issued.command, issued.bank, issued.bursts))
        channel.issue(issued)
        before = issued.cycle


@pytest.fixture
def forget(monkeypatch):
    """A function that takes rules of time away from channels, but not from the monitor."""
    cached = (channel_module.waits, channel_module._windows, channel_module.around_results)

    def without(pairs):
        for function in cached:
            function.cache_clear()
        monkeypatch.setattr(schedule_module, "_memory", {})
        kept = {dual: [r for r in rules(PART, dual) if (r.before, r.after) not in pairs] for dual in (True, False)}
        monkeypatch.setattr(channel_module, "rules", lambda part, dual: kept[dual])

    yield without
    for function in cached:
        function.cache_clear()


BETWEEN_GEMVS = [(a, b) for a in (COMP, READRES) for b in (COMP, READRES)]
FROM_GWRITE = [(GWRITE, after) for after in (HEADER, PACT, PPRE, COMP, READRES, GWRITE, Command.PRE)]


@pytest.mark.parametrize("dual", [True, False])
@pytest.mark.parametrize(
    "pairs",
    [
        [(PACT, PACT)],
        [(PACT, COMP)],
        BETWEEN_GEMVS,
        [(COMP, PPRE), (READRES, PPRE)],
        FROM_GWRITE,
        [(Command.REFAB, PACT)],
        [(PPRE, Command.REFAB), (Command.PRE, Command.REFAB)],
        [(Command.ACT, GWRITE)],
    ],
)
def test_a_schedule_that_forgets_a_rule_is_seen(forget, dual, pairs):
    """The rules that bind, with those that would hold in their place."""
    forget(pairs)
    work = [Gwrite(), *(Tile(1 + 7 * (i % 3), 1 + i % 2, 10 + i) for i in range(14))]
    commands = play(PART, work, dual=dual).commands
    assert any(f"({pairs[0][0].name} to " in line for line in violations(PART, commands, dual))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda c: [*c, c[-1]], "on a bus that carries"),
        (lambda c: [i for i in c if i.command is not HEADER], "does not announce"),
        (lambda c: [i for i in c if i.command is not PPRE], "while the PIM row buffer of bank 0 is open"),
        (lambda c: [i for i in c if i.command is not Command.ACT], "where row None is open"),
        (lambda c: c[:-1], "never came"),
        (lambda c: [i for i in c if not (i.command is PACT and i.bank == 4)], "do not all hold the row"),
    ],
)
def test_the_monitor_sees_commands_that_the_state_forbids(change, wanted):
    commands = play(PART, [Gwrite(), Tile(8, 2, 10), Tile(8, 2, 11)]).commands
    assert violations(PART, commands) == []
    assert any(wanted in line for line in violations(PART, change(commands)))


def test_a_refresh_that_is_left_out_is_seen():
    commands = play(PART, [Tile(8, 4, i) for i in range(40)]).commands
    without = [c for c in commands if c.command is not Command.REFAB]
    assert late_refreshes(PART, commands, 0, commands[-1].cycle, 100) == []
    assert "never refreshed" in late_refreshes(PART, without, 0, commands[-1].cycle, 100)[0]


def test_an_operation_too_long_for_the_time_between_refreshes_is_refused():
    with pytest.raises(ValueError, match=r"may take \d+ cycles, and \d+ fit between two refreshes; wanted fewer results"):
        play(PART, [Tile(32, 32)])


def gaps(commands, of):
    cycles = [c.cycle for c in commands if c.command is of]
    return [b - a for a, b in pairwise(cycles)]


def test_activation_of_all_banks_takes_four_windows_of_tfaw_on_two_ranks_at_once():
    commands = play(PART, [Tile(8, 1)], refresh=False).commands
    assert [c.cycle for c in commands if c.command is PACT] == [1, 2, 31, 32, 61, 62, 91, 92]
    assert [c.cycle for c in commands if c.command is GEMV] == [92 + 14]


def test_logit_tiles_of_neupims_without_refresh():
    """One after the other: tRTP 5 + 32 PPRE + HEADER + 91 from the first PACT to the last + tRCD 14 = 143, then 18 per GEMV(8).

    GEMV rules from its first COMP, as in the simulator; from its last, the rows close 16 cycles later.
    """
    work = [Tile(8, 4, i) for i in range(3)]
    published = play(PART, work, practice=Practice.NEUPIMS, refresh=False).commands
    assert gaps(published, GEMV) == [18, 18, 18, 143, 18, 18, 18, 143, 18, 18, 18]
    sound = play(PART, work, refresh=False).commands
    assert gaps(sound, GEMV) == [18, 18, 18, 159, 18, 18, 18, 159, 18, 18, 18]


@pytest.mark.parametrize("bursts", [1, 6, 8, 16, 32])
def test_attend_tiles_of_neupims_without_refresh(bursts):
    work = [Tile(bursts, 1, i) for i in range(3)]
    assert gaps(play(PART, work, practice=Practice.NEUPIMS, refresh=False).commands, GEMV) == [143, 143]
    assert gaps(play(PART, work, refresh=False).commands, GEMV) == [143 + 2 * max(bursts, 6)] * 2


def test_the_vector_takes_96_cycles_and_an_act_where_its_row_is_closed():
    commands = play(PART, [Gwrite(), Tile(8, 1)], refresh=False).commands
    assert [(c.cycle, c.command) for c in commands[:3]] == [(0, Command.ACT), (14, GWRITE), (14 + 96, HEADER)]


def test_a_single_row_buffer_closes_the_page_before_it_computes():
    commands = play(PART, [Gwrite(), Tile(8, 1), Gwrite()], dual=False, refresh=False).commands
    names = [c.command.name for c in commands]
    assert names == ["ACT", "GWRITE", "PRE", "HEADER", *["PACT"] * 8, "GEMV", "PPRE", "ACT", "GWRITE"]


def test_rows_are_those_of_the_layout():
    tokens = 513
    found = [o for o in logits(LAYOUT, tokens) if isinstance(o, Tile)]
    assert {o.row - 1 for o in found} == {LAYOUT.key(t, h).row for t in range(tokens) for h in range(8)}
    assert {(o.bursts, o.results) for o in found} == {(8, 4)}
    found = [o for o in attend(LAYOUT, tokens) if isinstance(o, Tile)]
    assert {o.row - 1 for o in found} == {
        LAYOUT.value(t, h, e).row for t in (0, 512) for h in range(8) for e in range(0, 128, 32)
    }
    assert {o.bursts for o in found} == {32, 1}


def test_the_neupims_run_on_its_trace(shared_file):
    """Cycles by operator of the simulator (GPT3-7B on four devices): logits with softmax 127,081, attend 139,157."""
    channels = defaultdict(list)
    with shared_file("traces/neupims_sharegpt_bs512_gpt3_7b_tp4.csv").open() as lines:
        for line in csv.DictReader(lines):
            channels[int(line["ch_idx"])].append(int(line["seq_len"]))
    longest = max(channels.values(), key=sum)
    work = [o for tokens in longest for o in logits(LAYOUT, tokens)]
    assert play(PART, work, practice=Practice.NEUPIMS, start=87268, keep=False).cycles == pytest.approx(127_081, rel=0.04)
    most = max(channels.values(), key=lambda c: sum(-(-tokens // 512) for tokens in c))
    work = [o for tokens in most for o in attend(LAYOUT, tokens)]
    assert play(PART, work, practice=Practice.NEUPIMS, start=87268, keep=False).cycles == pytest.approx(139_157, rel=0.01)


def test_traces_name_commands():
    assert str(Issued(3, PACT, 4, 9)) == "3 PACT bank 4 row 9"
