"""DRAM behind a compute device: HBM stacks or GDDR and DDR chips, by JEDEC standard."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from memsys.base import Memory
from memsys.standard import load_standard


class Dram(Memory):
    """DRAM of one standard: ``devices`` stacks or chips with ``capacity`` and ``bandwidth`` in all.

    Where ``devices`` is given, capacity and bandwidth must be within what so many devices of the standard offer.
    """

    standard: str
    devices: int | None = Field(default=None, gt=0)

    @field_validator("standard")
    @classmethod
    def _known(cls, name: str) -> str:
        load_standard(name)
        return name

    @model_validator(mode="after")
    def _within_the_standard(self) -> Dram:
        if self.devices is None:
            return self
        one = load_standard(self.standard)
        for name, unit, got, most in (
            ("bandwidth", "MB/s", self.bandwidth, self.devices * one.peak),
            ("capacity", "B", self.capacity, self.devices * one.largest),
        ):
            if got > most:
                what = f"{self.devices} devices of {self.standard}"
                raise ValueError(f"{name}: wanted at most the {most} {unit} that {what} offer, got {got} {unit}")
        return self
