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
class FloatFields:
    """The fields of a binary floating-point format, highest bit first: sign, ``exponent`` bits, ``mantissa`` bits.

    A number is (-1)^sign 2^(e - bias) 1.mantissa, subnormal where e = 0. With ``infinities`` the highest exponent holds
    infinities and NaNs; without (E4M3), only its highest mantissa is a NaN, and what is too large becomes the highest number.
    """

    exponent: int
    mantissa: int
    infinities: bool = True

    @property
    def bias(self) -> int:
        return (1 << (self.exponent - 1)) - 1

    @property
    def sign(self) -> int:
        """The bit pattern of -0."""
        return 1 << (self.exponent + self.mantissa)

    @property
    def nan(self) -> int:
        """The one NaN that our hardware gives: positive and quiet, with no other bit of payload; E4M3 has but one."""
        ones = (1 << self.exponent) - 1
        return (ones << self.mantissa | 1 << (self.mantissa - 1)) if self.infinities else self.sign - 1

    @property
    def highest(self) -> int:
        """The bit pattern of the highest finite number."""
        return (((1 << self.exponent) - 1) << self.mantissa) - 1 if self.infinities else self.sign - 2


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

    @property
    def fields(self) -> FloatFields:
        """The fields of a floating-point format. Raises ValueError for others."""
        if self.kind != "float":
            raise ValueError(f"{self.name} is no floating-point format")
        return FLOAT_FIELDS[self.name]

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
# Source: IEEE 754-2008 for fp16 and fp32, the OCP 8-bit floating point specification 1.0 for fp8.
FLOAT_FIELDS = {
    "fp8_e4m3": FloatFields(4, 3, infinities=False),
    "fp8_e5m2": FloatFields(5, 2),
    "fp16": FloatFields(5, 10),
    "bf16": FloatFields(8, 7),
    "fp32": FloatFields(8, 23),
}
_FLOATS = [Format(name, 1 + f.exponent + f.mantissa, "float") for name, f in FLOAT_FIELDS.items()]
_WIDE = [Format("int16", 16, "int"), Format("int32", 32, "int")]
FORMATS = {f.name: f for f in [*_INTEGERS, *_WIDE, *_FLOATS, Format("ternary", 2, "ternary")]}


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
