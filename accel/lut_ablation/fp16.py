"""Cells of figure 13 with FP16 activations: one accumulator and what it takes to add a dot product of K = 4 to it.

    kind      adds per cycle                                        cycles per dot product
    look_up   one entry of a half table, 8:1                        W
    whole     one entry of a whole table, 16:1                      W
    add       four activations, each with the sign of its bit       W
    multiply  four products of FP16 activations and FP16 weights    1

FP16 throughout, as the published RTL (github.com/microsoft/T-MAC, sv_lut_array): planes are weighted in the exponent, with its
hazards for zero and overflow. For areas alone: no unit computes with these cells, and nothing proves them.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from accel.base.fp import Add, Multiply
from workloads.formats import FORMATS

FP16 = FORMATS["fp16"]
GROUP = 4
PLANE_BITS = 3
OPERANDS = {"look_up": 1 << (GROUP - 1), "whole": 1 << GROUP, "add": GROUP, "multiply": GROUP}
"""FP16 words that a cell of each kind chooses from or works on."""


class Fp16Cell(wiring.Component):
    """total = (partial in the first plane, else total) + what one cycle adds."""

    def __init__(self, kind: str):
        self.kind = kind
        super().__init__(
            {
                "row": In(data.ArrayLayout(FP16.bits, OPERANDS[kind])),
                "weights": In(data.ArrayLayout(FP16.bits if kind == "multiply" else 1, GROUP)),
                "plane": In(PLANE_BITS),
                "first": In(1),
                "last": In(1),
                "enable": In(1),
                "partial": In(FP16.bits),
                "total": Out(FP16.bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        row, weights = list(self.row), list(self.weights)
        if self.kind == "look_up":
            term = self._weighted(Array(row)[Cat(*weights[1:])], ~weights[0])
        elif self.kind == "whole":
            term = self._weighted(Array(row)[Cat(*weights)], self.last)
        elif self.kind == "add":
            term = self._weighted(self._sum(m, [_signed(a, ~w) for a, w in zip(row, weights, strict=True)]), 0)
        else:
            products = [_through(m, Multiply(FP16, FP16, FP16), a, w) for a, w in zip(row, weights, strict=True)]
            term = self._sum(m, products)
        following = _through(m, Add(FP16), Mux(self.first, self.partial, self.total), term)
        with m.If(self.enable):
            m.d.sync += self.total.eq(following)
        return m

    def _sum(self, m: Module, terms: list[Value]) -> Value:
        while len(terms) > 1:
            terms = [_through(m, Add(FP16), a, b) for a, b in zip(terms[::2], terms[1::2], strict=True)]
        return terms[0]

    def _weighted(self, value: Value, negate) -> Value:
        """2^plane times ``value`` or its negation, by its exponent."""
        fields = FP16.fields
        low, high = fields.mantissa, fields.mantissa + fields.exponent
        return _signed(Cat(value[:low], (value[low:high] + self.plane)[: fields.exponent], value[high]), negate)


def _signed(value: Value, negate) -> Value:
    return Cat(value[:-1], value[-1] ^ negate)


def _through(m: Module, part, a: Value, b: Value) -> Value:
    m.submodules += part
    m.d.comb += [part.a.eq(a), part.b.eq(b)]
    result = Signal.like(part.result)
    m.d.comb += result.eq(part.result)
    return result
