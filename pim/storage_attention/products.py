"""The two GEMV kernels: scalars times words into sums of lanes, and words times the query into scores."""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Signal
from amaranth.lib import data

from pim.storage_attention.pages import MAGNITUDE
from pim.storage_attention.shared import ONE_HALF, log2
from pim.storage_attention.timing import DOT

assert DOT.accumulate == 2  # a word, and a cycle for the command that reads a sum


def value_product(m, s):
    """The value-type GEMV: a word of a page, and the scalar that it is multiplied by, through the lanes."""
    layout, phase, shift = s.layout, s.phase, log2(s.lanes)
    to_scores = phase["look_channels"] | phase["stream_channels"] | phase["drain_channels"]
    enters = Signal()
    m.d.comb += [
        s.to_values.eq(phase["look_values"] | phase["stream_values"] | phase["drain_values"]),
        enters.eq(s.kept & (phase["stream_channels"] | phase["stream_values"])),
    ]
    s.enters = enters
    channel = Cat(s.page_row[: log2(layout.page_channels)], s.group)
    range_index = Cat(s.page_index[: log2(layout.range_tokens // s.lanes)], s.range)
    address = Mux(s.to_values, s.page_index, range_index)
    valid, word = Signal(5, name="kernel_valid"), Signal(data.ArrayLayout(16, s.lanes), reset_less=True)
    fresh = [Signal(name=f"fresh_{i}", reset_less=True) for i in range(1, 4)]
    addresses = [Signal(range(max(s.score_words, s.vector_words)), name=f"address_{i}") for i in range(1, 6)]
    m.d.sync += valid.eq(Cat(enters, valid))
    for row, first in ((fresh, s.fresh), (addresses, address)):
        for register, source in zip(row, [first, *row], strict=False):
            m.d.sync += register.eq(source)
    with m.If(enters):
        m.d.sync += word.eq(s.page_word)

    # One memory word is looked at in a cycle: of the query, and of scores or sums.
    scan = Signal(data.ArrayLayout(32, s.lanes), reset_less=True)
    query = Signal(data.ArrayLayout(16, s.lanes), reset_less=True)
    position, output = Signal.like(s.n), phase["output"]
    m.d.comb += position.eq(Mux(phase["stream_values"], s.count, s.n))
    s.scan_lane = Signal(shift, reset_less=True)
    with m.If(s.go):
        with m.If(phase["alpha"] | phase["softmax"] | output | (phase["stream_values"] & enters)):
            m.d.sync += scan.eq(Cat(Mux(output, lane.sum, lane.score) for lane in s.lane))
        m.d.sync += s.scan_lane.eq(Mux(phase["stream_channels"], channel[:shift], position[:shift]))
    with m.If(enters & phase["stream_channels"]):
        m.d.sync += query.eq(s.query_word.data)
    s.scanned = Signal(32)
    m.d.comb += s.scanned.eq(scan[s.scan_lane])
    scalar = Signal(16)
    m.d.comb += scalar.eq(Mux(s.to_values, s.scanned[:16], query[s.scan_lane]))
    m.d.comb += s.query_word.addr.eq(
        Mux(
            phase["stream_channels"],
            channel[shift:],
            Mux(phase["stream_keys"], s.page_index, Mux(phase["norm"], s.n, s.rank.address)),
        )
    )
    score_address = Mux(to_scores, addresses[2], Mux(phase["rank_tokens"], s.rank.address, position[shift:]))
    put = Signal(s.lanes)
    s.put, s.put_word = Signal(), Signal(32)
    m.d.comb += put.eq(s.put << s.count[:shift])
    for i, lane in enumerate(s.lane):
        m.d.comb += [
            lane.load.eq(valid[0]),
            lane.element.eq(word[i]),
            lane.scalar.eq(scalar),
            lane.add.eq(valid[2]),
            lane.fresh.eq(fresh[2]),
            lane.store.eq(valid[4]),
            lane.values.eq(s.to_values),
            lane.store_address.eq(addresses[4]),
            lane.score_address.eq(score_address),
            lane.sum_address.eq(Mux(output, position[shift:], addresses[2])),
            lane.put.eq(put[i]),
            lane.put_address.eq(s.count[shift:]),
            lane.put_word.eq(s.put_word),
        ]


def dot_product(m, s):
    """The dot-type GEMV: words of keys by the query; and before, the magnitudes of the query by ones."""
    phase, dot = s.phase, s.dot
    s.norm_part = Signal()  # the selected channels alone
    last = Signal(name="last_of_dot")
    norm = phase["norm"] & ~s.soon & (s.n < s.vector_words)
    read, first = Signal(name="read_dot"), Signal(name="first_of_dot", init=1)
    s.norm_word, s.key_word = Signal(), Signal()
    m.d.comb += [
        s.norm_word.eq(norm),
        s.key_word.eq(s.kept & phase["stream_keys"]),
        last.eq(Mux(phase["norm"], s.n == s.vector_words - 1, s.page_row_ends)),
        dot.advance.eq(1),
        dot.comp.eq(s.norm_word | s.key_word),
        dot.first.eq(first),
        dot.read.eq(read),
        dot.lanes.eq(s.lanes),
    ]
    m.d.sync += [s.soon.eq(dot.comp), read.eq(dot.comp & last)]
    with m.If(dot.comp):
        m.d.sync += first.eq(last)
    mask = s.marked[s.n[: max(log2(s.vector_words), 1)]] | (~s.norm_part).replicate(s.lanes)
    page = data.ArrayLayout(16, s.lanes)(s.page_word)
    for i in range(s.lanes):
        magnitude = Mux(mask[i], s.query_elements[i] & MAGNITUDE, 0)
        m.d.comb += [
            dot.row[i].eq(Mux(phase["norm"], magnitude, page[i])),
            dot.vector[i].eq(Mux(phase["norm"], ONE_HALF, s.query_elements[i])),
        ]
