"""The sum over a row: a tree of adders over the lanes of a word, then four sums of every fourth word, added up in the end.

One adder of `PART_ADD` registers adds a word per cycle, because what it gives is needed again only four words later. Each part
counts in units of 2^M, the M of its last word; before something is added it is divided by 2^(growth of M), by its exponent, and
what would leave the normal range is zero. After the last word:

    part 0 + part 1, part 2 + part 3; then their sum
"""

from __future__ import annotations

import itertools

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from accel.base.fp import Add
from accel.vector_unit.maximum import OFFSET_BITS
from accel.vector_unit.timing import PART_ADD, PARTS, TREE_LEVEL
from workloads.formats import FORMATS

FP32 = FORMATS["fp32"]
GROWTH_BITS = 8
LOW, HIGH, BOTH, DONE = PART_ADD + 1, PART_ADD + 2, 2 * PART_ADD + 3, 3 * PART_ADD + 3
"""Cycles after the last word has been added: parts 0 and 1, parts 2 and 3, and their sums are added, and all is done."""


class Total(wiring.Component):
    """The sum of ``terms`` since ``clear``; ``end``, ``last`` and ``offset`` come with a word of them when it leaves the tree."""

    def __init__(self, lanes: int):
        self.lanes = lanes
        super().__init__(
            {
                "go": In(1),
                "clear": In(1),
                "terms": In(32).array(lanes),
                "end": In(1),
                "last": In(1),  # the word is the last one
                "offset": In(signed(OFFSET_BITS)),  # M of the word
                "rescale": In(1),
                "load": Out(1),  # a word is added
                "total": Out(32),
                "done": Out(1),  # in the next cycle `total` is the sum
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

        # In one cycle it is decided which parts are added, and by how much M has grown since; in the next they are.
        parts = [Signal(32, name=f"part_{i}") for i in range(PARTS)]
        offsets = [Signal(signed(OFFSET_BITS), name=f"offset_{i}") for i in range(PARTS)]
        latest = Signal(signed(OFFSET_BITS))
        turn, a, b = (Signal(range(PARTS), name=name) for name in ("turn", "a", "b"))
        growth_a, growth_b = (Signal(GROWTH_BITS, name=f"growth_{name}") for name in "ab")
        word, last, adds = Signal(32, reset_less=True), Signal(), Signal()
        held, after = Signal(DONE), Signal(DONE + 1)  # bit i of after: the last word has been added i cycles ago
        m.d.comb += after.eq(Cat(self.load & last, held))
        with m.If(self.go):
            m.d.sync += [held.eq(after), self.load.eq(self.end), last.eq(self.last)]
            m.d.sync += adds.eq(self.end | after[LOW - 1] | after[HIGH - 1] | after[BOTH - 1])
            with m.If(self.end):
                m.d.sync += [word.eq(terms[0]), turn.eq(turn + 1), a.eq(turn), latest.eq(self.offset)]
                m.d.sync += [growth_a.eq(_growth(self.offset - Array(offsets)[turn])), Array(offsets)[turn].eq(self.offset)]
            for time, low, high in ((LOW, 0, 1), (HIGH, 2, 3), (BOTH, 0, 2)):
                with m.If(after[time - 1]):
                    m.d.sync += [a.eq(low), growth_a.eq(_growth(latest - offsets[low])), offsets[low].eq(latest)]
                    m.d.sync += [b.eq(high), growth_b.eq(_growth(latest - offsets[high]))]

        m.submodules.add = add = Add(FP32, PART_ADD)
        m.d.comb += [
            add.enable.eq(self.go),
            add.a.eq(self._scaled(m, "a", Array(parts)[a], growth_a)),
            add.b.eq(Mux(self.load, word, self._scaled(m, "b", Array(parts)[b], growth_b))),
            self.total.eq(parts[0]),
            self.done.eq(self.go & after[DONE]),
        ]
        writes = [adds] + [Signal(name=f"write_{i}") for i in range(PART_ADD)]
        targets = [a] + [Signal(range(PARTS), name=f"target_{i}") for i in range(PART_ADD)]
        with m.If(self.go):
            m.d.sync += [later.eq(earlier) for row in (writes, targets) for earlier, later in itertools.pairwise(row)]
            for i in range(PARTS):
                with m.If(writes[-1] & (targets[-1] == i)):
                    m.d.sync += parts[i].eq(add.result)
        with m.If(self.clear):
            m.d.sync += [turn.eq(0), *(part.eq(0) for part in parts)]
        return m

    def _scaled(self, m: Module, name: str, part: Value, growth: Value) -> Value:
        """``part`` divided by 2^growth."""
        number, exponent = Signal(32, name=f"part_of_{name}"), Signal(signed(10), name=f"exponent_of_{name}")
        m.d.comb += [number.eq(part), exponent.eq(number[23:31] - growth)]
        infinite = number[23:31].all()
        scaled = Mux(exponent <= 0, 0, Cat(number[:23], exponent[:8], number[31]))
        return Mux(self.rescale & ~infinite, scaled, number)


def _growth(growth: Value) -> Value:
    """``growth`` up to the largest that matters."""
    return Mux(growth[GROWTH_BITS:].any(), (1 << GROWTH_BITS) - 1, growth[:GROWTH_BITS])
