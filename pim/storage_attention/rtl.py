"""The engine in Amaranth: one sequence of phases over lanes, filters, a dot product, argtopk and a scalar pipe.

    query, argtopk of channels, |q|_1, 1 / tau                                     sparse attention alone, up to alpha
    directives of channel pages; these pages, into approximate scores
    argtopk of tokens, softmax of all scores, alpha
    directives of token pages; pages of keys, into scores of what is selected, side by side
    softmax of these; pages of values, into sums; the output

A page comes on the stream of its flash channel when its turn has come: pages are taken in order, so that sums have one order.
"""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.streams import event_layout
from pim.storage_attention.marks import select
from pim.storage_attention.output import output
from pim.storage_attention.page_streams import filter_pages
from pim.storage_attention.pages import PageLayout
from pim.storage_attention.phases import sequence
from pim.storage_attention.products import dot_product, value_product
from pim.storage_attention.shared import RUN_BITS, Shared
from pim.storage_attention.softmax import softmax

EVENTS = (
    "query_word",
    "rank_word",
    "norm_word",
    "channel_page_read",
    "channel_page_skipped",
    "key_page_read",
    "value_page_read",
    "token_page_skipped",
    "word_dropped",
    "channel_word",
    "key_word",
    "value_word",
    "exponential",
    "output",
)


def config_layout(head_dim: int, max_tokens: int) -> data.StructLayout:
    """A run: its invocations less one, the last token, the first recent one, how many are selected, and whether all are."""
    return data.StructLayout(
        {
            "invocations": RUN_BITS,
            "last_token": range(max_tokens),
            "recent": range(max_tokens + 1),
            "channels": range(head_dim + 1),
            "selected": range(max_tokens + 1),
            "dense": 1,
        }
    )


class EngineRtl(wiring.Component):
    """The streams of `pim.storage_attention`."""

    def __init__(self, layout: PageLayout, lanes: int, flash_channels: int, max_tokens: int):
        self.layout, self.lanes, self.flash_channels, self.max_tokens = layout, lanes, flash_channels, max_tokens
        word = stream.Signature(data.ArrayLayout(16, lanes))
        super().__init__(
            {
                "config": In(stream.Signature(config_layout(layout.head_dim, max_tokens))),
                "query": In(word),
                "mean": In(stream.Signature(16)),
                **{f"pages_{i}": In(word) for i in range(flash_channels)},
                "directives": Out(stream.Signature(1)),
                "out": Out(stream.Signature(16)),
                "events": Out(event_layout(**dict.fromkeys(EVENTS, 1))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shared = Shared(m, self, self.layout, self.lanes, self.flash_channels, self.max_tokens)
        for part in (select, filter_pages, value_product, dot_product, softmax, output, sequence):
            part(m, shared)
        self._events(m, shared)
        return m

    def _events(self, m, s):
        phase, ports = s.phase, s.ports
        directive, page_ends = ports.directives.valid & ports.directives.ready, s.page_take & s.page_ends
        happens = {
            "query_word": ports.query.valid & ports.query.ready,
            "rank_word": s.rank.scan,
            "norm_word": s.norm_word,
            "channel_page_read": page_ends & phase["stream_channels"],
            "channel_page_skipped": directive & ~ports.directives.payload & phase["direct_channels"],
            "key_page_read": page_ends & phase["stream_keys"],
            "value_page_read": page_ends & phase["stream_values"],
            "token_page_skipped": directive & ~ports.directives.payload & phase["direct_tokens"],
            "word_dropped": s.page_take & ~s.page_keep,
            "channel_word": s.enters & ~s.to_values,
            "key_word": s.key_word,
            "value_word": s.enters & s.to_values,
            "exponential": s.pipe.valid & (phase["alpha"] | phase["softmax"]),
            "output": ports.out.valid & ports.out.ready,
        }
        m.d.comb += [getattr(ports.events, name).eq(value) for name, value in happens.items()]
