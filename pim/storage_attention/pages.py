"""What lies in a flash page, and which pages attention touches: the model that the engine's counts are held to.

    token page      page_tokens tokens of one head, each with its head_dim elements; one copy of keys, one of values
    channel page    page_channels channels of as many tokens as fill it (a range): the second copy of the keys

Pages are whole: where one channel of a page, or one of its tokens, is wanted, all of it is read. Channel pages are numbered range
by range, in a range by group of channels; page p lies on flash channel p mod n, of each kind. Source: InstAttention, HPCA'25.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from accel.base.extent import larger, smaller
from accel.base.mapping import ceil_div
from workloads.sparse_attention import SparseAttention

MAGNITUDE = 0x7FFF
RECENT = (1 << 32) - 1
"""The key of a token that is always selected."""


class Touched(NamedTuple):
    """Which pages a head reads: booleans [ranges, groups] and [pages]; keys and values have the same token pages."""

    channel_pages: np.ndarray
    token_pages: np.ndarray


class Selected(NamedTuple):
    """What a head selects: booleans [head_dim] and [tokens]."""

    channels: np.ndarray
    tokens: np.ndarray


@dataclass(frozen=True)
class PageLayout:
    """How a head's keys and values of ``head_dim`` FP16 elements lie in pages; all sizes are powers of two."""

    head_dim: int
    page_bytes: int
    page_channels: int

    @property
    def page_tokens(self) -> int:
        """Tokens of a token page."""
        return self.page_bytes // (2 * self.head_dim)

    @property
    def range_tokens(self) -> int:
        """Tokens of a channel page."""
        return self.page_bytes // (2 * self.page_channels)

    @property
    def groups(self) -> int:
        """Groups of channels, each with its pages."""
        return self.head_dim // self.page_channels

    def channel_pages(self, tokens: Any) -> Any:
        """Channel pages of ``tokens`` tokens."""
        return self.groups * ceil_div(tokens, self.range_tokens)

    def token_pages(self, tokens: Any) -> Any:
        """Pages of keys, or of values, of ``tokens`` tokens."""
        return ceil_div(tokens, self.page_tokens)

    def channel_pages_read(self, op: SparseAttention) -> tuple[Any, Any]:
        """The least and the most channel pages that a head of ``op`` can read."""
        if op.dense:
            return 0 * op.tokens, 0 * op.tokens
        ranges = ceil_div(op.tokens, self.range_tokens)
        return ranges * ceil_div(op.channels, self.page_channels), ranges * smaller(op.channels, self.groups)

    def token_pages_read(self, op: SparseAttention) -> tuple[Any, Any]:
        """The least and the most pages of keys that a head of ``op`` can read: recent tokens lie in the last ones."""
        size, pages = self.page_tokens, self.token_pages(op.tokens)
        last = op.tokens - (pages - 1) * size
        contiguous = 1 + ceil_div(larger(op.selected - last, 0), size)  # from the end backwards
        has_recent = 1 * (op.recent > 0)
        least = has_recent * contiguous + (1 - has_recent) * ceil_div(op.selected, size)
        forced = has_recent * (pages - (op.tokens - op.recent) // size)
        most = smaller(pages, forced + op.selected - op.recent)
        return least, most

    def words(self, page_rows: np.ndarray) -> np.ndarray:
        """``page_rows`` as pages of whole rows, [pages, elements]; what a page lacks is ones (NaN), which nobody may look at."""
        rows, length = page_rows.shape
        per_page = self.page_bytes // (2 * length)
        padded = np.full((ceil_div(rows, per_page) * per_page, length), -1, np.int64)
        padded[:rows] = page_rows
        return padded.reshape(-1, per_page * length)

    def channel_words(self, keys: np.ndarray) -> np.ndarray:
        """The channel pages of ``keys`` [tokens, head_dim], [ranges, groups, elements]."""
        ranges = ceil_div(len(keys), self.range_tokens)
        padded = np.full((ranges * self.range_tokens, self.head_dim), -1, np.int64)
        padded[: len(keys)] = keys
        parts = padded.reshape(ranges, self.range_tokens, self.groups, self.page_channels)
        return parts.transpose(0, 2, 3, 1).reshape(ranges, self.groups, -1)


def pages_touched(layout: PageLayout, op: SparseAttention, query: np.ndarray, keys: np.ndarray) -> Touched:
    """The pages that one head with ``query`` [head_dim] and ``keys`` [tokens, head_dim] (FP16 patterns) reads."""
    channels, tokens = selected(op, query, keys)
    if op.dense:
        groups = np.zeros((0, layout.groups), bool)
    else:
        ranges = ceil_div(op.tokens, layout.range_tokens)
        groups = np.tile(channels.reshape(-1, layout.page_channels).any(axis=1), (ranges, 1))
    padded = np.pad(tokens, (0, -op.tokens % layout.page_tokens)).reshape(-1, layout.page_tokens)
    return Touched(groups, np.asarray(padded.any(axis=1)))


def selected(op: SparseAttention, query: np.ndarray, keys: np.ndarray) -> Selected:
    """argtopk of |q|, and of the approximate scores in FP32, channels added up in ascending order; recent tokens come first, and
    the lowest index among equals."""
    if op.dense:
        return Selected(np.ones(op.head_dim, bool), np.ones(op.tokens, bool))
    query = np.asarray(query, np.int64)
    channels = _top(query & MAGNITUDE, op.channels)
    scores = np.zeros(op.tokens, np.float32)
    with np.errstate(all="ignore"):
        for channel in np.flatnonzero(channels):
            scores += _floats(query[channel]) * _floats(np.asarray(keys)[:, channel])
    bits = np.where(np.isnan(scores), 0x7FC00000, scores.view(np.uint32).astype(np.int64))
    ranks = np.where(bits >> 31, RECENT - bits, bits | 1 << 31)
    ranks[op.tokens - op.recent :] = RECENT
    return Selected(channels, _top(ranks, op.selected))


def striped(touched: np.ndarray, flash_channels: int) -> Iterator[tuple[int, int]]:
    """(page, flash channel) of each page that is read, in the order of the pages."""
    for page in np.flatnonzero(touched):
        yield int(page), int(page) % flash_channels


def _floats(bits: np.ndarray) -> np.ndarray:
    return np.asarray(bits, np.int64).astype(np.uint16).view(np.float16).astype(np.float32)


def _top(keys: np.ndarray, count: int) -> np.ndarray:
    chosen = np.zeros(len(keys), bool)
    chosen[np.argsort(-keys, kind="stable")[:count]] = True
    return chosen
