"""What the engine's parts share: its sizes, its registers, and the hardware that several phases use."""

from __future__ import annotations

import struct
from typing import Any

from amaranth.hdl import C, Const, Module, Signal
from amaranth.lib.memory import Memory

from pim.pim_bank.dot_product import DotProduct
from pim.storage_attention.lane import Lane
from pim.storage_attention.pages import PageLayout
from pim.storage_attention.rank import Rank
from pim.storage_attention.scalar_pipe import ScalarPipe
from pim.storage_attention.timing import DOT, KERNEL
from workloads.formats import FORMATS

FP16, FP32 = FORMATS["fp16"], FORMATS["fp32"]
RUN_BITS = 32
ONE_HALF, ONE = 0x3C00, 0x3F800000
"""1 in FP16 and in FP32."""
PHASES = (
    *("rank_channels", "norm", "temperature", "direct_channels", "look_channels", "stream_channels", "drain_channels"),
    *("rank_tokens", "alpha", "share", "direct_tokens", "look_keys", "stream_keys", "drain_keys"),
    *("softmax", "gain", "look_values", "stream_values", "drain_values", "output"),
)
"""In their order; dense attention begins with `direct_tokens`."""


def bits32(value: float) -> Const:
    """``value`` rounded to FP32."""
    return C(int.from_bytes(struct.pack("<f", value), "little"), 32)


def log2(size: int) -> int:
    return size.bit_length() - 1


class Shared:
    """Signals by name. Those of one part alone, which it sets, are declared here too where another part reads them."""

    def __init__(self, m: Module, ports: Any, layout: PageLayout, lanes: int, flash_channels: int, max_tokens: int):
        self.ports, self.layout, self.lanes, self.flash_channels = ports, layout, lanes, flash_channels
        self.max_tokens, self.vector_words, self.score_words = max_tokens, layout.head_dim // lanes, max_tokens // lanes
        self.left, self.dense = Signal(RUN_BITS), Signal()
        self.last_token, self.recent = Signal(range(max_tokens)), Signal(range(max_tokens + 1))
        self.channels, self.selected = Signal(range(layout.head_dim + 1)), Signal(range(max_tokens + 1))
        most = max(max_tokens + 1, layout.head_dim + 1, DOT.stages(self.lanes), KERNEL)
        self.n, self.count = Signal(range(most)), Signal(range(most))  # what is sent on its way, and what has come of it
        self.group, self.range = Signal(range(layout.groups)), Signal(range(max(max_tokens // layout.range_tokens, 2)))
        self.page, self.turn = Signal(range(max(max_tokens // layout.page_tokens, 2))), Signal(range(self.flash_channels))
        self.phase = {name: Signal(name=f"in_{name}") for name in PHASES}
        self.to_values = Signal()  # the kernel adds to sums of values
        self.fresh = Signal()  # nothing has been added to this range, or to the sums
        self.soon = Signal()  # the dot product takes no word in this cycle
        self.highest = Signal(32)  # a key
        self.q1, self.qi1, self.factor, self.alpha, self.rest, self.gain = (
            Signal(32, name=name) for name in ("q1", "qi1", "factor", "alpha", "rest", "gain")
        )
        # Sums of even and of odd weights: their adder has a register inside.
        self.totals, self.shares = ([Signal(32, name=f"{name}_{i}") for i in range(2)] for name in ("total", "share"))
        self.go = Signal(init=1)

        self.lane = [Lane(self.score_words, self.vector_words) for _ in range(self.lanes)]
        for i, lane in enumerate(self.lane):
            m.submodules[f"lane_{i}"] = lane
        m.submodules.rank = self.rank = Rank(self.lanes, max(self.score_words, self.vector_words))
        m.submodules.dot_product = self.dot = DotProduct(FP16, self.lanes)
        m.submodules.scalars = self.pipe = ScalarPipe()
        m.submodules.query = queries = Memory(shape=16 * self.lanes, depth=self.vector_words, init=[])
        self.query_word, write = queries.read_port(domain="comb"), queries.write_port()
        m.d.comb += [
            write.en.eq(ports.query.valid & ports.query.ready),
            write.addr.eq(self.n),
            write.data.eq(ports.query.payload),
        ]
        self.query_elements = [self.query_word.data[16 * i : 16 * (i + 1)] for i in range(self.lanes)]
