"""Drive: one NVMe drive as SimPy resources: submission slots, link, flash channels, an engine. Its idle times are those of `Ssd`.

    slot > trips of the command > flash > link out                          read
    slot > trips > link in > flash > completion                             write
    slot > trips > link in > flash and engine > link out                    attend: pages are read inside, a result leaves

A channel serves commands in the order of their arrival, each for the steady-state time of its pages. The first page of a command
is there after its own latency, and the others follow: reads of one command overlap, and so do those of the next. This queue is
kept as the time until which a channel is taken: a FIFO resource without an event for each channel. A read is 10 events, an attend
17, and one more for each further segment of a transfer.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import simpy

from memsys.drive.port import LinkPort
from memsys.kv_store.blocks import DriveFull
from memsys.ssd import TRIPS_TO_START, Ssd

Steps = Generator[simpy.Event, None, None]


@dataclass(frozen=True)
class Done:
    """A command that has ended: its kind, and when it was submitted, got its slot, and ended, in ps."""

    kind: str
    nbytes: int
    submitted: int
    started: int
    ended: int

    @property
    def latency(self) -> int:
        """From submission, the wait for a slot included, to completion."""
        return self.ended - self.submitted


class Drive:
    """One drive of ``ssd`` on ``port`` (its own link, where none is given), with room for its share of the capacity.

    Commands are steps of a process: ``yield from drive.read(...)``, or ``env.process(drive.read(...))``. They raise LinkDown
    where the link is cut.
    """

    def __init__(self, env: simpy.Environment, ssd: Ssd, port: LinkPort | None = None) -> None:
        self.env, self.ssd = env, ssd
        self.port = LinkPort(env, ssd.link) if port is None else port
        self.slots = simpy.Resource(env, ssd.queue_depth)
        self.engine = simpy.Resource(env, 1)
        self.room = ssd.capacity // ssd.drives
        """Bytes of whole pages that may still be written."""
        self.done: list[Done] = []
        self._channels = [0] * ssd.nand.channels  # ps until which each is taken

    def read(self, nbytes: int, page: int = 0) -> Steps:
        """Read ``nbytes`` from logical ``page`` on. Raises ValueError where they are not above zero."""
        _check(1, nbytes=nbytes)
        submitted = int(self.env.now)
        with self.port.attached(), self.slots.request() as slot:
            yield slot
            started = int(self.env.now)
            yield self.env.timeout(TRIPS_TO_START * self.ssd.link.latency)
            yield from self._flash(page, self.ssd.pages(nbytes), program=False)
            yield from self.port.transfer(nbytes, "out")
            self._end("read", nbytes, submitted, started)

    def write(self, nbytes: int, page: int = 0) -> Steps:
        """Write ``nbytes`` to new pages, from logical ``page`` on. Raises ValueError where they are not above zero, DriveFull,
        with figures, where there is no room for their pages."""
        _check(1, nbytes=nbytes)
        submitted, whole = int(self.env.now), self._whole(nbytes)
        if whole > self.room:
            raise DriveFull(f"drive full: wanted {whole / 1e9:.6g} GB, got room for {self.room / 1e9:.6g} GB")
        self.room -= whole
        with self.port.attached(), self.slots.request() as slot:
            yield slot
            started = int(self.env.now)
            latency = self.ssd.link.latency
            yield self.env.timeout((TRIPS_TO_START + 1) * latency)
            yield from self.port.transfer(nbytes, "in")
            yield from self._flash(page, self.ssd.pages(nbytes), program=True)
            yield self.env.timeout(latency)
            self._end("write", nbytes, submitted, started)

    def attend(self, pages: int, engine_ps: int, sent: int, result: int, page: int = 0) -> Steps:
        """Take ``sent`` bytes, read ``pages`` from ``page`` on, work for ``engine_ps`` as they come, send ``result`` bytes.

        The engine serves one command at a time, from its first page to its last, or longer. Raises ValueError below zero.
        """
        _check(0, pages=pages, engine_ps=engine_ps, sent=sent, result=result)
        submitted = int(self.env.now)
        with self.port.attached(), self.slots.request() as slot:
            yield slot
            started = int(self.env.now)
            yield self.env.timeout((TRIPS_TO_START + 1) * self.ssd.link.latency)
            yield from self.port.transfer(sent, "in")
            first, last = self._take(page, pages, program=False)
            yield self.env.timeout(first - self.env.now)
            with self.engine.request() as turn:
                yield turn
                yield self.env.timeout(max(engine_ps, last - self.env.now))
            yield from self.port.transfer(result, "out")
            self._end("attend", result, submitted, started)

    def reclaim(self, nbytes: int) -> None:
        """The pages of ``nbytes`` that were written are given up. Raises ValueError where so many were not."""
        written = self.ssd.capacity // self.ssd.drives - self.room
        if not 0 < self._whole(nbytes) <= written:
            raise ValueError(f"nbytes: wanted 1 to the {written} B of pages written, got {nbytes}")
        self.room += self._whole(nbytes)

    def _whole(self, nbytes: int) -> int:
        return int(self.ssd.pages(nbytes)) * self.ssd.nand.page_bytes

    def _end(self, kind: str, nbytes: int, submitted: int, started: int) -> None:
        self.done.append(Done(kind, nbytes, submitted, started, int(self.env.now)))

    def _flash(self, page: int, pages: int, *, program: bool) -> Steps:
        yield self.env.timeout(self._take(page, pages, program=program)[1] - self.env.now)

    def _take(self, page: int, pages: int, *, program: bool) -> tuple[int, int]:
        """Take the channels of ``pages`` striped from ``page`` on, each once it is free; when the first and the last are done."""
        now, channels = int(self.env.now), len(self._channels)
        each, more = divmod(pages, channels)
        starts, last = [], now
        for i in range(min(pages, channels)):
            channel, share = (page + i) % channels, each + (i < more)
            start = max(now, self._channels[channel])
            starts.append(start)
            self._channels[channel] = start + self.ssd.pages_ps(share, program=program)
            last = max(last, start + self.ssd.flash_ps(self._bytes_of(share), program=program))
        return (min(starts) + self.ssd.flash_ps(1, program=program) if starts else now), last

    def _bytes_of(self, share: int) -> int:
        """Bytes that put ``share`` pages on every channel."""
        return share * len(self._channels) * self.ssd.nand.page_bytes


def _check(least: int, **amounts: int) -> None:
    for name, amount in amounts.items():
        if amount < least:
            raise ValueError(f"{name}: wanted {least} or more, got {amount}")
