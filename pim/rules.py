"""The rules of time of a PIM channel: those of `memsys.constraints`, and the same kind of rows for PIM commands.

All of it follows from the part's JEDEC timings. A rule holds between two commands wherever a bank that one of them reaches lies
in the same instance of the rule's scope as a bank that the other one reaches. With B = cycles of a burst, S = max(B, tCCD_S),
L = max(B, tCCD_L), rows that differ with the row buffers as "single | dual":

================  ==========================================================================================================
vector            GWRITE takes G = 2 (bursts of a page) (tCCD_S + tCCD_L), and is a read of its bank and rank: ACT-GWRITE tRCD;
                  GWRITE-PRE, -RD, -WR of the bank G; to other banks as RD. All PIM commands wait for it: G
rows              ACT and PACT: tFAW, as PACT is four ACT; same bank tRC | tRRD_L, same group tRRD_L; PACT-PACT tFAW, same
                  group tRC; PACT-PPRE tRAS, PPRE-PACT tRP; PACT-REF tRC, PPRE-REF tRP, REF-PACT tRFC;
                  PPRE-ACT, PRE-PACT tRP | none
dot products      PACT-COMP tRCD; COMP-COMP, COMP-READRES, READRES-COMP S; READRES-READRES L; COMP-PPRE, READRES-PPRE tRTP
data bus          READRES-RD, RD-READRES B + tRTRS, as a read of another rank; READRES-WR tRTW; WR-READRES CWL + B + tWTR_S
reads and writes  RD-COMP L | none; WR-COMP CWL + B + tWTR_L | none; COMP-RD S, COMP-WR tRTW, COMP-PRE tRTP | none
command bus       one command in a cycle
================  ==========================================================================================================

Source: the NeuPIMs simulator (2024-06), `timing.cc`. We differ from it:

- ACT to PACT: there tRRD, so that five or more rows may open within tFAW; here tFAW.
- GEMV: there its rules count from its first COMP, so that its rows may close, and the data bus be taken, while it computes; here
  they hold for every COMP and for the READRES (`pim.channel.Practice` has the other one for comparison).
- Two row buffers: there RD to COMP of other bank groups of the rank S, WR to COMP of those CWL + B + tWTR_S, COMP to RD S and
  COMP to WR tRTW hold as with one; here none, as banks compute on a row buffer of their own and send nothing.
- READRES to READRES: there S, here L, as two bursts of the same banks.
- One row buffer: there PRE, PREA, RDA and WRA to PACT and PPRE to ACT have no rule; here tRP closes the row buffer first.
- GWRITE: there it holds up COMP, READRES and GWRITE; here HEADER, PACT and PPRE too. PACT to REFAB: there none, here tRC.

As there: GWRITE does not reserve the data path against another rank, whose reads and writes have no rule with it. And with two
row buffers the same row may go from one to the other at once: PPRE and, in the next cycle, ACT of the row, or PRE and PACT.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from memsys.constraints import READS, WRITES, Scope, constraints
from memsys.part import COLUMN_COMMANDS, ROW_COMMANDS, Command, Part
from pim.commands import AnyCommand, PimCommand, comp_cycles

GWRITE, HEADER, PACT, GEMV, PPRE, COMP, READRES = PimCommand
ACT, PRE, PREA, REFAB = Command.ACT, Command.PRE, Command.PREA, Command.REFAB


class Rule(NamedTuple):
    """``after`` comes at least ``cycles`` (tCK) after the ``window``-th last ``before`` in the same ``scope``.

    As `memsys.constraints.Constraint`, of which every row of the part is one.
    """

    scope: Scope
    before: AnyCommand
    after: AnyCommand
    cycles: int
    window: int = 1

    def __str__(self) -> str:
        times = f"{self.window} " if self.window > 1 else ""
        return f"{times}{self.before.name} to {self.after.name}, {self.scope.name.lower()}: {self.cycles} cycles"


@cache
def rules(part: Part, dual: bool = True) -> tuple[Rule, ...]:
    """Every rule of time of a channel of ``part`` with ``dual`` or single row buffers, the strictest row of each kind, sorted.

    Raises ValueError for a part that cannot be a PIM channel here.
    """
    check(part)
    strictest = {(Scope(r.scope), r.before, r.after, r.window): r.cycles for r in map(Rule._make, constraints(part))}
    for rule in _pim(part, dual):
        key = (rule.scope, rule.before, rule.after, rule.window)
        strictest[key] = max(strictest.get(key, 0), rule.cycles)
    return tuple(sorted(Rule(*key[:3], cycles=cycles, window=key[3]) for key, cycles in strictest.items() if cycles > 0))


def check(part: Part) -> None:
    """Raise ValueError where ``part`` cannot be a PIM channel: commands take a cycle each, and a channel has one data bus."""
    o = part.organisation
    if o.pseudo_channels > 1 or o.stack_ids:
        raise ValueError(
            f"{part}: wanted channels with one data bus and ranks of their own, got {o.pseudo_channels} pseudo channels"
            f"{' and stack ids' if o.stack_ids else ''}; hbm2/neupims_8gb_2000 is such a part"
        )
    if max(o.act_cycles, o.row_cycles, o.column_cycles) > 1:
        raise ValueError(
            f"{part}: wanted commands of one cycle each, got some of {max(o.act_cycles, o.row_cycles, o.column_cycles)}"
        )


def gwrite_cycles(part: Part) -> int:
    """G: cycles that GWRITE takes for a page. The source gives (tCCD_S + tCCD_L) x 32 for a page of 16 bursts, and no reason."""
    return 2 * part.bursts_per_row * (part.timing.tccd_s + part.timing.tccd_l)


def _pim(part: Part, dual: bool) -> Iterator[Rule]:
    yield from _vector(part)
    yield from _rows(part, dual)
    yield from _dot_products(part)
    yield from _data_bus(part)
    if not dual:
        yield from _shared_row_buffer(part)
    yield from _command_bus(part)


def _vector(part: Part) -> Iterator[Rule]:
    t, busy = part.timing, gwrite_cycles(part)
    near, far = _apart(part)
    yield Rule(Scope.BANK, ACT, GWRITE, t.trcd_rd)
    for command in READS:
        yield Rule(Scope.BANK_GROUP, command, GWRITE, near)
        yield Rule(Scope.RANK, command, GWRITE, far)
        yield Rule(Scope.BANK_GROUP, GWRITE, command, near)
        yield Rule(Scope.RANK, GWRITE, command, far)
    for command in WRITES:
        yield Rule(Scope.BANK_GROUP, command, GWRITE, t.cwl + part.burst_cycles + t.twtr_l)
        yield Rule(Scope.RANK, command, GWRITE, t.cwl + part.burst_cycles + t.twtr_s)
        yield Rule(Scope.RANK, GWRITE, command, part.read_to_write)
    for command in (*COLUMN_COMMANDS, PRE):
        yield Rule(Scope.BANK, GWRITE, command, busy)
    yield Rule(Scope.RANK, GWRITE, PREA, busy)
    for pim in PimCommand:
        if pim is not GEMV:
            yield Rule(Scope.CHANNEL, GWRITE, pim, busy)


def _rows(part: Part, dual: bool) -> Iterator[Rule]:
    t = part.timing
    both = t.trrd_l if dual else t.trc
    for before, after in ((ACT, PACT), (PACT, ACT)):
        yield Rule(Scope.BANK, before, after, both)
        yield Rule(Scope.BANK_GROUP, before, after, t.trrd_l)
        yield Rule(Scope.RANK, before, after, t.tfaw)
    yield Rule(Scope.RANK, PACT, PACT, t.tfaw)
    yield Rule(Scope.BANK_GROUP, PACT, PACT, t.trc)
    yield Rule(Scope.BANK, PACT, PPRE, t.tras)
    yield Rule(Scope.BANK, PPRE, PACT, t.trp)
    yield Rule(Scope.RANK, PACT, REFAB, t.trc)
    yield Rule(Scope.RANK, PPRE, REFAB, t.trp)
    yield Rule(Scope.RANK, REFAB, PACT, t.trfc)


def _dot_products(part: Part) -> Iterator[Rule]:
    near, step = _apart(part)[0], comp_cycles(part)
    yield Rule(Scope.CHANNEL, PACT, COMP, part.timing.trcd_rd)
    for before, after in ((COMP, COMP), (COMP, READRES), (READRES, COMP), (COMP, GWRITE), (READRES, GWRITE)):
        yield Rule(Scope.CHANNEL, before, after, step)
    yield Rule(Scope.CHANNEL, READRES, READRES, near)
    yield Rule(Scope.CHANNEL, COMP, PPRE, part.timing.trtp)
    yield Rule(Scope.CHANNEL, READRES, PPRE, part.timing.trtp)


def _data_bus(part: Part) -> Iterator[Rule]:
    t, other_rank = part.timing, part.burst_cycles + (part.timing.trtrs or 0)
    for command in READS:
        yield Rule(Scope.CHANNEL, command, READRES, other_rank)
        yield Rule(Scope.CHANNEL, READRES, command, other_rank)
    for command in WRITES:
        yield Rule(Scope.CHANNEL, command, READRES, t.cwl + part.burst_cycles + t.twtr_s)
        yield Rule(Scope.CHANNEL, READRES, command, part.read_to_write)


def _shared_row_buffer(part: Part) -> Iterator[Rule]:
    """What a bank with one row buffer cannot do at once."""
    t = part.timing
    near, far = _apart(part)
    for command in READS:
        yield Rule(Scope.CHANNEL, command, COMP, near)
        yield Rule(Scope.CHANNEL, COMP, command, far)
    for command in WRITES:
        yield Rule(Scope.CHANNEL, command, COMP, t.cwl + part.burst_cycles + t.twtr_l)
        yield Rule(Scope.CHANNEL, COMP, command, part.read_to_write)
    for closing in (PRE, PREA):
        yield Rule(Scope.CHANNEL, COMP, closing, t.trtp)
        yield Rule(Scope.CHANNEL, READRES, closing, t.trtp)
    yield Rule(Scope.BANK, PPRE, ACT, t.trp)
    yield Rule(Scope.BANK, PRE, PACT, t.trp)
    yield Rule(Scope.RANK, PREA, PACT, t.trp_ab)
    yield Rule(Scope.BANK, Command.RDA, PACT, t.trtp + t.trp)
    yield Rule(Scope.BANK, Command.WRA, PACT, part.write_recovery + t.trp)


def _command_bus(part: Part) -> Iterator[Rule]:
    """PIM commands of rows go where ACT goes, the others where RD goes; COMP and READRES are inside of a GEMV."""
    row: tuple[AnyCommand, ...] = (*ROW_COMMANDS, PACT, PPRE)
    column: tuple[AnyCommand, ...] = (*COLUMN_COMMANDS, GWRITE, HEADER, GEMV)
    for bus in (row, column) if part.organisation.split_command_bus else ((*row, *column),):
        for before in bus:
            for after in bus:
                if isinstance(before, PimCommand) or isinstance(after, PimCommand):
                    yield Rule(Scope.CHANNEL, before, after, 1)


def _apart(part: Part) -> tuple[int, int]:
    """L and S: cycles between two reads of one bank group, and of two."""
    return max(part.burst_cycles, part.timing.tccd_l), comp_cycles(part)
