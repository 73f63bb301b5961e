"""argtopk: marks the ``count`` highest of the keys in a memory, the lowest index first among equals.

The threshold is found bit by bit, highest first, in a pass over the memory each: with T the bits that are known,

    n = number of keys that start with T and then a 1          T gets a 1 if n >= what is still wanted; else that is less by n

A last pass marks what is above T, and of the keys equal to T as many as are still wanted, in the order of their index. The cycles
do not depend on the keys. Those of scores are in the order of FP32 numbers, NaN above infinity; a recent token's is above all.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from accel.base.streams import count_ones
from pim.storage_attention.timing import CHANNEL_BITS, RANK_MARK, RANK_PASS

KEY = 32


def ordered(bits: Value) -> Value:
    """The key of an FP32 number of ``bits`` that is no NaN with a sign."""
    return Cat(bits[:-1] ^ bits[-1].replicate(KEY - 1), ~bits[-1])


def number(key: Value) -> Value:
    """The FP32 number of a key."""
    return Cat(key[:-1] ^ (~key[-1]).replicate(KEY - 1), ~key[-1])


class Rank(wiring.Component):
    """Ranks the words at addresses 0 to ``last_word``, of ``lanes`` numbers, the last one up to ``last_lane``.

    ``run`` is held until ``done``, and low in the cycle before it begins; the other inputs are steady meanwhile.
    """

    def __init__(self, lanes: int, words: int):
        self.lanes, self.words = lanes, words
        most = lanes * words
        super().__init__(
            {
                "run": In(1),
                "tokens": In(1),  # FP32 scores; else 15-bit magnitudes
                "count": In(range(most + 1)),
                "last_word": In(range(words)),
                "last_lane": In(range(lanes)),
                "recent": In(range(most + 1)),  # of the tokens, all from here on are selected
                "address": Out(range(words)),
                "numbers": In(data.ArrayLayout(KEY, lanes)),  # what is found there, in the same cycle
                "scan": Out(1),  # it is looked at
                "mark": Out(1),  # `marks` are those of the word at `mark_address`
                "mark_address": Out(range(words)),
                "marks": Out(lanes),
                "done": Out(1),
                "better": Out(1),  # `best` is the key of the highest score of a word, be it recent or not
                "best": Out(KEY),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shift = self.lanes.bit_length() - 1
        address, tail = Signal(range(self.words)), Signal(range(max(RANK_PASS, RANK_MARK) + 1))
        bit, threshold = Signal(KEY), Signal(KEY)
        marking, first = Signal(), Signal()
        need, found = Signal(range(self.lanes * self.words + 1)), Signal(range(self.lanes * self.words + 1))
        scanning = Signal()
        m.d.comb += [
            scanning.eq(self.run & (tail == 0)),
            self.scan.eq(scanning),
            self.address.eq(address),
            self.done.eq(self.run & marking & (tail == RANK_MARK)),
        ]
        with m.If(scanning):
            m.d.sync += address.eq(address + 1)
            with m.If(address == self.last_word):
                m.d.sync += [address.eq(0), tail.eq(1)]
        with m.If(self.run & (tail != 0)):
            m.d.sync += tail.eq(tail + 1)
            with m.If(tail == Mux(marking, RANK_MARK, RANK_PASS)):
                m.d.sync += tail.eq(0)

        keys = [Signal(KEY, name=f"key_{i}", reset_less=True) for i in range(self.lanes)]
        valid, forced = Signal(self.lanes), Signal(self.lanes)
        passed, places = Signal(2), [Signal(range(self.words), name=f"place_{i}") for i in range(2)]
        m.d.sync += [passed.eq(Cat(scanning, passed)), places[1].eq(places[0])]
        with m.If(scanning):
            m.d.sync += places[0].eq(address)
            for i, key in enumerate(keys):
                raw = self.numbers[i]
                m.d.sync += key.eq(Mux(self.tokens, ordered(raw), raw))
                m.d.sync += valid[i].eq((address != self.last_word) | (i <= self.last_lane))
                here, lane = self.recent[shift:], self.recent[:shift]
                m.d.sync += forced[i].eq(self.tokens & ((address > here) | ((address == here) & (i >= lane))))
        self._best(m, keys, valid, first & passed[0])
        m.d.comb += self.better.eq(first & passed[1])

        hits, above = Signal(self.lanes, reset_less=True), Signal(self.lanes, reset_less=True)
        with m.If(passed[0]):
            high, wanted = ~(bit - 1), threshold | bit  # `high`: the bits from `bit` on
            for i, key in enumerate(keys):
                ranked = key | forced[i].replicate(KEY)
                m.d.sync += hits[i].eq(valid[i] & (((ranked ^ wanted) & Mux(marking, ~0, high)) == 0))
                m.d.sync += above[i].eq(valid[i] & (ranked > threshold))
        counted = Signal(range(self.lanes + 1))
        m.d.comb += counted.eq(count_ones(hits))
        with m.If(passed[1] & ~marking):
            m.d.sync += found.eq(found + counted)
        with m.If(passed[1] & marking):
            m.d.sync += need.eq(Mux(need > counted, need - counted, 0))
        m.d.sync += self.mark.eq(passed[1] & marking)
        marks = [self.marks[i].eq(above[i] | (hits[i] & (count_ones(self._before(hits, i)) < need))) for i in range(self.lanes)]
        with m.If(passed[1] & marking):
            m.d.sync += [self.mark_address.eq(places[1]), *marks]
        with m.If(self.run & ~marking & (tail == RANK_PASS)):
            m.d.sync += [found.eq(0), bit.eq(bit >> 1), first.eq(0), marking.eq(bit[0])]
            with m.If(found >= need):
                m.d.sync += threshold.eq(threshold | bit)
            with m.Else():
                m.d.sync += need.eq(need - found)
        with m.If(~self.run):
            highest_bit = Mux(self.tokens, 1 << (KEY - 1), 1 << (CHANNEL_BITS - 1))
            m.d.sync += [bit.eq(highest_bit), threshold.eq(0), need.eq(self.count), marking.eq(0), first.eq(1), tail.eq(0)]
        return m

    def _before(self, hits, i):
        """Those of equal keys that come before that of lane ``i``."""
        return hits[:i]

    def _best(self, m, keys, valid, load):
        """The highest key of a word, by a tree."""
        best = [Mux(valid[i], key, 0) for i, key in enumerate(keys)]
        level = 0
        while len(best) > 1:
            pairs = list(zip(best[::2], best[1::2], strict=True))
            best = [Signal(KEY, name=f"higher_{level}_{i}") for i in range(len(pairs))]
            m.d.comb += [higher.eq(Mux(a > b, a, b)) for higher, (a, b) in zip(best, pairs, strict=True)]
            level += 1
        register = Signal(KEY, name="best_key", reset_less=True)
        m.d.comb += self.best.eq(register)
        with m.If(load):
            m.d.sync += register.eq(best[0])
