"""The bank's arithmetic: multipliers, a balanced adder tree, and an accumulator.

A burst of operands enters with ``comp``; `timing.Depth.stages` cycles later the sum of its products has been added to the
accumulator, which ``first`` starts from zero. ``read`` follows the last burst of a dot product on its way and gives the
accumulator as ``result``. Everything moves together, while ``advance`` is high.
"""

from __future__ import annotations

import itertools

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from accel.base.fp import Add, Multiply
from pim.pim_bank.timing import DEPTHS
from workloads.formats import FORMATS, Format

FP32 = FORMATS["fp32"]
SUM_BITS = 32  # FP32 or INT32
TOKEN = data.StructLayout({"comp": 1, "first": 1, "read": 1})
"""What travels with a burst: there is one; it is the first of its dot product; or there is none, and the sum is asked for."""


class DotProduct(wiring.Component):
    """Lanes from ``lanes`` on count as zeros. ``comp`` comes at most every ``accumulate``-th cycle, ``read`` in any other one."""

    def __init__(self, fmt: Format, multipliers: int):
        self.format, self.multipliers, self.depth = fmt, multipliers, DEPTHS[fmt.name]
        super().__init__(
            {
                "advance": In(1),
                "comp": In(1),
                "first": In(1),
                "read": In(1),
                "row": In(data.ArrayLayout(fmt.bits, multipliers)),
                "vector": In(data.ArrayLayout(fmt.bits, multipliers)),
                "lanes": In(range(multipliers + 1)),
                "ends": Out(1),  # `result` is a sum that was asked for
                "result": Out(SUM_BITS),
                "busy": Out(1),  # something is on its way
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Token i goes with what has passed i registers since its operands; with the last one the accumulator is written.
        tokens = [Signal(TOKEN, name=f"token_{i}") for i in range(self.depth.stages(self.multipliers) - 1)]
        moves = Signal()
        m.d.comb += [self.busy.eq(Cat(Cat(t.comp, t.read) for t in tokens).any()), moves.eq(self.busy & self.advance)]
        with m.If(self.advance):
            m.d.sync += tokens[0].eq(Cat(self.comp, self.first, self.read))
            m.d.sync += [later.eq(earlier) for earlier, later in itertools.pairwise(tokens)]

        arithmetic = _Integers() if self.format.kind == "int" else _Floats(m, moves, self.format)
        terms: list[Value] = []
        for i in range(self.multipliers):
            row, vector = (Signal(self.format.bits, name=f"{name}_{i}", reset_less=True) for name in ("row", "vector"))
            with m.If(self.comp & self.advance):
                for operand, lane in ((row, self.row[i]), (vector, self.vector[i])):
                    m.d.sync += operand.eq(Mux(self.lanes > i, lane, 0))
            product = arithmetic.product(f"multiply_{i}", row, vector, self.depth.multiply - 1)
            terms.append(_register(m, moves, f"product_{i}", product))
        for level in range(self.multipliers.bit_length() - 1):
            pairs = enumerate(zip(terms[::2], terms[1::2], strict=True))
            sums = [arithmetic.sum(f"add_{level}_{i}", a, b, self.depth.level - 1) for i, (a, b) in pairs]
            terms = [_register(m, moves, f"sum_{level}_{i}", each) for i, each in enumerate(sums)]

        enters, ends = tokens[-self.depth.accumulate], tokens[-1]
        before, total = Signal(SUM_BITS), Signal(SUM_BITS, reset_less=True)
        m.d.comb += before.eq(Mux(enters.first, 0, total))
        added = arithmetic.sum("accumulate", before, terms[0], self.depth.accumulate - 1)
        with m.If(moves & ends.comp):
            m.d.sync += total.eq(added)
        m.d.comb += [self.ends.eq(ends.read), self.result.eq(total)]
        return m


def _register(m: Module, moves: Value, name: str, value: Value) -> Signal:
    """``value`` one stage later."""
    register = Signal(value.shape(), name=name, reset_less=True)
    with m.If(moves):
        m.d.sync += register.eq(value)
    return register


class _Floats:
    """FP16 products and FP32 sums, with ``depth`` registers inside."""

    def __init__(self, m: Module, moves: Value, fmt: Format):
        self.m, self.moves, self.format = m, moves, fmt

    def product(self, name: str, a: Value, b: Value, depth: int) -> Value:
        return self._result(name, Multiply(self.format, self.format, FP32, depth), a, b)

    def sum(self, name: str, a: Value, b: Value, depth: int) -> Value:
        return self._result(name, Add(FP32, depth), a, b)

    def _result(self, name: str, part: Multiply | Add, a: Value, b: Value) -> Value:
        self.m.submodules[name] = part
        self.m.d.comb += [part.enable.eq(self.moves), part.a.eq(a), part.b.eq(b)]
        return part.result


class _Integers:
    """Exact products and sums, without a register inside."""

    def product(self, name: str, a: Value, b: Value, depth: int) -> Value:
        return a.as_signed() * b.as_signed()

    def sum(self, name: str, a: Value, b: Value, depth: int) -> Value:
        return a + b
