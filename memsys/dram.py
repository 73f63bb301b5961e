"""DRAM behind a compute device: HBM stacks or GDDR and DDR chips, by JEDEC standard."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from pydantic import Field, field_validator, model_validator

from accel.base.quantity import Bytes, MBytesPerSecond
from accel.base.spec import Spec, lookup
from memsys.base import Memory


class _Standard(Spec):
    """A DRAM standard: what one device (an HBM stack, a GDDR chip) offers at most. One file in memsys/standards each."""

    about: str
    width: int = Field(gt=0)
    """Data pins of one device."""
    peak: MBytesPerSecond
    """Bandwidth of one device at the standard's highest speed grade: width x rate / 8."""
    largest: Bytes
    """Capacity of the largest device."""
    source: str = Field(min_length=1)


class Dram(Memory):
    """DRAM of one standard: ``devices`` stacks or chips with ``capacity`` and ``bandwidth`` in all.

    Where ``devices`` is given, capacity and bandwidth must be within what so many devices of the standard offer.
    """

    standard: str
    devices: int | None = Field(default=None, gt=0)

    @field_validator("standard")
    @classmethod
    def _known(cls, name: str) -> str:
        _load(name)
        return name

    @model_validator(mode="after")
    def _within_the_standard(self) -> Dram:
        if self.devices is None:
            return self
        one = _load(self.standard)
        for name, unit, got, most in (
            ("bandwidth", "MB/s", self.bandwidth, self.devices * one.peak),
            ("capacity", "B", self.capacity, self.devices * one.largest),
        ):
            if got > most:
                what = f"{self.devices} devices of {self.standard}"
                raise ValueError(f"{name}: wanted at most the {most} {unit} that {what} offer, got {got} {unit}")
        return self


def standards() -> list[str]:
    """Names of the standards known: the files of memsys/standards."""
    folder = files("memsys") / "standards"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


@cache
def _load(name: str) -> _Standard:
    lookup(name, dict.fromkeys(standards(), True), "DRAM standard")
    return _Standard.from_data(tomllib.loads((files("memsys") / "standards" / f"{name}.toml").read_text()))
