"""A lane: the scores of every L-th token, the sums of every L-th element of the output, and a multiplier and an adder for both.

    scores[address] += scalar * element        channel by channel: the approximate scores (value-type GEMV)
    sums[address]   += scalar * element        token by token: the weighted values

with FP16 factors and FP32 sums; ``fresh`` starts a sum from zero. A word may come in every cycle, if one to the same address is
`timing.REUSE` cycles away. The lane's scores are also read, and written by ``put``, from outside.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from accel.base.fp import Add, Multiply
from pim.storage_attention.timing import KERNEL_ADD, KERNEL_MULTIPLY
from workloads.formats import FORMATS

FP16, FP32 = FORMATS["fp16"], FORMATS["fp32"]


class Lane(wiring.Component):
    """``scores`` and ``sums`` words of memory. ``take``: an element, whose scalar and tags come with it from the control."""

    def __init__(self, scores: int, sums: int):
        self.scores, self.sums = scores, sums
        super().__init__(
            {
                "load": In(1),  # element and scalar into their registers
                "element": In(16),
                "scalar": In(16),
                "add": In(1),  # the product has arrived: fetch what it is added to
                "fresh": In(1),  # that is zero
                "store": In(1),  # the sum has arrived
                "values": In(1),  # sums of values, not scores
                "store_address": In(range(max(scores, sums))),
                "score_address": In(range(scores)),
                "sum_address": In(range(sums)),
                "score": Out(32),
                "sum": Out(32),
                "put": In(1),
                "put_address": In(range(scores)),
                "put_word": In(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.scores = scores = Memory(shape=32, depth=self.scores, init=[])
        m.submodules.sums = sums = Memory(shape=32, depth=self.sums, init=[])
        score, total = scores.read_port(domain="comb"), sums.read_port(domain="comb")
        element, scalar, product, addend = (
            Signal(bits, name=name, reset_less=True)
            for name, bits in (("element_1", 16), ("scalar_1", 16), ("product", 32), ("addend", 32))
        )
        m.submodules.multiply = multiply = Multiply(FP16, FP16, FP32, KERNEL_MULTIPLY)
        m.submodules.adder = adder = Add(FP32, KERNEL_ADD)
        with m.If(self.load):
            m.d.sync += [element.eq(self.element), scalar.eq(self.scalar)]
        with m.If(self.add):
            m.d.sync += [product.eq(multiply.result)]
            m.d.sync += addend.eq(Mux(self.fresh, 0, Mux(self.values, total.data, score.data)))
        m.d.comb += [
            multiply.enable.eq(1),
            multiply.a.eq(element),
            multiply.b.eq(scalar),
            adder.enable.eq(1),
            adder.a.eq(addend),
            adder.b.eq(product),
            score.addr.eq(self.score_address),
            total.addr.eq(self.sum_address),
            self.score.eq(score.data),
            self.sum.eq(total.data),
        ]
        write, write_sum = scores.write_port(), sums.write_port()
        writes, writes_sum = Signal(), Signal()
        word, address = Signal(32, name="written", reset_less=True), Signal.like(self.store_address, name="write_address")
        m.d.sync += [writes.eq(self.put | (self.store & ~self.values)), writes_sum.eq(self.store & self.values)]
        with m.If(self.put | self.store):
            m.d.sync += word.eq(Mux(self.put, self.put_word, adder.result))
            m.d.sync += address.eq(Mux(self.put, self.put_address, self.store_address))
        for port, enable in ((write, writes), (write_sum, writes_sum)):
            m.d.comb += [port.en.eq(enable), port.addr.eq(address), port.data.eq(word)]
        return m
