"""Pipeline depths and widths of the LUT tensor core, each written once for its RTL, its cost and its codec."""

from __future__ import annotations

FILL = 2
"""Cycles from the config handshake to the first plane in stage 2: the config registers, then stage 1."""
BUFFER_FREE = 1
"""Cycles from the last row's word until the drain buffer is free; what refills it is `finish` cycles away then."""
INTEGER_BITS = 32
"""Width of the accumulators of INT8 activations."""
ACTIVATION_MAGNITUDE = 128
"""Largest |INT8 activation|."""
RUN_BITS = 48
"""Width of the counter of segments in one run: more than 10^14 invocations."""


def finish(table: str | None) -> int:
    """Cycles from stage 2 of the last plane to the drain buffer: stage 3, and one more where a group's sum of INT8 codes is first
    made a floating-point number. ``table`` is the unit's field."""
    return 2 if table == "int8" else 1


def longest_segment(weight_bits: int) -> int:
    """The longest reduction that INT32 holds for any operands: |sum A q'| <= (2^W - 1) 128 k < 2^31."""
    return ((1 << (INTEGER_BITS - 1)) - 1) // (((1 << weight_bits) - 1) * ACTIVATION_MAGNITUDE)


def group_counter_bits(group: int) -> int:
    """Width of the counter of K-groups in a segment: enough for the longest segment of 1-bit weights."""
    return (-(-longest_segment(1) // group) - 1).bit_length()
