"""Exponential, reciprocal and reciprocal square root of FP32: one interpolator behind three ways to reduce the argument.

    2^x        the fraction f and the whole part of x, in fixed point with 23 bits below the point, cut off
    1 / x      f is the significand of x; 2 / m is looked up
    x^-1/2     the same; 2 / sqrt(m) is looked up, for m in [1, 2) where the exponent is even, and in [2, 4) where it is odd

The highest five bits of f choose c0, c1 and c2 of a segment, the 18 others are d; the significand is then, in units of 2^-23,

    c0 + ((c1 + (c2 (d >> 6) >> 12)) d >> 18)

Results below the normal range are zero, subnormal arguments count as zero. Registers: the argument, what it is
reduced to, the segment's start and slope, and the significand.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from accel.base.enumeration import Enum

FRACTION, OFFSET, SEGMENTS = 23, 18, 32
BIAS, NAN, INFINITY = 127, 0x7FC00000, 0x7F800000
HIGHEST_EXPONENT = BIAS + 6  # of an argument of 2^x that is below 128


class Function(Enum, shape=2):
    """What becomes of a trip's sum."""

    BYPASS = 0
    EXPONENTIAL = 1
    RECIPROCAL = 2
    ROOT = 3


def coefficients(function: Callable[[float], float]) -> list[tuple[int, int, int]]:
    """c0, c1, c2 of each segment: the quadratic through ``function`` at its start, middle and end, in units of 2^-23."""
    table = []
    for segment in range(SEGMENTS):
        start, middle, end = (function((segment + part) / SEGMENTS) * 2**FRACTION for part in (0, 0.5, 1))
        c2 = round(2 * (start - 2 * middle + end))
        table.append((round(start), round(end - start) - c2, c2))
    return table


TABLES = {
    Function.EXPONENTIAL: [coefficients(lambda f: 2.0**f)],
    Function.RECIPROCAL: [coefficients(lambda f: 2 / (1 + f))],
    Function.ROOT: [coefficients(lambda f: 2 / math.sqrt(1 + f)), coefficients(lambda f: 2 / math.sqrt(2 * (1 + f)))],
}


class Special(wiring.Component):
    """``function`` of ``x``, `accel.vector_unit.timing.SPECIAL` enabled edges later; BYPASS means nothing here."""

    def __init__(self, functions: list[Function]):
        self.functions = functions
        super().__init__({"x": In(32), "function": In(Function), "load": In(1), "enable": In(1), "result": Out(32)})

    def elaborate(self, platform):
        m = Module()
        x, chosen = Signal(32, reset_less=True), Signal(Function, reset_less=True)
        with m.If(self.load):
            m.d.sync += [x.eq(self.x), chosen.eq(self.function)]
        sign, exponent, mantissa = x[-1], x[FRACTION:-1], x[:FRACTION]
        zero, top = exponent == 0, exponent.all()
        is_nan = top & mantissa.any()
        fixed = self._fixed(x)
        f = Signal(FRACTION, reset_less=True)
        lower = Signal(signed(10), reset_less=True)  # the biased exponent of a significand below one
        nan, infinity, none, minus = (Signal(name=name, reset_less=True) for name in ("nan", "infinity", "none", "minus"))
        function, odd = Signal(Function, reset_less=True), Signal(reset_less=True)
        with m.If(self.enable):
            m.d.sync += [f.eq(mantissa), function.eq(chosen), odd.eq(~exponent[0]), nan.eq(is_nan)]
            m.d.sync += [infinity.eq(zero), none.eq(top), minus.eq(sign)]
            with m.Switch(chosen):
                with m.Case(Function.EXPONENTIAL):
                    beyond = exponent > HIGHEST_EXPONENT
                    m.d.sync += [f.eq(fixed[:FRACTION]), lower.eq(fixed[FRACTION:].as_signed() + (BIAS - 1))]
                    m.d.sync += [infinity.eq(beyond & ~sign), none.eq(beyond & sign), minus.eq(0)]
                with m.Case(Function.RECIPROCAL):
                    m.d.sync += lower.eq(2 * BIAS - 2 - exponent)
                with m.Case(Function.ROOT):
                    m.d.sync += [lower.eq((3 * BIAS - 3 - exponent) >> 1), minus.eq(0), nan.eq(is_nan | (sign & ~zero))]

        flags = Signal(4, reset_less=True)
        lower_2, d = Signal.like(lower, reset_less=True), Signal(OFFSET, reset_less=True)
        widths = [self._column_shape(i) for i in range(3)]
        c0, c1, c2 = (Signal(width, name=f"c{i}") for i, width in enumerate(widths))
        start, slope = Signal(widths[0], reset_less=True), Signal(signed(widths[1].width + 1), reset_less=True)
        m.d.comb += Cat(c0, c1, c2).eq(self._look_up(f[OFFSET:], function, odd, widths))
        with m.If(self.enable):
            m.d.sync += [flags.eq(Cat(nan, infinity, none, minus)), lower_2.eq(lower), d.eq(f[:OFFSET])]
            m.d.sync += [start.eq(c0), slope.eq(c1 + ((c2 * f[6:OFFSET]) >> 12))]
        significand = Signal(FRACTION + 2, reset_less=True)
        flags_3, lower_3 = Signal.like(flags, reset_less=True), Signal.like(lower, reset_less=True)
        with m.If(self.enable):
            m.d.sync += [significand.eq(start + ((slope * d) >> OFFSET)), flags_3.eq(flags), lower_3.eq(lower_2)]
        m.d.comb += self.result.eq(self._packed(m, significand, lower_3, flags_3))
        return m

    def _fixed(self, x: Value) -> Value:
        """x with 23 bits below the point, cut off, where |x| < 128."""
        exponent = x[FRACTION:-1]
        distance = (HIGHEST_EXPONENT - exponent)[:8]
        significand = Cat(Const(0, HIGHEST_EXPONENT - BIAS), x[:FRACTION], exponent.any())
        magnitude = Mux(distance[5:].any(), 0, significand >> distance[:5])
        return Mux(x[-1], -magnitude, magnitude)[: FRACTION + 8]

    def _column_shape(self, column: int) -> Shape:
        values = [row[column] for f in self.functions for table in TABLES[f] for row in table]
        bits = max(max(v, -v - 1).bit_length() for v in values)
        return Shape(bits + (min(values) < 0), min(values) < 0)

    def _look_up(self, segment: Value, function: Value, odd: Value, widths: list[Shape]) -> Value:
        def column(rows):
            return Array(Cat(*(Const(value, shape) for value, shape in zip(row, widths, strict=True))) for row in rows)[segment]

        found = {f: [column(table) for table in TABLES[f]] for f in self.functions}
        root = found.get(Function.ROOT)
        first = Mux(function == Function.EXPONENTIAL, found[Function.EXPONENTIAL][0], found[Function.RECIPROCAL][0])
        return Mux(function == Function.ROOT, Mux(odd, root[1], root[0]), first) if root else first

    def _packed(self, m: Module, significand: Value, lower: Value, flags: Value) -> Value:
        exponent = Signal(signed(11))
        nan, infinity, none, minus = flags
        m.d.comb += exponent.eq(lower + significand[FRACTION:])
        number = Mux(infinity, INFINITY, Mux(none | (exponent <= 0), 0, Cat(significand[:FRACTION], exponent[:8])))
        return Mux(nan, NAN, Cat(number[:31], minus))
