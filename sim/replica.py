"""One replica: a SimPy process that executes iterations, many of them as one event where the batch cannot change.

A decode-only batch stays as it is until a request arrives, one ends, or a block is needed that is not free. The iterations up to
the earliest of these are priced together and committed as one event. An arrival that was not foreseen interrupts the process,
which then commits only the iterations that have begun: an arrival joins at the first iteration boundary at or after it, as it
does when iterations are stepped one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import simpy

from sim.base import Pricer, Tally
from sim.decodes import Decodes
from sim.errors import CheckFailed
from sim.gaps import DecodeWaits
from sim.kv_cache import KVCache
from sim.request import Queue, Request

if TYPE_CHECKING:
    from sim.engine import Serving
    from sim.policies.base import Batch, Policy

_SCALAR = 10  # iterations up to which calls of step_ps are cheaper than one of decode_run_ps and its array arithmetic
NEVER = 1 << 80  # ps
_LONGEST = 8192  # iterations of one run; bounds the arrays


class Replica:
    """Serves the requests routed to it. The public attributes are the policy's view (`sim.policies.base.View`)."""

    def __init__(
        self, index: int, env: simpy.Environment, pricer: Pricer, policy: Policy, cache: KVCache, serving: Serving
    ) -> None:
        self.index, self.serving = index, serving
        self.env: Any = env  # times are ints in it
        self.pricer, self.policy, self.cache = pricer, policy, cache
        self.max_context = serving.max_context
        self.decodes = Decodes(cache.block)
        self.prefilling: list[Request] = []
        self.tally = Tally()
        self.load = 0  # requests waiting and running

        self.emitted = 0  # tokens
        self.end_ps = 0  # of the last committed iteration
        self._queue = Queue(serving.prompt, serving.output)
        self._waits = DecodeWaits(serving.gaps)
        self._admitted: dict[int, Request] = {}  # in order of admission
        self._wake: simpy.Event | None = None
        self._start = 0  # of the iteration or run under way, and for a run:
        self._run = 0  # how many iterations are to be committed,
        self._durations: Any = ()  # what each takes,
        self._ends: Any = ()  # when each ends after the start,
        self._open = False  # and whether an arrival cuts it short
        self._pace = 1  # ps of a recent decode iteration
        self.process = env.process(self._serve())

    # the policy's view

    @property
    def most_waiting(self) -> int:
        """The longest that the queue has been."""
        return self._queue.most

    @property
    def running(self) -> int:
        return len(self._admitted)

    def queued(self, position: int) -> Request | None:
        return self._queue.peek(position)

    # arrivals

    def arrive(self, index: int) -> None:
        """Queue request ``index`` of the trace at the current time."""
        self._queue.append(index)
        self.load += 1
        if self._wake is not None:
            self._wake.succeed()
            self._wake = None
        elif self._open:
            begun = bisect_left(self._ends, self.env.now - self._start) + 1
            if begun < self._run:
                self._run = begun
                self._open = False
                self.process.interrupt()

    # the process

    def _serve(self) -> Generator[simpy.Event, None, None]:
        env, cache, decodes, next_batch = self.env, self.cache, self.decodes, self.policy.next_batch
        while True:
            batch = next_batch(self)
            if batch is None:
                self._wake = env.event()
                yield self._wake
                continue
            evicted = False
            while batch.decode and decodes.demand() > cache.free:
                self._evict(batch)
                evicted = True
            if batch.chunks:
                yield env.timeout(self._begin(batch))
                self._commit(batch)
            elif batch.decode and decodes.count:
                total = self._price_run(self._steady(evicted))
                try:
                    yield env.timeout(total)
                except simpy.Interrupt:
                    rest = self._start + int(self._ends[self._run - 1]) - env.now
                    if rest:
                        yield env.timeout(rest)
                self._commit_run()
            elif not evicted:
                self._fault("a batch without work; wanted None to wait for an arrival")

    # iterations with prefill

    def _begin(self, batch: Batch) -> int:
        """Admit, allocate, price and count the iteration; its duration."""
        cache, admitted, tally = self.cache, self._admitted, self.tally
        self._start = self.env.now
        blocks = tokens = sequences = 0
        chunks = []
        for request, new in batch.chunks:
            past = request.prefilled
            if not 0 < new <= request.target - past:
                self._fault(f"a chunk of {new} tokens of {request}, which has {request.rest} left")
            blocks += cache.growth(past, new)
            tokens += new
            if past + new == request.target:
                sequences += 1
            chunks.append((new, past))
            if request.index not in admitted:
                self._admit(request)
        count = context = 0
        if batch.decode and self.decodes.count:
            count = self.decodes.count
            context = self.decodes.cached + count
            blocks += self.decodes.demand()
            tally.add_decodes(count, context, 1)
        cache.take(blocks)
        tally.add_chunks(chunks)
        tokens += count
        sequences += count
        tally.linear[tokens] += 1
        if sequences:
            tally.head[sequences] += 1
        duration = self.pricer.step_ps(tokens, sequences, chunks, count, context)
        if duration <= 0:
            self._timeless(duration)
        return duration

    def _admit(self, request: Request) -> None:
        self._queue.remove(request)
        self._admitted[request.index] = request
        self.prefilling.append(request)
        admitted_ps = self.serving.admitted_ps
        if admitted_ps[request.index] < 0:
            admitted_ps[request.index] = self.env.now

    def _commit(self, batch: Batch) -> None:
        now, serving = self.env.now, self.serving
        self._passed(self._start, now)
        count = self.decodes.count if batch.decode else 0
        if count:
            self._waits.end(now, count)
            self.decodes.advance(1)
            self.emitted += count
        for request, new in batch.chunks:
            request.prefilled += new
            if request.prefilled == request.target:
                self.prefilling.remove(request)
                self._emit(request, now)
        if count:
            self._finish(now)
        if serving.timeline is not None:
            tokens = count + sum(new for _, new in batch.chunks)
            serving.timeline.add(self.index, self._start, now, tokens, count, 1)

    def _emit(self, request: Request, now: int) -> None:
        """The token that the last chunk of a prompt emits."""
        self.emitted += 1
        if request.emitted:
            self.serving.gaps.add(now - request.last_ps, 1)
        else:
            self.serving.first_token_ps[request.index] = now
        request.emitted += 1
        request.last_ps = now
        if request.emitted == request.output:
            self._end(request, request.target, now)
        else:
            self.decodes.join(request)
            self._waits.join(now)

    # iterations that only decode

    def _steady(self, evicted: bool) -> int:
        """How many iterations the batch stays as it is, but for arrivals."""
        if evicted or not (self.serving.run_ahead and self.policy.repeats):
            return 1
        run = min(self.decodes.next_finish(), _LONGEST)
        return run if run == 1 else self.decodes.horizon(run, self.cache.free)

    def _price_run(self, run: int) -> int:
        """Price up to ``run`` iterations, fewer where an arrival is due before they end; their time in all."""
        decodes, step_ps = self.decodes, self.pricer.step_ps
        start = self._start = self.env.now
        count = decodes.count
        context = decodes.cached + count
        self._open = run > 1 and not (self.policy.in_order and (self._queue.length or self.prefilling))
        due = NEVER
        durations: Any
        ends: Any
        if self._open:
            due = self.serving.next_arrival(self.index) - start
            run = min(run, due // self._pace + 2)
        if run <= _SCALAR:
            durations, ends, total = [], [], 0
            while len(ends) < run and total < due:
                duration = step_ps(count, count, (), count, context)
                durations.append(duration)
                total += duration
                ends.append(total)
                context += count
            self._run = len(ends)
        else:
            durations = self.pricer.decode_run_ps(count, context, run)
            ends = durations.cumsum()
            total = int(ends[-1])
            if total > due:
                run = int(ends.searchsorted(due)) + 1
                total = int(ends[run - 1])
            self._run = run
        if total < self._run:
            self._timeless(total)
        self._durations, self._ends = durations, ends
        self._pace = total // self._run + 1
        return total

    def _commit_run(self) -> None:
        now, start, run, durations = self.env.now, self._start, self._run, self._durations
        self._open = False
        decodes, serving, tally = self.decodes, self.serving, self.tally
        count = decodes.count
        tally.linear[count] += run
        tally.head[count] += run
        tally.add_decodes(count, decodes.cached + count, run)
        self._passed(start, now)
        if run < len(durations):
            durations = durations[:run]
        self._waits.end_run(start, durations, now, count)
        self.emitted += count * run
        self.cache.take(decodes.demand_of(run))
        decodes.advance(run)
        self._finish(now)
        if serving.timeline is not None:
            serving.timeline.add(self.index, start, now, count, count, run)

    # what both kinds share

    def _passed(self, start: int, end: int) -> None:
        """Count the time of committed iterations. Raises CheckFailed where they overlap earlier ones or take no time."""
        if start < self.end_ps or end <= start:
            name, last = f"replica {self.index}", self.end_ps
            raise CheckFailed(f"{name}: an iteration from {start} to {end} ps after one that ended at {last} ps")
        self.end_ps = end
        self.tally.busy_ps += end - start

    def _finish(self, now: int) -> None:
        """Release the decoding requests that have emitted their last token."""
        while (request := self.decodes.pop_finished()) is not None:
            self._end(request, self.decodes.leave(request), now)

    def _end(self, request: Request, cached: int, now: int) -> None:
        self.cache.give(self.cache.blocks(cached))
        del self._admitted[request.index]
        self.serving.finish_ps[request.index] = now
        self.load -= 1

    def _evict(self, batch: Batch) -> None:
        """Preempt the most recently admitted request: free its blocks; it will be recomputed with what it has emitted."""
        if batch.chunks:
            self._fault("a batch with chunks, while the decodes need blocks that are not free")
        index, request = self._admitted.popitem()
        if request.serial:
            cached = self.decodes.leave(request)
            request.last_ps = self._waits.leave(request.last_ps)
        else:
            cached = request.prefilled
            self.prefilling.remove(request)
        self.cache.give(self.cache.blocks(cached))
        request.target = request.prompt + request.emitted
        request.prefilled = 0
        self._queue.push_front(request)
        self.serving.preemptions[index] += 1

    def _timeless(self, duration: int) -> None:
        raise CheckFailed(f"replica {self.index}: every iteration must take more than 0 ps, the pricer returned {duration}")

    def _fault(self, what: str) -> None:
        raise CheckFailed(f"policy {self.policy.kind()}: {what}")
