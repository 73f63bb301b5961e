"""Sums of many terms: carry-save adders down to two, so that only one carry runs along the word. All is modulo 2^width."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value


def total(m: Module, terms: list[Value], width: int) -> Value:
    """The sum of the unsigned ``terms``, in ``width`` bits."""
    while len(terms) > 2:
        whole = len(terms) // 3 * 3
        fewer = [word for at in range(0, whole, 3) for word in _two_of_three(m, terms[at : at + 3], width)]
        terms = fewer + terms[whole:]
    return (terms[0] + terms[1])[:width]


def _two_of_three(m: Module, terms: list[Value], width: int) -> tuple[Value, Value]:
    """A full adder per bit."""
    a, b, c = (Signal(width) for _ in range(3))
    half, parity, carry = Signal(width), Signal(width), Signal(width)
    m.d.comb += [word.eq(term) for word, term in zip((a, b, c), terms, strict=True)]
    m.d.comb += [half.eq(a ^ b), parity.eq(half ^ c), carry.eq(Cat(Const(0, 1), (a & b) | (half & c)))]
    return parity, carry


def partial_products(activation: Value, weight: Value) -> list[Value]:
    """Terms whose sum is the signed ``activation`` times the unsigned ``weight``: shifted activations, each gated by a bit.

    The activation's highest bit counts negative: -x = (1 - x) - 1, so it is inverted, and the ones are one more term.
    """
    sign = len(activation) - 1
    gated = [activation & bit.replicate(len(activation)) for bit in weight]
    terms: list[Value] = [Cat(Const(0, i), term[:sign], ~term[sign]) for i, term in enumerate(gated)]
    return [*terms, Const(-((1 << len(weight)) - 1 << sign), 64)]
