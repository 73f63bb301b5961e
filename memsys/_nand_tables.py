"""The figures of energy of a NAND part: what one operation draws, by energy or by supply current, each with its source."""

from __future__ import annotations

from pydantic import Field, model_validator

from accel.base.clock import PS_PER_S
from accel.base.quantity import Joules
from accel.base.tech import SourceClass
from memsys._tables import Table


class Draw(Table):
    """What one operation takes from the supply: an energy, or a voltage and a current that flows while it lasts."""

    energy: Joules | None = None
    """J of one operation."""
    volts: float | None = Field(default=None, gt=0, lt=20)
    """The supply, V."""
    milliamps: float | None = Field(default=None, gt=0)
    """Current while the operation lasts, mA."""
    source_class: SourceClass = Field(alias="class")
    """Where the figure comes from: datasheet, published, scaled or assumed."""
    source: str = Field(min_length=1)
    """The source in words."""

    @model_validator(mode="after")
    def _one_figure(self) -> Draw:
        current = (self.volts is not None) + (self.milliamps is not None)
        if current == 1 or (current == 2) == (self.energy is not None):
            raise ValueError("wanted an energy, or volts and milliamps, and not both")
        return self

    @property
    def watts(self) -> float:
        """V x A while the operation lasts; 0 where an energy is given."""
        return (self.volts or 0.0) * (self.milliamps or 0.0) / 1000

    def joules(self, ps: float) -> float:
        """J of one operation that lasts ``ps``."""
        return self.energy if self.energy is not None else self.watts * ps / PS_PER_S


class Energies(Table):
    """Energy of the operations of a die, and its standby. All are of one die (one plane at work)."""

    page_read: Draw
    """One page from the cells into its register, over the mean tR."""
    page_program: Draw
    """One page from its register into the cells, over the mean tPROG."""
    block_erase: Draw
    """One block, over tBERS."""
    channel_byte: Draw
    """One byte on the channel: drivers and termination, on both sides."""
    standby: Draw
    """A die that does nothing: volts and milliamps."""

    @model_validator(mode="after")
    def _kinds(self) -> Energies:
        if self.channel_byte.energy is None:
            raise ValueError("channel_byte: wanted an energy, as a byte has no time of its own")
        if self.standby.energy is not None:
            raise ValueError("standby: wanted volts and milliamps, as it lasts")
        return self
