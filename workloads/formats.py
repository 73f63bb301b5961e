"""Number formats: what a tensor's elements are, how many bits each takes, and how they are scaled.

A format is named by a short word, optionally followed by the number of elements that share one
scale: ``"int8"``, ``"uint2:128"``. Everything that stores, moves or computes elements reads the
same object, so bytes and bit widths are written down once.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from functools import cache

SCALE_BITS = 16  # group scales are FP16; source: T-MAC and QServe store one half per group


@dataclass(frozen=True)
class Format:
    """An element format.

    ``bits`` is the stored width of one element. ``group`` is the number of elements along the
    reduction dimension that share one scale; ``None`` means one scale per output channel, whose
    storage is negligible and not counted.
    """

    name: str
    bits: int
    kind: str  # "int", "uint", "float" or "ternary"
    group: int | None = None

    @property
    def lowest(self) -> int:
        """Smallest integer code (integers and ternary only)."""
        if self.kind == "int":
            return -(1 << (self.bits - 1))
        if self.kind in ("uint", "ternary"):
            return 0
        raise ValueError(f"{self.name} has no integer codes")

    @property
    def highest(self) -> int:
        """Largest integer code. Ternary is stored in two bits as the codes 0, 1, 2 with zero point 1."""
        if self.kind == "int":
            return (1 << (self.bits - 1)) - 1
        if self.kind == "uint":
            return (1 << self.bits) - 1
        if self.kind == "ternary":
            return 2
        raise ValueError(f"{self.name} has no integer codes")

    def nbytes(self, elements):
        """Bytes that ``elements`` elements take, scales included, rounded up to a whole byte.

        Takes an int or an int64 array. Group scales are counted for whole groups.
        """
        bits = elements * self.bits
        if self.group is not None:
            bits = bits + -(-elements // self.group) * SCALE_BITS
        return -(-bits // 8)

    def grouped(self, group: int | None) -> Format:
        """The same format with another number of elements per scale."""
        return replace(self, group=group)

    def __str__(self) -> str:
        return self.name if self.group is None else f"{self.name}:{self.group}"


_INTEGERS = [Format(f"{kind}{bits}", bits, kind) for kind in ("int", "uint") for bits in range(1, 9)]
_FLOATS = [
    Format("fp8_e4m3", 8, "float"),
    Format("fp8_e5m2", 8, "float"),
    Format("fp16", 16, "float"),
    Format("bf16", 16, "float"),
    Format("fp32", 32, "float"),
]
FORMATS = {f.name: f for f in [*_INTEGERS, Format("int32", 32, "int"), *_FLOATS, Format("ternary", 2, "ternary")]}


@cache
def parse_format(text: str) -> Format:
    """``"uint2:128"`` -> 2-bit codes with one scale per 128 elements. Raises ValueError with the nearest name."""
    name, _, group = text.partition(":")
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown number format {name!r}{hint} (known: {', '.join(FORMATS)})")
    if not group:
        return FORMATS[name]
    if not group.isdecimal() or int(group) < 1:
        raise ValueError(f"group size of {text!r} must be a positive integer, not {group!r}")
    return FORMATS[name].grouped(int(group))
