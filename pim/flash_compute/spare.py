"""The spare area's side of the core: majority of the threshold, Hamming code and order of the entries, vote on a value."""

from __future__ import annotations

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.streams import count_ones
from pim.outlier_ecc import COPIES, VALUE_BITS, OutlierCode

TALLY_BITS = COPIES.bit_length()


def raw_layout(code: OutlierCode) -> data.StructLayout:
    """An entry as it is stored; the copies of the threshold come in words of the same width."""
    fields = {"address": code.address_bits, "parity": code.parity_bits, "first": VALUE_BITS, "second": VALUE_BITS}
    return data.StructLayout(fields)


def entry_layout(code: OutlierCode) -> data.StructLayout:
    """An entry with its address corrected. ``known``: something can be said of it, and it lies in the page."""
    return data.StructLayout({"address": code.address_bits, "known": 1, "first": VALUE_BITS, "second": VALUE_BITS})


class Spare(wiring.Component):
    """The words of the spare area in, one entry after the other out, by `pim.outlier_ecc`, steps 1 to 3.

    ``start`` begins a page of ``entries`` + 1 entries whose last value has the address ``highest``. While ``ready``, ``head`` is
    the next entry and ``counts`` if it is not lost; ``pop`` goes on to the one after it. ``gone``: there are no more.
    """

    def __init__(self, code: OutlierCode):
        self.code = code
        most = code.entries(code.page_values)
        super().__init__(
            {
                "words": In(stream.Signature(raw_layout(code))),
                "start": In(1),
                "entries": In(range(most)),
                "highest": In(code.address_bits),
                "pop": In(1),
                "head": Out(entry_layout(code)),
                "ready": Out(1),
                "counts": Out(1),
                "gone": Out(1),
                "taken": Out(1),  # a word of the spare area
                "threshold": Out(VALUE_BITS),
                "differing": Out(range(VALUE_BITS + 1)),  # bits of the threshold whose copies do
                "addresses": Out(range(most + 1)),  # entries of which a wrong bit was named
            }
        )

    def elaborate(self, platform):
        m = Module()
        most = self.code.entries(self.code.page_values)
        copies = Signal(range(COPIES + 1))  # still to be taken, as are `fetches` entries; `pops` are still to be handled
        fetches, pops = Signal(range(most + 1)), Signal(range(most + 1))
        head_full, follower_full = Signal(), Signal()
        follower = Signal(entry_layout(self.code), reset_less=True)
        fetch, move = Signal(), Signal()
        m.d.comb += [
            move.eq(follower_full & (~head_full | self.pop)),
            self.words.ready.eq((copies != 0) | ((fetches != 0) & (~follower_full | move))),
            self.taken.eq(self.words.valid & self.words.ready),
            fetch.eq(self.taken & (copies == 0)),
            self.gone.eq(pops == 0),
            self.ready.eq(head_full & (follower_full | (pops == 1))),
        ]
        with m.If(fetch):
            m.d.sync += fetches.eq(fetches - 1)
        with m.If(self.pop):
            m.d.sync += pops.eq(pops - 1)
        with m.If(move):
            m.d.sync += self.head.eq(follower)
        m.d.sync += [head_full.eq(move | (head_full & ~self.pop)), follower_full.eq(fetch | (follower_full & ~move))]
        with m.If(self.start):
            m.d.sync += [copies.eq(COPIES), fetches.eq(self.entries + 1), pops.eq(self.entries + 1)]
        self._threshold(m, copies)
        self._address(m, fetch, follower)
        self._order(m, follower, follower_full)
        return m

    def _threshold(self, m, copies):
        """Copies are counted bit by bit, one after the other."""
        first = Value.cast(self.words.payload)[:VALUE_BITS]
        tallies = [Signal(TALLY_BITS, name=f"tally_{i}") for i in range(VALUE_BITS)]
        with m.If(self.taken & (copies != 0)):
            m.d.sync += copies.eq(copies - 1)
            m.d.sync += [tally.eq(tally + bit) for tally, bit in zip(tallies, first, strict=True)]
        with m.If(self.start):
            m.d.sync += [tally.eq(0) for tally in tallies]
        m.d.comb += [
            self.threshold.eq(Cat(tally > COPIES // 2 for tally in tallies)),
            self.differing.eq(count_ones(Cat((tally != 0) & (tally != COPIES) for tally in tallies))),
        ]

    def _address(self, m, fetch, follower):
        """The Hamming code of the entry that comes."""
        code, raw = self.code, self.words.payload
        places = [int(place) for place in code.places]
        syndrome, known, named = Signal(code.parity_bits), Signal(), Signal()
        address = Signal(code.address_bits)
        stored = Cat(raw.address, raw.parity)
        m.d.comb += [
            syndrome.eq(
                reduce(xor, (bit.replicate(code.parity_bits) & place for bit, place in zip(stored, places, strict=True)))
            ),
            address.eq(raw.address ^ Cat(syndrome == place for place in places[: code.address_bits])),
            known.eq((syndrome <= len(places)) & (address <= self.highest)),
            named.eq((syndrome != 0) & (syndrome <= len(places))),
        ]
        with m.If(fetch):
            m.d.sync += follower.eq(Cat(address, known, raw.first, raw.second))
            m.d.sync += self.addresses.eq(self.addresses + named)
        with m.If(self.start):
            m.d.sync += self.addresses.eq(0)

    def _order(self, m, follower, follower_full):
        """Which of two entries that are not in order is lost."""
        least = Signal(self.code.address_bits + 1)  # above the last address that counted
        between = Signal()
        m.d.comb += [
            between.eq(follower_full & follower.known & (follower.address >= least) & (follower.address <= self.head.address)),
            self.counts.eq(self.head.known & (self.head.address >= least) & ~between),
        ]
        with m.If(self.pop & self.counts):
            m.d.sync += least.eq(self.head.address + 1)
        with m.If(self.start):
            m.d.sync += least.eq(Const(0))


class Vote(wiring.Component):
    """The bitwise majority ``voted`` of a value as ``stored`` and its copies; whether they are ``uneven``, and ``doubtful``."""

    def __init__(self):
        value = VALUE_BITS
        ports = {"stored": In(value), "first": In(value), "second": In(value)}
        super().__init__(ports | {"voted": Out(value), "uneven": Out(1), "doubtful": Out(1)})

    def elaborate(self, platform):
        m = Module()
        one, two, three = self.stored, self.first, self.second
        apart = (one != two) & (one != three) & (two != three)
        m.d.comb += [
            self.voted.eq(one & two | one & three | two & three),
            self.uneven.eq((one != two) | (one != three)),
            self.doubtful.eq(apart | ((two == three) & (count_ones(one ^ two) >= 2))),
        ]
        return m
