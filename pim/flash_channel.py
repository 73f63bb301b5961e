"""One channel of NAND flash, event by event: dies that compute pages, others pages that are read beside them, one bus.

A die has two planes, each with a data register, which the cells fill in tR, and a cache register, from which the core works or
the bus reads; the cells go on to the next page as soon as the data register is free, whatever is to be done with it. In a round
the vector goes to all dies at once when every page is there and every core has done the page before; sums are sent as they are
ready. Ordinary pages go to the chip slice by slice, when no vector and no sum waits, and only as far ahead as the chip has room
for them: it takes them in when the matrix is worked on. A matrix begins when the one before is done, and the chip has done what
lies between.

This is what `pim.flash_split` has in closed form; it serves no trace.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

from accel.base.mapping import ceil_div
from pim.flash_split import ReadCompute

URGENT, PATIENT = 0, 1

Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Share:
    """What a channel has of one matrix."""

    computed: int
    """Pages that its dies compute."""
    read: int
    """Pages that the chip reads."""
    before_ps: int = 0
    """What the chip does first."""


class _Plane:
    """A plane with two registers: pages come into the cache register one after the other, each tR after the last one left."""

    def __init__(self, env: simpy.Environment, read_ps: int, pages: int):
        self.env, self.read_ps = env, read_ps
        self.full, self.free = simpy.Container(env, capacity=1), simpy.Container(env, capacity=1, init=1)
        env.process(self._read(pages))

    def _read(self, pages: int) -> Process:
        for _ in range(pages):
            yield self.env.timeout(self.read_ps)
            yield self.free.get(1)
            yield self.full.put(1)


class Channel:
    """A channel on which the shares of ``matrices`` follow one another; ``run`` plays them."""

    def __init__(self, timing: ReadCompute, matrices: Sequence[Share], *, room_pages: int, sliced: bool = True):
        self.timing, self.matrices = timing, matrices
        self.env = simpy.Environment()
        self.bus = simpy.PriorityResource(self.env)
        part = timing.part
        self.slices = ceil_div(part.page_bytes, timing.slice_bytes) if sliced else 1
        self.room = simpy.Container(self.env, capacity=room_pages * self.slices, init=room_pages * self.slices)
        self.arrived = simpy.Container(self.env)
        dies = timing.tile.array.cores
        self.computing = [self._plane(die, dies, sum(m.computed for m in matrices)) for die in range(dies)]
        self.reading = [self._plane(die, dies, sum(m.read for m in matrices)) for die in range(dies)]
        self.computed = 0
        self.ends: list[int] = []

    def _plane(self, die: int, dies: int, pages: int) -> _Plane:
        """That of ``die``, with every so many-th of the pages."""
        return _Plane(self.env, self.timing.part.mean_read_ps, ceil_div(max(pages - die, 0), dies))

    def run(self) -> list[int]:
        """The time at which each matrix is done, in ps."""
        self.env.process(self._send())
        self.env.run(self.env.process(self._work()))
        return self.ends

    def _work(self) -> Process:
        for matrix in self.matrices:
            yield self.env.timeout(matrix.before_ps)
            yield self.env.process(self._compute(matrix.computed)) & self.env.process(self._take(matrix.read))
            self.ends.append(int(self.env.now))

    def _hold(self, ps: int, priority: int) -> Process:
        with self.bus.request(priority=priority) as granted:
            yield granted
            yield self.env.timeout(ps)

    def _compute(self, pages: int) -> Process:
        """The rounds of a matrix: each has a page in every die, but for the last one."""
        sums = []
        while pages:
            width = min(pages, len(self.computing))
            planes = [self.computing[(self.computed + i) % len(self.computing)] for i in range(width)]
            yield self.env.all_of([plane.full.get(1) for plane in planes])
            yield from self._hold(self.timing.send_ps, URGENT)
            yield self.env.timeout(self.timing.core_ps)
            for plane in planes:
                yield plane.free.put(1)
                sums.append(self.env.process(self._hold(self.timing.result_ps, URGENT)))
            self.computed += width
            pages -= width
        yield self.env.all_of(sums)

    def _send(self) -> Process:
        """All pages that the chip reads, in order, from one die after the other."""
        slice_ps = ceil_div(self.timing.page_ps, self.slices)
        for page in range(sum(matrix.read for matrix in self.matrices)):
            plane = self.reading[page % len(self.reading)]
            yield plane.full.get(1)
            for _ in range(self.slices):
                yield self.room.get(1)
                yield from self._hold(slice_ps, PATIENT)
                yield self.arrived.put(1)
            yield plane.free.put(1)

    def _take(self, pages: int) -> Process:
        """The chip takes in what it reads of a matrix."""
        for _ in range(pages * self.slices):
            yield self.arrived.get(1)
            yield self.room.put(1)
