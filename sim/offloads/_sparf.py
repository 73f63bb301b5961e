"""SparF (InstAttention, HPCA'25): which pages of a head sparse attention reads, by a profile of activity.

A query takes the r channels in which it is largest, and the k tokens of highest score over those. Whole pages are read: of the
copy of keys by channel, the groups of channels that hold one of the r; of keys and values by token, the groups of tokens that
hold one of the k. How many that are depends on data:

    channel groups    ceil(r / group) to min(r, groups)        profile: channels taken at random, each on its own (assumed)
    token groups      ceil(k / group) to min(k, groups)        profile: the least, as what matters is together

The paper says that the first step keeps about half of the sparsity, and the second reaches it in full.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field

from accel.base.extent import larger, smaller
from accel.base.mapping import ceil_div
from accel.base.spec import Spec
from memsys.kv_store import KvLayout, touched_groups
from pim.storage_attention import StorageAttention
from sim.errors import BadInput
from workloads.sparse_attention import SparseAttention


class SparF(Spec):
    """How sparse attention is, and which share of the pages that touches."""

    channels: int = Field(gt=0)
    """r: elements of the query that the first scores are of."""
    tokens_permille: int = Field(default=125, gt=0, le=1000)
    """k, as a share of the context."""
    recent: int = Field(default=0, ge=0)
    """The last tokens, which are always among the k."""
    channel_pages_permille: int | None = Field(default=None, gt=0, le=1000)
    """Share of the channel groups that are read, where it is known; else that of channels taken at random."""
    token_pages_permille: int | None = Field(default=None, gt=0, le=1000)
    """Share of the token groups that are read, where it is known; else k tokens fill whole groups."""
    activity: Literal["profile", "least", "most"] = "profile"
    """What is priced: the profile, or the least or the most that data can ask for."""

    def check(self, layout: KvLayout, where: str) -> None:
        """Raise BadInput where more is wanted of the heads and contexts of ``layout`` than there is."""
        most = ceil_div(layout.context * self.tokens_permille, 1000)
        for name, limit, what in (
            ("channels", layout.head_dim, "of a head"),
            ("recent", most, f"that are selected of {layout.context} tokens"),
        ):
            if getattr(self, name) > limit:
                raise BadInput(f"{where}.sparf.{name}: wanted at most the {limit} {what}, got {getattr(self, name)}")

    def at(self, end: Literal["least", "most"]) -> SparF:
        """The same at one end of what data can ask for."""
        return self.model_copy(update={"activity": end})

    def selected(self, context: Any) -> Any:
        """k for ``context`` tokens."""
        return smaller(larger(ceil_div(context * self.tokens_permille, 1000), self.recent), context)

    def channel_groups(self, layout: KvLayout) -> int:
        """Groups of channels of the copy that one query reads."""
        groups, size = layout.channel_groups, layout.head_dim // layout.channel_groups
        least, most = ceil_div(self.channels, size), min(self.channels, groups)
        if self.activity != "profile":
            return least if self.activity == "least" else most
        if self.channel_pages_permille is not None:
            return max(least, min(most, ceil_div(groups * self.channel_pages_permille, 1000)))
        return max(least, min(most, touched_groups(groups, size, Fraction(self.channels, layout.head_dim))))

    def token_groups(self, layout: KvLayout, context: Any) -> Any:
        """Pages of keys by token that one query reads of ``context`` tokens, and as many of values; not what waits in DRAM."""
        full, selected = context // layout.page_tokens, self.selected(context)
        least, most = smaller(ceil_div(selected, layout.page_tokens), full), smaller(selected, full)
        if self.activity == "most":
            return most
        if self.activity == "least" or self.token_pages_permille is None:
            return least
        return larger(least, smaller(most, ceil_div(full * self.token_pages_permille, 1000)))

    def pages(self, layout: KvLayout, context: Any) -> Any:
        """Pages that the heads of ``layout`` read for one query each."""
        return layout.sparf_pages(context, self.channel_groups(layout), self.token_groups(layout, context))

    def asked(self, layout: KvLayout, engine: StorageAttention, context: Any, heads: int) -> SparseAttention:
        """What ``heads`` heads ask of an engine: it is given the tokens that wait in DRAM as a page too."""
        selected = self.selected(context)
        asked = SparseAttention(
            heads=heads,
            tokens=context,
            head_dim=layout.head_dim,
            channels=self.channels,
            selected=selected,
            recent=smaller(self.recent, selected),
            channel_pages=self.channel_groups(layout) * ceil_div(context, layout.copy_tokens),
        )
        least, most = engine.layout.token_pages_read(asked)
        pages = self.token_groups(layout, context) + 1 * (context % layout.page_tokens > 0)
        return replace(asked, token_pages=larger(least, smaller(most, pages)))
