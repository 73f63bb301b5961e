"""What characterisation makes the DRAM controller of a channel do, and the commands by which its joules are told.

Streams of requests as memories are compared by (`memsys.reference.streams`), at several paces, reads and writes. A command's
joules hold those of its request: of being taken, waiting, being chosen, and of its data's cycles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from accel.base.exercise import Exercised, Traffic
from memsys.address_map import address_map
from memsys.controller import ChannelController
from memsys.part import Command
from memsys.reference.controller import Controller, Requests
from memsys.reference.streams import Pattern, addresses
from memsys.standard import load_part

if TYPE_CHECKING:
    from amaranth.lib import wiring

KINDS = {
    Command.ACT: "row",
    Command.PRE: "row",
    Command.PREA: "row",
    Command.RD: "read",
    Command.RDA: "read",
    Command.WR: "write",
    Command.WRA: "write",
    Command.REFAB: "refresh",
    Command.REFPB: "refresh",
}
STREAMS: tuple[tuple[Pattern, str], ...] = (("sequential", "RoBaRaCoCh"), ("sequential", "MOP4CLXOR"), ("random", "RoBaRaCoCh"))
PACES = (1, 2, 5, 20)
"""Cycles from one request to the next."""
WORKLOADS = 22
CYCLES = 200
SPAN = 1 << 24
"""Bytes among which a stream goes: a few rows of every bank."""


class DramController(Exercised):
    """The controller of a DRAM channel."""

    part: str = "hbm2/neupims_8gb_2000"
    """STANDARD/PART."""
    page: Literal["open", "closed"] = "open"
    refresh: Literal["all_bank", "per_bank", "none"] = "all_bank"
    depth: int = 8
    """Reads, and writes, that wait. Yosys takes more than ten minutes to share the shifters of the queues of 32."""
    id_bits: int = 8

    drawn: ClassVar[str] = (
        "requests of one channel, one each 1 to 20 cycles: sequential (RoBaRaCoCh, MOP4CLXOR) and random (RoBaRaCoCh) bursts of "
        "16 MiB, none, half or all of them written; and refreshes without any"
    )

    @classmethod
    def kind(cls) -> str:
        return "dram_controller"

    @property
    def hardware(self) -> ChannelController:
        controller = Controller(page=self.page, refresh=self.refresh, depth=self.depth)
        return ChannelController(load_part(self.part), controller, self.id_bits)

    def component(self) -> wiring.Component:
        return self.hardware.component()

    def traffic(self, rng: np.random.Generator) -> list[Traffic]:
        long = load_part(self.part).timing.trefi + CYCLES
        found = [Traffic({"requests": ()}, CYCLES)]
        found += [Traffic({"requests": self._requests(rng, 6)}, long) for _ in range(2)]
        found += [Traffic({"requests": self._requests(rng, CYCLES)}, CYCLES + int(rng.integers(100))) for _ in range(WORKLOADS)]
        return found

    def _requests(self, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
        """(first cycle, payload) of each request of a stream."""
        from memsys.controller.ports import request_layout

        part = load_part(self.part)
        pattern, mapping = STREAMS[int(rng.integers(len(STREAMS)))]
        pace = PACES[int(rng.integers(len(PACES)))]
        where = addresses(pattern, count, part.burst_bytes, SPAN, seed=int(rng.integers(1 << 30)))
        write = rng.random(count) < rng.choice([0.0, 0.5, 1.0])
        place = Requests.at(where, part, address_map(mapping, part), 1, write).location
        fields = request_layout(part, self.id_bits)
        values = {"id": np.arange(count) % (1 << self.id_bits), "column": place.column, "row": place.row, "place": place.bank}
        words = sum(
            value.astype(object) << fields[name].offset for name, value in (values | {"write": write.astype(int)}).items()
        )
        return [(i * pace, int(word)) for i, word in enumerate(words)]

    def events(self, outputs: Sequence[Mapping[str, int]]) -> Counter[str]:
        from memsys.controller.ports import command_layout

        fields = command_layout(load_part(self.part), self.id_bits)
        valid, command = fields["valid"], fields["command"]
        found = Counter(dict.fromkeys(KINDS.values(), 0))
        for cycle in outputs:
            for name, word in cycle.items():
                if name.startswith("commands__") and word >> valid.offset & 1:
                    found[KINDS[Command(word >> command.offset & (1 << command.width) - 1)]] += 1
        return found
