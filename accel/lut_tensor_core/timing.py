"""Pipeline depths and widths of the LUT tensor core, each written once for its RTL, its cost and its codec."""

from __future__ import annotations

FILL = 2
"""Cycles from the config handshake to the first plane in stage 2: the config registers, then stage 1."""
FINISH = 1
"""Cycles from stage 2 of the last plane to the drain buffer: stage 3."""
DRAIN_TURNAROUND = 2
"""Cycles from the last row's word until the drain buffer may be refilled: the buffer is free, then stage 3."""
ACCUMULATOR_BITS = 32
ACTIVATION_MAGNITUDE = 128
"""Largest |INT8 activation|."""
RUN_BITS = 48
"""Width of the counter of segments in one run: more than 10^14 invocations."""


def longest_segment(weight_bits: int) -> int:
    """The longest reduction that INT32 holds for any operands: |sum A q'| <= (2^W - 1) 128 k < 2^31."""
    return ((1 << (ACCUMULATOR_BITS - 1)) - 1) // (((1 << weight_bits) - 1) * ACTIVATION_MAGNITUDE)


def group_counter_bits(group: int) -> int:
    """Width of the counter of K-groups in a segment: enough for the longest segment of 1-bit weights."""
    return (-(-longest_segment(1) // group) - 1).bit_length()
