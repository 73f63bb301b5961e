"""The rules S1 to T10 of `memsys.reference` for one channel, compiled; cycles in which nothing can happen are skipped.

All is int64, because Numba compiles it; the functions take single arrays, because Numba counts a reference each time one is
taken out of a tuple. A request is its index. Lists 0, 1 and 2 are R, W and H. The channel and each pseudo channel, rank, bank
group and bank are a *node*, with a row in ``ready``: for every command the first cycle that the rules of that scope allow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from memsys.constraints import Scope
from memsys.part import Command

ACT, PRE, PREA, RD, WR, RDA, WRA, REFAB, REFPB = (int(command) for command in Command)
OTHER_RANK = int(Scope.OTHER_RANK)
HELD = 2
NEVER = 1 << 62
NONE = -1
SCOPE, AFTER, CYCLES, WINDOW, NUMBER = range(5)

Integers = NDArray[np.int64]


class Channel(NamedTuple):
    """What does not change: the channel, its rules, and the parameters of its controller."""

    nodes: Integers
    """[banks, 5]: the nodes of each bank: channel, pseudo channel, rank, bank group and bank."""
    rank_of: Integers
    """[banks]."""
    rules: Integers
    """[rules, 5], by command: scope, command that waits, cycles, window, and number among the rules with a window."""
    first: Integers
    """[commands + 1]: where the rules of each command start."""
    ranks: int
    ranks_per_pseudo_channel: int
    banks_per_rank: int
    split_bus: bool
    read_delay: int
    write_delay: int
    interval: int
    """Cycles from one refresh of a rank to the next; 0 for none."""
    per_bank: bool
    closed_page: bool
    depth: int
    held: int
    drain_start: int
    drain_stop: int
    patience: int


class Requests(NamedTuple):
    """[n] each: whether it writes, bank, row, column, and the first cycle in which it is offered."""

    write: Integers
    bank: Integers
    row: Integers
    column: Integers
    arrival: Integers


class Outcome(NamedTuple):
    """What `simulate` fills in."""

    entered: Integers
    """[n]: cycle of acceptance (T10)."""
    done: Integers
    """[n]: cycle after the last data (T9)."""
    counts: Integers
    """[ranks, commands]."""
    active: Integers
    """[ranks]: cycles in which a bank is open."""
    log: Integers
    """[as many as wanted, 5]: of each command cycle, command, bank (the rank's first for PREA and REFAB), row, request; or -1."""


@njit(cache=True)
def earliest(ready, nodes, bank, command):
    """The first cycle in which no rule forbids ``command`` to ``bank``, or to its rank where the command is for a rank."""
    cycle = max(ready[nodes[bank, 0], command], ready[nodes[bank, 1], command], ready[nodes[bank, 2], command])
    if command in (PREA, REFAB):
        return cycle
    return max(cycle, ready[nodes[bank, 3], command], ready[nodes[bank, 4], command])


@njit(cache=True)
def note(ready, past, issued, nodes, rules, first, rank_of, siblings, bank, command, t):
    """Take down that ``command`` went to ``bank`` (or its rank) in cycle ``t`` (S4). ``siblings``: ranks of a pseudo channel."""
    for i in range(first[command], first[command + 1]):
        scope, after, since = rules[i, SCOPE], rules[i, AFTER], t
        if scope == OTHER_RANK:
            own = nodes[bank, 2]
            start = own - rank_of[bank] % siblings
            for node in range(start, start + siblings):
                if node != own:
                    ready[node, after] = max(ready[node, after], t + rules[i, CYCLES])
            continue
        node, window = nodes[bank, scope], rules[i, WINDOW]
        if window > 1:
            number = rules[i, NUMBER]
            place = issued[number, node] % window
            past[number, node, place] = t
            issued[number, node] += 1
            if issued[number, node] < window:
                continue
            since = past[number, node, (place + 1) % window]
        ready[node, after] = max(ready[node, after], since + rules[i, CYCLES])


@njit(cache=True)
def same_burst(queue, size, write, bank, row, column, new):
    """Whether a request of the other kind waits or is held for the burst of request ``new`` (T10)."""
    for of in range(3):
        for i in range(size[of]):
            other = queue[of, i]
            if (
                write[other] != write[new]
                and column[other] == column[new]
                and row[other] == row[new]
                and bank[other] == bank[new]
            ):
                return True
    return False


@njit(cache=True)
def take(queue, size, since, of, index, t):
    """Remove a request from a list."""
    for i in range(index, size[of] - 1):
        queue[of, i] = queue[of, i + 1]
    size[of] -= 1
    if index == 0:
        since[of] = t + 1


@njit(cache=True)
def append(queue, size, since, of, request, t):
    """Add a request to the end of a list."""
    if size[of] == 0:
        since[of] = t + 1
    queue[of, size[of]] = request
    size[of] += 1


@njit(cache=True)
def wanting(queue, size, of, bank, row, place, wanted):
    """How many requests of a list want row ``wanted`` of bank ``place``."""
    found = 0
    for i in range(size[of]):
        request = queue[of, i]
        found += bank[request] == place and row[request] == wanted
    return found


@njit(cache=True)
def refresh_offer(open_row, held_in, next_bank, rank, banks, per_bank):
    """T5: (command, bank) that a rank of ``banks`` offers, which owes a refresh; command -1 where it waits for a request held."""
    if per_bank:
        bank = next_bank[rank]
        if open_row[bank] == NONE:
            return REFPB, bank
        return NONE if held_in[bank] else PRE, bank
    command, start = REFAB, rank * banks
    for bank in range(start, start + banks):
        if held_in[bank]:
            return NONE, start
        if open_row[bank] != NONE:
            command = PREA
    return command, start


@njit(cache=True)
def simulate(c, r, o, until):
    """Serve requests ``r`` (`Requests`) in the order given by channel ``c`` (`Channel`); fill in ``o`` (`Outcome`).

    Runs for ``until`` cycles at least. Returns (cycles, row hits, commands issued). The cycles are -1 if nothing could ever
    happen again, which the rules exclude.
    """
    nodes, rank_of, rules, first = c.nodes, c.rank_of, c.rules, c.first
    ranks, banks, siblings = c.ranks, c.banks_per_rank, c.ranks_per_pseudo_channel
    split, per_bank, closed_page, depth, patience = c.split_bus, c.per_bank, c.closed_page, c.depth, c.patience
    write, bank_of, row_of, column_of, arrival = r.write, r.bank, r.row, r.column, r.arrival
    entered, done, counts, active, log = o.entered, o.done, o.counts, o.active, o.log
    # S1 and S2; since: the cycle from which on the first of each list has been the first (S5)
    queue, size, since = np.zeros((3, max(depth, c.held)), np.int64), np.zeros(3, np.int64), np.zeros(3, np.int64)
    # S3; hits: the requests of R and of W for the row that is open
    open_row, held_in = np.full(rank_of.size, NONE), np.zeros(rank_of.size, np.int64)
    hits = np.zeros((2, rank_of.size), np.int64)
    owed, next_bank = np.zeros(ranks, np.int64), np.arange(ranks) * banks
    # S4
    ready = np.zeros((nodes[-1, 4] + 1, REFPB + 1), np.int64)
    past = np.zeros((rules[:, NUMBER].max() + 1, ready.shape[0], rules[:, WINDOW].max()), np.int64)
    issued = np.zeros(past.shape[:2], np.int64)

    requests = bank_of.size
    new = finished = row_hits = logged = t = mode = end = 0
    refresh_at = c.interval if c.interval else NEVER
    active_since, was_open = np.zeros(ranks, np.int64), np.zeros(ranks, np.int64)
    while finished < requests or t < until:
        if t == refresh_at:  # T1
            owed += 1
            refresh_at += c.interval
        wake = min(refresh_at, until) if t < until else refresh_at
        for of in range(3):
            if size[of] and since[of] + patience > t:
                wake = min(wake, since[of] + patience)
        if size[0] and t - since[0] >= patience:  # T2
            mode, alone = 0, True
        elif size[1] and t - since[1] >= patience:
            mode, alone = 1, True
        else:
            alone = False
            mode = int(size[0] == 0 or size[1] > (c.drain_stop if mode else c.drain_start - 1))
        direction = write[queue[HELD, 0]] if size[HELD] else mode  # T3
        held_alone = size[HELD] > 0 and t - since[HELD] >= patience

        # Column bus, or the only one: list and place in it. Row bus: place in Q, or -1, and bank.
        column_list = column_place = column_does = row_place = row_bank = row_does = NONE
        for i in range(1 if held_alone else size[HELD]):  # T4
            request = queue[HELD, i]
            if write[request] == direction:
                bank = bank_of[request]
                command = WR if direction else RD
                if closed_page and hits[mode, bank] == 0:
                    command = WRA if direction else RDA
                at = earliest(ready, nodes, bank, command)
                if at <= t:
                    column_list, column_place, column_does = HELD, i, command
                    break
                wake = min(wake, at)
        if split or column_does == NONE:
            for rank in range(ranks):  # T5
                if owed[rank]:
                    command, bank = refresh_offer(open_row, held_in, next_bank, rank, banks, per_bank)
                    if command != NONE:
                        at = earliest(ready, nodes, bank, command)
                        if at <= t:
                            row_bank, row_does = bank, command
                            break
                        wake = min(wake, at)
        free = split or (column_does == NONE and row_does == NONE)
        need_column = free and column_does == NONE and mode == direction and not held_alone
        need_row = free and row_does == NONE
        last_bank = last_command = NONE
        for i in range(1 if alone else size[mode]):  # T6
            if not (need_column or need_row):
                break
            request = queue[mode, i]
            bank = bank_of[request]
            row = open_row[bank]
            if row == row_of[request]:
                if not need_column:
                    continue
                command = WR if mode else RD
                if closed_page and hits[mode, bank] == 1 and not held_in[bank]:
                    command = WRA if mode else RDA
            elif not need_row:
                continue
            elif row == NONE:
                if size[HELD] >= c.held or owed[rank_of[bank]] > 1:
                    continue
                command = ACT
            elif held_in[bank] or (hits[mode, bank] and not alone):
                continue
            else:
                command = PRE
            if bank == last_bank and command == last_command:
                continue  # no more ready than the one before
            last_bank, last_command = bank, command
            rank = rank_of[bank]
            if owed[rank] and (not per_bank or next_bank[rank] == bank):
                continue
            at = earliest(ready, nodes, bank, command)
            if at > t:
                wake = min(wake, at)
            elif command in (ACT, PRE):
                row_place, row_bank, row_does = i, bank, command
                need_row, need_column = False, need_column and split
            else:
                column_list, column_place, column_does = mode, i, command
                need_column, need_row = False, need_row and split

        entering = False  # T10, by the registers before T9
        if new < requests:
            if arrival[new] > t:
                wake = min(wake, arrival[new])
            elif size[write[new]] < depth:
                entering = not same_burst(queue, size, write, bank_of, row_of, column_of, new)
        if column_does == NONE and row_does == NONE and not entering:
            if wake == NEVER:
                return -1, row_hits, logged
            t = wake
            continue

        for bus in range(2):  # T9
            command, bank, request = (column_does if bus == 0 else row_does), row_bank, NONE
            if command == NONE:
                continue
            if bus == 0:
                request = queue[column_list, column_place]
                bank = bank_of[request]
                take(queue, size, since, column_list, column_place, t)
                if column_list == HELD:
                    held_in[bank] = 0
                else:
                    hits[mode, bank] -= 1
                    row_hits += 1
                    row_place -= row_place > column_place
                done[request] = t + (c.write_delay if write[request] else c.read_delay)
                end = max(end, done[request])
                finished += 1
            elif row_place != NONE:
                request = queue[mode, row_place]
            rank = rank_of[bank]
            if command == ACT:
                take(queue, size, since, mode, row_place, t)
                append(queue, size, since, HELD, request, t)
                held_in[bank], open_row[bank] = 1, row_of[request]
                for of in range(2):
                    hits[of, bank] = wanting(queue, size, of, bank_of, row_of, bank, open_row[bank])
                if not was_open[rank]:
                    was_open[rank], active_since[rank] = 1, t
            elif command in (REFAB, REFPB):
                owed[rank] -= 1
                if command == REFPB:
                    next_bank[rank] = rank * banks + (bank + 1) % banks
            elif command != RD and command != WR:
                closing = banks if command == PREA else 1
                open_row[bank : bank + closing] = NONE
                hits[:, bank : bank + closing] = 0
                if was_open[rank] and open_row[rank * banks : (rank + 1) * banks].max() == NONE:
                    was_open[rank] = 0
                    active[rank] += t - active_since[rank]
            note(ready, past, issued, nodes, rules, first, rank_of, siblings, bank, command, t)
            counts[rank, command] += 1
            if logged < log.shape[0]:
                log[logged, 0], log[logged, 1], log[logged, 2] = t, command, bank
                log[logged, 3], log[logged, 4] = row_of[request] if request != NONE and command != PRE else NONE, request
            logged += 1
        if entering:
            kind, bank = write[new], bank_of[new]
            append(queue, size, since, kind, new, t)
            hits[kind, bank] += open_row[bank] == row_of[new]
            entered[new] = t
            new += 1
        t += 1
    end = max(end, until)
    for rank in range(ranks):
        if was_open[rank]:
            active[rank] += end - active_since[rank]
    return end, row_hits, logged
