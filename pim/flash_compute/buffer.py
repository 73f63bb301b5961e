"""A buffer that is written and read in order: a pointer of two rings of one-hot bits, in place of an address to decode.

Words lie in lines of up to `LINE`. The line of the pointer is chosen first, then the word in it: so most steps move nothing but
the second choice, and neither passes a decoder.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

LINE = 16


class Buffer(wiring.Component):
    """``words`` words (a power of two) of ``bits`` bits. ``found`` is the word at the pointer; ``load`` writes ``word`` there.

    ``step`` moves the pointer on to the next word, or with ``home`` to the first one.
    """

    def __init__(self, words: int, bits: int):
        self.words, self.bits = words, bits
        super().__init__({"step": In(1), "home": In(1), "load": In(1), "word": In(bits), "found": Out(bits)})

    def elaborate(self, platform):
        m = Module()
        line = min(LINE, self.words)
        words = [Signal(self.bits, name=f"word_{i}", reset_less=True) for i in range(self.words)]
        lines = [words[i : i + line] for i in range(0, self.words, line)]
        inner, outer = Signal(line, init=1), Signal(len(lines), init=1)
        with m.If(self.step):
            m.d.sync += inner.eq(Mux(self.home, 1, inner.rotate_left(1)))
        with m.If(self.step & (self.home | inner[-1])):
            m.d.sync += outer.eq(Mux(self.home, 1, outer.rotate_left(1)))
        chosen = Signal(line * self.bits)
        m.d.comb += chosen.eq(_chosen(outer, [Cat(each) for each in lines]))
        m.d.comb += self.found.eq(_chosen(inner, [chosen.word_select(i, self.bits) for i in range(line)]))
        for each, here in zip(lines, outer, strict=True):
            write = self.load & here
            word = self.word & write.replicate(self.bits)  # so that what comes and is not written here moves no word's input
            for which, register in zip(inner, each, strict=True):
                with m.If(write & which):
                    m.d.sync += register.eq(word)
        return m


def _chosen(which, values):
    """The one of ``values`` whose bit of ``which`` is set."""
    return reduce(or_, (bit.replicate(len(value)) & value for bit, value in zip(which, values, strict=True)))
