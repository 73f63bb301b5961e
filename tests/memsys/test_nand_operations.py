"""Do page operations take the times of their specification, one thing at a time, and reach what the closed forms say?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_nand import naive_channel

from memsys.nand_ops.monitor import violations
from memsys.nand_ops.operations import Kind, Operations, Place, run, striped
from memsys.nand_part import NandPart, load_nand, nands

READ, PROGRAM, ERASE = Kind
CELLS = ("slc", "mlc", "tlc")


def part_of(**changes) -> NandPart:
    """A small part; times in ns."""
    data = load_nand("mqsim").model_dump(by_alias=True, exclude_none=True)
    data |= {"assumed": {}, "channels": 1, "chips": 1, "dies": 2, "planes": 2, "blocks": 3, "pages": 4, "page_bytes": 64}
    data |= {
        "spare_bytes": 8,
        "channel_rate": "1000 MB/s",
        "command": "10 ns",
        "suspend_program": "20 ns",
        "suspend_erase": "20 ns",
    }
    return NandPart.from_data(data | changes)


@st.composite
def small_parts(draw):
    cell = draw(st.sampled_from(CELLS))
    types = CELLS.index(cell) + 1
    times = st.integers(1, 400).map(lambda ns: f"{ns} ns")
    programs = draw(st.lists(st.integers(50, 900), min_size=types, max_size=types))
    erase = draw(st.integers(50, 2000))
    changes = {
        "cell": cell,
        "chips": draw(st.integers(1, 2)),
        "dies": draw(st.integers(1, 2)),
        "planes": draw(st.integers(1, 3)),
        "read": draw(st.lists(times, min_size=types, max_size=types)),
        "program": [f"{ns} ns" for ns in programs],
        "erase": f"{erase} ns",
        "channel_rate": draw(st.sampled_from(["333 MB/s", "1000 MB/s"])),
        "command": draw(st.sampled_from(["0.5 ns", "10 ns", "90 ns"])),
        "multi_plane": draw(st.booleans()),
        "cache_read": draw(st.booleans()),
        "suspend_program": f"{draw(st.integers(1, 49))} ns",
        "suspend_erase": f"{draw(st.integers(1, 49))} ns",
    }
    without = draw(st.sets(st.sampled_from(["suspend_program", "suspend_erase"])))
    data = part_of(**changes).model_dump(by_alias=True, exclude_none=True)
    return NandPart.from_data({key: value for key, value in data.items() if key not in without})


@st.composite
def streams(draw, part: NandPart, most=40):
    size = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    weights = draw(st.sampled_from([(1, 0, 0), (0.7, 0.3, 0), (0.6, 0.25, 0.15), (0.2, 0.4, 0.4)]))
    place = Place(*(rng.integers(0, n, size) for n in (1, part.chips, part.dies, part.planes, part.blocks, part.pages)))
    gap = draw(st.sampled_from([0, 1_000, 100_000, 1_000_000]))
    return Operations(
        rng.choice(3, size, p=weights),
        place,
        rng.integers(1, part.page_bytes + part.spare_bytes + 1, size),
        np.cumsum(rng.integers(0, gap + 1, size)) if draw(st.booleans()) else None,
    )


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_the_engine_is_the_specification_operation_by_operation_and_the_monitor_sees_nothing(data):
    part = data.draw(small_parts())
    operations = data.draw(streams(part))
    overtakes = data.draw(st.sampled_from([0, 1, 2, 16]))
    done = run(part, operations, overtakes=overtakes, traced=True)
    naive = naive_channel(part, operations, overtakes)
    assert done.start.tolist() == [op.start for op in naive.ops]
    assert done.end.tolist() == [op.end for op in naive.ops]
    assert done.die_busy[0].tolist() == [die.busy for die in naive.dies]
    assert done.suspensions == naive.suspensions
    assert sorted(done.trace[0]) == sorted(naive.trace)
    assert violations(part, operations, 0, done.trace[0]) == []


@pytest.mark.parametrize("name", nands())
def test_one_page_alone_takes_command_array_and_transfer(name):
    part = load_nand(name)
    for page in range(part.page_types):
        place = Place(*(np.array([number]) for number in (part.channels - 1, 0, 0, 0, 0, page)))
        assert run(part, Operations(np.array([READ]), place)).elapsed_ps == part.read_latency_ps(page)
        assert run(part, Operations(np.array([PROGRAM]), place)).elapsed_ps == part.program_latency_ps(page)
    assert run(part, Operations(np.array([ERASE]), place)).elapsed_ps == part.command_ps + part.erase_ps


def steady(part, kind, rounds):
    pages = part.total_planes * rounds
    return run(part, Operations(np.full(pages, kind), striped(np.arange(pages), part)))


@pytest.mark.parametrize("name", nands())
def test_sequential_reads_and_programs_of_the_parts_reach_their_closed_form(name):
    part, rounds = load_nand(name), 240
    for kind, mb_per_s in ((READ, part.read_mb_per_s), (PROGRAM, part.program_mb_per_s)):
        assert steady(part, kind, rounds).mb_per_s == pytest.approx(mb_per_s, rel=0.01)
    assert part.read_mb_per_s == part.bus_read_mb_per_s < part.array_read_mb_per_s  # the channels are the limit of all of them


@settings(max_examples=150, deadline=None)
@given(small_parts(), st.sampled_from([READ, PROGRAM]))
def test_steady_state_of_any_part_is_the_closed_form(part, kind):
    """Exact where all page types take one time, or for one die; else dies fall out of step, and take up to 5 % more, or less.

    Never less than the channel takes.
    """
    part = NandPart.from_data(part.model_dump(by_alias=True, exclude_none=True) | {"blocks": 2000, "pages": 12})
    few, many = 24, 96
    periods = (many - few) * part.planes // part.planes_at_work
    mean = (steady(part, kind, many).elapsed_ps - steady(part, kind, few).elapsed_ps) / periods
    period = part.read_period_ps if kind is READ else part.program_period_ps
    types = set(part.read_ps if kind is READ else part.program_ps)
    if len(types) == 1 or part.dies_per_channel == 1:
        assert mean == pytest.approx(float(period), rel=1e-12)
        return
    channel = part.dies_per_channel * part.planes_at_work * (part.command_ps + part.page_transfer_ps)
    assert channel * 0.995 <= mean <= float(period) * 1.05


def test_figures_inside_the_dies_exceed_those_of_the_channels_as_published():
    """MQSim 13.98 against 2.66 GB/s, SimpleSSD 39.9 against 3.2 GB/s: 5.2 and 12.5 times (derived from their settings)."""
    mqsim, simplessd = load_nand("mqsim"), load_nand("simplessd")
    assert (mqsim.channels_mb_per_s, mqsim.array_read_mb_per_s) == (2664, 13981)
    assert (simplessd.channels_mb_per_s, simplessd.array_read_mb_per_s) == (3200, 39945)
    assert mqsim.array_read_mb_per_s / mqsim.channels_mb_per_s == pytest.approx(5.2, abs=0.06)
    assert simplessd.array_read_mb_per_s / simplessd.channels_mb_per_s == pytest.approx(12.5, abs=0.06)


def one_die(**changes):
    return part_of(dies=1, planes=1, pages=4, **{"cell": "slc", "read": ["100 ns"], "program": ["500 ns"], **changes})


def at(part, kinds, blocks, arrival=None, plane=0, page=0):
    size = len(kinds)
    zeros = np.zeros(size, np.int64)
    place = Place(zeros, zeros, zeros, zeros + plane, np.array(blocks), zeros + page)
    return Operations(np.array(kinds), place, None, None if arrival is None else np.array(arrival) * 1000)


def test_a_cache_register_hides_the_transfer_behind_the_next_reading():
    for cache, expected in ((False, 4 * (10 + 100 + 64)), (True, 4 * (10 + 100) + 64)):
        part = one_die(cache_read=cache)
        assert run(part, at(part, [READ] * 4, [0] * 4)).elapsed_ps == expected * 1000


def test_planes_work_together_on_one_page_number_only():
    part = part_of(dies=1, cell="slc", read=["100 ns"], program=["500 ns"])
    zeros = np.zeros(2, np.int64)
    for pages, expected in (([1, 1], 2 * 10 + 100 + 2 * 64), ([1, 2], 2 * (10 + 100 + 64))):
        place = Place(zeros, zeros, zeros, np.arange(2), zeros, np.array(pages))
        assert run(part, Operations(np.array([READ, READ]), place)).elapsed_ps == expected * 1000


def test_a_read_suspends_a_program_and_gives_the_time_back():
    part = one_die()
    done = run(part, at(part, [PROGRAM, READ], [0, 1], [0, 200]))
    read = 200 + 10 + 20 + 10 + 100 + 64  # suspend, be free, command, tR, out
    assert done.end[1] == read * 1000
    assert done.end[0] == (read + 10 + (10 + 64 + 500 - 210)) * 1000  # resume, and what was left at 210
    assert done.suspensions == 1


def test_a_read_of_the_block_that_is_programmed_waits_for_it():
    part = one_die()
    done = run(part, at(part, [PROGRAM, READ], [0, 0], [0, 200]))
    assert (done.suspensions, done.start[1]) == (0, done.end[0])


def test_no_suspension_where_the_program_would_be_done_first():
    part = one_die()
    done = run(part, at(part, [PROGRAM, READ], [0, 1], [0, 574 - 30]))
    assert (done.suspensions, done.start[1]) == (0, done.end[0])
    assert run(part, at(part, [PROGRAM, READ], [0, 1], [0, 574 - 31])).suspensions == 1


def test_without_suspension_all_is_in_order():
    part = part_of(dies=1)
    data = part.model_dump(by_alias=True, exclude_none=True)
    part = NandPart.from_data({key: value for key, value in data.items() if "suspend" not in key})
    done = run(part, at(part, [ERASE, READ, PROGRAM, READ], [0, 1, 2, 1]))
    assert np.all(np.diff(done.start) > 0)
    assert (
        run(part_of(dies=1), at(part, [ERASE, READ, PROGRAM, READ], [0, 1, 2, 1]), overtakes=0).end.tolist() == done.end.tolist()
    )


@pytest.mark.parametrize("overtakes", [1, 3, 8])
def test_an_erase_is_passed_by_so_many_reads_and_no_more(overtakes):
    part = one_die(erase="3 us")
    size = 60
    done = run(part, at(part, [ERASE] + [READ] * size, [0] + [1] * size), overtakes=overtakes)
    assert np.count_nonzero(done.end[1:] < done.end[0]) == overtakes
    assert done.end[0] - done.start[0] <= 3_000_000 + overtakes * (20 + 20 + 10 + 10 + 100 + 64) * 1000


def test_channels_do_not_meet():
    part = part_of(channels=2)
    rng = np.random.default_rng(3)
    sizes = (part.channels, part.chips, part.dies, part.planes, part.blocks, part.pages)
    place = Place(*(rng.integers(0, n, 200) for n in sizes))
    operations = Operations(rng.choice(3, 200, p=(0.6, 0.3, 0.1)), place)
    both = run(part, operations, traced=True)
    for channel in range(2):
        own = np.flatnonzero(place.channel == channel)
        alone = run(part, Operations(operations.kind[own], Place(*(column[own] for column in place))))
        assert both.end[own].tolist() == alone.end.tolist()
        assert violations(part, operations, channel, both.trace[channel]) == []


def test_what_is_moved_is_counted():
    part = load_nand("mqsim")
    kinds = np.array([READ, PROGRAM, ERASE, READ])
    done = run(part, Operations(kinds, striped(np.arange(4), part), np.array([1000, 8192, 8192, 8640])))
    assert done.counts == {READ: 2, PROGRAM: 1, ERASE: 1}
    assert done.nbytes == 1000 + 8192 + 8640


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"served": 63}, "1 of 64 operations can never be served"),
        ({"carried": 1}, "the channel carried for 1 ps, its operations take"),
        ({"busy": 1 << 60}, "a die worked for"),
        ({"busy": 0}, "the arrays worked for less than"),
        ({"end": 1}, "an operation took less than its command"),
        ({"start": -1}, "an operation started before it came"),
    ],
)
def test_a_run_that_breaks_a_law_raises(monkeypatch, broken, message):
    from memsys.nand_ops import engine

    simulate = engine.simulate

    def wrong(c, o, out):
        served, carried, *rest = simulate(c, o, out)
        for name in broken.keys() & {"busy", "end", "start"}:
            getattr(out, name)[:-1] = broken[name]
        return broken.get("served", served), broken.get("carried", carried), *rest

    monkeypatch.setattr(engine, "simulate", wrong)
    part = load_nand("mqsim").resized(channels=1)
    with pytest.raises(RuntimeError, match=message):
        run(part, Operations(np.zeros(64, int), striped(np.arange(64), part)))


def test_nothing_is_no_error():
    part = load_nand("mqsim")
    none = np.zeros(0, np.int64)
    done = run(part, Operations(none, Place(*(none,) * 6)))
    assert (done.elapsed_ps, done.mb_per_s, done.nbytes) == (0, 0.0, 0)


@given(st.sampled_from(nands()), st.lists(st.integers(0, 1 << 26), min_size=1, max_size=50, unique=True))
def test_striped_pages_have_places_of_their_own_and_neighbours_lie_on_other_channels(name, index):
    part = load_nand(name)
    index = np.array(index) % (part.capacity // part.page_bytes)
    place = striped(index, part)
    assert len(set(zip(*(column.tolist() for column in place), strict=True))) == len(set(index.tolist()))
    assert place.channel.tolist() == (index % part.channels).tolist()
    assert all(column.min() >= 0 and column.max() < 1 << 20 for column in place)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": [3]}, r"kind: wanted 0 to 2, the 3 of mqsim, got 3 \(the 1. of 1\)"),
        ({"channel": [8]}, "channel: wanted 0 to 7, the 8 of mqsim, got 8"),
        ({"chip": [4]}, "chip: wanted 0 to 3"),
        ({"die": [-1]}, "die: wanted 0 to 1, the 2 of mqsim, got -1"),
        ({"plane": [2]}, "plane: wanted 0 to 1"),
        ({"block": [2048]}, "block: wanted 0 to 2047"),
        ({"page": [256]}, "page: wanted 0 to 255"),
        ({"page": [0.5]}, "page: wanted integers, got float64"),
        ({"page": [0, 1]}, "page: wanted one for each of the 1 operations, got 2"),
        ({"nbytes": [8641]}, "nbytes: wanted 1 to 8640, a page of mqsim with its spare, got 8641"),
        ({"nbytes": [0]}, "nbytes: wanted 1 to 8640"),
        ({"arrival": [-1]}, "arrival: wanted ps from 0 on, in order, got -1"),
    ],
)
def test_operations_outside_of_the_part_are_refused(change, message):
    columns = {name: [0] for name in ("kind", "channel", "chip", "die", "plane", "block", "page")} | {
        "nbytes": [1],
        "arrival": [0],
    }
    columns = {name: np.array(values) for name, values in (columns | change).items()}
    place = Place(*(columns[name] for name in Place._fields))
    with pytest.raises(ValueError, match=message):
        run(load_nand("mqsim"), Operations(columns["kind"], place, columns["nbytes"], columns["arrival"]))


def test_arrivals_out_of_order_and_negative_overtakes_are_refused():
    part = load_nand("mqsim")
    operations = Operations(np.zeros(3, int), striped(np.arange(3), part), None, np.array([5, 7, 6]))
    with pytest.raises(ValueError, match=r"arrival: wanted ps from 0 on, in order, got 6 \(operation 2\)"):
        run(part, operations)
    with pytest.raises(ValueError, match="overtakes: wanted 0 or more reads that go first, got -1"):
        run(part, operations, overtakes=-1)
    with pytest.raises(ValueError, match="page: wanted 0 to 67108863, the pages of mqsim, got 67108864 to 67108864"):
        striped(np.array([1 << 26]), part)
