"""The decoding requests of one replica, in aggregate: what they ask of time and memory, without touching any of them.

All requests of the set advance together, one token per decode iteration. So with s, the number of decode iterations so far,

* a request that still has r tokens to emit ends at s + r, known when it joins: the next completion is the top of a heap;
* the cached tokens of all grow by their number per iteration: one sum describes attention;
* a request with c cached tokens needs a new block whenever c is a multiple of the block size b. (c - s) mod b never changes
  while it decodes, so a histogram of b residues tells how many blocks any later iteration needs.

A change of the set costs O(log n), an iteration or a run of iterations O(1) or O(b).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.request import Request


class Decodes:
    """``count`` requests with ``cached`` tokens in all after ``step`` decode iterations."""

    __slots__ = ("_block", "_finishes", "_residues", "_serial", "cached", "count", "step")

    def __init__(self, block: int) -> None:
        self.count = self.cached = self.step = self._serial = 0
        self._block = block
        self._residues = [0] * block
        self._finishes: list[tuple[int, int, Request]] = []  # (step, serial, request); a left request's entry is stale

    def join(self, request: Request) -> None:
        """Add a request whose prompt, and all it has emitted but the last token, is cached."""
        cached = request.prompt + request.emitted - 1
        self.count += 1
        self.cached += cached
        self._residues[(cached - self.step) % self._block] += 1
        self._serial += 1
        request.serial = self._serial
        request.finish_step = self.step + request.output - request.emitted
        heappush(self._finishes, (request.finish_step, self._serial, request))

    def leave(self, request: Request) -> int:
        """Remove a request, bring its count of emitted tokens up to date, and return how many tokens it has cached."""
        request.emitted = request.output - (request.finish_step - self.step)
        cached = request.prompt + request.emitted - 1
        self.count -= 1
        self.cached -= cached
        self._residues[(cached - self.step) % self._block] -= 1
        request.serial = 0
        return cached

    def next_finish(self) -> int:
        """Iterations until the first request ends (count > 0)."""
        finishes = self._finishes
        while finishes[0][2].serial != finishes[0][1]:
            heappop(finishes)
        return finishes[0][0] - self.step

    def pop_finished(self) -> Request | None:
        """A request that has emitted its last token and has not left yet, or None."""
        finishes = self._finishes
        while finishes and finishes[0][0] <= self.step:
            _, serial, request = heappop(finishes)
            if request.serial == serial:
                return request
        return None

    def demand(self) -> int:
        """Blocks that the next decode iteration needs in addition."""
        return self._residues[-self.step % self._block]

    def demand_of(self, iterations: int) -> int:
        """Blocks that the next ``iterations`` decode iterations need in addition."""
        cycles, rest = divmod(iterations, self._block)
        demand = cycles * self.count
        for step in range(self.step, self.step + rest):
            demand += self._residues[-step % self._block]
        return demand

    def horizon(self, iterations: int, free: int) -> int:
        """How many of the next ``iterations`` decode iterations ``free`` blocks suffice for."""
        block = self._block
        if -(-iterations // block) * self.count <= free:
            return iterations
        cycles = free // self.count
        free -= cycles * self.count
        fit = cycles * block
        while fit < iterations:
            free -= self._residues[-(self.step + fit) % block]
            if free < 0:
                break
            fit += 1
        return min(fit, iterations)

    def advance(self, iterations: int) -> None:
        """Commit ``iterations`` decode iterations."""
        self.step += iterations
        self.cached += iterations * self.count
