"""The rules of time between DRAM commands, one row each, made from a part's JEDEC timings.

A `Constraint` says: ``after`` is issued no earlier than ``cycles`` after the ``window``-th last ``before`` that went to the same
instance of ``scope`` (``OTHER_RANK``: to another rank of the same pseudo channel). Cycles are command clocks (tCK) from the first
cycle of one command to the first cycle of the other. Nothing else knows a timing: the reference simulator, the RTL of the
controller and the monitor all read these rows.

With B = cycles of a burst, R = RD or RDA, W = WR or WRA (JESD79-4 and JESD235, as DRAMsim3 and Ramulator 2.1 state them):

==================  ======================================================================================================
bank                ACT-R tRCD_RD; ACT-W tRCD_WR; ACT-PRE tRAS; ACT-ACT tRC; PRE-ACT tRP; RD-PRE tRTP; WR-PRE CWL + B + tWR;
                    RDA-ACT tRTP + tRP; WRA-ACT CWL + B + tWR + tRP; the same to REFPB; REFPB-ACT, REFPB-REFPB tRFC_PB
bank group          R-R, W-W tCCD_L (W-W tCCD_L_WR); W-R CWL + B + tWTR_L; ACT-ACT tRRD_L
rank                R-R, W-W tCCD_S; R-W CL + B + turnaround - CWL; W-R CWL + B + tWTR_S; ACT-ACT tRRD_S; four ACT in tFAW;
                    PRE-PRE tPPD; the rows of a bank to PREA and REFAB; PREA-ACT, PREA-REFAB tRP_AB; REFAB-any tRFC;
                    ACT-REFPB tRRD_S; REFPB-ACT tRREFD; REFPB-REFPB tpbR2pbR; REFPB-REFAB, REFPB-PREA tRFC_PB
pseudo channel      R-R, W-W B; and where ranks are stack ids R-W, W-R, ACT-ACT and four ACT as above
other rank          R-R, W-W tCCD_R, or else B + tRTRS; R-W CL + B + tRTRS - CWL; W-R CWL + B + tRTRS - CL
channel             commands of one command bus: as many cycles as ``before`` takes on it
==================  ======================================================================================================

A command that takes n cycles on the bus counts from its last one: a row grows by n - 1 after it and shrinks by n - 1 before it
(Ramulator 2.1 counts the same way). The _S value of a rank also bounds the same bank group, because it is never above the _L
value (`memsys.part` refuses the contrary).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memsys.part import COLUMN_COMMANDS, ROW_COMMANDS, Command, Part


class Scope(IntEnum):
    """Where two commands must meet for a rule to hold between them, from the whole down to a bank."""

    CHANNEL = 0
    PSEUDO_CHANNEL = 1
    RANK = 2
    BANK_GROUP = 3
    BANK = 4
    OTHER_RANK = 5
    """The same pseudo channel, but not the same rank."""


class Constraint(NamedTuple):
    """``after`` comes at least ``cycles`` (tCK) after the ``window``-th last ``before`` in the same ``scope``."""

    scope: Scope
    before: Command
    after: Command
    cycles: int
    window: int = 1

    def __str__(self) -> str:
        times = f"{self.window} " if self.window > 1 else ""
        return f"{times}{self.before.name} to {self.after.name}, {self.scope.name.lower()}: {self.cycles} cycles"


READS = (Command.RD, Command.RDA)
WRITES = (Command.WR, Command.WRA)


@cache
def constraints(part: Part) -> tuple[Constraint, ...]:
    """Every rule of time between the commands of ``part``, in cycles of tCK: the strictest row of each kind, sorted.

    Rows that could never bind (zero cycles or less) are left out.
    """
    strictest: dict[tuple[Scope, Command, Command, int], int] = {}
    for scope, before, after, cycles, window in _rows(part):
        key = (scope, before, after, window)
        issued = cycles + part.command_cycles(before) - part.command_cycles(after)
        strictest[key] = max(strictest.get(key, 0), issued)
    for scope, before, after, cycles in _command_bus(part):
        strictest[scope, before, after, 1] = cycles
    rows = (Constraint(*key[:3], cycles=cycles, window=key[3]) for key, cycles in strictest.items() if cycles > 0)
    commands = part.commands
    return tuple(sorted(row for row in rows if row.before in commands and row.after in commands))


@cache
def table(part: Part) -> NDArray[np.int64]:
    """``constraints(part)`` as a read-only array for compiled code: int64 [rows, 5] of scope, before, after, cycles, window."""
    rows = np.array([tuple(map(int, row)) for row in constraints(part)], dtype=np.int64)
    rows.setflags(write=False)
    return rows


Row = tuple[Scope, Command, Command, int, int]


def _rows(part: Part) -> Iterator[Row]:
    yield from _within_a_bank(part)
    yield from _within_a_rank(part)
    yield from _data_bus(part)
    if part.organisation.ranks > 1:
        yield from _between_ranks(part)
    yield from _refresh(part)


def _each(scope: Scope, before: Iterable[Command], after: Iterable[Command], cycles: int, window: int = 1) -> Iterator[Row]:
    after = tuple(after)
    yield from ((scope, b, a, cycles, window) for b in before for a in after)


def _within_a_bank(part: Part) -> Iterator[Row]:
    t = part.timing
    bank = Scope.BANK
    act, pre = (Command.ACT,), (Command.PRE,)
    yield from _each(bank, act, READS, t.trcd_rd)
    yield from _each(bank, act, WRITES, t.trcd_wr)
    yield from _each(bank, act, pre, t.tras)
    yield from _each(bank, act, act, t.trc)
    yield from _each(bank, pre, act, t.trp)
    yield from _each(bank, (Command.RD,), pre, t.trtp)
    yield from _each(bank, (Command.WR,), pre, part.write_recovery)
    yield from _each(bank, (Command.RDA,), act, t.trtp + t.trp)
    yield from _each(bank, (Command.WRA,), act, part.write_recovery + t.trp)


def _within_a_rank(part: Part) -> Iterator[Row]:
    t = part.timing
    rank = Scope.RANK
    act, prea = (Command.ACT,), (Command.PREA,)
    wide = _turns(part)
    yield from _each(wide, act, act, t.trrd_s)
    yield from _each(Scope.BANK_GROUP, act, act, t.trrd_l)
    yield from _each(wide, act, act, t.tfaw, window=4)
    yield from _each(rank, act, prea, t.tras)
    yield from _each(rank, prea, act, t.trp_ab)
    yield from _each(rank, (Command.RD,), prea, t.trtp)
    yield from _each(rank, (Command.WR,), prea, part.write_recovery)
    if t.tppd is not None:
        yield from _each(rank, (Command.PRE, Command.PREA), (Command.PRE, Command.PREA), t.tppd)


def _data_bus(part: Part) -> Iterator[Row]:
    t, burst = part.timing, part.burst_cycles
    for kind in (READS, WRITES):
        yield from _each(Scope.PSEUDO_CHANNEL, kind, kind, burst)
        yield from _each(Scope.RANK, kind, kind, t.tccd_s)
        yield from _each(Scope.BANK_GROUP, kind, kind, t.tccd_l)
    yield from _each(Scope.BANK_GROUP, WRITES, WRITES, t.tccd_l_wr or 0)
    wide = _turns(part)
    yield from _each(wide, READS, WRITES, part.read_to_write)
    yield from _each(wide, WRITES, READS, t.cwl + burst + t.twtr_s)
    yield from _each(Scope.BANK_GROUP, WRITES, READS, t.cwl + burst + t.twtr_l)


def _turns(part: Part) -> Scope:
    """Where ACT pace and bus turn-arounds are kept: stack ids share them, ranks have their own."""
    return Scope.PSEUDO_CHANNEL if part.organisation.stack_ids else Scope.RANK


def _between_ranks(part: Part) -> Iterator[Row]:
    """The data bus changes hands: tCCD_R between stack ids, else tRTRS idle cycles between the bursts."""
    t, burst, other = part.timing, part.burst_cycles, Scope.OTHER_RANK
    for kind in (READS, WRITES):
        yield from _each(other, kind, kind, t.tccd_r or burst + (t.trtrs or 0))
    if t.trtrs is not None:
        yield from _each(other, READS, WRITES, t.cl + burst + t.trtrs - t.cwl)
        yield from _each(other, WRITES, READS, t.cwl + burst + t.trtrs - t.cl)


def _refresh(part: Part) -> Iterator[Row]:
    t, rank, bank = part.timing, Scope.RANK, Scope.BANK
    act, ref = (Command.ACT,), (Command.REFAB,)
    closed = part.write_recovery + t.trp
    yield from _each(rank, act, ref, t.trc)
    yield from _each(rank, (Command.PRE,), ref, t.trp)
    yield from _each(rank, (Command.PREA,), ref, t.trp_ab)
    yield from _each(rank, (Command.RDA,), ref, t.trtp + t.trp)
    yield from _each(rank, (Command.WRA,), ref, closed)
    yield from _each(rank, ref, ROW_COMMANDS, t.trfc)
    if not part.per_bank_refresh:
        return
    one, busy, apart = (Command.REFPB,), t.trfc_pb or 0, t.trrefd or 0
    yield from _each(bank, act, one, t.trc)
    yield from _each(bank, (Command.PRE,), one, t.trp)
    yield from _each(rank, (Command.PREA,), one, t.trp_ab)
    yield from _each(bank, (Command.RDA,), one, t.trtp + t.trp)
    yield from _each(bank, (Command.WRA,), one, closed)
    yield from _each(rank, act, one, t.trrd_s)
    yield from _each(rank, one, act, apart)
    yield from _each(rank, one, one, t.tpbr2pbr or apart)
    yield from _each(bank, one, (Command.ACT, Command.PRE, Command.REFPB), busy)
    yield from _each(rank, one, (Command.PREA, Command.REFAB), busy)


def _command_bus(part: Part) -> Iterator[tuple[Scope, Command, Command, int]]:
    """One command at a time on each command bus of the channel, whose cycles are the commands' own and not counted twice."""
    for bus in (ROW_COMMANDS, COLUMN_COMMANDS) if part.organisation.split_command_bus else (tuple(Command),):
        yield from ((Scope.CHANNEL, b, a, part.command_cycles(b)) for b in bus for a in bus)
