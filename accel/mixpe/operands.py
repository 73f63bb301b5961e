"""Widths and depths of MixPE, for INT8 and for FP16 activations, each written once for RTL, price and codec.

An FP16 activation is decoded once per row, at the left edge: a two's complement significand and how far it is to be shifted left
to count in units of 2^-24, the smallest FP16 number. So every product, and every sum over a group, is an integer and exact:

                        INT8    FP16
    significand            8      12    signed
    shift                  -       5    0 .. 29; 30 where the activation is an infinity or a NaN
    sum of A q            20      53    |sum| <= 15 128 256 < 2^19            15 65504 2^24 256 < 2^52
    sum of A              16      49    |sum| <= 128 256 = 2^15 (negative)    65504 2^24 256 < 2^48
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.formats import FORMATS, Format

WEIGHT_BITS = 4
SHORTEST_GROUP, LONGEST_GROUP = 16, 256
GROUP_BITS = 16
"""Width of the counter of groups in one invocation."""
CONVERT_DEPTH = 2
"""Stages of the dequantiser's conversion to FP32."""
BEFORE_SUM = 2 + CONVERT_DEPTH
"""Cycles from a word of the array to the multiply-adder."""
NOT_FINITE = 30
"""The shift of what is not finite."""


@dataclass(frozen=True)
class Operands:
    """The widths, in bits, for one format of activations; ``places``: binary places of a sum."""

    format: Format
    significand: int
    shift: int
    sum_bits: int
    row_sum_bits: int
    places: int

    @property
    def bits(self) -> int:
        """Bits of an activation as it travels through the array."""
        return self.significand + self.shift

    @property
    def delay(self) -> int:
        """Cycles from a PE's operands to their sum in its register: a shift takes one more."""
        return 2 if self.shift else 1


OPERANDS = {
    "int8": Operands(FORMATS["int8"], significand=8, shift=0, sum_bits=20, row_sum_bits=16, places=0),
    "fp16": Operands(FORMATS["fp16"], significand=12, shift=5, sum_bits=53, row_sum_bits=49, places=24),
}


def event_of(name: str) -> str:
    """The name here of the array's event ``name``: what leaves the array is the result of a group."""
    return "group_output" if name == "output" else name
