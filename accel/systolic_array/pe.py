"""Processing elements: the arithmetic of one cell, without the registers that join it to its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from accel.base import fp
from accel.systolic_array.timing import INTEGER_ADD, INTEGER_MULTIPLY
from workloads.formats import FORMATS, Format

FP32 = FORMATS["fp32"]
SUM_BITS = 32  # INT32 or FP32


@dataclass(frozen=True)
class Pe:
    """A kind of accumulating PE: how to make one, and what the array must know of it.

    ``delay``: cycles from a step's operands to their sum on ``result``. ``spacing``: cycles from one step to the next, at least.
    `accel.systolic_array.output_stationary` says what the ports of `ports` mean.
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
        adds = _delayed(m, self.step, INTEGER_MULTIPLY, self.advance, "step")
        with m.If(self.step & self.advance):
            m.d.sync += [product.eq(self.activation.as_signed() * self.weight.as_signed()), first.eq(self.first)]
        with m.If(adds & self.advance):
            m.d.sync += total.eq(Mux(first, self.start.as_signed(), total) + product)
        m.d.comb += self.result.eq(total)
        return m


INT8_ACCUMULATOR = Pe(IntegerAccumulator, activation_bits=8, weight_bits=8, delay=INTEGER_MULTIPLY + INTEGER_ADD)


@dataclass(frozen=True)
class PassingPe:
    """A kind of PE that adds a product to a partial sum which passes through, and how deep it is.

    Its ports: ``activation`` and ``weight``, from registers of the cell; ``used``, without which the product counts as nothing;
    ``step``, high with the operands; ``partial``, wanted ``multiply_depth`` cycles after them; ``advance``, which enables every
    register; and ``sum``, ``hop`` cycles after ``partial``.
    """

    make: Callable[[PassingPe], wiring.Component]
    operand_bits: int
    multiply_depth: int
    hop: int

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
        adds = _delayed(m, self.step, INTEGER_MULTIPLY, self.advance, "step")
        with m.If(self.step & self.used & self.advance):
            m.d.sync += product.eq(self.activation.as_signed() * self.weight.as_signed())
        with m.If(adds & self.advance):
            m.d.sync += total.eq(self.partial.as_signed() + Mux(self.used, product, 0))
        m.d.comb += self.sum.eq(total)
        return m


INT8_MULTIPLY_ADD = PassingPe(IntegerMultiplyAdd, operand_bits=8, multiply_depth=INTEGER_MULTIPLY, hop=INTEGER_ADD)


def float_accumulator(fmt: Format, multiply_depth: int, add_depth: int) -> Pe:
    """FP16 or BF16 products, a register, and an FP32 accumulator, each rounded.

    A sum needs the one before it, so that steps are as many cycles apart as an addition takes.
    """
    multiply, add = multiply_depth + 1, add_depth + 1

    def make(kind: Pe) -> wiring.Component:
        return _FloatAccumulator(kind, fmt, multiply_depth, add_depth)

    return Pe(make, fmt.bits, fmt.bits, delay=multiply + add, spacing=add)


class _FloatAccumulator(wiring.Component):
    def __init__(self, kind: Pe, fmt: Format, multiply_depth: int, add_depth: int):
        self.multiply, self.add = fp.Multiply(fmt, fmt, FP32, depth=multiply_depth), fp.Add(FP32, depth=add_depth)
        super().__init__(kind.ports())

    def elaborate(self, platform):
        m = Module()
        product, adds = _product(self, m)
        first = _delayed(m, self.first, self.multiply.depth + 1, self.advance, "first")
        total = Signal(SUM_BITS, reset_less=True)
        m.d.comb += [self.add.a.eq(Mux(first, self.start, total)), self.add.b.eq(product), self.result.eq(total)]
        with m.If(_delayed(m, adds, self.add.depth, self.advance, "summed") & self.advance):
            m.d.sync += total.eq(self.add.result)
        return m


def float_multiply_add(fmt: Format, multiply_depth: int, add_depth: int) -> PassingPe:
    """FP16 or BF16 products, a register, and an FP32 adder to the passing partial sum, each rounded."""

    def make(kind: PassingPe) -> wiring.Component:
        return _FloatMultiplyAdd(kind, fmt, multiply_depth, add_depth)

    return PassingPe(make, fmt.bits, multiply_depth=multiply_depth + 1, hop=add_depth + 1)


class _FloatMultiplyAdd(wiring.Component):
    def __init__(self, kind: PassingPe, fmt: Format, multiply_depth: int, add_depth: int):
        self.multiply, self.add = fp.Multiply(fmt, fmt, FP32, depth=multiply_depth), fp.Add(FP32, depth=add_depth)
        super().__init__(kind.ports())

    def elaborate(self, platform):
        m = Module()
        product, adds = _product(self, m)
        nothing = Const(FP32.fields.sign, SUM_BITS)  # x + (-0) is x, whatever the sign of a zero x
        total = Signal(SUM_BITS, reset_less=True)
        m.d.comb += [self.add.a.eq(self.partial), self.add.b.eq(Mux(self.used, product, nothing)), self.sum.eq(total)]
        with m.If(_delayed(m, adds, self.add.depth, self.advance, "summed") & self.advance):
            m.d.sync += total.eq(self.add.result)
        return m


def _product(pe, m: Module):
    """The register that holds the rounded product of a floating-point PE, and when its step is there."""
    m.submodules.multiply, m.submodules.add = multiply, add = pe.multiply, pe.add
    product = Signal(SUM_BITS, reset_less=True)
    there = _delayed(m, pe.step, multiply.depth, pe.advance, "multiplied")
    m.d.comb += [multiply.a.eq(pe.activation), multiply.b.eq(pe.weight)]
    m.d.comb += [multiply.enable.eq(pe.advance), add.enable.eq(pe.advance)]
    with m.If(there & pe.advance):
        m.d.sync += product.eq(multiply.result)
    return product, _delayed(m, there, 1, pe.advance, "adds")


def _delayed(m, bit, depth: int, advance, name: str):
    """``bit`` after ``depth`` enabled cycles."""
    for stage in range(depth):
        later = Signal(name=f"{name}_{stage}")
        with m.If(advance):
            m.d.sync += later.eq(bit)
        bit = later
    return bit
