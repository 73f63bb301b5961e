"""Depths of the vector unit's pipelines, each written once for its RTL and its cost, and the cycles of a phase.

    lanes       OPERAND + MULTIPLY + ADD + SPECIAL = LOOP registers from a trip's operands to the next trip's
    front       ENTRY registers before the first trip: the word, and its value in FP32
    maximum     key_stages(lanes) registers of the tree, the maximum so far, and OFFSET registers from there to -M
    reduction   a register behind the lanes, the tree's, one behind the tree, the parts of the sum

A phase lets a word in every ``period`` cycles; LOOP has no factor in common with any period, so that the trips of two words never
meet. Phases do not overlap.
"""

from __future__ import annotations

from typing import Any

from accel.vector_unit.program import LONGEST, Phase

OPERAND, MULTIPLY, ADD, SPECIAL = 1, 3, 3, 4
LOOP = OPERAND + MULTIPLY + ADD + SPECIAL
ENTRY = 2
LEAVE = 1
"""The register behind the lanes."""
SINK = 1
"""The output register, or s0 or s1, or the highest element so far."""
OFFSET = 3
KEY_LEVELS = 2
"""Levels of the maximum's tree between registers."""
TREE_LEVEL = 4
"""Registers in an adder of the reduction's tree."""
TREE_END = 1
PARTS, PART_ADD = 4, 3
"""Sums that a row's words are added to in turn, and registers in their adder: fewer, so that it is done in time."""
PARTS_END = 3 * (PART_ADD + 1)
"""From the last word's addition until the parts are one sum: that addition, two side by side, and one more."""
CONFIG, START = 1, 1
"""The config word, and the cycle in which a phase is looked up."""
RUN_BITS = 48
"""Width of the counters of rows and of words in a run."""

assert all(LOOP % period for period in range(2, LONGEST + 1))


def levels(lanes: int) -> int:
    """Levels of a binary tree over the lanes."""
    return lanes.bit_length() - 1


def key_stages(lanes: int) -> int:
    """Registers of the tree over the keys of a word."""
    return -(-levels(lanes) // KEY_LEVELS)


def online_delay(lanes: int) -> int:
    """Cycles by which words enter the lanes later where -M follows their maximum."""
    return key_stages(lanes) + OFFSET


def phase_cycles(phase: Phase, words: Any, lanes: int) -> Any:
    """Cycles from the end of the phase before to the end of ``phase``; ``words`` is an int or an int64 array."""
    cycles = START + (words - 1) * phase.period + 1
    if phase.sink == "maximum":
        return cycles + key_stages(lanes) + SINK
    cycles = cycles + ENTRY - 1 + len(phase.trips) * LOOP + LEAVE + SINK + phase.online * online_delay(lanes)
    if phase.sink == "total":
        cycles = cycles + levels(lanes) * TREE_LEVEL + TREE_END + PARTS_END
    return cycles
