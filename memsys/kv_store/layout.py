"""KvLayout: how keys and values lie on pages of flash, and how many pages are read and written, in closed form.

A token page holds the keys, or the values, of one head for ``page_tokens`` = page / (head_dim x element) tokens: one or several
whole token groups. A page of the channel-indexed copy of K holds ``copy_channels`` channels of one head for ``copy_tokens`` =
page / (copy_channels x element) tokens. 4 KiB, head_dim 128, FP16: 16 tokens x 128 channels, and 8 channels x 256 tokens.

What is written, of one layer of one sequence with n tokens and H heads:

    token pages    2 H floor(n / page_tokens)                                        the rest waits in the drive's DRAM
    copy           H (head_dim / copy_channels) floor(n / copy_tokens)               from K: while it passes, or read back

All take ints or int64 arrays. Source of the layout: InstAttention (HPCA'25): token groups, copy of K, addresses of 32 bits.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from accel.base.clock import scale_up
from accel.base.mapping import ceil_div
from accel.base.spec import Spec
from memsys.kv_store.address import Fields
from memsys.nand_energy import tokens_written

if TYPE_CHECKING:
    from memsys.ssd import Ssd

PPM = 10**6
ENTRY_BYTES = 4
"""Of an address table: the number of a physical page."""


class KvLayout(Spec):
    """Keys and values of a model on the pages of one drive: groups of tokens by head, and a copy of K by channel."""

    page_bytes: int = Field(gt=0, le=1 << 20)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    """Heads of keys and values on this drive."""
    head_dim: int = Field(gt=0)
    """Channels of a head."""
    element_bytes: int = Field(default=2, gt=0, le=8)
    group: int = Field(default=16, gt=0)
    """Tokens of a group: what a page is filled, fetched and dropped by."""
    copy_channels: int | None = Field(default=None, gt=0)
    """Channels on a page of the channel-indexed copy of K; None: K is stored once."""
    sequences: int = Field(gt=0)
    """Sequences stored at a time, at most."""
    context: int = Field(gt=0)
    """Tokens of a sequence, at most."""

    @model_validator(mode="after")
    def _whole_groups(self) -> KvLayout:
        wanted, page = self.group * self.row_bytes, self.page_bytes
        if page % wanted:
            below = page // wanted * wanted
            pages = f"{below} or {below + wanted} B" if below else f"{wanted} B"
            fits = [tokens for tokens in range(1, page // self.row_bytes + 1) if page % (tokens * self.row_bytes) == 0]
            groups = f", or a group of {_nearest(self.group, fits)} tokens" if fits else ""
            raise ValueError(
                f"page_bytes: wanted whole groups of {self.group} tokens x {self.head_dim} channels x {self.element_bytes} B "
                f"= {wanted} B, got a page of {page} B; nearest that fit: {pages}{groups}"
            )
        if self.copy_channels is not None and self.head_dim % self.copy_channels:
            fits = [channels for channels in range(1, self.head_dim + 1) if self.head_dim % channels == 0]
            raise ValueError(
                f"copy_channels: wanted a divisor of the {self.head_dim} channels of a head, got {self.copy_channels}; "
                f"nearest: {_nearest(self.copy_channels, fits)}"
            )
        self.token_fields, self.copy_fields  # noqa: B018 - refuses what no address of 32 bits holds
        return self

    # geometry

    @property
    def row_bytes(self) -> int:
        """The key, or the value, of one token and head."""
        return self.head_dim * self.element_bytes

    @property
    def page_tokens(self) -> int:
        """Tokens on a token page."""
        return self.page_bytes // self.row_bytes

    @property
    def copy_tokens(self) -> int:
        """Tokens on a page of the copy: a whole multiple of `page_tokens`. Zero without a copy."""
        return self.page_bytes // (self.copy_channels * self.element_bytes) if self.copy_channels else 0

    @property
    def channel_groups(self) -> int:
        """Pages of the copy for one head and `copy_tokens` tokens. Zero without a copy."""
        return self.head_dim // self.copy_channels if self.copy_channels else 0

    @property
    def token_bytes(self) -> int:
        """Key and value of one token in one layer, all heads."""
        return 2 * self.heads * self.row_bytes

    @property
    def stored_bytes_per_token(self) -> int:
        """Key and value of one token in all layers, the copy of K included: 1.5 times what K and V take."""
        copies = 3 if self.copy_channels else 2
        return self.layers * copies * self.heads * self.row_bytes

    def on(self, drives: int) -> KvLayout:
        """The layout of the fullest of ``drives`` drives among which the heads are dealt out."""
        return KvLayout.from_data(self.model_dump() | {"heads": ceil_div(self.heads, drives)})

    # addresses

    @property
    def token_fields(self) -> Fields:
        """Logical address of a token page: 32 bits at most."""
        groups = ceil_div(self.context, self.page_tokens)
        return Fields(
            "token table",
            {"sequence": self.sequences, "layer": self.layers, "group": groups, "head": self.heads, "kind": 2},
        )

    @property
    def copy_fields(self) -> Fields | None:
        """Logical address of a page of the copy: 32 bits at most. None without a copy."""
        if not self.copy_channels:
            return None
        blocks = ceil_div(self.context, self.copy_tokens)
        return Fields(
            "channel table",
            {
                "sequence": self.sequences,
                "layer": self.layers,
                "block": blocks,
                "head": self.heads,
                "channels": self.channel_groups,
            },
        )

    @property
    def table_bytes(self) -> int:
        """Both address tables in the drive's DRAM: an entry for each page that the extents of the fields allow."""
        copies = self.copy_fields.entries if self.copy_fields else 0
        return ENTRY_BYTES * (self.token_fields.entries + copies)

    @property
    def buffer_bytes(self) -> int:
        """DRAM that never has to flush: all but one token of a page, of every sequence and layer."""
        return self.sequences * self.layers * (self.page_tokens - 1) * self.token_bytes

    # writes, of one layer of one sequence

    def prefill_bytes(self, tokens: Any) -> Any:
        """What the host sends for ``tokens`` tokens: K and V once. OPT-13B, 64 x 1024 tokens: 1.342 GB."""
        return tokens * self.token_bytes

    def decode_bytes(self, tokens: Any) -> Any:
        """What flash takes for ``tokens`` tokens in the long run: K and V, and the copy of K. OPT-13B, 64 x 1024: 2.013 GB."""
        return tokens * (self.stored_bytes_per_token // self.layers)

    def token_pages(self, tokens: Any) -> Any:
        """Token pages, of K and of V, that ``tokens`` tokens have filled."""
        return 2 * self.heads * (tokens // self.page_tokens)

    def copy_pages(self, tokens: Any) -> Any:
        """Pages of the copy that ``tokens`` tokens have filled."""
        return self.heads * self.channel_groups * (tokens // self.copy_tokens) if self.copy_channels else 0 * tokens

    def written_pages(self, first: Any, last: Any) -> Any:
        """Pages programmed while a sequence grows from ``first`` to ``last`` tokens, with enough buffer."""
        after, before = self.token_pages(last) + self.copy_pages(last), self.token_pages(first) + self.copy_pages(first)
        return after - before

    # reads, of one layer of one sequence, all heads

    def dense_pages(self, context: Any) -> Any:
        """Pages read for attention on all of ``context`` tokens; the last few are in DRAM. From a sum of contexts: a bound."""
        return self.token_pages(context)

    def sparf_pages(self, context: Any, channel_groups: Any, token_groups: Any) -> Any:
        """Pages read by SparF (InstAttention): of each head ``channel_groups`` groups of channels of the copy for every
        `copy_tokens` tokens, K of those that no page of the copy holds yet, and K and V on ``token_groups`` token pages.

        Raises ValueError without a copy. Whole pages are charged.
        """
        if not self.copy_channels:
            raise ValueError("copy_channels: wanted a channel-indexed copy of K, which SparF reads, got none")
        approximate = channel_groups * (context // self.copy_tokens) + context % self.copy_tokens // self.page_tokens
        return self.heads * (approximate + 2 * token_groups)

    def blocks(self, sequences: int, tokens: int, channels: int, block_pages: int) -> int:
        """Blocks of ``block_pages`` that a task of ``sequences`` x ``tokens`` takes: each layer its own, on every channel."""
        pages = sequences * (2 * self.heads * ceil_div(tokens, self.page_tokens) + self.copy_pages(tokens))
        return self.layers * channels * ceil_div(ceil_div(pages, channels), block_pages)

    def check_fits(self, ssd: Ssd, sequences: int, tokens: int) -> None:
        """Raise ValueError, with figures, where ``sequences`` x ``tokens`` in one task do not fit on the drives of ``ssd``, or
        the pages are of another size. ``heads`` are those of all drives."""
        part = ssd.nand
        if self.page_bytes != part.page_bytes:
            raise ValueError(f"page_bytes: wanted the {part.page_bytes} B of a page of {ssd.part}, got {self.page_bytes} B")
        wanted = self.on(ssd.drives).blocks(sequences, tokens, part.channels, part.pages) * part.block_bytes * ssd.drives
        if wanted > ssd.capacity:
            copied = ", K twice" if self.copy_channels else ""
            raise ValueError(
                f"KV of {sequences} sequences x {tokens} tokens: wanted {wanted / 1e9:.2f} GB in whole blocks{copied}, "
                f"got {ssd.capacity / 1e9:.2f} GB on {ssd.drives} drives of {ssd.part}"
            )

    def endurance_tokens(self, ssd: Ssd, write_amplification: Fraction = Fraction(1)) -> int:
        """Tokens that all blocks of all drives of ``ssd`` take until they are worn. ``heads`` are those of all drives."""
        stored, amplified = self.stored_bytes_per_token, float(write_amplification)
        return tokens_written(ssd.nand, stored, drives=ssd.drives, write_amplification=amplified)


def _nearest(wanted: int, fits: list[int]) -> int:
    return min(fits, key=lambda value: abs(value - wanted))


def touched_groups(groups: Any, size: int, share: Fraction) -> Any:
    """Groups of ``size`` with at least one chosen member where each is chosen on its own with probability ``share``:

    groups (1 - (1 - share)^size), rounded up. ``groups`` is an int or int64 array; least and most are ceil(chosen / size) and
    min(chosen, groups), which locality moves between.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: wanted a share from 0 to 1, got {share}")
    return scale_up(groups, round(PPM * (1 - (1 - share) ** size)), PPM)
