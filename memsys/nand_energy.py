"""Energy and wear of NAND, from its page operations.

================  =====================================================================================
page_read         V x A x mean tR: one page from the cells into its register
page_program      V x A x mean tPROG: one page from its register into the cells
block_erase       V x A x tBERS
channel_byte      one byte on the channel, drivers and termination on both sides
standby           V x A of a die, as long as it has power; the operations come on top, as ISB is 1/2500 of their current
================  =====================================================================================

A page operation on several planes counts once for each plane: no source says what planes share, so this is the most. Currents are
of the whole operation of a die in the sources; the joules of a read thus scale with the mean tR of the part, not with its page.

Wear: a block lasts ``endurance`` erases. With write amplification A (bytes programmed by bytes asked for) and even wear

    bytes written in all = capacity x endurance / A
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accel.base.clock import PS_PER_S
from memsys._nand_tables import Draw
from memsys.dram_energy import Figure
from memsys.nand_ops.operations import Kind, Operations, Run
from memsys.nand_part import NandPart

EVENTS = {Kind.READ: "page_read", Kind.PROGRAM: "page_program", Kind.ERASE: "block_erase"}
SECONDS_PER_YEAR = 31_557_600  # 365.25 days


def figures(part: NandPart) -> dict[str, Figure]:
    """Joules of each event of ``part``; of standby, of one die for one picosecond."""
    draws = part.energies
    lasting: dict[str, tuple[Draw, float]] = {
        "page_read": (draws.page_read, part.mean_read_ps),
        "page_program": (draws.page_program, part.mean_program_ps),
        "block_erase": (draws.block_erase, part.erase_ps),
        "channel_byte": (draws.channel_byte, 0),
        "standby": (draws.standby, 1),
    }
    return {event: Figure(draw.joules(ps), draw.source_class, draw.source) for event, (draw, ps) in lasting.items()}


@dataclass(frozen=True)
class Account:
    """Joules of a run by event. ``joules`` is its total."""

    rows: dict[str, tuple[int, float, Figure]]
    """By event: how often, joules in all, and the figure behind it."""

    @property
    def joules(self) -> float:
        """All rows, J."""
        return sum(joules for _, joules, _ in self.rows.values())


def energy(run: Run) -> Account:
    """The account of a run: page operations, bytes on channels, and standby of all dies until its end."""
    counts = {EVENTS[kind]: count for kind, count in run.counts.items()}
    counts |= {"channel_byte": run.nbytes, "standby": run.elapsed_ps * run.part.total_dies}
    return Account({event: (counts[event], counts[event] * figure.joules, figure) for event, figure in figures(run.part).items()})


def erase_counts(part: NandPart, operations: Operations) -> NDArray[np.int64]:
    """Erases of each block, [channels, chips, dies, planes, blocks]: what is compared with the part's ``endurance``."""
    place, erases = operations.place, operations.kind == Kind.ERASE
    shape = (part.channels, part.chips, part.dies, part.planes, part.blocks)
    where = np.ravel_multi_index([column[erases] for column in place[:5]], shape)
    return np.bincount(where, minlength=int(np.prod(shape))).reshape(shape).astype(np.int64)


def bytes_written(part: NandPart, write_amplification: float = 1.0) -> int:
    """Bytes that a host can write until all blocks are worn: capacity x endurance / write amplification, rounded down.

    Raises ValueError below a write amplification of 1: what is asked for is programmed.
    """
    if not write_amplification >= 1:
        raise ValueError(f"write_amplification: wanted 1 or more, got {write_amplification}")
    if write_amplification == 1:
        return part.capacity * part.endurance
    return int(part.capacity * part.endurance / write_amplification)


def tokens_written(part: NandPart, token_bytes: int, *, drives: int = 1, write_amplification: float = 1.0) -> int:
    """Tokens whose keys and values of ``token_bytes`` so many drives of ``part`` take until they are worn.

    Raises ValueError where a figure is not positive.
    """
    for name, value in (("token_bytes", token_bytes), ("drives", drives)):
        if value < 1:
            raise ValueError(f"{name}: wanted 1 or more, got {value}")
    return drives * bytes_written(part, write_amplification) // token_bytes


def years(part: NandPart, bytes_per_s: float, write_amplification: float = 1.0) -> float:
    """Years until all blocks are worn, where a host writes ``bytes_per_s`` (above zero, or ValueError) all the time."""
    if not bytes_per_s > 0:
        raise ValueError(f"bytes_per_s: wanted a rate above zero, got {bytes_per_s}")
    return bytes_written(part, write_amplification) / bytes_per_s / SECONDS_PER_YEAR


def joules_per_s(part: NandPart) -> float:
    """Watts of standby of all dies."""
    return part.total_dies * figures(part)["standby"].joules * PS_PER_S
