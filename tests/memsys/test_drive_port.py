"""Does a shared link take its turns, keep its bandwidth, and never hang when it is cut?"""

from __future__ import annotations

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from memsys.drive.port import LinkDown, LinkPort
from memsys.link import load_link

LINK = load_link("pcie4_x4")


def _finish(env: simpy.Environment, port: LinkPort, at: int, nbytes: int, direction: str, ends: dict, name) -> simpy.Process:
    def process():
        yield env.timeout(at)
        yield from port.transfer(nbytes, direction)
        ends[name] = env.now

    return env.process(process())


@given(st.integers(0, 1 << 24), st.sampled_from([4096, 100_000, 1 << 30]))
def test_alone_a_transfer_takes_the_closed_form(nbytes, segment):
    env, ends = simpy.Environment(), {}
    port = LinkPort(env, LINK, segment=segment)
    _finish(env, port, 5, nbytes, "out", ends, "a")
    env.run()
    assert ends["a"] == 5 + LINK.time_ps(nbytes)
    assert port.moved["out"] == nbytes


def test_directions_do_not_wait_for_each_other():
    env, ends = simpy.Environment(), {}
    port = LinkPort(env, LINK)
    for direction in ("in", "out"):
        _finish(env, port, 0, 10**6, direction, ends, direction)
    env.run()
    assert ends["in"] == ends["out"] == LINK.time_ps(10**6)


def test_a_small_transfer_waits_for_one_segment_and_not_for_a_gigabyte():
    env, ends = simpy.Environment(), {}
    port = LinkPort(env, LINK)
    _finish(env, port, 0, 10**9, "out", ends, "large")
    _finish(env, port, 1000, 64, "out", ends, "small")
    env.run()
    assert ends["small"] <= LINK.transfer_ps(port.segment) + LINK.time_ps(64)
    assert LINK.time_ps(10**9) <= ends["large"] <= LINK.time_ps(10**9) + LINK.transfer_ps(64)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**6)), min_size=1, max_size=8))
def test_the_last_byte_never_comes_before_all_could_have_passed(transfers):
    env, ends = simpy.Environment(), {}
    port = LinkPort(env, LINK)
    for i, (at, nbytes) in enumerate(transfers):
        _finish(env, port, at, nbytes, "in", ends, i)
    env.run()
    total = sum(nbytes for _, nbytes in transfers)
    assert port.moved["in"] == total
    assert max(ends.values()) >= min(at for at, _ in transfers) + LINK.latency + total * 10**6 // LINK.bandwidth
    assert all(ends[i] >= at + LINK.time_ps(nbytes) for i, (at, nbytes) in enumerate(transfers))


def test_a_cut_ends_what_runs_what_waits_and_what_comes():
    env, failed = simpy.Environment(), {}
    port = LinkPort(env, LINK)

    def process(name, at):
        yield env.timeout(at)
        try:
            yield from port.transfer(10**9, "out")
        except LinkDown as error:
            failed[name] = (env.now, str(error))

    for name, at in (("running", 0), ("waiting", 10), ("later", 10**10)):
        env.process(process(name, at))

    def cutter():
        yield env.timeout(10**9)
        port.cut("cable pulled")

    env.process(cutter())
    env.run()
    assert {name: at for name, (at, _) in failed.items()} == {"running": 10**9, "waiting": 10**9, "later": 10**10}
    assert {text for _, text in failed.values()} == {"link pcie4_x4 cut at 1000000000 ps: cable pulled"}
    assert 0 < port.moved["out"] < 10**9
    assert port.lanes["out"].count == len(port.lanes["out"].queue) == 0


def test_an_interrupt_of_another_kind_is_passed_on():
    env, port = simpy.Environment(), None
    port = LinkPort(env, LINK)

    def process():
        yield from port.transfer(10**9, "in")

    def other(victim):
        yield env.timeout(5)
        victim.interrupt("stop")

    env.process(other(env.process(process())))
    with pytest.raises(simpy.Interrupt, match="stop"):
        env.run()
