"""Processing elements: the arithmetic of one cell, without the registers that join it to its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from accel.base import fp
from accel.systolic_array.timing import ACCUMULATOR_DEPTH, INTEGER_MULTIPLY_DEPTH
from workloads.formats import FORMATS, Format

FP32 = FORMATS["fp32"]
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
    """INT8 x INT8, a register, and an INT32 accumulator; sums wrap."""

    def __init__(self, kind: Pe):
        super().__init__(kind.ports())

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(2 * self.activation.shape().width), reset_less=True)
        total = Signal(signed(SUM_BITS), reset_less=True)
        first = Signal()
        adds = _delayed(m, self.step, INTEGER_MULTIPLY_DEPTH, self.advance, "step")
        with m.If(self.step & self.advance):
            m.d.sync += [product.eq(self.activation.as_signed() * self.weight.as_signed()), first.eq(self.first)]
        with m.If(adds & self.advance):
            m.d.sync += total.eq(Mux(first, self.start.as_signed(), total) + product)
        m.d.comb += self.result.eq(total)
        return m


INT8_ACCUMULATOR = Pe(IntegerAccumulator, activation_bits=8, weight_bits=8, delay=INTEGER_MULTIPLY_DEPTH + ACCUMULATOR_DEPTH)


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
    """INT8 x INT8, a register, and an adder to the passing INT32 partial sum; sums wrap."""

    def __init__(self, kind: PassingPe):
        super().__init__(kind.ports())

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(2 * self.activation.shape().width), reset_less=True)
        total = Signal(SUM_BITS, reset_less=True)
        adds = _delayed(m, self.step, INTEGER_MULTIPLY_DEPTH, self.advance, "step")
        with m.If(self.step & self.used & self.advance):
            m.d.sync += product.eq(self.activation.as_signed() * self.weight.as_signed())
        with m.If(adds & self.advance):
            m.d.sync += total.eq(self.partial.as_signed() + Mux(self.used, product, 0))
        m.d.comb += self.sum.eq(total)
        return m


INT8_MULTIPLY_ADD = PassingPe(IntegerMultiplyAdd, operand_bits=8, multiply_depth=INTEGER_MULTIPLY_DEPTH)


def float_accumulator(fmt: Format, multiply_depth: int, add_depth: int) -> Pe:
    """FP16 or BF16 products added to an FP32 accumulator, each rounded.

    A sum needs the one before it, so that steps are ``add_depth`` cycles apart.
    """

    def make(kind: Pe) -> wiring.Component:
        return _FloatAccumulator(kind, fmt, multiply_depth, add_depth)

    return Pe(make, fmt.bits, fmt.bits, delay=multiply_depth + add_depth + ACCUMULATOR_DEPTH, spacing=max(add_depth, 1))


class _FloatAccumulator(wiring.Component):
    def __init__(self, kind: Pe, fmt: Format, multiply_depth: int, add_depth: int):
        self.multiply, self.add = fp.Multiply(fmt, fmt, FP32, depth=multiply_depth), fp.Add(FP32, depth=add_depth)
        super().__init__(kind.ports())

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiply, m.submodules.add = multiply, add = self.multiply, self.add
        adds, first = (
            _delayed(m, s, multiply.depth, self.advance, name) for s, name in ((self.step, "step"), (self.first, "first"))
        )
        summed = _delayed(m, adds, add.depth, self.advance, "summed")
        total = Signal(SUM_BITS, reset_less=True)
        with m.If(summed & self.advance):
            m.d.sync += total.eq(add.result)
        m.d.comb += [
            multiply.enable.eq(self.advance),
            multiply.a.eq(self.activation),
            multiply.b.eq(self.weight),
            add.enable.eq(self.advance),
            add.a.eq(Mux(first, self.start, Mux(summed, add.result, total) if add.depth else total)),
            add.b.eq(multiply.result),
            self.result.eq(total),
        ]
        return m


def float_multiply_add(fmt: Format, multiply_depth: int, add_depth: int) -> PassingPe:
    """FP16 or BF16 products added to a passing FP32 partial sum, each rounded."""

    def make(kind: PassingPe) -> wiring.Component:
        return _FloatMultiplyAdd(kind, fmt, add_depth)

    return PassingPe(make, fmt.bits, multiply_depth, max(add_depth, 1))


class _FloatMultiplyAdd(wiring.Component):
    def __init__(self, kind: PassingPe, fmt: Format, add_depth: int):
        self.multiply, self.add = fp.Multiply(fmt, fmt, FP32, depth=kind.multiply_depth), fp.Add(FP32, depth=add_depth)
        super().__init__(kind.ports())

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiply, m.submodules.add = multiply, add = self.multiply, self.add
        nothing = Const(FP32.fields.sign, SUM_BITS)  # x + (-0) is x, whatever the sign of a zero x
        m.d.comb += [
            multiply.enable.eq(self.advance),
            multiply.a.eq(self.activation),
            multiply.b.eq(self.weight),
            add.enable.eq(self.advance),
            add.a.eq(self.partial),
            add.b.eq(Mux(self.used, multiply.result, nothing)),
            self.sum.eq(add.result),
        ]
        if add.depth == 0:
            total = Signal(SUM_BITS, reset_less=True)
            with m.If(_delayed(m, self.step, multiply.depth, self.advance, "step") & self.advance):
                m.d.sync += total.eq(add.result)
            m.d.comb += self.sum.eq(total)
        return m


def _delayed(m, bit, depth: int, advance, name: str):
    """``bit`` after ``depth`` enabled cycles."""
    for stage in range(depth):
        later = Signal(name=f"{name}_{stage}")
        with m.If(advance):
            m.d.sync += later.eq(bit)
        bit = later
    return bit
