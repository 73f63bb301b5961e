"""Are idle commands as fast as the closed forms say, and busy ones slower, by as much as queues and bandwidth demand?"""

from __future__ import annotations

import random
from itertools import pairwise
from statistics import fmean

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from memsys.drive.nvme import Drive
from memsys.drive.port import LinkDown
from memsys.kv_store import DriveFull
from memsys.nand_part import nands
from memsys.ssd import Ssd

CSD = Ssd.from_data({"part": "instattention", "link": "pcie4_x4_measured"})
MQSIM = Ssd.from_data({"part": "mqsim", "link": "pcie_x4_mqsim"})
SIZES = st.integers(1, 1 << 22)


@settings(max_examples=60)
@given(st.sampled_from(nands()), st.sampled_from(["pcie3_x4", "pcie4_x4_measured"]), SIZES, st.integers(0, 10**6), st.data())
def test_an_idle_drive_takes_the_closed_forms_to_the_picosecond(part, link, nbytes, page, data):
    memory = Ssd.from_data({"part": part, "link": link})
    pages, engine_ps = data.draw(st.integers(0, 5000)), data.draw(st.integers(0, 10**9))
    for command, wanted in (
        (lambda drive: drive.read(nbytes, page), memory.read_ps(nbytes)),
        (lambda drive: drive.write(nbytes, page), memory.write_ps(nbytes)),
        (lambda drive: drive.attend(pages, engine_ps, nbytes, 256, page), memory.attend_ps(pages, engine_ps, nbytes, 256)),
    ):
        env = simpy.Environment()
        drive = Drive(env, memory)
        env.process(command(drive))
        env.run()
        assert [done.latency for done in drive.done] == [wanted]


class ByResources(Drive):
    """The same drive with a SimPy resource for each channel, held page by page in the order of arrival."""

    def __init__(self, env, ssd):
        super().__init__(env, ssd)
        self.channels = [simpy.Resource(env, 1) for _ in range(ssd.nand.channels)]

    def _flash(self, page, pages, *, program):
        each, more = divmod(pages, len(self.channels))
        env = self.env

        def channel(resource, share):
            with resource.request() as turn:
                yield turn
                start = env.now
                yield env.timeout(self.ssd.pages_ps(share, program=program))
            last = start + self.ssd.flash_ps(self._bytes_of(share), program=program)
            yield env.timeout(max(0, last - env.now))

        parts = [
            env.process(channel(self.channels[(page + i) % len(self.channels)], each + (i < more)))
            for i in range(min(pages, len(self.channels)))
        ]
        yield env.all_of(parts)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3 * 10**8), st.integers(0, 7), st.integers(1, 30), st.booleans()), max_size=20))
def test_channels_kept_as_times_are_fifo_resources(commands):
    ends = []
    for kind in (Drive, ByResources):
        env, seen = simpy.Environment(), {}
        drive = kind(env, MQSIM)

        def command(i, at, page, pages, program, drive=drive, env=env, seen=seen):
            yield env.timeout(at)
            yield from drive._flash(page, pages, program=program)
            seen[i] = env.now

        for i, each in enumerate(commands):
            env.process(command(i, *each))
        env.run()
        ends.append(seen)
    assert ends[0] == ends[1]


def _open_loop(memory: Ssd, share: float, commands: int, nbytes: int = 65536, each_ps: int = 10**9) -> tuple[Drive, float]:
    """Reads at random times, at ``share`` of what the drive serves; and the mean number of commands in it, seen every
    ``each_ps``."""
    rng, env = random.Random(3), simpy.Environment()
    drive = Drive(env, memory)
    gap = nbytes * 10**6 / (memory.read_mb_per_s(nbytes) * share)
    counted = []

    def host():
        for i in range(commands):
            yield env.timeout(round(rng.expovariate(1 / gap)))
            env.process(drive.read(nbytes, page=i * memory.pages(nbytes)))

    def watch():
        while len(drive.done) < commands:
            yield env.timeout(each_ps)
            counted.append(drive.slots.count + len(drive.slots.queue))

    env.process(host())
    env.process(watch())
    env.run()
    return drive, fmean(counted)


def _latency(drive: Drive) -> float:
    return fmean(done.latency for done in drive.done)


def _mb_per_s(drive: Drive) -> float:
    return sum(done.nbytes for done in drive.done) * 10**6 / max(done.ended for done in drive.done)


@pytest.mark.parametrize("memory", [CSD, MQSIM], ids=["link bound", "flash bound"])
def test_latency_rises_when_queues_fill(memory):
    idle = memory.read_ps(65536)
    latencies = [_latency(_open_loop(memory, share, 3000)[0]) / idle for share in (0.02, 0.5, 0.8, 0.95, 1.3)]
    assert latencies[0] == pytest.approx(1, rel=0.02)
    assert all(more > less for less, more in pairwise(latencies))
    assert latencies[1] < 1.6
    assert latencies[-1] > 20  # beyond saturation the queue, and the wait, grow as long as commands come


@pytest.mark.parametrize("memory", [CSD, MQSIM], ids=["link bound", "flash bound"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_littles_law(memory, share):
    """Commands in the drive = rate x latency, each measured on its own."""
    drive, counted = _open_loop(memory, share, 3000, each_ps=10**6)
    rate = len(drive.done) / max(done.ended for done in drive.done)
    assert counted == pytest.approx(rate * _latency(drive), rel=0.03)


@pytest.mark.parametrize("memory", [CSD, MQSIM], ids=["link bound", "flash bound"])
@pytest.mark.parametrize("nbytes", [4096, 8192, 65536, 1 << 20])
def test_throughput_saturates_where_the_closed_form_says(memory, nbytes):
    """Commands wait all the time; pages go round the channels."""
    commands = max(2000, 1 << 26 >> nbytes.bit_length())
    env = simpy.Environment()
    drive = Drive(env, memory)
    for i in range(commands):
        env.process(drive.read(nbytes, page=i * memory.pages(nbytes)))
    env.run()
    assert _mb_per_s(drive) <= memory.read_mb_per_s(nbytes) * 1.001
    assert _mb_per_s(drive) == pytest.approx(memory.read_mb_per_s(nbytes), rel=0.04)


def test_random_pages_meet_at_channels_and_lose_some_of_it():
    """4 KiB at a depth of 32 on MQSim's drive: 1.29 GB/s where pages go round, less where two of them meet."""
    env, rng = simpy.Environment(), random.Random(5)
    drive = Drive(env, MQSIM)
    for _ in range(5000):
        env.process(drive.read(4096, page=rng.randrange(1 << 20)))
    env.run()
    assert 0.7 < _mb_per_s(drive) / MQSIM.read_mb_per_s(4096) < 0.98


def test_peers_share_the_link_of_a_drive():
    """What a GPU takes straight from the drive's port is not there for reads of the host."""
    env = simpy.Environment()
    drive = Drive(env, CSD)
    nbytes = 1 << 28

    def peer():
        yield from drive.port.transfer(nbytes, "out")

    for i in range(256):
        env.process(drive.read(1 << 20, page=i * 256))
    env.process(peer())
    env.run()
    assert env.now >= CSD.link.transfer_ps(2 * nbytes)
    assert env.now < 1.05 * CSD.link.transfer_ps(2 * nbytes)


def test_drives_behind_one_port_share_its_link():
    """Two drives of 11 GB/s inside behind one link of 7 GB/s, and both are gone when it is cut."""
    env = simpy.Environment()
    first = Drive(env, CSD)
    drives = [first, Drive(env, CSD, first.port)]
    for i in range(128):
        for drive in drives:
            env.process(drive.read(1 << 20, page=i * 256))
    env.run()
    assert CSD.link.transfer_ps(1 << 28) <= env.now < 1.05 * CSD.link.transfer_ps(1 << 28)
    first.port.cut("cable pulled")
    env.process(drives[1].read(4096))
    with pytest.raises(LinkDown, match="cable pulled"):
        env.run()


def test_attention_reads_inside_what_the_link_could_not_carry():
    env = simpy.Environment()
    drive = Drive(env, CSD)
    pages = 10_000
    for i in range(20):
        env.process(drive.attend(pages, 0, 30_720, 10_240, page=i * pages))
    env.run()
    inside = 20 * pages * 4096 * 10**6 / env.now
    assert inside == pytest.approx(CSD.internal_mb_per_s, rel=0.01)
    assert inside > 1.5 * CSD.link.bandwidth


def test_a_slow_engine_is_the_limit():
    env = simpy.Environment()
    drive = Drive(env, CSD)
    for _ in range(10):
        env.process(drive.attend(100, 10**9, 1024, 1024))
    env.run()
    assert 10 * 10**9 < env.now < 10 * 10**9 + 2 * CSD.attend_ps(100, 0, 1024, 1024)


def test_the_engine_waits_for_its_first_page():
    """Channels that a read has taken give a page of attend after those of the read; the engine has no work before."""
    env = simpy.Environment()
    drive = Drive(env, MQSIM)
    engine_ps = 10**9
    env.process(drive.read(1 << 20))  # 16 pages of every channel
    env.process(drive.attend(8, engine_ps, 64, 64))
    env.run()
    attend = drive.done[-1]
    assert attend.kind == "attend"
    assert attend.latency >= MQSIM.pages_ps(16) + MQSIM.flash_ps(1) + engine_ps


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (lambda drive: drive.read(0), "nbytes: wanted 1 or more, got 0"),
        (lambda drive: drive.write(-1), "nbytes: wanted 1 or more, got -1"),
        (lambda drive: drive.attend(-1, 0, 1, 1), "pages: wanted 0 or more, got -1"),
        (lambda drive: drive.attend(1, 0, 1, -5), "result: wanted 0 or more, got -5"),
    ],
)
def test_amounts_that_make_no_sense_are_refused(command, message):
    env = simpy.Environment()
    env.process(command(Drive(env, CSD)))
    with pytest.raises(ValueError, match=message):
        env.run()


def test_a_cut_link_ends_the_run_with_its_reason():
    env = simpy.Environment()
    drive = Drive(env, CSD)
    failed = []

    def host(i):
        try:
            yield from drive.read(1 << 20, page=i)
        except LinkDown as error:
            failed.append((env.now, str(error)))

    def cutter():
        yield env.timeout(2 * 10**9)
        drive.port.cut("drive unplugged")

    for i in range(100):
        env.process(host(i))
    env.process(cutter())
    env.run()
    assert 0 < len(drive.done) < 100
    assert len(drive.done) + len(failed) == 100
    assert {why for _, why in failed} == {"link pcie4_x4_measured cut at 2000000000 ps: drive unplugged"}
    assert {at for at, _ in failed} == {2 * 10**9}
    assert drive.slots.count == 0


def test_a_cut_that_nobody_handles_stops_the_simulation():
    env = simpy.Environment()
    drive = Drive(env, CSD)
    env.process(drive.read(1 << 30))

    def cutter():
        yield env.timeout(10**9)
        drive.port.cut("drive unplugged")

    env.process(cutter())
    with pytest.raises(LinkDown, match="drive unplugged"):
        env.run()


def test_a_full_drive_refuses_with_figures_and_has_room_again_after_reclaim():
    """A page is taken whole, whatever is written to it."""
    env = simpy.Environment()
    memory = Ssd.from_data({"part": "instattention", "link": "pcie4_x4_measured", "capacity": "1 MiB"})
    drive = Drive(env, memory)
    env.process(drive.write((1 << 20) - 4096))
    env.process(drive.write(1))
    env.run()
    env.process(drive.write(1))
    with pytest.raises(DriveFull, match=r"drive full: wanted 4\.096e-06 GB, got room for 0 GB"):
        env.run()
    with pytest.raises(ValueError, match="nbytes: wanted 1 to the 1048576 B of pages written, got 1048577"):
        drive.reclaim((1 << 20) + 1)
    drive.reclaim(1 << 20)
    env.process(drive.write(1 << 20))
    env.run()
    assert [done.kind for done in drive.done] == ["write"] * 3
    assert drive.room == 0


@pytest.mark.parametrize(
    ("command", "most"),
    [
        (lambda drive: drive.read(65536), 10),
        (lambda drive: drive.write(65536), 11),
        (lambda drive: drive.attend(1000, 10**6, 30720, 10240), 17),
    ],
)
def test_a_command_is_few_events(command, most):
    env = simpy.Environment()
    drive = Drive(env, CSD)
    for _ in range(100):
        env.process(command(drive))
    steps = 0
    while env.peek() != float("inf"):
        env.step()
        steps += 1
    assert len(drive.done) == 100
    assert steps <= 100 * most
