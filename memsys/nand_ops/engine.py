"""The rules S1 to T7 of `memsys.nand_ops` for one channel, compiled: from instant to instant, with a look at all dies in each.

All is int64, because Numba compiles it. An operation is its index. Queues are linked lists: of die d
2 d (R) and 2 d + 1 (W).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

READ, PROGRAM, ERASE = range(3)
NONE, LOADING, ARRAY, SENSED, SUSPENDING = range(5)
COMMAND, RESUME, SUSPEND, LOAD, OUT = range(5)
SENSE = 5
"""What a row of the log says beside the use of the channel: the array works on an operation."""
NEVER = 1 << 62

Integers = NDArray[np.int64]


class Channel(NamedTuple):
    """What does not change: the dies of a channel, times in ps, and how they are scheduled."""

    dies: int
    planes: int
    blocks: int
    types: int
    at_work: int
    cache_read: bool
    command: int
    array: Integers
    """[3, types]: tR, tPROG and tBERS by type of page."""
    suspend: Integers
    """[3]: from the command to a free die; 0 where the kind cannot be suspended."""
    overtakes: int
    """0: all in order."""


class Operations(NamedTuple):
    """[n] each, in the order of arrival: kind, die of the channel, plane, block, page, ps on the channel, ps of arrival."""

    kind: Integers
    die: Integers
    plane: Integers
    block: Integers
    page: Integers
    transfer: Integers
    arrival: Integers


class Outcome(NamedTuple):
    """What `simulate` fills in."""

    start: Integers
    """[n]: when its command goes onto the channel."""
    end: Integers
    """[n]: when its data have left, or the array is done."""
    busy: Integers
    """[dies]: ps in which the array works, suspending included."""
    log: Integers
    """[as many as wanted, 5]: what, die, operation (-1 for SUSPEND and RESUME), start, end."""


@njit(cache=True)
def note(log, logged, what, die, op, start, end):
    """Take down an interval, where there is room; how many there are then."""
    if logged < log.shape[0]:
        log[logged, 0], log[logged, 1], log[logged, 2], log[logged, 3], log[logged, 4] = what, die, op, start, end
    return logged + 1


@njit(cache=True)
def simulate(c, o, out):
    """Serve operations ``o`` on channel ``c``; fill in ``out``. Returns (served, ps of the channel, suspensions, rows of log).

    Fewer served than there are: nothing could ever happen again, which the rules exclude.
    """
    kind_of, die_of, plane_of, block_of, page_of = o.kind, o.die, o.plane, o.block, o.page
    start, end, busy, log = out.start, out.end, out.busy, out.log
    dies, total, command = c.dies, kind_of.size, c.command
    following = np.full(total, -1)
    head, tail = np.full(2 * dies, -1), np.full(2 * dies, -1)  # S1
    job, size, phase = np.zeros((dies, c.at_work), np.int64), np.zeros(dies, np.int64), np.zeros(dies, np.int64)  # S2
    kind, in_order, since = np.zeros(dies, np.int64), np.zeros(dies, np.int64), np.zeros(dies, np.int64)
    resuming, loaded = np.zeros(dies, np.int64), np.zeros(dies, np.int64)
    began, until = np.zeros(dies, np.int64), np.full(dies, NEVER)  # of the array, or of suspending
    pages, first, held = np.zeros((dies, c.at_work), np.int64), np.zeros(dies, np.int64), np.zeros(dies, np.int64)  # S3
    held_since = np.zeros(dies, np.int64)
    parked, parked_size = np.zeros((dies, c.at_work), np.int64), np.zeros(dies, np.int64)  # S4
    parked_kind, left = np.zeros(dies, np.int64), np.zeros(dies, np.int64)
    passed = np.zeros(dies, np.int64)  # S5
    asked = np.full(dies, NEVER)  # T5: since when it asks for a suspension; -1 where that was dropped
    changing = np.zeros(dies * c.planes * c.blocks, np.int32)  # programs and erases of a block that have not ended
    reading = np.zeros(dies * c.planes * c.blocks, np.int32)  # reads of a block in R

    new = served = carried = suspensions = logged = 0
    bus_until, bus_die, bus_use = NEVER, 0, 0
    while True:
        t = o.arrival[new] if new < total else NEVER
        t = min(t, bus_until)
        for d in range(dies):
            t = min(t, until[d])
        if t == NEVER:
            return served, carried, suspensions, logged
        if bus_until == t:  # T1, T7
            d, bus_until = bus_die, NEVER
            if bus_use == OUT:
                end[pages[d, first[d]]] = t
                served += 1
                first[d] += 1
                held[d] -= 1
            elif bus_use == SUSPEND:
                left[d] = until[d] - t
                phase[d], until[d] = SUSPENDING, t + c.suspend[kind[d]]
            elif bus_use == LOAD and loaded[d] + 1 < size[d]:
                loaded[d] += 1
            else:
                phase[d], began[d] = ARRAY, t
                until[d] = t + (left[d] if resuming[d] else c.array[kind[d], page_of[job[d, 0]] % c.types])
        for d in range(dies):
            if until[d] != t:
                continue
            busy[d] += t - began[d]
            for i in range(size[d]):
                logged = note(log, logged, SENSE, d, job[d, i], began[d], t)
            until[d], asked[d] = NEVER, NEVER
            if phase[d] == SUSPENDING:
                parked[d, : size[d]] = job[d, : size[d]]
                parked_size[d], parked_kind[d], phase[d] = size[d], kind[d], NONE
                continue
            passed[d] *= 1 - in_order[d]
            if kind[d] == READ:
                phase[d] = SENSED
                continue
            phase[d] = NONE
            for i in range(size[d]):
                op = job[d, i]
                end[op] = t
                served += 1
                changing[(d * c.planes + plane_of[op]) * c.blocks + block_of[op]] -= 1
        while new < total and o.arrival[new] == t:  # T2
            d = die_of[new]
            place = (d * c.planes + plane_of[new]) * c.blocks + block_of[new]
            queue = 2 * d + 1
            if kind_of[new] != READ:
                changing[place] += 1
            elif c.overtakes and changing[place] == 0:
                reading[place] += 1
                queue = 2 * d
            if head[queue] < 0:
                head[queue] = new
            else:
                following[tail[queue]] = new
            tail[queue] = new
            new += 1
        for d in range(dies):
            if phase[d] == SENSED and held[d] == 0:  # T3
                pages[d, : size[d]] = job[d, : size[d]]
                first[d], held[d], held_since[d] = 0, size[d], t
                phase[d] = NONE
            if phase[d] == NONE:  # T4
                read, waits = head[2 * d], head[2 * d + 1]
                blocked = parked_size[d] == 0 and waits >= 0 and kind_of[waits] != READ
                blocked = blocked and reading[(d * c.planes + plane_of[waits]) * c.blocks + block_of[waits]] > 0
                nothing = parked_size[d] == 0 and waits < 0
                if read >= 0 and (nothing or passed[d] < c.overtakes or blocked):
                    if held[d] and not c.cache_read:
                        continue
                    passed[d] += not nothing
                    queue = 2 * d
                elif nothing:
                    continue
                elif parked_size[d]:
                    if held[d]:
                        continue
                    size[d], kind[d] = parked_size[d], parked_kind[d]
                    job[d, : size[d]] = parked[d, : size[d]]
                    parked_size[d] = 0
                    in_order[d], resuming[d], phase[d], since[d] = 1, 1, LOADING, t
                    continue
                else:
                    if held[d] and not (c.cache_read and kind_of[waits] == READ):
                        continue
                    queue = 2 * d + 1
                op = head[queue]
                kind[d], in_order[d] = kind_of[op], queue % 2
                resuming[d], loaded[d], phase[d], since[d], size[d] = 0, 0, LOADING, t, 0
                page, planes = page_of[op], 0
                while op >= 0 and size[d] < c.at_work and kind_of[op] == kind[d]:
                    place = (d * c.planes + plane_of[op]) * c.blocks + block_of[op]
                    if planes >> plane_of[op] & 1 or (page_of[op] != page and kind[d] != ERASE):
                        break
                    if kind[d] != READ and reading[place]:
                        break
                    reading[place] -= queue % 2 == 0
                    planes |= 1 << plane_of[op]
                    job[d, size[d]] = op
                    size[d] += 1
                    op = following[op]
                head[queue] = op
            elif phase[d] == ARRAY and c.suspend[kind[d]] and head[2 * d] >= 0 and passed[d] < c.overtakes:  # T5
                asked[d] = t if asked[d] == NEVER else asked[d]
        while bus_until == NEVER:  # T6
            best, chosen, use = NEVER, -1, 0
            for d in range(dies):
                if phase[d] == LOADING and (kind[d] != PROGRAM or resuming[d]):
                    if since[d] < best:
                        best, chosen, use = since[d], d, RESUME if resuming[d] else COMMAND
                elif phase[d] == ARRAY and 0 <= asked[d] < best:
                    best, chosen, use = asked[d], d, SUSPEND
            if chosen < 0:
                for d in range(dies):
                    if held[d] and held_since[d] < best:
                        best, chosen, use = held_since[d], d, OUT
                    elif phase[d] == LOADING and kind[d] == PROGRAM and since[d] < best:
                        best, chosen, use = since[d], d, LOAD
            if chosen < 0:
                break
            d, bus_die, bus_use = chosen, chosen, use
            if use == SUSPEND:
                if until[d] - t - command <= c.suspend[kind[d]]:
                    asked[d] = -1
                    continue
                suspensions += 1
                bus_until = t + command
                logged = note(log, logged, SUSPEND, d, -1, t, bus_until)
            elif use == RESUME:
                bus_until = t + command
                logged = note(log, logged, RESUME, d, -1, t, bus_until)
            elif use == COMMAND:
                bus_until = t + size[d] * command
                for i in range(size[d]):
                    start[job[d, i]] = t + i * command
                    logged = note(log, logged, COMMAND, d, job[d, i], t + i * command, t + (i + 1) * command)
            elif use == LOAD:
                op = job[d, loaded[d]]
                start[op] = t
                bus_until = t + command + o.transfer[op]
                logged = note(log, logged, LOAD, d, op, t, bus_until)
            else:
                op = pages[d, first[d]]
                bus_until = t + o.transfer[op]
                logged = note(log, logged, OUT, d, op, t, bus_until)
            carried += bus_until - t
