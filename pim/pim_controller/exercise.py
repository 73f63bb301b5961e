"""What characterisation makes the controller of a PIM channel do, and the commands by which its joules are told.

GWRITEs and tiles as attention has them (`pim.tiles`), one after the other or now and then, beside reads and writes or not. A
command's joules hold those of the operation or request that it is for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from accel.base.exercise import Exercised, Traffic
from memsys.part import Command
from memsys.standard import load_part
from pim.commands import PimCommand
from pim.pim_controller import PimController

if TYPE_CHECKING:
    from amaranth.lib import wiring

KINDS: dict[int, str] = {
    Command.ACT: "row",
    Command.PRE: "row",
    Command.RD: "column",
    Command.WR: "column",
    Command.REFAB: "refresh",
    PimCommand.GWRITE: "gwrite",
    PimCommand.HEADER: "pim_row",
    PimCommand.PACT: "pim_row",
    PimCommand.PPRE: "pim_row",
    PimCommand.GEMV: "gemv",
}
"""HEADER, the PACTs and the PPREs of a tile nearly always come together, and could not be told apart."""
PACES = (1, 4, 20)
"""Cycles from one read or write to the next."""
WORKLOADS = 22
CYCLES = 300


class PimControllerExercise(Exercised):
    """The controller of a PIM channel."""

    part: str = "hbm2/neupims_8gb_2000"
    """STANDARD/PART."""
    dual: bool = True
    """Two row buffers in each bank."""
    depth: int = 4
    """Reads and writes that wait."""
    id_bits: int = 8

    drawn: ClassVar[str] = (
        "GWRITEs and tiles of 1 to 4 GEMVs of 1 to 32 bursts, one after the other or none; beside them no reads and writes, or "
        "one each 1 to 20 cycles to random banks and few rows; and refreshes without either"
    )

    @classmethod
    def kind(cls) -> str:
        return "pim_controller"

    @property
    def hardware(self) -> PimController:
        return PimController(load_part(self.part), self.dual, self.depth, id_bits=self.id_bits)

    def component(self) -> wiring.Component:
        return self.hardware.component()

    def traffic(self, rng: np.random.Generator) -> list[Traffic]:
        hardware = self.hardware
        found = [Traffic({"operations": (), "requests": ()}, CYCLES)]
        long = hardware.interval + CYCLES
        found += [Traffic({"operations": self._operations(rng, n), "requests": self._requests(rng, 3)}, long) for n in (0, 2)]
        for n in range(WORKLOADS):
            operations = self._operations(rng, CYCLES) if n % 3 else []
            requests = self._requests(rng, CYCLES) if n % 3 != 1 else []
            found.append(Traffic({"operations": operations, "requests": requests}, CYCLES + int(rng.integers(100))))
        return found

    def _operations(self, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
        from pim.pim_controller.rtl import operation_layout

        layout = operation_layout(self.hardware)
        words = []
        for i in range(count):
            if rng.random() < 0.3:
                fields = {"tile": 0, "bank": int(rng.choice([0, 5, 31])), "row": int(rng.integers(2))}
            else:
                longest = self.hardware.most_bursts
                fields = {
                    "tile": 1,
                    "row": 10 + i,
                    "bursts": int(rng.integers(1, longest + 1)),
                    "results": int(rng.integers(1, 5)),
                }
            words.append((0, layout.const(fields).as_bits()))
        return words

    def _requests(self, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
        from pim.pim_controller.rtl import request_layout

        layout, pace = request_layout(self.hardware), PACES[int(rng.integers(len(PACES)))]
        banks, rows = self.hardware.part.banks_per_channel, int(rng.choice([1, 3, 50]))
        writes = rng.choice([0.0, 0.5, 1.0])
        words = []
        for i in range(count):
            fields = {"write": int(rng.random() < writes), "bank": int(rng.integers(banks)), "row": int(rng.integers(rows))}
            words.append((i * pace, layout.const(fields | {"id": i % (1 << self.id_bits)}).as_bits()))
        return words

    def events(self, outputs: Sequence[Mapping[str, int]]) -> Counter[str]:
        from pim.pim_controller.rtl import command_layout

        fields = command_layout(self.hardware)
        valid, command = fields["valid"], fields["command"]
        found = Counter(dict.fromkeys(KINDS.values(), 0))
        for cycle in outputs:
            word = cycle["command"]
            if word >> valid.offset & 1:
                found[KINDS[word >> command.offset & (1 << command.width) - 1]] += 1
        return found
