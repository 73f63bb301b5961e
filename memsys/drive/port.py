"""LinkPort: a link as SimPy resources, one for each direction (full duplex).

A transfer holds its direction for one segment at a time, and goes on where nobody else waits. So a small one waits for a segment
of each large one at most, and those take turns. Alone, a transfer takes `Link.time_ps` exactly, to the end of each segment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Literal

import simpy

from memsys.link import Link

SEGMENT = 128 << 10
"""Bytes for which one transfer may hold a direction while others wait. Assumed: a common largest transfer of an NVMe command."""
Direction = Literal["in", "out"]


class LinkDown(Exception):
    """The link was cut; the message says why."""


class LinkPort:
    """The directions "in" (to the device) and "out" of one link. Who shares the port shares the link: a host, a GPU beside it."""

    def __init__(self, env: simpy.Environment, link: Link, *, segment: int = SEGMENT) -> None:
        self.env, self.link, self.segment = env, link, segment
        self.lanes = {"in": simpy.Resource(env, 1), "out": simpy.Resource(env, 1)}
        self.moved: Counter[str] = Counter()
        """Bytes of payload by direction, as their segments end."""
        self._down = ""  # why, once it is
        self._users: set[simpy.Process] = set()

    def transfer(self, nbytes: int, direction: Direction) -> Generator[simpy.Event, None, None]:
        """Move ``nbytes`` from within a process: ``yield from port.transfer(...)``. Raises LinkDown where the link is cut before
        the last byte has arrived."""
        env, link, lane = self.env, self.link, self.lanes[direction]
        sent = 0
        with self.attached():
            while sent < nbytes:
                with lane.request() as turn:
                    yield turn
                    while sent < nbytes:
                        end = min(sent + self.segment, nbytes)
                        yield env.timeout(link.transfer_ps(end) - link.transfer_ps(sent))
                        self.moved[direction] += end - sent
                        sent = end
                        if lane.queue:
                            break
            yield env.timeout(link.latency)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """While this lasts, a cut of the link fails the running process with LinkDown, at once; so does one before."""
        if self._down:
            raise LinkDown(self._down)
        process = self.env.active_process
        assert process is not None, "a transfer is part of a process"
        outermost = process not in self._users
        self._users.add(process)
        try:
            yield
        except simpy.Interrupt as stopped:
            if isinstance(stopped.cause, LinkDown):
                raise stopped.cause from None
            raise
        finally:
            if outermost:
                self._users.discard(process)

    def cut(self, reason: str) -> None:
        """Cut the link now: all that is attached to it, waiting or under way, and all to come, fail with LinkDown(``reason``)."""
        self._down = f"link {self.link.name} cut at {self.env.now} ps: {reason}"
        for process in list(self._users):
            process.interrupt(LinkDown(self._down))
