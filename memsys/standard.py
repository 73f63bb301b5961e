"""Standard: what a DRAM standard allows at most, and its parts. One file in ``memsys/standards`` each.

A part is named ``STANDARD/PART``, as in ``hbm2/dramsim3_8gb_2000``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import Field, model_validator

from accel.base.committed import committed, read_committed
from accel.base.quantity import Bytes, MBytesPerSecond
from accel.base.spec import Spec, lookup
from memsys.part import Part


class Standard(Spec):
    """A DRAM standard: what one device (an HBM stack, a GDDR chip) offers at most, and parts of it."""

    about: str
    width: int = Field(gt=0)
    """Data pins of one device."""
    peak: MBytesPerSecond
    """Bandwidth of one device at the standard's highest speed grade: width x rate / 8."""
    largest: Bytes
    """Capacity of the largest device."""
    source: str = Field(min_length=1)
    parts: dict[str, Part] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _parts_within_the_standard(self) -> Standard:
        faults = []
        for part in self.parts.values():
            if part.pins != self.width:
                faults.append(f"{part}: wanted the {self.width} data pins of one device, got {part.pins}")
            if part.peak_mb_per_s > self.peak:
                faults.append(f"{part}: wanted at most the {self.peak} MB/s of one device, got {part.peak_mb_per_s} MB/s")
            if part.capacity > self.largest:
                faults.append(f"{part}: wanted at most the {self.largest} B of one device, got {part.capacity} B")
        if faults:
            raise ValueError("\n".join(faults))
        return self


def standards() -> list[str]:
    """Names of the standards known: the files of memsys/standards."""
    return committed("memsys", "standards")


@cache
def load_standard(name: str) -> Standard:
    """The standard ``name`` with its parts. Raises ValueError with the nearest right name where there is none."""
    return standard_from(name, read_committed("memsys", "standards", name, "DRAM standard"))


def standard_from(name: str, data: dict[str, Any]) -> Standard:
    """The standard that a file called ``name`` holds; its parts learn their names from it."""
    named = {part: {"standard": name, "name": part, **table} for part, table in data.get("parts", {}).items()}
    return Standard.from_data({**data, "parts": named})


def parts() -> list[str]:
    """Names of all parts, ``STANDARD/PART``."""
    return [f"{standard}/{part}" for standard in standards() for part in load_standard(standard).parts]


def load_part(name: str) -> Part:
    """The part ``STANDARD/PART``. Raises ValueError with the nearest right name where there is none."""
    lookup(name, dict.fromkeys(parts(), True), "DRAM part")
    standard, _, part = name.partition("/")
    return load_standard(standard).parts[part]
