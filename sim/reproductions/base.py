"""A row of `rtloom reproduce`: one published figure beside the simulated one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

TOLERANCE = 0.10  # the design's bound for "reproduced"


@dataclass(frozen=True, kw_only=True)
class Row:
    """``error`` = simulated / published - 1. ``constants`` are the free constants behind the row, with what they were fitted on.

    ``note`` says, where the error exceeds the tolerance, what is missing from the source or the model and how much it would move.
    """

    system: str
    setup: str
    metric: str
    unit: str
    published: float
    simulated: float
    source: str
    constants: list[str] = field(default_factory=list)
    note: str = ""
    tolerance: float = TOLERANCE

    @property
    def error(self) -> float:
        return self.simulated / self.published - 1

    @property
    def status(self) -> str:
        """reproduced within the tolerance; else explained where a note says why; else missing."""
        if abs(self.error) <= self.tolerance:
            return "reproduced"
        return "explained" if self.note else "missing"

    def as_dict(self) -> dict[str, Any]:
        data = asdict(self) | {"error": self.error, "status": self.status}
        del data["tolerance"]
        return data


@dataclass(frozen=True)
class LeftOut:
    """Rows that cannot be made on this machine: ``what`` they are, and what is ``wanted`` for them."""

    what: str
    wanted: str
