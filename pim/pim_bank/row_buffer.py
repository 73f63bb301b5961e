"""A row buffer: one row of the bank, written and read one column burst at a time.

In a DRAM these bits are the sense amplifiers; here they are flip-flops, which take more area.
"""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class RowBuffer(wiring.Component):
    """``columns`` bursts of ``bits`` bits. ``found`` is the one of ``column``, in the same cycle; ``load`` writes into it."""

    def __init__(self, columns: int, bits: int):
        self.columns, self.bits = columns, bits
        super().__init__({"column": In(range(columns)), "load": In(1), "burst": In(bits), "found": Out(bits)})

    def elaborate(self, platform):
        m = Module()
        bursts = [Signal(self.bits, name=f"burst_{c}", reset_less=True) for c in range(self.columns)]
        m.d.comb += self.found.eq(Array(bursts)[self.column])
        for c, burst in enumerate(bursts):
            with m.If(self.load & (self.column == c)):
                m.d.sync += burst.eq(self.burst)
        return m
