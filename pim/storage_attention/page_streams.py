"""The streams of pages: a filter per flash channel, and the words of the one whose turn it is."""

from __future__ import annotations

from amaranth.hdl import Array, Mux, Signal

from pim.storage_attention.page_filter import PageFilter


def filter_pages(m, s):
    """A filter per flash channel; the words of the one whose turn it is."""
    layout, phase = s.layout, s.phase
    words = layout.page_bytes // (2 * s.lanes)
    filters = []
    s.load, by_channel = Signal(name="load_page"), phase["look_channels"]
    for i in range(s.flash_channels):
        page = PageFilter(words, 16 * s.lanes, layout.page_tokens, layout.page_channels)
        m.submodules[f"filter_{i}"] = page
        source = getattr(s.ports, f"pages_{i}")
        m.d.comb += [
            page.page.valid.eq(source.valid),
            page.page.payload.eq(source.payload),
            source.ready.eq(page.page.ready),
            page.load.eq(s.load & (s.turn == i)),
            page.mask.eq(Mux(by_channel, s.group_mask, s.token_mask)),
            page.limit.eq(Mux(by_channel, s.last_index, words - 1)),
            page.by_channel.eq(by_channel),
            page.room.eq(~s.soon | ~phase["stream_keys"]),
        ]
        filters.append(page)
    names = ("take", "keep", "chosen", "row", "index", "row_ends", "ends")
    for name in names:
        port = Signal.like(getattr(filters[0], name), name=f"page_{name}")
        m.d.comb += port.eq(Array(getattr(each, name) for each in filters)[s.turn])
        setattr(s, f"page_{name}", port)
    s.page_word = Signal(16 * s.lanes)
    m.d.comb += s.page_word.eq(Array(each.page.payload for each in filters)[s.turn])
    s.kept = Signal()
    m.d.comb += s.kept.eq(s.page_take & s.page_keep)
    with m.If(phase["look_channels"] & (s.group == 0) | phase["gain"]):
        m.d.sync += s.fresh.eq(1)
    with m.If(s.page_take & s.page_chosen & s.page_row_ends):
        m.d.sync += s.fresh.eq(0)
