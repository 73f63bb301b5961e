"""The PEs of MixPE: A q by shifted activations and an adder tree, and the sum of A alone. No multiplier.

Both are PEs of `accel.systolic_array.output_stationary`. Weights are unsigned, u = q - lowest: scale and zero point follow after
the group, and sum A (q - z) = sum A u - (z - lowest) sum A, so a signed code costs its PE nothing.

    INT8    total += a u: four gated activations and the total meet in one carry-save adder
    FP16    cycle 0: a u of the significand, shifted by up to 15; cycle 1: shifted by 16 or not, total += the shifted product

The result is the total's register, so that no multiplexer of the drain follows the adder.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring

from accel.mixpe.adders import partial_products, total
from accel.mixpe.operands import NOT_FINITE, WEIGHT_BITS, Operands
from accel.systolic_array.pe import Pe


def shift_add(operands: Operands) -> Pe:
    """The PE of a column: sum A u, in ``operands.sum_bits`` bits."""
    return Pe(lambda kind: ShiftAdd(kind, operands), operands.bits, WEIGHT_BITS, operands.sum_bits, operands.delay)


def activation_sum(operands: Operands) -> Pe:
    """The PE of the left edge: sum A. With FP16 the highest bit of the result says that a summand was not finite."""
    bits = operands.row_sum_bits + bool(operands.shift)
    return Pe(lambda kind: ActivationSum(kind, operands), operands.bits, 0, bits, operands.delay)


class _Accumulator(wiring.Component):
    """Ports and pipeline that both PEs have."""

    def __init__(self, kind: Pe, operands: Operands):
        self.kind, self.operands = kind, operands
        super().__init__(kind.ports())

    def elaborate(self, platform):
        m = Module()
        significand = self.activation[: self.operands.significand]
        step, first = self.step, self.first
        if self.operands.shift:
            step, first = Signal(name="step_1"), Signal(name="first_1")
            with m.If(self.advance):
                m.d.sync += step.eq(self.step)
            with m.If(self.advance & self.step):
                m.d.sync += first.eq(self.first)
        self._sum(m, significand, step & self.advance, first)
        return m

    def _shifted(self, m: Module, product: Value) -> Value:
        """The signed ``product`` shifted left as the activation says, a cycle later."""
        shift = self.activation[self.operands.significand :]
        load = self.advance & self.step
        for i in range(len(shift)):
            by, move = 1 << i, shift[i]
            if i == len(shift) - 1:
                held, held_move = Signal.like(product, name="held", reset_less=True), Signal(name="move", reset_less=True)
                with m.If(load):
                    m.d.sync += [held.eq(product), held_move.eq(move)]
                product, move = held, held_move
            moved = Signal(signed(len(product) + by), name=f"shifted_{by}")
            m.d.comb += moved.eq(Mux(move, Cat(Const(0, by), product).as_signed(), product))
            product = moved
        return product

    def _sum(self, m: Module, significand: Value, enable: Value, first: Value) -> None:
        raise NotImplementedError


class ShiftAdd(_Accumulator):
    """sum A u."""

    def _sum(self, m, significand, enable, first):
        bits = self.kind.result_bits
        so_far, before, following = Signal(bits, name="total", reset_less=True), Signal(bits), Signal(bits)
        m.d.comb += [before.eq(Mux(first, 0, so_far)), self.result.eq(so_far)]
        with m.If(enable):
            m.d.sync += so_far.eq(following)
        terms = partial_products(significand, self.weight)
        if self.operands.shift:
            product = Signal(signed(len(significand) + WEIGHT_BITS))
            m.d.comb += product.eq(total(m, terms, len(product)))
            m.d.comb += following.eq(before + self._shifted(m, product))
        else:
            m.d.comb += following.eq(total(m, [*terms, before], bits))


class ActivationSum(_Accumulator):
    """sum A, and whether a summand was not finite."""

    def _sum(self, m, significand, enable, first):
        so_far = Signal(signed(self.operands.row_sum_bits), name="total", reset_less=True)
        before = Signal.like(so_far, name="before")
        m.d.comb += before.eq(Mux(first, 0, so_far))
        if not self.operands.shift:
            m.d.comb += self.result.eq(so_far)
            with m.If(enable):
                m.d.sync += so_far.eq(before + significand.as_signed())
            return
        bad, worst = Signal(reset_less=True), Signal(reset_less=True)
        m.d.comb += self.result.eq(Cat(so_far, worst))
        following = before + self._shifted(m, significand.as_signed())
        with m.If(self.advance & self.step):
            m.d.sync += bad.eq(self.activation[self.operands.significand :] == NOT_FINITE)
        with m.If(enable):
            m.d.sync += [so_far.eq(following), worst.eq(bad | (worst & ~first))]
