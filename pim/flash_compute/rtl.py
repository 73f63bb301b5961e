"""The RTL of the compute core: a vector buffer, a word of the page that waits, products, sums, and a buffer of results."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.streams import count_ones, event_layout
from accel.systolic_array.edges import OutputBuffer
from pim.flash_compute.buffer import Buffer
from pim.flash_compute.spare import Spare, Vote, raw_layout
from pim.outlier_ecc import VALUE_BITS, Counts, OutlierCode

RESULT_BITS = 32
RUN_BITS = 32
"""Width of the counter of invocations."""


def config_layout(code: OutlierCode, macs: int) -> data.StructLayout:
    """A run, each field less one: invocations, words of the vector, words and entries of a page, values of a row's last word."""
    words = range(code.page_values // macs)
    fields = {"invocations": RUN_BITS, "words": words, "beats": words, "entries": range(code.entries(code.page_values))}
    return data.StructLayout(fields | {"tail": range(macs)})


def status_layout(code: OutlierCode) -> data.StructLayout:
    """`pim.outlier_ecc.Counts` of one page."""
    most = {name: code.entries(code.page_values) for name in Counts._fields}
    return data.StructLayout(
        {name: range(n + 1) for name, n in (most | {"threshold": VALUE_BITS, "clipped": code.page_values}).items()}
    )


class FlashComputeRtl(wiring.Component):
    """The streams of `pim.flash_compute`."""

    def __init__(self, code: OutlierCode, macs: int, buffer_bytes: int):
        self.code, self.macs, self.buffer_bytes = code, macs, buffer_bytes
        word = data.ArrayLayout(signed(VALUE_BITS), macs)
        super().__init__(
            {
                "config": In(stream.Signature(config_layout(code, macs))),
                "vector": In(stream.Signature(word)),
                "page": In(stream.Signature(word)),
                "spare": In(stream.Signature(raw_layout(code))),
                "results": Out(stream.Signature(signed(RESULT_BITS))),
                "status": Out(stream.Signature(status_layout(code))),
                "events": Out(
                    event_layout(vector_in=1, page_in=1, spare_in=1, entry=1, mac=macs, padding=max(macs - 1, 1), result=1)
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self.run = Signal(config_layout(self.code, self.macs))
        self.start = Signal()  # of a page
        self.multiply, self.ends, self.last = Signal(), Signal(), Signal()  # the word that waits; it ends a row; and the page
        self._pages(m)
        held, x = self._operands(m)
        values = self._outliers(m, held)
        self._products(m, values, x)
        return m

    def _pages(self, m):
        """Takes a config word when idle, and begins the next page when the status of the one before it has been taken."""
        idle, left = Signal(init=1), Signal(RUN_BITS)
        reported = Signal()
        m.d.comb += [
            self.config.ready.eq(idle),
            reported.eq(self.status.valid & self.status.ready),
            self.start.eq((idle & self.config.valid) | (reported & (left != 0))),
        ]
        with m.If(reported):
            m.d.sync += [left.eq(left - 1), idle.eq(left == 0)]
        with m.If(idle & self.config.valid):
            m.d.sync += [idle.eq(0), left.eq(self.config.payload.invocations), self.run.eq(self.config.payload)]

    def _operands(self, m):
        """The vector goes into its buffer, then the page passes word by word, each with the part of the vector that it meets."""
        bits = self.macs * VALUE_BITS
        m.submodules.vector_buffer = buffer = Buffer(self.buffer_bytes // self.macs, bits)
        loading, passing = Signal(), Signal()
        column, beat = Signal(self.run.words.shape()), Signal(self.run.beats.shape())
        held, x = Signal(bits, reset_less=True), Signal(bits, reset_less=True)
        self.beat, full = Signal.like(beat), Signal()  # the word that waits is this one of the page; there is one
        load, take = Signal(), Signal()
        m.d.comb += [
            self.vector.ready.eq(loading),
            load.eq(self.vector.valid & loading),
            self.page.ready.eq(passing & (~full | self.multiply)),
            take.eq(self.page.valid & self.page.ready),
            buffer.step.eq(load | take),
            buffer.home.eq(column == self.run.words),
            buffer.load.eq(load),
            buffer.word.eq(self.vector.payload),
            self.last.eq(self.beat == self.run.beats),
            self.events.vector_in.eq(load),
            self.events.page_in.eq(take),
        ]
        with m.If(load | take):
            m.d.sync += column.eq(Mux(column == self.run.words, 0, column + 1))
        with m.If(load & (column == self.run.words)):
            m.d.sync += [loading.eq(0), passing.eq(1), beat.eq(0)]
        with m.If(take):
            m.d.sync += [held.eq(self.page.payload), x.eq(buffer.found), self.beat.eq(beat), beat.eq(beat + 1)]
            m.d.sync += [self.ends.eq(column == self.run.words), passing.eq(beat != self.run.beats)]
        m.d.sync += full.eq(take | (full & ~self.multiply))
        with m.If(self.start):
            m.d.sync += loading.eq(1)
        self.waits, self.take = full, take
        return held, x

    def _outliers(self, m, held):
        """An entry overwrites its value in the word that waits; what it leaves above the threshold is zero to the multipliers."""
        m.submodules.spare = spare = Spare(self.code)
        m.submodules.vote = vote = Vote()
        lane_bits = (self.macs - 1).bit_length()
        address = spare.head.address
        stored = data.View(data.ArrayLayout(VALUE_BITS, self.macs), held)
        guarded, clipped = Signal(self.macs), Signal(self.macs)
        can, entry, patch = Signal(), Signal(), Signal()
        new = self.config.payload
        fresh = Mux(self.config.ready, new.entries, self.run.entries)
        m.d.comb += [
            spare.words.valid.eq(self.spare.valid),
            spare.words.payload.eq(self.spare.payload),
            self.spare.ready.eq(spare.words.ready),
            spare.start.eq(self.start),
            spare.entries.eq(fresh),
            spare.highest.eq(Cat(Const(self.macs - 1, lane_bits), self.run.beats)),
            can.eq(self.waits & (spare.gone | spare.ready)),
            entry.eq(can & ~spare.gone & (~spare.counts | (address[lane_bits:] == self.beat))),
            patch.eq(entry & spare.counts),
            self.multiply.eq(can & ~entry),
            spare.pop.eq(entry),
            vote.stored.eq(Array([stored[i] for i in range(self.macs)])[address[:lane_bits]]),
            vote.first.eq(spare.head.first),
            vote.second.eq(spare.head.second),
            self.events.spare_in.eq(spare.taken),
            self.events.entry.eq(entry),
        ]
        with m.If(self.take):
            m.d.sync += guarded.eq(0)
        values = []
        for i in range(self.macs):
            with m.If(patch & (address[:lane_bits] == i)):
                m.d.sync += [stored[i].eq(vote.voted), guarded[i].eq(1)]
            magnitude = Signal(VALUE_BITS, name=f"magnitude_{i}")
            value = Signal(signed(VALUE_BITS), name=f"value_{i}")
            m.d.comb += [
                magnitude.eq(Mux(stored[i][-1], -stored[i], stored[i])),
                clipped[i].eq((magnitude > spare.threshold) & ~guarded[i]),
                value.eq(Mux(clipped[i], 0, stored[i])),
            ]
            values.append(value)
        status = self.status.payload
        m.d.comb += [status.threshold.eq(spare.differing), status.addresses.eq(spare.addresses)]
        tallies = {
            "values": patch & vote.uneven,
            "clipped": Mux(self.multiply, count_ones(clipped), 0),
            "lost": entry & ~spare.counts,
            "doubtful": patch & vote.doubtful,
        }
        for name, seen in tallies.items():
            m.d.sync += status[name].eq(Mux(self.start, 0, status[name] + seen))
        return values

    def _products(self, m, values, x):
        """Products, then their sum with those before it in the row; the results leave when all are there."""
        factors = data.View(data.ArrayLayout(signed(VALUE_BITS), self.macs), x)
        products = [Signal(signed(2 * VALUE_BITS), name=f"product_{i}", reset_less=True) for i in range(self.macs)]
        summing, ends, last = Signal(), Signal(), Signal()
        m.d.sync += summing.eq(self.multiply)
        with m.If(self.multiply):
            m.d.sync += [product.eq(value * factor) for product, value, factor in zip(products, values, factors, strict=True)]
            m.d.sync += [ends.eq(self.ends), last.eq(self.last)]
        total, before, first = Signal(signed(RESULT_BITS)), Signal(signed(RESULT_BITS), reset_less=True), Signal(init=1)
        m.d.comb += total.eq(Mux(first, 0, before) + _tree(products))
        m.submodules.result_buffer = buffer = Buffer(self.buffer_bytes * 8 // RESULT_BITS, RESULT_BITS)
        m.submodules.output = output = OutputBuffer(signed(RESULT_BITS))
        row, rows = Signal(range(buffer.words)), Signal(range(buffer.words))
        draining, reporting = Signal(), Signal()
        tail = self.run.tail
        m.d.comb += [
            buffer.step.eq((summing & ends) | output.push),
            buffer.home.eq((summing & last) | (draining & (row == rows))),
            buffer.load.eq(summing & ends),
            buffer.word.eq(total),
            output.word.eq(buffer.found),
            output.push.eq(draining & output.room),
            self.results.valid.eq(output.words.valid),
            self.results.payload.eq(output.words.payload),
            output.words.ready.eq(self.results.ready),
            self.status.valid.eq(reporting & ~output.words.valid),
            self.events.mac.eq(Mux(self.multiply, Mux(self.ends, tail + 1, self.macs), 0)),
            self.events.padding.eq(Mux(self.multiply & self.ends, self.macs - 1 - tail, 0)),
            self.events.result.eq(output.push),
        ]
        with m.If(summing):
            m.d.sync += [before.eq(total), first.eq(ends)]
        with m.If(summing & ends):
            m.d.sync += row.eq(Mux(last, 0, row + 1))
        with m.If(summing & last):
            m.d.sync += [rows.eq(row), draining.eq(1)]
        with m.If(output.push):
            m.d.sync += row.eq(Mux(row == rows, 0, row + 1))
            with m.If(row == rows):
                m.d.sync += [draining.eq(0), reporting.eq(1)]
        with m.If(self.status.valid & self.status.ready):
            m.d.sync += reporting.eq(0)


def _tree(terms):
    """The sum of signed ``terms``."""
    half = len(terms) // 2
    return terms[0] if half == 0 else _tree(terms[:half]) + _tree(terms[half:])
