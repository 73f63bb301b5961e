"""What surrounds the grid of a systolic array: word registers, skew registers and the output buffer.

All that depends on where a cell lies is here, so that the cells themselves are one module over and over.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.streams import count_ones


class OutputBuffer(wiring.Component):
    """Two words between an array and its consumer, so that nothing in the array waits for `ready` within a cycle.

    ``push`` writes ``word`` while ``room`` is high. One cycle from ``push`` to ``words.valid``, one word per cycle.
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"word": In(shape), "push": In(1), "room": Out(1), "words": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        first, second = (Signal(self.shape, name=name, reset_less=True) for name in ("first", "second"))
        first_full, second_full = Signal(), Signal()
        m.d.comb += [self.room.eq(~second_full), self.words.valid.eq(first_full), self.words.payload.eq(first)]
        leaves = Signal()
        m.d.comb += leaves.eq(self.words.ready | ~first_full)  # what is first, if anything
        with m.If(leaves):
            m.d.sync += [first_full.eq(second_full | self.push), second_full.eq(0)]
            with m.If(second_full):
                m.d.sync += first.eq(second)
            with m.Elif(self.push):
                m.d.sync += first.eq(self.word)
        with m.Elif(self.push):
            m.d.sync += [second_full.eq(1), second.eq(self.word)]
        return m


class WordRegister:
    """The register that a stream's words pass on their way into the array: the first register of every lane.

    A word is taken while ``wanted`` and there is room, or the word before it is used up (``used``) and not the ``last`` one.
    """

    def __init__(self, m: Module, words: stream.Interface, lanes: int, bits: int, name: str):
        self.full, self.load = Signal(name=f"{name}_full"), Signal(name=f"{name}_load")
        self.lanes = [Signal(bits, name=f"{name}_{i}", reset_less=True) for i in range(lanes)]
        self.m, self.words, self.name = m, words, name

    def connect(self, *, wanted, used, last, lanes_used):
        """Drive the handshake; returns how many lanes are loaded in the cycle."""
        m = self.m
        lane_load = Signal(len(self.lanes), name=f"{self.name}_lane_load")
        m.d.comb += [
            self.words.ready.eq(wanted & (~self.full | (used & ~last))),
            self.load.eq(self.words.valid & self.words.ready),
            lane_load.eq(Mux(self.load, lanes_used, 0)),
        ]
        m.d.sync += self.full.eq(self.load | (self.full & ~used))
        for i, lane in enumerate(self.lanes):
            with m.If(lane_load[i]):
                m.d.sync += lane.eq(self.words.payload[i])
        return count_ones(lane_load)


def tokens(m: Module, token, alive, advance, *, name: str):
    """``token`` and its copies delayed by 1, 2, ... enabled cycles, stage s only as far as ``alive[s]``; it has a field ``step``.

    What is not in use must not carry a token on, because it would come out in the next run, where more may be in use.
    """
    stages = [token]
    for s, used in enumerate(alive[1:], 1):
        stage = Signal(token.shape(), name=f"{name}_{s}")
        with m.If(advance):
            m.d.sync += stage.eq(stages[-1])
            m.d.sync += stage.step.eq(stages[-1].step & used)
        stages.append(stage)
    return stages


def skew(m: Module, lanes, lanes_used, moves, *, hops: int = 1, first: int = 0, name: str):
    """Lane i delayed by ``first + i * hops`` stages; stage s of every lane in use loads where ``moves[s]`` is high.

    Returns the delayed lanes, and how many registers are loaded in the cycle.
    """
    delayed, loads = [], []
    depth = [first + i * hops for i in range(len(lanes))]
    for i, lane in enumerate(lanes):
        for stage in range(depth[i]):
            register = Signal(lane.shape(), name=f"{name}_skew_{i}_{stage}", reset_less=True)
            with m.If(moves[stage] & lanes_used[i]):
                m.d.sync += register.eq(lane)
            lane = register
        delayed.append(lane)
    for stage in range(max(depth)):
        deeper = Cat(used for used, stages in zip(lanes_used, depth, strict=True) if stages > stage)
        loads.append(Mux(moves[stage], count_ones(deeper), 0))
    return delayed, sum(loads)
