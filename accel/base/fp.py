"""Floating-point parts: multiply, add, fused multiply-add, and conversions, each with one rounding to nearest even.

    Multiply     a * b              Add      a + b
    MultiplyAdd  a * b + c          Convert  a, in another format

Operands and results are bit patterns of `workloads.formats` (FP32, FP16, BF16, FP8 E4M3 and E5M2). Subnormals, infinities and
signed zeros are those of IEEE 754; a NaN result has the one pattern `FloatFields.nan`; E4M3, which has no infinity, saturates.
`kernels_ref.floats` computes the same. Operands of a product may differ in format from one another and from the result.

``depth`` is the number of clock edges, counted while ``enable`` is 1, from the operands to their result, 0 to `DEEPEST`:
with 0 the part is combinational and ``enable`` is not used. A part takes new operands in every enabled cycle. Its registers have
no reset: what leaves before the first operands arrive means nothing.

Adding takes one path: the operand of the lower exponent is shifted right, what leaves is or'ed into a sticky bit, and the sum or
difference is shifted left until it starts with a one. `accel.base.fp_round` holds what all parts have in common.
"""

from __future__ import annotations

from typing import ClassVar

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from accel.base.fp_round import (
    Number,
    Pipeline,
    finish,
    leading_one,
    lowest_exponent,
    precision,
    shift_right,
    unpack,
    wire,
)
from workloads.formats import Format


class _Part(wiring.Component):
    """A part whose operands are ports, with registers at the cuts that `CUTS` names for its depth."""

    CUTS: ClassVar[tuple[tuple[str, ...], ...]]
    DEEPEST: ClassVar[int]

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.DEEPEST = len(cls.CUTS) - 1

    def __init__(self, operands: dict[str, Format], result: Format, depth: int):
        if not 0 <= depth <= self.DEEPEST:
            raise ValueError(f"{type(self).__name__} has a depth of 0 to {self.DEEPEST}, not {depth}")
        self.operands, self.format, self.depth = operands, result, depth
        super().__init__({**{name: In(f.bits) for name, f in operands.items()}, "enable": In(1), "result": Out(result.bits)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.result.eq(self._compute(m, Pipeline(m, self.enable, self.CUTS[self.depth])))
        return m

    def _number(self, m: Module, name: str) -> Number:
        return unpack(m, getattr(self, name), self.operands[name])

    def _compute(self, m: Module, pipe: Pipeline) -> Value:
        raise NotImplementedError


class Multiply(_Part):
    """a * b."""

    CUTS = ((), ("product",), ("product", "normal"), ("halves", "product", "normal"))

    def __init__(self, a: Format, b: Format, result: Format, depth: int = 0):
        super().__init__({"a": _float(a), "b": _float(b)}, _float(result), depth)

    def _compute(self, m, pipe):
        a, b = self._number(m, "a"), self._number(m, "b")
        product = pipe.number("product", _product(pipe, a, b))
        # mypy cannot tell that there are two operands.
        return finish(m, pipe, product, self.format, zeros=_leading_zeros(*self.operands.values(), self.format))  # type: ignore[call-arg]


class Add(_Part):
    """a + b."""

    CUTS = ((), ("aligned",), ("aligned", "sum"), ("ordered", "aligned", "sum"), ("ordered", "aligned", "sum", "normal"))

    def __init__(self, fmt: Format, depth: int = 0):
        super().__init__({"a": _float(fmt), "b": _float(fmt)}, fmt, depth)

    def _compute(self, m, pipe):
        swap, equal = wire(m, self.a[:-1] < self.b[:-1], "swap"), self.a[:-1] == self.b[:-1]
        return _sum(m, pipe, self._number(m, "a"), self._number(m, "b"), self.format, swap=swap, guard=2, equal=equal)


class MultiplyAdd(_Part):
    """a * b + c, rounded once; c is in the format of the result."""

    CUTS = (
        (),
        ("product",),
        ("product", "sum"),
        ("product", "aligned", "sum"),
        ("product", "aligned", "sum", "normal"),
        ("halves", "product", "aligned", "sum", "normal"),
    )

    def __init__(self, a: Format, b: Format, result: Format, depth: int = 0):
        super().__init__({"a": _float(a), "b": _float(b), "c": _float(result)}, result, depth)

    def _compute(self, m, pipe):
        a, b, c = (self._number(m, name) for name in "abc")
        formats = tuple(self.operands[name] for name in "abc")  # three of them, which mypy cannot tell: hence the two ignores
        zeros = _leading_zeros(*formats)
        # Shifting the operands takes less than a much wider adder.
        if _guard_bits(*formats, zeros) > _guard_bits(*formats, 1) + 2:  # type: ignore[call-arg,arg-type]
            a, b, zeros = leading_one(m, a), leading_one(m, b), 1
        product = _product(pipe, a, b)
        if "halves" in pipe.cuts:
            c = pipe.number("halves", c)
        swap = wire(m, product.zero | (product.exponent + (product.offset - c.offset) < c.exponent), "swap")
        return _sum(m, pipe, product, c, self.format, swap=swap, guard=_guard_bits(*formats, zeros))  # type: ignore[call-arg,arg-type]


class Convert(_Part):
    """a in another format: float to float, integer to float, or float to integer.

    A float too large for an integer gives the integer nearest to it, and a NaN 0.
    """

    CUTS = ((), ("normal",), ("operand", "normal"))

    def __init__(self, source: Format, result: Format, depth: int = 0):
        if "float" not in (source.kind, result.kind) or not {source.kind, result.kind} <= {"float", "int", "uint"}:
            raise ValueError(
                f"Convert takes a float to a float, an int or a uint, or one of these to a float, not {source} to {result}"
            )
        super().__init__({"a": source}, result, depth)

    def _compute(self, m, pipe):
        source, result = self.operands["a"], self.format
        if source.kind != "float":
            number = pipe.number("operand", _integer(self.a, source))
            return finish(m, pipe, number, result, zeros=len(number.significand) - 1)
        number = pipe.number("operand", self._number(m, "a"))
        if result.kind != "float":
            return _to_integer(m, pipe, number, result)
        # Where subnormals of the source are subnormal in the result, or less, they keep their zeros.
        zeros = max(0, min(precision(source) - 1, lowest_exponent(source) - lowest_exponent(result)))
        return finish(m, pipe, number, result, zeros=zeros)


def _float(fmt: Format) -> Format:
    if fmt.kind != "float":
        raise ValueError(f"wanted a floating-point format, not {fmt}")
    return fmt


def _leading_zeros(a: Format, b: Format, result: Format) -> int:
    """Most leading zeros of a product of significands that matter: those of two subnormals only where their product does."""
    if lowest_exponent(a) + lowest_exponent(b) + 1 > lowest_exponent(result):
        return precision(a) + precision(b) - 1
    return max(precision(a), precision(b))


def _guard_bits(a: Format, b: Format, result: Format, zeros: int) -> int:
    """Bits needed below the wider significand of a * b and c, besides the sticky bit.

    With w bits, the larger addend starting with up to z zeros and the smaller one with p bits, what is shifted out is only sticky
    if the shift is above w - p + g; then at most one more zero comes up, and r bits and the one below must still be exact:
    w + g - z - 1 >= r + 1. That also keeps the smaller addend from being the larger one.
    """
    product, bits = precision(a) + precision(b), precision(result)
    width = max(product, bits)
    return max(0, zeros + 2 - (width - bits), 1 - (width - product))


def _product(pipe: Pipeline, a: Number, b: Number) -> Number:
    """a * b, with the cut ``halves`` between its partial products and their sum."""
    significands = a.significand, b.significand
    half = len(b.significand) // 2 if "halves" in pipe.cuts else 0
    held = pipe(
        "halves",
        low=significands[0] * significands[1][:half] if half else Const(0, 0),
        high=significands[0] * significands[1][half:],
        sign=a.sign ^ b.sign,
        exponent=a.exponent + b.exponent,
        inf=a.inf | b.inf,
        nan=a.nan | b.nan | (a.inf & b.zero) | (a.zero & b.inf),
        zero=a.zero | b.zero,  # type: ignore[operator]  # both are unpacked operands, which have the bit
    )
    significand = (Cat(Const(0, half), held.high) + held.low)[: sum(map(len, significands))] if half else held.high
    return Number(
        sign=held.sign,
        exponent=held.exponent,
        significand=significand,
        inf=held.inf,
        nan=held.nan,
        zero=held.zero,
        offset=a.offset + b.offset + 1,  # the product of two numbers from 1 to 2 lies between 1 and 4
        lowest=a.lowest + b.lowest + 1,
        highest=a.highest + b.highest + 1,
    )


def _sum(
    m: Module, pipe: Pipeline, x: Number, y: Number, fmt: Format, *, swap: Value, guard: int, equal: Value | None = None
) -> Value:
    """x + y in ``fmt``; ``swap`` says that y has the higher exponent. With ``equal`` it says more: that y is the larger one, if
    their magnitudes are not ``equal``; then the difference is never negative.
    """
    subtract = wire(m, x.sign ^ y.sign, "subtract")
    over, under = y.offset - x.offset, x.offset - y.offset
    distance = Mux(swap, y.exponent - x.exponent + over, x.exponent - y.exponent + under)
    sign = Mux(swap, y.sign, x.sign)
    both = pipe(
        "product",
        x=x.significand,
        y=y.significand,
        swap=swap,
        distance=distance[:-1],
        exponent=Mux(swap, y.exponent + over, x.exponent),
        sign=sign & ~(subtract & equal) if equal is not None else Mux(x.inf, x.sign, Mux(y.inf, y.sign, sign)),
        negative=x.sign & y.sign,
        subtract=subtract,
        inf=x.inf | y.inf,
        nan=x.nan | y.nan | (x.inf & y.inf & subtract),
    )
    width = max(len(both.x), len(both.y))
    x_word, y_word = (Cat(Const(0, width - len(word)), word) for word in (both.x, both.y))
    flags = {name: getattr(both, name) for name in ("exponent", "sign", "negative", "subtract", "inf", "nan")}
    ordered = pipe(
        "ordered",
        large=Mux(both.swap, y_word, x_word),
        small=Mux(both.swap, x_word, y_word),
        distance=both.distance,
        **flags,
    )
    flags = {name: getattr(ordered, name) for name in flags}
    small = shift_right(m, Cat(Const(0, guard), ordered.small), ordered.distance)
    aligned = pipe("aligned", large=ordered.large, small=small, **flags)
    large, small, subtract = Cat(Const(0, guard + 1), aligned.large), aligned.small, aligned.subtract
    bits = len(small)
    # The lowest bits of both make the carry that completes the complement.
    total = Signal(bits + 2, name="total")
    m.d.comb += total.eq(Cat(subtract, large) + Cat(subtract, small ^ subtract.replicate(bits), subtract))
    magnitude, sign = total[1:], aligned.sign
    if equal is None:
        reverse = Signal(bits, name="reverse")
        m.d.comb += reverse.eq(small - large)
        negative = subtract & total[-1]
        magnitude = wire(m, Mux(negative, reverse, magnitude), "magnitude")
        sign = Mux(aligned.inf, sign, Mux(magnitude.any(), sign ^ negative, aligned.negative))
    number = Number(
        sign=sign,
        exponent=aligned.exponent,
        significand=magnitude,
        inf=aligned.inf,
        nan=aligned.nan,
        offset=x.offset + 1,
        lowest=lowest_exponent(fmt) + 1,
        highest=max(x.highest, y.highest) + 1,
    )
    return finish(m, pipe, pipe.number("sum", number), fmt, zeros=bits)


def _integer(bits: Value, fmt: Format) -> Number:
    """The number that the integer ``bits`` are."""
    sign = bits[-1] if fmt.kind == "int" else Const(0, 1)
    weight = fmt.bits - 1
    return Number(
        sign=sign,
        exponent=Const(0, 1),
        significand=Mux(sign, -bits, bits)[: fmt.bits],
        inf=Const(0, 1),
        nan=Const(0, 1),
        offset=weight,
        lowest=weight,
        highest=weight,
    )


def _to_integer(m: Module, pipe: Pipeline, number: Number, fmt: Format) -> Value:
    """``number`` rounded to an integer, and to the nearest one in ``fmt``."""
    whole = number.significand
    if len(whole) < fmt.bits + 1:
        whole = Cat(Const(0, fmt.bits + 1 - len(whole)), whole)
    distance = wire(
        m, fmt.bits - 1 - number.offset - number.exponent, "distance"
    )  # of the leading bit from the integer's highest
    over = distance < 0
    word = shift_right(m, whole, distance[:-1])
    word = Cat(word[: -fmt.bits - 1].any(), word[-fmt.bits - 1 :])
    normal = pipe("normal", word=word, over=over | number.inf, sign=number.sign, nan=number.nan)
    up = normal.word[1] & (normal.word[0] | normal.word[2])
    magnitude = wire(m, (normal.word[2:] + up)[: fmt.bits + 1], "magnitude")
    if fmt.kind == "uint":
        positive = Mux(normal.over | magnitude[-1], fmt.highest, magnitude)
        negative = Const(0, fmt.bits)
    else:
        over = normal.over | magnitude[-2:].any()
        positive, negative = Mux(over, fmt.highest, magnitude), Mux(over, fmt.lowest, -magnitude)
    return Mux(normal.nan, 0, Mux(normal.sign, negative, positive))[: fmt.bits]
