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


@dataclass(frozen=True)
class PassingPe:
    """A kind of PE that adds a product to a partial sum which passes through, and how deep it is.

    Its ports: ``activation`` and ``weight``, from registers of the cell; ``used``, without which the product counts as nothing;
    ``step``, high with the operands; ``partial``, wanted ``multiply_depth`` cycles after them; ``advance``, which enables every
    register; and ``sum``, ``hop`` cycles after ``partial``.
    """

    make: Callable[[PassingPe], wiring.Component]
    operand_bits: int
    multiply_depth: int = 0
    hop: int = 1

    def ports(self) -> dict[str, wiring.Member]:
        """The members of its component's signature."""
        return {
            "activation": In(self.operand_bits),
            "weight": In(self.operand_bits),
            "used": In(1),
            "step": In(1),
            "partial": In(SUM_BITS),
            "advance": In(1),
            "sum": Out(SUM_BITS),
        }


class IntegerMultiplyAdd(wiring.Component):
    """INT8 x INT8 added to a passing INT32 partial sum, in one cycle; sums wrap."""

    def __init__(self, kind: PassingPe):
        super().__init__(kind.ports())

    def elaborate(self, platform):
        m = Module()
        product = self.activation.as_signed() * self.weight.as_signed()
        total = Signal(SUM_BITS, reset_less=True)
        with m.If(self.step & self.advance):
            m.d.sync += total.eq(self.partial.as_signed() + Mux(self.used, product, 0))
        m.d.comb += self.sum.eq(total)
        return m


INT8_MULTIPLY_ADD = PassingPe(IntegerMultiplyAdd, operand_bits=8)
