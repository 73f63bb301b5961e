"""Choosing the oldest: places of a list that do not move, and who entered before whom; and small helpers for one-hot choices."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueCastable


class Order:
    """The order in which ``size`` places were entered. ``enters`` is one-hot (or 0): the place that is entered in this cycle.

    A register for each pair: whether the lower-numbered of the two is the older. The oldest of a set is the one that none of the
    set is older than: two levels of wide gates, whatever the order.
    """

    def __init__(self, m: Module, enters: Value, name: str):
        self._m, self._name, self._size = m, name, len(enters)
        lower = [Signal(i, name=f"{name}_older_than_{i}") for i in range(self._size)]
        self._older = [Const(0, 1)] * self._size
        for i in range(self._size):
            if i:
                m.d.sync += lower[i].eq((lower[i] | enters[i].replicate(i)) & ~enters[:i])
            older = Signal(self._size, name=f"{name}_before_{i}")
            m.d.comb += older.eq(Cat(lower[i], Const(0, 1), *(~lower[j][i] for j in range(i + 1, self._size))))
            self._older[i] = older

    def first(self, among: Value, name: str) -> Signal:
        """The oldest of the places ``among``, one-hot; 0 where there is none."""
        found = Signal(self._size, name=f"{self._name}_first_{name}")
        self._m.d.comb += found.eq(Cat(among[i] & ~(self._older[i] & among).any() for i in range(self._size)))
        return found


def any_of(values: Sequence[Value]) -> Value:
    """The bits that are 1 in any of ``values``, as a tree."""
    if len(values) == 1:
        return values[0]
    return any_of(values[: len(values) // 2]) | any_of(values[len(values) // 2 :])


def chosen(select: Value, values: Sequence[Value | ValueCastable]) -> Value:
    """The value at the one place of ``select``; 0 where there is none."""
    return any_of([Mux(which, value, 0) for which, value in zip(select, map(Value.cast, values), strict=True)])


def number(select: Value) -> Value:
    """The number of the one place of ``select``."""
    bits = max(1, (len(select) - 1).bit_length())
    return Cat(Cat(select[i] for i in range(len(select)) if i >> bit & 1).any() for bit in range(bits))


def at_least_two(bits: Value) -> Value:
    """Whether two or more of ``bits`` are 1: one is left when the lowest is taken off."""
    return (bits & (bits - 1)).any()


def saturating(m: Module, limit: int, clear: Value, name: str) -> Value:
    """Whether ``clear`` has been 0 for ``limit`` cycles or more, this one not counted: an age of S5."""
    age = Signal(range(limit + 1), name=name)
    with m.If(clear):
        m.d.sync += age.eq(0)
    with m.Elif(age != limit):
        m.d.sync += age.eq(age + 1)
    return age == limit
