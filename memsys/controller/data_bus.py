"""The data bus of a pseudo channel: which burst starts, and which has ended, in each cycle (T9)."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from memsys.controller.ports import data_layout
from memsys.part import Part


class DataBus(wiring.Component):
    """A line of cycles that moves by one in each: RD and WR (``issued``) put their burst where it comes to start in CL or CWL.

    ``bus.start`` is 1 in the first cycle of a burst, when a write's data are to be driven and a read's to be caught; ``bus.done``
    in the cycle after its last. The rules of time keep bursts apart, so that no two of them want one place.
    """

    def __init__(self, part: Part, id_bits: int):
        self.part = part
        super().__init__({"issued": In(1), "write": In(1), "id": In(id_bits), "bus": Out(data_layout(id_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        t, burst = self.part.timing, self.part.burst_cycles
        item = Cat(self.issued, self.write, self.id)
        size = len(item)
        line = Signal((burst + max(t.cl, t.cwl)) * size)
        new = Mux(self.issued, item, 0)
        enters = Mux(self.write, new << (burst + t.cwl - 1) * size, new << (burst + t.cl - 1) * size)
        m.d.sync += line.eq(line[size:] | enters)
        m.d.comb += [
            self.bus.start.eq(line.word_select(burst, size)),
            self.bus.done.eq(line[:size]),
        ]
        return m
