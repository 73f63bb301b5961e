"""The softmaxes and the scalars around them: what enters the scalar pipe, and what becomes of its results."""

from __future__ import annotations

import math

from amaranth.hdl import Array, Cat, Mux, Signal

from accel.base.fp import Add, Convert
from accel.vector_unit.special import Function
from pim.storage_attention.rank import number, ordered
from pim.storage_attention.shared import FP16, FP32, ONE, bits32
from pim.storage_attention.timing import TOTAL


def softmax(m, s):
    """The softmaxes, and the scalars around them: what enters the scalar pipe, and what becomes of its results."""
    phase, pipe = s.phase, s.pipe
    s.sent = Signal()  # an element has been looked at, and enters the pipe now
    s.step, s.issued = Signal(range(4)), Signal()
    x, minus_highest = Signal(32), Signal(32)
    steps = phase["temperature"] | phase["share"] | phase["gain"]
    softmax = phase["alpha"] | phase["softmax"]
    m.d.comb += [
        minus_highest.eq(number(s.highest) ^ (1 << 31)),
        pipe.go.eq(s.go),
        pipe.valid.eq(s.sent | (steps & ~s.issued)),
        pipe.a.eq(s.scanned),
        pipe.n.eq(Mux(softmax, minus_highest, 0)),
    ]
    with m.If(softmax):
        m.d.comb += [
            pipe.function.eq(Function.EXPONENTIAL),
            pipe.b.eq(Mux(phase["alpha"], s.factor, bits32(math.log2(math.e) / math.sqrt(s.layout.head_dim)))),
        ]
    with m.Elif(phase["output"]):
        m.d.comb += pipe.b.eq(s.gain)
    with m.Else():
        _step_operands(m, s, x)
    with m.If(steps & ~s.issued):
        m.d.sync += s.issued.eq(1)
    s.stepped = Signal()  # a step is over
    m.d.comb += s.stepped.eq(steps & pipe.done)
    with m.If(s.stepped):
        m.d.sync += [x.eq(pipe.y), s.issued.eq(0), s.step.eq(s.step + 1)]

    term, valid, chosen, last = Signal(32, reset_less=True), Signal(), Signal(), Signal()
    m.submodules.to_half, m.submodules.from_half = to_half, from_half = Convert(FP32, FP16), Convert(FP16, FP32)
    m.submodules.add_total, m.submodules.add_share = add_total, add_share = Add(FP32, TOTAL - 1), Add(FP32, TOTAL - 1)
    weight, odd = Signal(name="weight_done"), Signal(name="odd_weight")
    added = Signal(3, name="weight_added")  # valid, chosen, last
    m.d.comb += [
        weight.eq(softmax & pipe.done),
        to_half.a.eq(pipe.y),
        from_half.a.eq(to_half.result),
        add_total.enable.eq(1),
        add_total.a.eq(Array(s.totals)[odd]),
        add_total.b.eq(term),
        add_share.enable.eq(1),
        add_share.a.eq(Array(s.shares)[odd]),
        add_share.b.eq(term),
        s.put.eq((s.dot.ends & ~phase["norm"]) | (phase["softmax"] & pipe.done)),
        s.put_word.eq(Mux(phase["softmax"], to_half.result, s.dot.result)),
    ]
    m.d.sync += [valid.eq(weight), added.eq(Cat(valid, valid & chosen, valid & last))]
    s.last_element = Signal.like(s.n)
    m.d.comb += s.last_element.eq(Mux(phase["alpha"], s.last_token, s.selected - 1))
    with m.If(weight):
        m.d.sync += [
            term.eq(Mux(phase["softmax"], from_half.result, pipe.y)),
            chosen.eq(phase["alpha"] & s.is_selected),
            last.eq(s.count == s.last_element),
            odd.eq(s.count[0]),
        ]
    parity = Signal(name="odd_added")
    m.d.sync += parity.eq(odd)
    for sums, adder, there in ((s.totals, add_total, added[0]), (s.shares, add_share, added[1])):
        for i, register in enumerate(sums):
            with m.If(there & (parity == i)):
                m.d.sync += register.eq(adder.result)
            with m.If(phase["drain_channels"] | phase["drain_keys"]):
                m.d.sync += register.eq(0)
    s.weighed = Signal()  # the last weight is added
    m.d.comb += s.weighed.eq(added[2])
    score = ordered(s.dot.result)
    with m.If(s.dot.ends & ~phase["norm"] & (score > s.highest)):
        m.d.sync += s.highest.eq(score)
    with m.If(s.rank.tokens & s.rank.better & (s.rank.best > s.highest)):
        m.d.sync += s.highest.eq(s.rank.best)
    with m.If(phase["drain_channels"] | phase["direct_tokens"]):
        m.d.sync += s.highest.eq(0)


def _step_operands(m, s, x):
    """Each step in turn: 1 / tau, then alpha and 1 - alpha, then what the sums are multiplied by."""
    phase, pipe = s.phase, s.pipe
    m.d.comb += [pipe.function.eq(Function.BYPASS), pipe.a.eq(x), pipe.b.eq(ONE)]
    with m.Switch(Cat(s.step, phase["temperature"], phase["share"])):
        with m.Case("0100"):
            m.d.comb += [pipe.a.eq(s.q1), pipe.function.eq(Function.RECIPROCAL)]
        with m.Case("0101"):
            m.d.comb += pipe.b.eq(s.qi1)
        with m.Case("0110"):
            m.d.comb += [pipe.b.eq(bits32(s.layout.head_dim)), pipe.function.eq(Function.ROOT)]
        with m.Case("0111"):
            m.d.comb += pipe.b.eq(bits32(math.log2(math.e)))
        with m.Case("1000", "0000"):
            m.d.comb += [pipe.a.eq(s.totals[0]), pipe.n.eq(s.totals[1]), pipe.function.eq(Function.RECIPROCAL)]
        with m.Case("1001"):
            m.d.comb += [pipe.a.eq(s.shares[0]), pipe.n.eq(s.shares[1]), pipe.b.eq(x)]
        with m.Case("1010"):
            m.d.comb += [pipe.a.eq(ONE), pipe.n.eq(s.alpha ^ (1 << 31))]
        with m.Case("0001"):
            m.d.comb += pipe.b.eq(s.alpha)
