"""The filter of a flash channel: lets the words of selected rows of a page through, and drops all others.

A page is a number of rows, each of as many words: the tokens of a token page, or the channels of a channel-indexed one. ``mask``
says which rows are selected, ``limit`` the last word of a row that holds a token at all. A page is taken word by word, each
when there is ``room`` for it; a word that is dropped goes nowhere.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class PageFilter(wiring.Component):
    """Pages of ``words`` words of ``bits`` bits, which are ``tokens`` rows of a token page or ``channels`` of the other kind."""

    def __init__(self, words: int, bits: int, tokens: int, channels: int):
        self.words, self.tokens, self.channels = words, tokens, channels
        rows = max(tokens, channels)
        super().__init__(
            {
                "page": In(stream.Signature(bits)),
                "load": In(1),  # a page comes: set mask, limit and kind
                "mask": In(rows),
                "limit": In(range(words)),
                "by_channel": In(1),
                "room": In(1),
                "take": Out(1),  # a word leaves the stream
                "chosen": Out(1),  # the word that is there is of a selected row
                "keep": Out(1),  # and holds tokens
                "row": Out(range(rows)),
                "index": Out(range(words)),  # of the word in its row
                "row_ends": Out(1),
                "ends": Out(1),  # it is the last of its page
            }
        )

    def elaborate(self, platform):
        m = Module()
        busy, at = Signal(), Signal(range(self.words))
        mask, limit, by_channel = Signal.like(self.mask), Signal.like(self.limit), Signal()
        of_token, of_channel = self.words // self.tokens, self.words // self.channels  # words of a row, powers of two

        def split(words):
            shift = words.bit_length() - 1
            return at[:shift], at[shift:]

        (token_index, token_row), (channel_index, channel_row) = split(of_token), split(of_channel)
        m.d.comb += [
            self.index.eq(Mux(by_channel, channel_index, token_index)),
            self.row.eq(Mux(by_channel, channel_row, token_row)),
            self.chosen.eq(mask.bit_select(self.row, 1)),
            self.keep.eq(self.chosen & (self.index <= limit)),
            self.row_ends.eq(Mux(by_channel, channel_index == of_channel - 1, token_index == of_token - 1)),
            self.ends.eq(at == self.words - 1),
            self.page.ready.eq(busy & self.room),
            self.take.eq(self.page.valid & self.page.ready),
        ]
        with m.If(self.take):
            m.d.sync += at.eq(at + 1)
            with m.If(self.ends):
                m.d.sync += [busy.eq(0), at.eq(0)]
        with m.If(self.load):
            m.d.sync += [busy.eq(1), mask.eq(self.mask), limit.eq(self.limit), by_channel.eq(self.by_channel)]
        return m
