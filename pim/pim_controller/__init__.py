"""Controller of a PIM channel in hardware: tiles, and reads and writes, on one command bus under the rules of both row buffers.

**Ports.** ``operations`` (In stream): a GWRITE, or a tile of ``results`` GEMVs of ``bursts`` each on one row of all banks
(`pim.tiles` gives those of a request). An operation is taken in the cycle in which its last command goes out; it must fit between
two refreshes (`pim.schedule.check_length`). ``requests`` (In stream): bursts to read or write; ``depth`` of them wait, and one is
taken whenever there is room. ``command``: what goes out in this cycle, with the ``id`` of the request that it is for.

**What it does** is what `pim.mixed` does, and without requests cycle for cycle what `pim.schedule` does:

- PIM goes first; in a free cycle the oldest request whose next command breaks no rule, but not while an operation waits for the
  bank's rank (GWRITE), its rows open (tile, ACT) or, with a single row buffer, at all; not to a rank that is to be refreshed.
- An operation starts only if it ends before the next refresh is due, by `pim.schedule.reserved`, which HEADER is for.
- Nobody starves: between two operations the oldest request is served alone once it has been the oldest for ``patience`` cycles.
  So of the ``depth`` requests that wait the last one is served within `PimController.waits_at_most`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memsys.part import Part
from pim.mixed import PATIENCE, alone
from pim.rules import check, gwrite_cycles
from pim.schedule import closed_within

if TYPE_CHECKING:
    from amaranth.lib import wiring


@dataclass(frozen=True)
class PimController:
    """The controller of one channel of ``part``. Raises ValueError where a refresh leaves no time for anything else."""

    part: Part
    dual: bool = True
    depth: int = 4
    """Reads and writes that wait."""
    patience: int = PATIENCE
    id_bits: int = 8

    def __post_init__(self) -> None:
        check(self.part)
        if not 1 <= self.depth <= 16:
            raise ValueError(f"depth: wanted 1 to 16 requests, got {self.depth}")
        if not 1 <= self.patience <= 1 << 16:
            raise ValueError(f"patience: wanted 1 to {1 << 16} cycles, got {self.patience}")
        if self.interval <= self.part.timing.trfc + alone(self.part):
            raise ValueError(f"{self.part}: a refresh every {self.interval} cycles leaves no time to serve a request alone")

    @property
    def interval(self) -> int:
        """Cycles from the refresh of one rank to that of the next."""
        return self.part.timing.trefi // self.part.organisation.ranks

    @property
    def most_bursts(self) -> int:
        """n of the longest GEMV: the bursts of a row, 16 elements of two bytes each."""
        return self.part.row_bytes // 32

    def waits_at_most(self, operation: int) -> int:
        """Cycles from the acceptance of a request until it is served, if no operation reserves more than ``operation`` cycles.

        Each of those before it, and itself, is the oldest for ``patience`` cycles and until an operation and a refresh are over.
        """
        t = self.part.timing
        refresh = closed_within(self.part) + 2 * self.part.banks_per_rank + t.trp + t.trfc + t.tras
        each = self.patience + 2 * operation + refresh + alone(self.part) + gwrite_cycles(self.part)
        return self.depth * each

    @classmethod
    def kind(cls) -> str:
        """Its name in messages."""
        return "pim_controller"

    def component(self) -> wiring.Component:
        """The hardware."""
        from pim.pim_controller.rtl import ControllerRtl

        return ControllerRtl(self)
