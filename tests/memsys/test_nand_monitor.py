"""Does the monitor of page operations see each interval that is missing, moved, of the wrong length or at the wrong place?"""

from __future__ import annotations

import numpy as np
import pytest

from memsys.nand_ops.monitor import violations
from memsys.nand_ops.operations import Interval, Kind, Operations, Place, run
from memsys.nand_part import NandPart, load_nand

READ, PROGRAM, ERASE = Kind


def part_of(**changes) -> NandPart:
    data = load_nand("mqsim").model_dump(by_alias=True, exclude_none=True)
    return NandPart.from_data(data | {"assumed": {}, "channels": 1, "chips": 1, "blocks": 6, "pages": 4} | changes)


def played(part, size=120, seed=5):
    rng = np.random.default_rng(seed)
    sizes = (part.channels, part.chips, part.dies, part.planes, part.blocks, part.pages)
    place = Place(*(rng.integers(0, n, size) for n in sizes))
    operations = Operations(rng.choice(3, size, p=(0.6, 0.3, 0.1)), place, None, np.cumsum(rng.integers(0, 200_000_000, size)))
    return operations, run(part, operations, traced=True).trace[0]


PART = part_of(cache_read=True)
OPERATIONS, TRACE = played(PART)


def seen(trace, part=PART, operations=OPERATIONS):
    return "\n".join(violations(part, operations, 0, trace))


def test_a_sound_trace_is_silent_and_has_suspensions():
    assert seen(TRACE) == ""
    assert any(interval.what == "suspend" for interval in TRACE)


@pytest.mark.parametrize("what", ["command", "load", "out", "sense"])
def test_a_phase_that_is_missing(what):
    for gone in (i for i in TRACE if i.what == what):
        assert f"operation {gone.operation}" in seen([i for i in TRACE if i is not gone])


@pytest.mark.parametrize("what", ["command", "load", "out"])
def test_a_phase_that_happens_twice(what):
    twice = next(i for i in TRACE if i.what == what)
    assert f"operation {twice.operation}: 2 x {what}" in seen([*TRACE, twice])


@pytest.mark.parametrize("what", ["command", "load", "out", "sense"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_phase_that_is_a_picosecond_too_long_or_too_short(what, change):
    for i in [i for i in TRACE if i.what == what][:20]:
        assert seen([j._replace(end=j.end + change) if j is i else j for j in TRACE]), i


@pytest.mark.parametrize("what", ["command", "load", "out", "sense"])
def test_a_phase_that_comes_too_soon(what):
    for i in [i for i in TRACE if i.what == what][:20]:
        early = 10**12
        moved = [j._replace(start=j.start - early, end=j.end - early) if j is i else j for j in TRACE]
        assert seen(moved), i


@pytest.mark.parametrize("what", ["suspend", "resume"])
def test_an_array_that_stops_or_goes_on_without_a_command_and_the_other_way_round(what):
    i = next(i for i in TRACE if i.what == what)
    assert f"wanted a {what} that ends at {i.end}" in seen([j for j in TRACE if j is not i])
    moved = i._replace(start=i.start - 1, end=i.end - 1)
    assert f"the {what} that ends at {i.end - 1} is for no array" in seen([moved if j is i else j for j in TRACE])


def test_a_phase_at_another_die():
    for i in [i for i in TRACE if i.operation >= 0][:40]:
        assert f"operation {i.operation}: wanted die" in seen([j._replace(die=1 - j.die) if j is i else j for j in TRACE])


def test_two_things_on_the_channel():
    i = next(i for i in TRACE if i.what == "out")
    assert "on a channel that carries" in seen([*TRACE, Interval("resume", 0, -1, i.start + 1, i.start + 2)])


def test_planes_of_other_pages_at_once():
    together = next(
        (i, j)
        for i in TRACE
        for j in TRACE
        if i.what == j.what == "sense" and i.operation < j.operation and i[3:] == j[3:] and i.die == j.die
    )
    page = OPERATIONS.place.page.copy()
    page[together[0].operation] += 2  # of the same type
    page %= PART.pages
    place = OPERATIONS.place._replace(page=page)
    assert "at once, of kinds" in seen(TRACE, operations=Operations(OPERATIONS.kind, place, None, OPERATIONS.arrival))
    assert "without multi-plane operations" in seen(TRACE, part_of(cache_read=True, multi_plane=False))


def test_a_register_that_is_used_again_before_its_page_has_left():
    """Reads one behind the other, seen as if the part had no cache register; and three of them before the first has left."""
    zeros = np.zeros(3, np.int64)
    part = part_of(cache_read=True, planes=1)
    reads = Operations(zeros, Place(zeros, zeros, zeros, zeros, zeros, zeros))
    trace = run(part, reads, traced=True).trace[0]
    assert seen(trace, part, reads) == ""
    assert "its register is used again" in seen(trace, part_of(cache_read=False, planes=1), reads)
    late = max(i.end for i in trace)
    moved = [i._replace(start=late, end=late + i.end - i.start) if i.what == "out" and i.operation == 0 else i for i in trace]
    assert "2 reads are sensed behind it" in seen(moved, part, reads)


def test_a_program_that_overwrites_a_page_which_waits_to_leave():
    """A cache register takes the page of a next reading, not that of a program."""
    zeros = np.zeros(2, np.int64)
    part = part_of(cache_read=True, planes=1)
    both = Operations(np.array([READ, PROGRAM]), Place(zeros, zeros, zeros, zeros, np.arange(2), zeros))
    trace = run(part, both, traced=True).trace[0]
    assert seen(trace, part, both) == ""
    load = next(i for i in trace if i.what == "load")
    moved = [i._replace(start=load.end, end=load.end + i.end - i.start) if i.what == "out" else i for i in trace]
    assert f"operation 0: its register is used again at {load.start}, before" in seen(moved, part, both)


def test_a_read_that_overtakes_the_program_of_its_block():
    zeros = np.zeros(2, np.int64)
    part = part_of(planes=1)
    kinds = np.array([PROGRAM, READ])
    one_block = Operations(kinds, Place(zeros, zeros, zeros, zeros, zeros, zeros))
    others = Operations(kinds, Place(zeros, zeros, zeros, zeros, np.arange(2), zeros))
    trace = run(part, others, traced=True).trace[0]
    assert seen(trace, part, others) == ""
    assert "operation 1 overtakes operation 0 of the same block" in seen(trace, part, one_block)


def test_a_suspension_that_the_part_cannot_do():
    data = PART.model_dump(by_alias=True, exclude_none=True)
    never = NandPart.from_data({key: value for key, value in data.items() if "suspend" not in key})
    assert "suspended, which the part cannot" in seen(TRACE, never)
