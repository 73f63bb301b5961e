"""DRAMsim3's controller, for comparison: a queue of commands for each bank, looked at in turn. For reads on one command bus.

It obeys the same rules of time as `memsys.reference`, and differs in what it chooses among the commands that they allow:

- A read waits in a queue of ``transactions``. In each cycle the oldest whose bank has fewer than ``commands`` waiting moves on.
- In each cycle the queues are looked at in the order of the banks, from the one after the last that was looked at. The first that
  has a command which is ready issues it; within a queue, the oldest. A row is closed for a read that is the oldest of its queue,
  unless another wants the row; after four reads of it, even so.
- Ranks are refreshed one after the other, tREFI / ranks apart, as soon as each can be; its banks are not looked at meanwhile.

Source: DRAMsim3 (2021-04), command_queue.cc, controller.cc and refresh.cc, restated.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from memsys.part import Command, Part
from memsys.reference.controller import Controller, Requests, Run, channel_of, issued_of
from memsys.reference.engine import ACT, NONE, PRE, RD, REFAB, Outcome, earliest, note

ROW_HITS = 4


@njit(cache=True)
def refresh_command(ready, nodes, open_row, first, banks, t):
    """(command, bank) that closes or refreshes the rank whose first bank is ``first``; command -1 where none is ready."""
    closed = True
    for bank in range(first, first + banks):
        if open_row[bank] != NONE:
            closed = False
            if earliest(ready, nodes, bank, PRE) <= t:
                return PRE, bank
    if closed and earliest(ready, nodes, first, REFAB) <= t:
        return REFAB, first
    return NONE, first


@njit(cache=True)
def first_ready(ready, nodes, queue, size, row_of, open_row, reads, bank, t):
    """(place in the bank's queue, command) of the first that is ready; place -1 where none is."""
    late = NONE
    for i in range(size[bank]):
        row = row_of[queue[bank, i]]
        command = ACT if open_row[bank] == NONE else (RD if open_row[bank] == row else PRE)
        if command == late or (command == PRE and i > 0):
            continue
        if earliest(ready, nodes, bank, command) > t:
            late = command
            continue
        if command == PRE and reads[bank] < ROW_HITS:
            wanted = False
            for j in range(1, size[bank]):
                wanted = wanted or row_of[queue[bank, j]] == open_row[bank]
            if wanted:
                continue
        return i, command
    return NONE, NONE


@njit(cache=True)
def simulate(c, bank_of, row_of, transactions, commands, o):
    """Serve the reads; fill in ``o`` (`Outcome`). Returns (cycles, row hits, commands issued)."""
    nodes, ranks, banks = c.nodes, c.ranks, c.banks_per_rank
    ready = np.zeros((nodes[-1, 4] + 1, c.first.size - 1), np.int64)
    past = np.zeros((c.rules[:, 4].max() + 1, ready.shape[0], c.rules[:, 3].max()), np.int64)
    issued = np.zeros(past.shape[:2], np.int64)
    queue, size = np.zeros((ranks * banks, commands), np.int64), np.zeros(ranks * banks, np.int64)
    waiting, waits = np.zeros(transactions, np.int64), 0
    open_row, reads = np.full(ranks * banks, NONE), np.zeros(ranks * banks, np.int64)
    opened = np.zeros(ranks, np.int64)  # banks
    owed, next_rank = 0, 0  # refreshes, of the ranks from next_rank on
    t = new = finished = looked = row_hits = logged = 0
    while finished < bank_of.size:
        while new < bank_of.size and waits < transactions:
            waiting[waits], o.entered[new] = new, t
            new, waits = new + 1, waits + 1
        owed += t > 0 and t % (c.interval // ranks) == 0
        command = bank = place = NONE
        refreshing = next_rank if owed else NONE
        if owed:
            command, bank = refresh_command(ready, nodes, open_row, next_rank * banks, banks, t)
        if command == NONE:
            for _ in range(ranks * banks):
                looked = (looked + 1) % (ranks * banks)
                if size[looked] and c.rank_of[looked] != refreshing:
                    place, command = first_ready(ready, nodes, queue, size, row_of, open_row, reads, looked, t)
                    if command != NONE:
                        bank = looked
                        break
        if command != NONE:
            request = queue[bank, place] if place != NONE else NONE
            if command == ACT:
                open_row[bank], reads[bank] = row_of[request], 0
                opened[c.rank_of[bank]] += 1
            elif command == PRE:
                open_row[bank] = NONE
                opened[c.rank_of[bank]] -= 1
            elif command == REFAB:
                owed, next_rank = owed - 1, (next_rank + 1) % ranks
            else:
                row_hits += reads[bank] > 0
                reads[bank] += 1
                queue[bank, place : size[bank] - 1] = queue[bank, place + 1 : size[bank]].copy()
                size[bank] -= 1
                o.done[request] = t + c.read_delay
                finished += 1
            note(ready, past, issued, nodes, c.rules, c.first, c.rank_of, c.ranks_per_pseudo_channel, bank, command, t)
            o.counts[c.rank_of[bank], command] += 1
            if logged < o.log.shape[0]:
                o.log[logged, 0], o.log[logged, 1], o.log[logged, 2] = t, command, bank
                o.log[logged, 3], o.log[logged, 4] = open_row[bank], request
            logged += 1
        for i in range(waits):
            to = bank_of[waiting[i]]
            if size[to] < commands:
                queue[to, size[to]] = waiting[i]
                size[to] += 1
                waiting[i : waits - 1] = waiting[i + 1 : waits].copy()
                waits -= 1
                break
        t += 1
        for rank in range(ranks):
            o.active[rank] += opened[rank] > 0
    return o.done.max(), row_hits, logged


def run_reads(part: Part, requests: Requests, *, transactions: int = 32, commands: int = 8, traced: bool = False) -> Run:
    """Serve ``requests`` of one channel, all offered from cycle 0 on, and keep the commands where ``traced``.

    Raises ValueError for writes, several channels and a part with two command buses.
    """
    channel = channel_of(part, Controller())
    if requests.write.any() or requests.location.channel.any() or channel.split_bus:
        raise ValueError(f"bank queues: wanted reads of one channel with one command bus, got others ({part})")
    size, ranks = requests.write.size, channel.ranks
    done, entered = np.zeros(size, np.int64), np.zeros(size, np.int64)
    counts, active = np.zeros((ranks, len(Command)), np.int64), np.zeros(ranks, np.int64)
    log = np.zeros((8 * size + 64 if traced else 0, 5), np.int64)  # three for each read, and refresh
    outcome = Outcome(entered, done, counts, active, log)
    cycles, row_hits, logged = simulate(channel, *requests.location[1:3], transactions, commands, outcome)
    return Run(part, cycles, entered, done, counts[None], active[None], row_hits, [issued_of(log[:logged])] if traced else [])
