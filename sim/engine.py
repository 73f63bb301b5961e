"""The serving engine: a trace of requests, routed to replicas, each a SimPy process. Time is integer picoseconds.

At equal times arrivals come first: they see the loads, and join the batches, of before the iterations that end at that moment are
committed. Results do not depend on ``run_ahead``.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
import simpy
from simpy.events import URGENT

from accel.base.clock import PS_PER_S
from sim.base import Pricer, Tally
from sim.errors import BadInput, CheckFailed, Infeasible
from sim.gaps import GapHistogram
from sim.kv_cache import KVCache
from sim.replica import NEVER, Replica
from sim.router import Router, make_router

if TYPE_CHECKING:
    from sim.policies.base import Policy
    from sim.timeline import Timeline

COMPLETED, REJECTED_CONTEXT, REJECTED_KV_CACHE = 0, 1, 2
STATUS = ("completed", "rejected_context", "rejected_kv_cache")
_PROGRESS = 2048  # arrivals between two reports


class TraceLike(Protocol):
    """int64 arrays of one entry per request: time of arrival (ascending), prompt tokens, output tokens."""

    @property
    def arrival_ps(self) -> np.ndarray: ...
    @property
    def prompt(self) -> np.ndarray: ...
    @property
    def output(self) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Served:
    """What happened. Arrays are int64 with one entry per request of the trace; -1 where a rejected one has no value."""

    arrival_ps: np.ndarray
    admitted_ps: np.ndarray
    """First admission to a batch; the time in the queue ends."""
    first_token_ps: np.ndarray
    finish_ps: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    preemptions: np.ndarray
    replica: np.ndarray
    status: np.ndarray
    """Index into `STATUS`."""
    tallies: tuple[Tally, ...]
    """By replica."""
    gaps: GapHistogram
    """Inter-token latencies of all requests."""
    most_waiting: tuple[int, ...]
    """Longest queue by replica, in requests."""
    kv_blocks: int
    """Blocks of the KV cache of one replica."""
    most_kv_blocks: tuple[int, ...]
    """Most blocks in use at a time, by replica."""

    @property
    def iterations(self) -> int:
        return sum(tally.iterations for tally in self.tallies)

    @property
    def makespan_ps(self) -> int:
        """From the first arrival to the end of the last request; 0 where none was served."""
        last = int(self.finish_ps.max(initial=-1))
        return last - int(self.arrival_ps[0]) if last >= 0 else 0


class Serving:
    """State that the replicas share: the trace and the results, as arrays by request."""

    def __init__(self, trace: TraceLike, max_context: int, run_ahead: bool, timeline: Timeline | None) -> None:
        self.arrival_ps, self.prompt, self.output = (_column(a) for a in (trace.arrival_ps, trace.prompt, trace.output))
        blank = array("q", [-1]) * len(self.arrival_ps)
        self.admitted_ps, self.first_token_ps, self.finish_ps, self.replica = blank, blank[:], blank[:], blank[:]
        self.preemptions = array("q", bytes(8 * len(blank)))
        self.max_context, self.run_ahead, self.timeline = max_context, run_ahead, timeline
        self.gaps = GapHistogram()
        self.routed = 0

    def route(self, accepted: array, router: Router, progress: Callable[[int, int], None] | None) -> None:
        """Start the process that hands the ``accepted`` requests (indices) to the replicas of ``router`` as they arrive."""
        self._accepted, self._router = accepted, router
        env = router.replicas[0].env
        env.process(self._arrivals(env, progress))

    def cut(self, env: simpy.Environment, memory: str, at_ps: int) -> Generator:
        """The process that ends the run when the link of ``memory`` is cut. What would end at that very moment is lost."""
        yield env.timeout(at_ps)
        done = sum(self.finish_ps[index] >= 0 for index in self._accepted)
        if done < len(self._accepted):
            raise Infeasible(
                f"the link of memory {memory!r} was cut at {at_ps / PS_PER_S:g} s: {done} of {len(self._accepted)} requests "
                f"completed, {len(self._accepted) - done} lost"
            )

    def next_arrival(self, replica: int) -> int:
        """When the next request will probably be routed to ``replica`` (`Router.next_for`)."""
        number = self._router.next_for(replica, self.routed)
        return self.arrival_ps[self._accepted[number]] if number < len(self._accepted) else NEVER

    def _arrivals(self, env: simpy.Environment, progress: Callable[[int, int], None] | None) -> Generator:
        accepted, arrival_ps = self._accepted, self.arrival_ps
        replicas, choose = self._router.replicas, self._router.choose
        for number, index in enumerate(accepted):
            delay = arrival_ps[index] - env.now
            if delay:
                yield _Arrival(env, delay)
            chosen = choose(number)
            self.replica[index] = chosen
            self.routed = number + 1
            replicas[chosen].arrive(index)
            if progress is not None and number % _PROGRESS == 0:
                progress(number, len(accepted))
        if progress is not None:
            progress(len(accepted), len(accepted))


class _Arrival(simpy.Event):
    """A timeout that comes before the others of the same time."""

    def __init__(self, env: simpy.Environment, delay: int) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        env.schedule(self, URGENT, delay)


def serve(
    pricers: Sequence[Pricer],
    trace: TraceLike,
    policy: Policy,
    *,
    kv_tokens: int,
    block_tokens: int = 16,
    max_context: int | None = None,
    router: str = "round_robin",
    run_ahead: bool = True,
    seed: int = 0,
    timeline: Timeline | None = None,
    progress: Callable[[int, int], None] | None = None,
    cuts: Mapping[str, int] | None = None,
) -> Served:
    """Serve ``trace`` on one replica per pricer, each under ``policy`` with a KV cache of ``kv_tokens`` tokens.

    A request of p prompt and o output tokens is rejected where p + o exceeds ``max_context`` (None: no limit), or where the
    p + o - 1 tokens that it caches in the end exceed the whole KV cache. ``router``: round_robin, least_loaded or random (drawn
    by ``seed``). ``run_ahead=False`` makes every iteration an event of its own, with the same results. ``progress(done, all)``
    is called as requests arrive. ``cuts``: when (ps) the link of a memory, by its name, is cut on every replica.

    Raises BadInput for a trace that is empty, unsorted or has lengths below 1, ValueError for an unknown router, and CheckFailed
    where an invariant breaks: tokens emitted = tokens asked, all blocks free at the end, every accepted request finished,
    iterations of a replica do not overlap. Raises Infeasible, with what was completed and lost, where a link is cut before that.
    """
    if not pricers:
        raise BadInput("wanted at least one replica, got none")
    _check(trace)
    caches = [KVCache(kv_tokens, block_tokens) for _ in pricers]
    capacity = caches[0].total * block_tokens
    limit = capacity + 1 if max_context is None else min(max_context, capacity + 1)
    status = np.zeros(len(trace.arrival_ps), np.int64)
    status[trace.prompt + trace.output - 1 > capacity] = REJECTED_KV_CACHE
    if max_context is not None:
        status[trace.prompt + trace.output > max_context] = REJECTED_CONTEXT
    env = simpy.Environment()
    serving = Serving(trace, limit, run_ahead, timeline)
    replicas = [
        Replica(i, env, pricer, policy, cache, serving) for i, (pricer, cache) in enumerate(zip(pricers, caches, strict=True))
    ]
    serving.route(_column(np.flatnonzero(status == COMPLETED)), make_router(router, replicas, seed), progress)
    for memory, at_ps in (cuts or {}).items():
        env.process(serving.cut(env, memory, at_ps))
    try:
        env.run()
    except OverflowError:
        raise BadInput("the run does not end within 2^63 ps (106 days of simulated time)") from None
    served = Served(
        arrival_ps=np.asarray(trace.arrival_ps),
        admitted_ps=np.frombuffer(serving.admitted_ps, np.int64),
        first_token_ps=np.frombuffer(serving.first_token_ps, np.int64),
        finish_ps=np.frombuffer(serving.finish_ps, np.int64),
        prompt=np.asarray(trace.prompt),
        output=np.asarray(trace.output),
        preemptions=np.frombuffer(serving.preemptions, np.int64),
        replica=np.frombuffer(serving.replica, np.int64),
        status=status,
        tallies=tuple(replica.tally for replica in replicas),
        gaps=serving.gaps,
        most_waiting=tuple(replica.most_waiting for replica in replicas),
        kv_blocks=caches[0].total,
        most_kv_blocks=tuple(cache.total - cache.least_free for cache in caches),
    )
    _verify(served, replicas, policy)
    return served


def _column(values: np.ndarray) -> array:
    """A compact column of Python ints: reading one costs a third of reading a NumPy scalar."""
    return array("q", np.ascontiguousarray(values, np.int64).tobytes())


def _check(trace: TraceLike) -> None:
    arrival, prompt, output = trace.arrival_ps, trace.prompt, trace.output
    if not len(arrival):
        raise BadInput("trace: wanted at least one request, got none")
    if not len(arrival) == len(prompt) == len(output):
        raise BadInput(f"trace: wanted columns of equal length, got {len(arrival)}, {len(prompt)} and {len(output)}")
    if arrival[0] < 0 or (np.diff(arrival) < 0).any():
        at = 0 if arrival[0] < 0 else int(np.argmax(np.diff(arrival) < 0)) + 1
        raise BadInput(f"trace: wanted times of arrival from 0 on in ascending order, got {arrival[at]} ps at request {at}")
    for name, lengths in (("prompt", prompt), ("output", output)):
        if (bad := (lengths < 1) | (lengths > 1 << 40)).any():
            at = int(np.argmax(bad))
            raise BadInput(f"trace: wanted {name} lengths from 1 to 2^40 tokens, got {lengths[at]} at request {at}")


def _verify(served: Served, replicas: Sequence[Replica], policy: Policy) -> None:
    """The conservation laws of a finished run. Raises CheckFailed with the first that does not hold."""
    done = served.status == COMPLETED
    lost = int((done & (served.finish_ps < 0)).sum())
    _hold(not lost, f"policy {policy.kind()} left {lost} of {int(done.sum())} accepted requests waiting for ever")
    times = (served.arrival_ps, served.admitted_ps, served.first_token_ps, served.finish_ps)
    for earlier, later in pairwise(times):
        _hold(bool((earlier[done] <= later[done]).all()), "a request's times are not in order")
    all_asked = np.bincount(served.replica[done], served.output[done], len(replicas))
    for replica in replicas:
        cache, name, asked = replica.cache, f"replica {replica.index}", int(all_asked[replica.index])
        _hold(replica.emitted == asked, f"{name}: {replica.emitted} tokens emitted, {asked} asked")
        _hold(cache.free == cache.total, f"{name}: {cache.free} of {cache.total} KV blocks free at the end")
        _hold(replica.decodes.count == replica.decodes.cached == replica.load == 0, f"{name}: requests left at the end")
        _hold(replica.tally.busy_ps <= replica.end_ps, f"{name}: busy for {replica.tally.busy_ps} ps of {replica.end_ps} ps")
    gaps = int((served.output[done] - 1).sum())
    _hold(served.gaps.count == gaps, f"{served.gaps.count} inter-token latencies recorded of {gaps}")


def _hold(condition: bool, otherwise: str) -> None:
    if not condition:
        raise CheckFailed(f"conservation: {otherwise}")
