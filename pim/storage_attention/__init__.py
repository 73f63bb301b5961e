"""In-storage attention engine: one decode token of one head, from flash pages to the output, dense or sparse (SparF).

    out = alpha softmax(q K[j]^T / sqrt(d)) V[j] + (1 - alpha) mean V        over the selected tokens j; dense: all, alpha = 1

in FP16 with sums in FP32, in the order that `kernels_ref.storage_attention` states. Source: InstAttention, HPCA'25
(arXiv 2409.04992): argtopk, a filter per flash channel, two GEMV kernels (dot for scores, value-type for approximate scores and
for values), softmax, and the correction by the mean of V.

Streams, words of ``lanes`` FP16 elements but where another width stands:

    query         the query, once
    directives    one bit per page, as flash shall read it (1) or skip it (0): channel pages, then token pages, all of a kind at
                  once; those of token pages hold for keys and for values
    pages_F       the pages that were asked for and lie on flash channel F: channel pages, keys, values, in ascending order
    mean, out     one element per word: the mean of V, where attention is sparse, and the output

Filters drop what is not selected: whole pages are read, and a page takes a cycle per word, kept or not. All cycles but those of
pages follow from the shape; the price is exact where attention is dense or the numbers of pages are known, and a range where not.

Timing in cycles (`pim.storage_attention.timing`), with t tokens, k selected, P token pages of which p are read, Q channel pages
of which c are read, W words per page, v = d / L and w = ceil(t / L):

    sparse    15 (v + 3) + v + 3 + 4 v + stages - 1 + 4 S + 2 Q + c W + 6 + 32 (w + 3) + w + 3 + t + 13 + 3 S
    both      v + 3 P + 2 p W + k v + stages + k + 13 + 2 S + 6 + d + 14,        S = 11; a run one more, for its config word
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from accel.base.cost import Cost
from accel.base.cost_range import CostRange
from accel.base.mapping import ceil_div
from accel.base.spec import PowerOfTwo
from accel.base.unit import RtlUnit
from accel.base.words import pack_words
from pim.storage_attention import timing
from pim.storage_attention.pages import PageLayout, pages_touched, striped
from workloads.formats import FORMATS
from workloads.ops import Op
from workloads.sparse_attention import SparseAttention

if TYPE_CHECKING:
    from amaranth.lib import wiring

FP16 = FORMATS["fp16"]


class StorageAttention(RtlUnit):
    """Attention of one head and decode token inside a drive: pages in, output out, dense or SparF."""

    head_dim: PowerOfTwo = Field(default=128, ge=8, le=512)
    """Elements of a head, a power of two."""
    lanes: PowerOfTwo = Field(default=16, ge=2, le=64)
    """Elements of a word, and multipliers of each GEMV kernel; a power of two."""
    page_bytes: PowerOfTwo = Field(default=4096, ge=64, le=32768)
    """Bytes of a flash page, a power of two."""
    page_channels: PowerOfTwo = Field(default=8, ge=2, le=64)
    """Channels of a channel-indexed page, a power of two."""
    flash_channels: int = Field(default=8, ge=1, le=16)
    """Flash channels, each with a stream of pages and a filter."""
    max_tokens: PowerOfTwo = Field(default=2048, ge=8, le=65536)
    """Tokens of the longest context: words of the score memory times lanes; a power of two."""

    executes: ClassVar[tuple[type[Op], ...]] = (SparseAttention,)
    golden: ClassVar[str] = "storage_attention.storage_attention"

    @model_validator(mode="after")
    def _fits(self) -> StorageAttention:
        layout, words = self.layout, timing.REUSE  # of a row at least, so that each of its sums is stored before it is added to
        if self.head_dim < self.lanes * words:
            raise ValueError(f"lanes: wanted at most head_dim / {words} = {self.head_dim // words}, got {self.lanes}")
        if layout.page_tokens % self.lanes or not layout.page_tokens:
            held = f"a page of {self.page_bytes} bytes holds {layout.page_tokens} tokens of {self.head_dim} FP16 elements"
            wanted = f"whole groups of {self.lanes} tokens, so a multiple of {2 * self.head_dim * self.lanes} bytes"
            raise ValueError(f"page_bytes: wanted {wanted}; {held}")
        if self.page_channels > self.head_dim // 2 or layout.range_tokens < words * self.lanes:
            most = min(self.head_dim // 2, self.page_bytes // (2 * words * self.lanes))
            wanted = f"at most {most}, for {words} words of each channel and two groups of channels"
            raise ValueError(f"page_channels: wanted {wanted}, got {self.page_channels}")
        if self.max_tokens < 2 * layout.range_tokens:
            wanted = f"at least two channel pages of {layout.range_tokens} tokens each"
            raise ValueError(f"max_tokens: wanted {wanted}, got {self.max_tokens}")
        return self

    @property
    def layout(self) -> PageLayout:
        """How keys and values lie in pages."""
        return PageLayout(self.head_dim, self.page_bytes, self.page_channels)

    def numerics(self) -> dict[str, Any]:
        return {"lanes": self.lanes, "page_tokens": self.layout.page_tokens, "page_channels": self.page_channels}

    def check(self, op: SparseAttention) -> None:
        super().check(op)
        if op.activations != FP16 or op.head_dim != self.head_dim:
            wanted = f"FP16 heads of {self.head_dim} elements"
            raise ValueError(f"{self.kind()} takes {wanted}, not {op.activations} heads of {op.head_dim}")
        bounds = (
            ("heads", 1, None, ""),
            ("tokens", 1, self.max_tokens, "max_tokens"),
            ("channels", 1, op.head_dim, "head_dim"),
            ("selected", 1, op.tokens, "the tokens of the context"),
            ("recent", 0, op.selected, "selected"),
        )
        for name, least, most, what in bounds:
            value = getattr(op, name)
            if np.any(value < least) or (most is not None and np.any(value > most)):
                above = "" if most is None else f" to {most} ({what})"
                raise ValueError(f"{name}: wanted {least}{above or ' or more'}, got {value}")
        if op.dense and (np.any(op.selected != op.tokens) or np.any(op.channels != op.head_dim)):
            raise ValueError(f"dense attention selects all {op.tokens} tokens and {op.head_dim} channels, not {op.describe()}")
        for name, (least, most) in self._pages_read(op).items():
            known = getattr(op, name)
            if known is not None and (np.any(known < least) or np.any(known > most)):
                raise ValueError(f"{name}: wanted {least} to {most}, which is what a head can read, got {known}")

    def limits(self, op: SparseAttention) -> dict[str, int]:
        return {"heads": 1}

    def _pages_read(self, op: SparseAttention) -> dict[str, tuple[Any, Any]]:
        return {"channel_pages": self.layout.channel_pages_read(op), "token_pages": self.layout.token_pages_read(op)}

    def tile_cost(self, tile: SparseAttention) -> Cost:
        known = tile.channel_pages, tile.token_pages
        bounds = self._pages_read(tile).values()
        least, most = (
            self._cost(tile, *(pair[end] if count is None else count for count, pair in zip(known, bounds, strict=True)))
            for end in (0, 1)
        )
        if tile.dense or all(count is not None for count in known):
            return most
        skipped = {name: (most.events[name], least.events[name]) for name in ("channel_page_skipped", "token_page_skipped")}
        fewest = dict(least.events) | {name: pair[0] for name, pair in skipped.items()}
        largest = dict(most.events) | {name: pair[1] for name, pair in skipped.items()}
        return CostRange(most.latency, most.interval, largest, Cost(least.latency, least.interval, fewest))

    def _cost(self, op: SparseAttention, channel_pages: Any, token_pages: Any) -> Cost:
        """The cost of a head that reads so many pages."""
        layout, sparse = self.layout, 1 - op.dense
        vector, scores = self.head_dim // self.lanes, ceil_div(op.tokens, self.lanes)
        words = self.page_bytes // (2 * self.lanes)
        by_channel, by_token = sparse * layout.channel_pages(op.tokens), layout.token_pages(op.tokens)
        kept = op.selected * vector
        approximate = (
            timing.rank_cycles(timing.CHANNEL_BITS, vector)
            + timing.norm_cycles(vector, self.lanes)
            + timing.step_cycles(timing.TEMPERATURE_STEPS + timing.SHARE_STEPS)
            + by_channel
            + timing.score_page_cycles(by_channel, channel_pages, words)
            + timing.rank_cycles(timing.TOKEN_BITS, scores)
            + timing.softmax_cycles(op.tokens)
        )
        exact = (
            by_token
            + timing.key_page_cycles(by_token, token_pages, words, kept, self.lanes)
            + timing.softmax_cycles(op.selected)
            + timing.step_cycles(timing.GAIN_STEPS)
            + timing.score_page_cycles(by_token, token_pages, words)
            + timing.output_cycles(self.head_dim)
        )
        interval = vector + sparse * approximate + exact
        channel_words = sparse * op.channels * scores
        ranked = (timing.CHANNEL_BITS + 1) * vector + (timing.TOKEN_BITS + 1) * scores
        events = {
            "query_word": vector + 0 * op.tokens,
            "rank_word": sparse * ranked,
            "norm_word": sparse * 2 * vector + 0 * op.tokens,
            "channel_page_read": channel_pages,
            "channel_page_skipped": by_channel - channel_pages,
            "key_page_read": token_pages,
            "value_page_read": token_pages,
            "token_page_skipped": by_token - token_pages,
            "word_dropped": (channel_pages + 2 * token_pages) * words - channel_words - 2 * kept,
            "channel_word": channel_words,
            "key_word": kept,
            "value_word": kept,
            "exponential": sparse * op.tokens + op.selected,
            "output": self.head_dim + 0 * op.tokens,
        }
        return Cost(latency=timing.CONFIG + interval, interval=interval, events=events)

    def component(self) -> wiring.Component:
        from pim.storage_attention.rtl import EngineRtl

        return EngineRtl(self.layout, self.lanes, self.flash_channels, self.max_tokens)

    def encode_config(self, tile: SparseAttention, n: int) -> int:
        from pim.storage_attention.rtl import RUN_BITS, config_layout

        if n >= 1 << RUN_BITS:
            raise ValueError(f"{self.kind()} counts less than 2^{RUN_BITS} invocations, got {n}")
        fields = {
            "invocations": n - 1,
            "last_token": tile.tokens - 1,
            "recent": tile.tokens - tile.recent,
            "channels": tile.channels,
            "selected": tile.selected,
            "dense": int(tile.dense),
        }
        return config_layout(self.head_dim, self.max_tokens).const(fields).as_bits()

    def encode(self, tile: SparseAttention, *arrays: np.ndarray) -> dict[str, list[int]]:
        query, keys, values, mean = (np.asarray(array, np.int64)[0] for array in arrays)
        touched = pages_touched(self.layout, tile, query, keys)
        streams: dict[str, list[int]] = {f"pages_{i}": [] for i in range(self.flash_channels)}
        kinds = [(self.layout.words(each), touched.token_pages) for each in (keys, values)]
        if not tile.dense:
            by_channel = self.layout.channel_words(keys)
            kinds.insert(0, (by_channel.reshape(-1, by_channel.shape[-1]), touched.channel_pages.ravel()))
        for pages, read in kinds:
            for page, channel in striped(read, self.flash_channels):
                streams[f"pages_{channel}"] += self._words(pages[page])
        means = [] if tile.dense else [int(bits) for bits in mean]
        return {"query": self._words(query), "mean": means, **streams}

    def _words(self, elements: np.ndarray) -> list[int]:
        return pack_words(elements.reshape(-1, self.lanes), FP16.bits)

    def output_words(self, tile: SparseAttention) -> dict[str, int]:
        by_channel = 0 if tile.dense else self.layout.channel_pages(tile.tokens)
        return {"directives": by_channel + self.layout.token_pages(tile.tokens), "out": self.head_dim}

    def decode(self, tile: SparseAttention, words: Mapping[str, list[int]]) -> tuple[np.ndarray, ...]:
        directives = np.array(words["directives"], np.int64)
        by_channel, by_token = np.split(directives, [len(directives) - self.layout.token_pages(tile.tokens)])
        return np.array(words["out"], np.int64)[None], by_channel.reshape(1, -1, self.layout.groups), by_token[None]

    def op(self, **extents: Any) -> SparseAttention:
        """Sparse attention of heads of this engine."""
        return SparseAttention(head_dim=self.head_dim, **extents)

    @classmethod
    def examples(cls) -> Iterable[tuple[RtlUnit, Op]]:
        small = cls(head_dim=8, lanes=2, page_bytes=128, page_channels=2, flash_channels=2, max_tokens=64)
        yield small, small.op(heads=2, tokens=37, channels=3, selected=9, recent=2)
        yield small, SparseAttention.all_tokens(21, 8)
        yield small, small.op(tokens=16, channels=1, selected=1)
        yield small, small.op(tokens=40, channels=8, selected=40)
        one = cls(head_dim=16, lanes=4, page_bytes=256, page_channels=4, flash_channels=1, max_tokens=128)
        yield one, one.op(tokens=50, channels=4, selected=6, recent=6)
        yield one, SparseAttention.all_tokens(32, 16)
        three = cls(head_dim=16, lanes=2, page_bytes=128, page_channels=4, flash_channels=3, max_tokens=64)
        yield three, three.op(tokens=33, channels=5, selected=7, recent=1)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> tuple[RtlUnit, Op]:
        lanes = int(rng.choice([2, 2, 4, 4, 8]))  # few: so that it simulates in seconds
        head_dim = int(rng.choice([8, 16, 32]))
        page_bytes, page_channels = int(rng.choice([64, 128, 256, 512])), int(rng.choice([2, 4, 8]))
        unit = cls(
            head_dim=head_dim,
            lanes=lanes,
            page_bytes=page_bytes,
            page_channels=page_channels,
            flash_channels=int(rng.integers(1, 9)),
            max_tokens=int(rng.choice([64, 128, 256])),
        )
        return unit, unit.draw_op(rng)

    def draw_op(self, rng: np.random.Generator) -> Op:
        tokens = int(rng.integers(1, min(self.max_tokens, 100) + 1))
        if rng.random() < 0.25:
            return SparseAttention.all_tokens(tokens, self.head_dim)
        channels, selected = int(rng.integers(1, self.head_dim + 1)), int(np.exp(rng.uniform(0, np.log(tokens + 1))))
        return self.op(tokens=tokens, channels=channels, selected=selected, recent=int(rng.integers(selected + 1)))
