"""Hardware that is no unit, as characterisation drives it: words for its streams, and what it did as seen at its ports.

A unit's workloads are ops, and its events follow from their price. A controller has neither: it takes requests from a cycle on,
and what it did are the commands that left it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from accel.base.spec import Spec

if TYPE_CHECKING:
    from amaranth.lib import wiring


@dataclass(frozen=True)
class Traffic:
    """``cycles`` from reset on; ``words`` of each stream in, each with the first cycle in which it is offered."""

    words: Mapping[str, Sequence[tuple[int, int]]]
    cycles: int


class Exercised(Spec):
    """Parameters of hardware that is no unit, and what it is made to do so that its joules can be told. An `rtl.Hardware`."""

    drawn: ClassVar[str]
    """What `traffic` consists of, for the source of a figure."""

    @abstractmethod
    def component(self) -> wiring.Component:
        """The hardware, built anew; its streams are always ready to be read from outside, or have a ``ready``."""

    @abstractmethod
    def traffic(self, rng: np.random.Generator) -> list[Traffic]:
        """Workloads: the first is idle, and the last `accel.base.stimuli.HELD_OUT` are like the others."""

    @abstractmethod
    def events(self, outputs: Sequence[Mapping[str, int]]) -> Counter[str]:
        """What was done in cycles whose output ports held ``outputs``; every name is there, with 0 where nothing was."""
