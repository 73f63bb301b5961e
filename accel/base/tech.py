"""Tech: what one event costs in joules, what a unit takes in area and leaks, each with its source and class.

Files in ``accel/tech/*.toml``::

    name = "asap7"
    about = "..."
    [[entry]]
    component = "lut_tensor_core"      # kind of the unit or memory
    event = "accumulate"               # omitted for area and leakage entries
    parameters = {rows = 2, columns = 64}  # omitted: any parameters
    part = ""                          # costs of one event with different parts add up
    energy = "0.012 pJ"                # or: area = "1900 um2", power = "0.2 mW" (static, each copy)
    class = "synthesized"              # synthesized, published, datasheet, scaled, assumed
    source = "..."
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from pydantic import Field, model_validator

from accel.base.committed import committed, read_committed
from accel.base.quantity import Hertz, Joules, SquareMicrons, Watts
from accel.base.spec import Spec

SourceClass = Literal["synthesized", "published", "datasheet", "scaled", "assumed"]


class Entry(Spec):
    """One figure of one component, with where it comes from."""

    component: str
    event: str | None = None
    part: str = ""
    """Which of several costs of one event this is ("delivery" of operands beside the unit's own work); parts add up."""
    parameters: dict[str, bool | int | str] = Field(default_factory=dict)
    energy: Joules | None = None
    area: SquareMicrons | None = None
    power: Watts | None = None
    clock: Hertz | None = None
    """The clock that the netlist of this area meets."""
    rtlil: str = ""
    """SHA-256 of the RTLIL that was synthesised, by which a figure is found stale (`accel.base.characterize.stale`)."""
    source_class: SourceClass = Field(alias="class")
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _one_figure(self) -> Entry:
        if (self.event is None) == (self.energy is not None):
            raise ValueError("an entry with an event has an energy, and one without has an area or a power")
        if self.event is None and self.area is None and self.power is None:
            raise ValueError("an entry without an event needs an area or a power")
        return self

    def matches(self, component: str, parameters: dict[str, Any]) -> bool:
        """True where the entry is of this component at these parameters; "none" stands for an optional one left out."""
        if component != self.component:
            return False
        return all(("none" if parameters.get(k) is None else parameters[k]) == v for k, v in self.parameters.items())


class Tech(Spec):
    """A technology: entries by component and event."""

    name: str
    about: str
    entry: tuple[Entry, ...] = ()

    @classmethod
    def load(cls, name: str) -> Tech:
        """The committed technology ``name``. Raises ValueError where there is none."""
        return _load(name)


def available() -> list[str]:
    """Names of the committed technologies."""
    return committed("accel", "tech")


@cache
def _load(name: str) -> Tech:
    return Tech.from_data(read_committed("accel", "tech", name, "technology"))
