"""Watches the commands of a PIM channel: rules of time, states of both row buffers, refresh in time and never within a tile.

Each rule is looked up in the history of commands, with every GEMV taken apart into its COMPs and its READRES: slow, and without
the state and the tables of `pim.channel`, whose mistakes it sees. It shares with the scheduler what commands are and what the
rules say: `rules`, `reach`, `expanded` and `result_cycles`. A mistake in one of those is made by both and not seen here; they are
pinned by hand, from the part's figures, in `tests/pim/test_pim_rules.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from memsys.constraints import READS, WRITES, Scope
from memsys.part import Command, Part
from pim.commands import AnyCommand, Issued, expanded, reach
from pim.rules import GEMV, GWRITE, HEADER, PACT, PPRE, rules


def violations(part: Part, commands: Sequence[Issued], dual: bool = True) -> list[str]:
    """What is wrong with the ``commands`` of one channel, in the order of their cycles; a line each, none where all is well."""
    return [*_bus(part, commands), *_timing(part, commands, dual), *_states(part, commands, dual), *_tiles(commands)]


def late_refreshes(part: Part, commands: Sequence[Issued], start: int, end: int, most: int) -> list[str]:
    """Ranks that were not refreshed within ``most`` cycles after they were due, or too often, between ``start`` and ``end``.

    Every tREFI / ranks cycles one rank is due, in turn, from cycle tREFI / ranks on.
    """
    interval, ranks = part.timing.trefi // part.organisation.ranks, part.organisation.ranks
    found = []
    done = iter([c for c in commands if c.command is Command.REFAB])
    for number in range(start // interval + 1, (end - most) // interval + 1):
        got, rank = next(done, None), (number - 1) % ranks
        if got is None:
            found.append(f"cycle {number * interval}: rank {rank} is due and never refreshed")
            break
        if got.bank // part.banks_per_rank != rank or not 0 <= got.cycle - number * interval <= most:
            found.append(f"cycle {number * interval}: rank {rank} is due, wanted its REFAB within {most} cycles, got {got}")
    return found


def _bus(part: Part, commands: Iterable[Issued]) -> Iterable[str]:
    before = None
    for issued in commands:
        if before is not None and issued.cycle < before.cycle:
            yield f"{issued} stands after {before}"
        elif before is not None and issued.cycle == before.cycle and not part.organisation.split_command_bus:
            yield f"{issued} on a bus that carries {before}"
        before = issued


def _timing(part: Part, commands: Sequence[Issued], dual: bool) -> Iterable[str]:
    """Commands, and parts of GEMVs, that come too soon by a rule of time."""
    parts = sorted(each for issued in commands for each in expanded(part, issued))
    parts += [issued for issued in commands if issued.command is GEMV]
    parts.sort(key=lambda issued: issued.cycle)
    waiting = defaultdict(list)
    for rule in rules(part, dual):
        waiting[rule.after].append(rule)
    history: dict[AnyCommand, list[Issued]] = defaultdict(list)
    for issued in parts:
        for rule in waiting[issued.command]:
            met = []
            for earlier in reversed(history[rule.before]):
                if issued.cycle - earlier.cycle >= rule.cycles:
                    break
                if _meet(part, rule.scope, earlier, issued):
                    met.append(earlier)
            if len(met) >= rule.window:
                yield f"{issued} before cycle {met[rule.window - 1].cycle + rule.cycles} ({rule})"
        history[issued.command].append(issued)


def _meet(part: Part, scope: Scope, one: Issued, other: Issued) -> bool:
    """Whether the two reach a common instance of ``scope``; OTHER_RANK: banks of different ranks."""
    o = part.organisation
    sizes = {Scope.BANK: 1, Scope.BANK_GROUP: o.banks, Scope.RANK: part.banks_per_rank, Scope.OTHER_RANK: part.banks_per_rank}
    size = sizes.get(scope, part.banks_per_channel)
    mine, others = ({bank // size for bank in reach(part, i.command, i.bank)} for i in (one, other))
    return len(mine | others) > 1 if scope is Scope.OTHER_RANK else bool(mine & others)


def _states(part: Part, commands: Iterable[Issued], dual: bool) -> Iterable[str]:
    """Commands that the state of their banks forbids."""
    memory: dict[int, int] = {}
    pim: dict[int, int] = {}
    for issued in commands:
        command, banks = issued.command, reach(part, issued.command, issued.bank)
        is_open = [bank for bank in banks if bank in memory]
        is_pim = [bank for bank in banks if bank in pim]
        if command in (*READS, *WRITES, GWRITE) and memory.get(issued.bank) != issued.row:
            yield f"{issued} where row {memory.get(issued.bank)} is open"
        elif command in (Command.ACT, Command.REFAB) and is_open:
            yield f"{issued} while bank {is_open[0]} is open"
        elif command in (Command.PRE, Command.PREA) and not is_open:
            yield f"{issued} to closed banks"
        elif command is GEMV and any(pim.get(bank) != issued.row for bank in banks):
            yield f"{issued} where the PIM row buffers do not all hold the row"
        elif command in (PACT, Command.REFAB) and is_pim:
            yield f"{issued} while the PIM row buffer of bank {is_pim[0]} is open"
        elif command is PPRE and not is_pim:
            yield f"{issued} to a closed PIM row buffer"
        elif command is PACT and any(memory.get(bank) == issued.row for bank in banks):
            yield f"{issued} while the row is open for memory"
        elif command is Command.ACT and pim.get(issued.bank) == issued.row:
            yield f"{issued} while the row is open for PIM"
        elif not dual and ((command is PACT and is_open) or (command is Command.ACT and is_pim)):
            yield f"{issued} while the only row buffer of a bank is taken"
        for bank in banks:
            if command is Command.ACT:
                memory[bank] = issued.row
            elif command is PACT:
                pim[bank] = issued.row
            elif command is PPRE:
                pim.pop(bank, None)
            elif command in (Command.PRE, Command.PREA, Command.RDA, Command.WRA):
                memory.pop(bank, None)


def _tiles(commands: Iterable[Issued]) -> Iterable[str]:
    """GEMVs that no HEADER announced, more or fewer than announced, and refreshes within a tile."""
    announced: Issued | None = None
    left = 0
    for issued in commands:
        if issued.command is HEADER:
            if left:
                yield f"{issued} while {left} dot-product bursts of {announced} are to come"
            announced, left = issued, issued.bursts
        elif issued.command is GEMV:
            left -= issued.bursts
            if announced is None or left < 0 or issued.row != announced.row:
                yield f"{issued} which {announced} does not announce"
        elif issued.command is Command.REFAB and left:
            yield f"{issued} within the tile of {announced}"
    if left:
        yield f"{left} dot-product bursts of {announced} never came"
