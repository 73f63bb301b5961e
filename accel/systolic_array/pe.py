"""Processing elements: the arithmetic of one cell, without the registers that join it to its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

SUM_BITS = 32  # INT32 or FP32


@dataclass(frozen=True)
class Pe:
    """A kind of accumulating PE: how to make one, and what the array must know of it.

    ``delay``: cycles from a step's operands to their sum on ``result`` (0: combinational). ``spacing``: cycles from one step to
    the next, at least. `accel.systolic_array.output_stationary` says what the ports of `ports` mean.
    """

    make: Callable[[Pe], wiring.Component]
    activation_bits: int
    weight_bits: int
    result_bits: int = SUM_BITS
    delay: int = 0
    spacing: int = 1

    def ports(self) -> dict[str, wiring.Member]:
        """The members of its component's signature."""
        return {
            "activation": In(self.activation_bits),
            "weight": In(self.weight_bits),
            "step": In(1),
            "first": In(1),
            "start": In(self.result_bits),
            "advance": In(1),
            "result": Out(self.result_bits),
        }


class IntegerAccumulator(wiring.Component):
    """INT8 x INT8 added to an INT32 accumulator, in one cycle; sums wrap."""

    def __init__(self, kind: Pe):
        super().__init__(kind.ports())

    def elaborate(self, platform):
        m = Module()
        total = Signal(signed(SUM_BITS), reset_less=True)
        product = self.activation.as_signed() * self.weight.as_signed()
        m.d.comb += self.result.eq(Mux(self.first, self.start.as_signed(), total) + product)
        with m.If(self.step & self.advance):
            m.d.sync += total.eq(self.result)
        return m


INT8_ACCUMULATOR = Pe(IntegerAccumulator, activation_bits=8, weight_bits=8)
