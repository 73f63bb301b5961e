"""Watches the commands of a DRAM channel: rules of time, states of banks, refresh in time, and requests served once and in order.

It shares no code with the reference simulator or the RTL: each rule is looked up in the history of commands as it is written in
`memsys.constraints`. So it is slow, and sees what they both could have got wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from memsys.constraints import READS, Scope, constraints
from memsys.part import COLUMN_COMMANDS, Command, Part
from memsys.reference.controller import Issued, Requests

POSTPONED = 8
"""Refreshes that a rank may owe at most (JESD79-4, 4.26: eight REF commands can be postponed)."""
WHOLE_RANK = (Command.PREA, Command.REFAB)


def violations(
    part: Part, commands: Sequence[Issued], refresh: Literal["all_bank", "per_bank", "none"] = "all_bank", cycles: int = 0
) -> list[str]:
    """What is wrong with the ``commands`` of one channel, in the order of their cycles; a line each, none where all is well.

    ``refresh`` must have come in time until the last command, or until ``cycles`` where that is later.
    """
    found = [*_bus(part, commands), *_timing(part, commands), *_states(part, commands)]
    if refresh != "none":
        found += _refresh(part, commands, refresh == "per_bank", cycles)
    return found


def unserved(requests: Requests, commands: Sequence[Issued]) -> list[str]:
    """Which ``requests`` were not served exactly once and at their place, or overtook one to the same burst; a line each."""
    place, found = requests.location, []
    served: dict[int, Issued] = {}
    for issued in commands:
        if issued.command in COLUMN_COMMANDS:
            if issued.request in served:
                found.append(f"cycle {issued.cycle}: request {issued.request} is served again")
            served[issued.request] = issued
    last: dict[tuple[int, int, int], Issued] = {}
    for request in range(requests.write.size):
        got = served.get(request)
        bank, row, column = (int(field[request]) for field in (place.bank, place.row, place.column))
        if got is None:
            found.append(f"request {request} is never served")
            continue
        if (got.bank, got.row) != (bank, row) or (got.command in READS) == bool(requests.write[request]):
            found.append(f"cycle {got.cycle}: request {request} wanted bank {bank}, row {row}, got {got}")
        before = last.get((bank, row, column))
        if before is not None and before.cycle >= got.cycle and {before.command, got.command} - set(READS):
            found.append(f"cycle {got.cycle}: request {request} is served before request {before.request} to the same burst")
        last[bank, row, column] = got
    return found


def _bus(part: Part, commands: Iterable[Issued]) -> Iterable[str]:
    """More than one command in a cycle on a command bus."""
    seen: dict[tuple[int, bool], Issued] = {}
    before = 0
    for issued in commands:
        bus = part.organisation.split_command_bus and issued.command in COLUMN_COMMANDS
        if (issued.cycle, bus) in seen:
            yield f"cycle {issued.cycle}: {issued.command.name} on a bus that carries {seen[issued.cycle, bus].command.name}"
        if issued.cycle < before:
            yield f"cycle {issued.cycle}: {issued.command.name} stands after a command of cycle {before}"
        before = issued.cycle
        seen[issued.cycle, bus] = issued


def instance(part: Part, scope: Scope, bank: int) -> int:
    """Which pseudo channel, rank, bank group or bank of the channel, by ``scope``, a bank lies in."""
    o = part.organisation
    return bank // {
        Scope.CHANNEL: part.banks_per_channel,
        Scope.PSEUDO_CHANNEL: o.ranks * part.banks_per_rank,
        Scope.RANK: part.banks_per_rank,
        Scope.BANK_GROUP: o.banks,
        Scope.BANK: 1,
    }.get(scope, part.banks_per_rank)


def _timing(part: Part, commands: Iterable[Issued]) -> Iterable[str]:
    """Commands that come too soon by a rule of time."""
    ranks = part.organisation.ranks
    history: dict[Command, list[Issued]] = defaultdict(list)
    waiting = defaultdict(list)
    for rule in constraints(part):
        waiting[rule.after].append(rule)
    for issued in commands:
        for rule in waiting[issued.command]:
            own = instance(part, rule.scope, issued.bank)
            same = []
            for earlier in reversed(history[rule.before]):
                if issued.cycle - earlier.cycle >= rule.cycles:
                    break
                other = instance(part, rule.scope, earlier.bank)
                sibling = other != own and other // ranks == own // ranks
                if sibling if rule.scope is Scope.OTHER_RANK else other == own:
                    same.append(earlier)
            if len(same) >= rule.window:
                late = same[rule.window - 1].cycle + rule.cycles
                yield f"cycle {issued.cycle}: {issued.command.name} to bank {issued.bank} before cycle {late} ({rule})"
        history[issued.command].append(issued)


def _states(part: Part, commands: Iterable[Issued]) -> Iterable[str]:
    """Commands that the state of their bank forbids."""
    row: dict[int, int] = {}
    for issued in commands:
        command, banks = issued.command, range(issued.bank, issued.bank + 1)
        if command in WHOLE_RANK:
            start = issued.bank - issued.bank % part.banks_per_rank
            banks = range(start, start + part.banks_per_rank)
        is_open = [bank for bank in banks if bank in row]
        what = f"cycle {issued.cycle}: {command.name} to bank {issued.bank}"
        if command in COLUMN_COMMANDS and row.get(issued.bank) != issued.row:
            yield f"{what}, row {issued.row}, where row {row.get(issued.bank)} is open"
        elif command in (Command.ACT, Command.REFAB, Command.REFPB) and is_open:
            yield f"{what}, while bank {is_open[0]} is open"
        elif command in (Command.PRE, Command.PREA) and not is_open:
            yield f"{what}, which is closed"
        if command is Command.ACT:
            row[issued.bank] = issued.row
        elif command not in (Command.RD, Command.WR):
            for bank in is_open:
                del row[bank]


def _refresh(part: Part, commands: Sequence[Issued], per_bank: bool, cycles: int) -> Iterable[str]:
    """Ranks that owe more than `POSTPONED` refreshes, or got more than `POSTPONED` too many, and banks that are passed over."""
    t = part.timing
    interval = t.trefi_pb if per_bank and t.trefi_pb else t.trefi
    wanted = Command.REFPB if per_bank else Command.REFAB
    end = max(cycles, commands[-1].cycle if commands else 0)
    for rank in range(part.banks_per_channel // part.banks_per_rank):
        own = [i for i in commands if i.command is wanted and i.bank // part.banks_per_rank == rank]
        for done, cycle in enumerate([*(i.cycle for i in own), end]):
            owed = cycle // interval - done
            if owed > POSTPONED:
                yield f"cycle {cycle}: rank {rank} owes {owed} refreshes, at most {POSTPONED} may be postponed"
            if done < len(own) and owed < 1 - POSTPONED:
                yield f"cycle {cycle}: rank {rank} is refreshed more than {POSTPONED} times too often"
        if per_bank:
            for done, issued in enumerate(own):
                if issued.bank % part.banks_per_rank != done % part.banks_per_rank:
                    yield f"cycle {issued.cycle}: REFPB to bank {issued.bank} out of turn"
