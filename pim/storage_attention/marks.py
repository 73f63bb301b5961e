"""argtopk in the engine: what it ranks, what it marks, and the masks of pages that follow."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Mux, Signal
from amaranth.lib.memory import Memory

from pim.storage_attention.pages import MAGNITUDE
from pim.storage_attention.shared import log2


def select(m, s):
    """argtopk, and what it marks: channels in registers, tokens in a memory of a word per page."""
    rank, shift, phase, layout = s.rank, log2(s.lanes), s.phase, s.layout
    tokens = Signal(name="ranks_tokens")  # in the next argtopk
    with m.If(s.ports.config.valid & s.ports.config.ready):
        m.d.sync += tokens.eq(0)
    with m.If(rank.done):
        m.d.sync += tokens.eq(~tokens)
    m.d.comb += [
        rank.run.eq(phase["rank_channels"] | phase["rank_tokens"]),
        rank.tokens.eq(tokens),
        rank.count.eq(Mux(tokens, s.selected, s.channels)),
        rank.last_word.eq(Mux(tokens, s.last_token[shift:], s.vector_words - 1)),
        rank.last_lane.eq(Mux(tokens, s.last_token[:shift], s.lanes - 1)),
        rank.recent.eq(s.recent),
    ]
    for i, lane in enumerate(s.lane):
        m.d.comb += rank.numbers[i].eq(Mux(tokens, lane.score, s.query_elements[i] & MAGNITUDE))
    marked = [Signal(s.lanes, name=f"channels_{w}") for w in range(s.vector_words)]
    for w, word in enumerate(marked):
        with m.If(rank.mark & ~tokens & (rank.mark_address == w)):
            m.d.sync += word.eq(rank.marks)
    s.marked, every, size = Array(marked), Cat(*marked), layout.page_channels
    s.group_mask = Array(every[size * g : size * (g + 1)] for g in range(layout.groups))[s.group]

    parts = layout.page_tokens // s.lanes
    pages = s.max_tokens // layout.page_tokens
    m.submodules.marks = marks = Memory(shape=layout.page_tokens, depth=pages, init=[])
    write, found = marks.write_port(granularity=s.lanes), marks.read_port(domain="comb")
    m.d.comb += [
        write.addr.eq(rank.mark_address[log2(parts) :]),
        write.data.eq(rank.marks.replicate(parts)),
        found.addr.eq(Mux(phase["alpha"], s.count[log2(layout.page_tokens) :], s.page)),
    ]
    for i in range(parts):
        m.d.comb += write.en[i].eq(rank.mark & tokens & ((rank.mark_address & (parts - 1)) == i))
    s.is_selected = found.data.bit_select(s.count[: log2(layout.page_tokens)], 1)
    last_row = s.last_token[: log2(layout.page_tokens)]
    s.last_page = s.page == s.last_token[log2(layout.page_tokens) :]
    s.token_mask = Signal(layout.page_tokens)
    for i in range(layout.page_tokens):
        m.d.comb += s.token_mask[i].eq((s.dense | found.data[i]) & (~s.last_page | (i <= last_row)))
    last_range = s.range == s.last_token[log2(layout.range_tokens) :]
    s.last_channel_page = last_range & (s.group == layout.groups - 1)
    s.last_index = Mux(last_range, s.last_token[shift : log2(layout.range_tokens)], layout.range_tokens // s.lanes - 1)
