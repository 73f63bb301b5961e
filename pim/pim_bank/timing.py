"""Depths of the bank's pipeline, each written once for RTL and price, and the cycles of its two sides.

    OPERAND       the register of the row's burst and of the vector's
    multiply      registers of a multiplier, the one behind it included
    level         those of a level of the adder tree
    accumulate    those of the accumulator's adder, the accumulator included: two COMPs are at least as many cycles apart

FP16 depths are for a clock of 1 GHz, the one that NeuPIMs takes (tCK = 1 ns). On ASAP7 (unplaced, 709 ps wanted) a multiplier of
one stage takes 931 ps, of two 737 ps; an FP32 adder whose sum comes back to it takes 1541 ps with one stage and 942 ps with two.
COMPs every two cycles are what HBM2 allows (tCCD_S = 2), so that one accumulator is fast enough, and sums are in plain order.
16 multipliers make 13 stages: a result that is asked for leaves sooner than the data of a read (CL = 14).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OPERAND = 1
CONFIG, DONE = 1, 1
"""The config word, and the word on `done`."""
COMMAND = 1
"""A command that takes a cycle of its own."""
LEAVE = 1
"""A result, or a burst, in its output buffer."""


@dataclass(frozen=True)
class Depth:
    """Registers of each part of the pipeline; see the module's docstring."""

    multiply: int
    level: int
    accumulate: int

    def stages(self, multipliers: int) -> int:
        """Cycles from a COMP until its sum is in the accumulator."""
        return OPERAND + self.multiply + (multipliers.bit_length() - 1) * self.level + self.accumulate

    def slot(self, bursts: Any) -> Any:
        """Cycles from the first COMP of a dot product to that of the next one: the result read takes a cycle that is free."""
        return bursts * self.accumulate + (COMMAND if self.accumulate == 1 else 0)


DEPTHS = {"fp16": Depth(multiply=2, level=2, accumulate=2), "int8": Depth(multiply=1, level=1, accumulate=1)}


def pim_cycles(depth: Depth, columns: int, rows: Any, slots: Any, bursts: Any) -> Any:
    """Cycles that the PIM side takes commands and rows of cells: each row arrives, is multiplied, and is closed."""
    return rows * (COMMAND + columns + slots * depth.slot(bursts) + COMMAND)


def memory_cycles(columns: int, pages: Any, reads: Any, writes: Any) -> Any:
    """Cycles that the memory side is busy: each page arrives, is read and written, and goes back."""
    return pages * (COMMAND + columns + reads + writes + COMMAND + columns)


def pim_tail(depth: Depth, multipliers: int) -> int:
    """Cycles from the last command of the PIM side, which closes the row, until its last result is gone.

    That was asked for in the cycle before, and is copied from the accumulator by the time that a burst would be in it.
    """
    return depth.stages(multipliers) - 1 - COMMAND + LEAVE
