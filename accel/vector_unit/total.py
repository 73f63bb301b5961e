"""The sum over the row: a tree of adders over the lanes of a word, and the sum so far.

The tree adds neighbours, so that its order does not depend on the words; it is followed by the one adder whose result it waits
for in the next cycle. Before that, the sum so far is divided by 2^shift, by its exponent; what would leave the normal range
is zero.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from accel.base.fp import Add
from accel.vector_unit.maximum import SHIFT_BITS
from accel.vector_unit.timing import TREE_LEVEL
from workloads.formats import FORMATS

FP32 = FORMATS["fp32"]


class Total(wiring.Component):
    """The sum of ``terms`` since ``clear``. ``load`` comes with what was a word of terms when it left the tree, as do ``rescale``
    and ``shift``."""

    def __init__(self, lanes: int):
        self.lanes = lanes
        super().__init__(
            {
                "go": In(1),
                "clear": In(1),
                "terms": In(32).array(lanes),
                "end": In(1),  # load the register behind the tree
                "load": In(1),
                "rescale": In(1),
                "shift": In(SHIFT_BITS),
                "total": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        terms: list[Value] = [self.terms[i] for i in range(self.lanes)]
        level = 0
        while len(terms) > 1:
            adders = [Add(FP32, TREE_LEVEL) for _ in terms[::2]]
            for i, adder in enumerate(adders):
                m.submodules[f"add_{level}_{i}"] = adder
                m.d.comb += [adder.enable.eq(self.go), adder.a.eq(terms[2 * i]), adder.b.eq(terms[2 * i + 1])]
            terms = [adder.result for adder in adders]
            level += 1
        word = Signal(32, reset_less=True)
        m.submodules.accumulate = accumulate = Add(FP32)
        m.d.comb += [accumulate.a.eq(Mux(self.rescale, self._divided(), self.total)), accumulate.b.eq(word)]
        with m.If(self.go & self.end):
            m.d.sync += word.eq(terms[0])
        with m.If(self.clear):
            m.d.sync += self.total.eq(0)
        with m.Elif(self.go & self.load):
            m.d.sync += self.total.eq(accumulate.result)
        return m

    def _divided(self) -> Value:
        exponent = self.total[23:31]
        lower = exponent - self.shift
        small = lower <= 0
        number = Cat(self.total[:23], lower[:8], self.total[31])
        return Mux(exponent.all(), self.total, Mux(small, 0, number))
