"""Dimensioned values as users write them: ``"1.41 GHz"``, ``"80 GB"``, ``"2039 GB/s"``.

Parsed exactly (decimal text to an integer in the base unit) and refused where the unit is missing or of another dimension.
GB is 10^9 bytes, GiB is 2^30. Fields annotated with these types take only such text, so a bare number never passes as a
frequency; they hold plain Python numbers and print the text again when dumped.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_SI = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SMALL = {"": Fraction(1), "m": Fraction(1, 10**3), "u": Fraction(1, 10**6), "µ": Fraction(1, 10**6)}
_TINY = {"n": Fraction(1, 10**9), "p": Fraction(1, 10**12), "f": Fraction(1, 10**15)}
UNITS: dict[str, dict[str, Fraction]] = {
    "frequency": {f"{p}Hz": Fraction(s) for p, s in _SI.items()},
    "capacity": {f"{p}B": Fraction(s) for p, s in (_SI | _BINARY).items()},
    "bandwidth": {f"{p}B/s": Fraction(s) for p, s in (_SI | _BINARY).items()},
    "time": {f"{p}s": s * 10**12 for p, s in (_SMALL | _TINY).items()},  # base unit: ps
    "energy": {f"{p}J": s for p, s in (_SMALL | _TINY).items()},
    "power": {f"{p}W": s for p, s in (_SMALL | _TINY | {"k": Fraction(1000)}).items()},
    "area": {"um2": Fraction(1), "µm2": Fraction(1), "mm2": Fraction(10**6)},  # base unit: um2
}
_EXAMPLES = {"frequency": "1.41 GHz", "capacity": "80 GB", "bandwidth": "2039 GB/s", "time": "200 us"}
_EXAMPLES |= {"energy": "0.56 pJ", "power": "80 W", "area": "826 mm2"}
_TEXT = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,21})?(?:[eE][+-]?[0-9]{1,2})?)\s*([A-Za-zµ/0-9]+)\s*")


def parse(text: object, dimension: str) -> Fraction:
    """The value of ``text`` in the dimension's base unit (Hz, B, B/s, ps, J, W, um2), exactly.

    Raises ValueError that names what was wanted, with an example, and what was got.
    """
    wanted = f"wanted a {dimension} with its unit, such as {_EXAMPLES[dimension]!r}"
    if not isinstance(text, str):
        raise ValueError(f"{wanted}, got the bare value {text!r}")
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"{wanted}, got {text!r}")
    number, unit = match.groups()
    if unit not in UNITS[dimension]:
        other = next((d for d, units in UNITS.items() if unit in units), None)
        known = ", ".join(UNITS[dimension])
        detail = f"{unit!r} is a unit of {other}" if other else f"unknown unit {unit!r}"
        raise ValueError(f"{wanted}, got {text!r}: {detail} (units of {dimension}: {known})")
    return Fraction(number) * UNITS[dimension][unit]


def _whole(dimension: str, multiple: int = 1):
    def convert(text: object) -> int:
        value = parse(text, dimension) / multiple
        if value.denominator != 1 or value < 0:
            raise ValueError(f"{text!r} must be a whole number of base units of {dimension} (times {multiple})")
        return int(value)

    return convert


def _positive(convert):
    def checked(text: object):
        value = convert(text)
        if value <= 0:
            raise ValueError(f"must be above zero, got {text!r}")
        return value

    return checked


def _field(kind: type, convert, unit: str):
    return Annotated[
        kind,
        BeforeValidator(convert),
        PlainSerializer(lambda value: f"{value!r} {unit}", return_type=str),
        WithJsonSchema({"type": "string", "examples": [f"1 {unit}"]}),
    ]


Hertz = _field(int, _positive(_whole("frequency")), "Hz")
Bytes = _field(int, _positive(_whole("capacity")), "B")
MBytesPerSecond = _field(int, _positive(_whole("bandwidth", 10**6)), "MB/s")
Picoseconds = _field(int, _whole("time"), "ps")
Joules = _field(float, lambda text: float(parse(text, "energy")), "J")
Watts = _field(float, lambda text: float(parse(text, "power")), "W")
SquareMicrons = _field(float, lambda text: float(parse(text, "area")), "um2")
