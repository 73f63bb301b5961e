"""Commands of a PIM channel, beside those of a DRAM, and a line of a command trace.

A PIM channel has a global vector buffer, and in each bank a second row buffer, the PIM row buffer (or, with a single row buffer,
one that is either memory or PIM). Source: NeuPIMs, ASPLOS'24 (arXiv 2403.00579), section 4, and its simulator.

    GWRITE    a page from a bank's memory row buffer to the global vector buffer
    HEADER    announces the GEMVs of a tile: dot-product bursts and results in all
    PACT      grouped ACT: opens a row in the PIM row buffers of the four banks of a bank group
    GEMV(n)   composite, for the whole channel: n COMP and a READRES, one command on the bus
    COMP      all banks multiply a burst of their row with one of the vector, and add up
    READRES   the sums of all banks leave the channel
    PPRE      closes the PIM row buffer of one bank

With s = max(burst, tCCD_S) and n bursts, GEMV(n) in cycle t stands for COMP in t, t + s, ..., t + (n - 1) s and READRES in
t + s max(n, `ADDER_TREE`): the adder tree has to fill. No COMP or READRES is ever sent alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from memsys.part import Command, Part

ADDER_TREE = 6
"""Bursts that the adder tree of a bank takes to fill (NeuPIMs simulator)."""


class PimCommand(IntEnum):
    """What a PIM controller sends beside a `memsys.part.Command`, and the two parts of GEMV; numbered after those."""

    GWRITE = len(Command)
    HEADER = len(Command) + 1
    PACT = len(Command) + 2
    GEMV = len(Command) + 3
    PPRE = len(Command) + 4
    COMP = len(Command) + 5
    READRES = len(Command) + 6


AnyCommand = Command | PimCommand
COMMANDS = (*Command, *PimCommand)
WHOLE_CHANNEL = (PimCommand.HEADER, PimCommand.GEMV, PimCommand.COMP, PimCommand.READRES)
WHOLE_RANK = (Command.PREA, Command.REFAB)


class Issued(NamedTuple):
    """``command`` in ``cycle``, to ``bank`` (the first one that it reaches), where it opens or uses ``row``.

    ``bursts`` is n of a GEMV(n). Banks are numbered (rank x bank groups + group) x banks + bank.
    """

    cycle: int
    command: AnyCommand
    bank: int = 0
    row: int = -1
    bursts: int = 0

    def __str__(self) -> str:
        what = f"GEMV({self.bursts})" if self.command is PimCommand.GEMV else self.command.name
        return f"{self.cycle} {what} bank {self.bank}" + (f" row {self.row}" if self.row >= 0 else "")


def reach(part: Part, command: AnyCommand, bank: int) -> range:
    """The banks that ``command`` to ``bank`` works on: the channel's, the rank's, the group's or the one."""
    size = 1
    if command in WHOLE_CHANNEL:
        size = part.banks_per_channel
    elif command in WHOLE_RANK:
        size = part.banks_per_rank
    elif command is PimCommand.PACT:
        size = part.organisation.banks
    start = bank - bank % size
    return range(start, start + size)


def comp_cycles(part: Part) -> int:
    """s: cycles from one COMP to the next, max(burst, tCCD_S)."""
    return max(part.burst_cycles, part.timing.tccd_s)


def result_cycles(part: Part, bursts: int) -> int:
    """Cycles from GEMV(``bursts``) to its READRES."""
    return comp_cycles(part) * max(bursts, ADDER_TREE)


def expanded(part: Part, issued: Issued) -> Iterator[Issued]:
    """The COMPs and the READRES that a GEMV stands for; any other command as it is."""
    if issued.command is not PimCommand.GEMV:
        yield issued
        return
    step = comp_cycles(part)
    for i in range(issued.bursts):
        yield issued._replace(cycle=issued.cycle + i * step, command=PimCommand.COMP, bursts=0)
    end = issued.cycle + result_cycles(part, issued.bursts)
    yield issued._replace(cycle=end, command=PimCommand.READRES, bursts=0)
