"""Attention of one decode token over a head's cached keys and values, dense or sparse in the way of SparF."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.formats import Format
from workloads.ops import FP16, Extent, Op, Operand


@dataclass(frozen=True, eq=False, kw_only=True)
class SparseAttention(Op):
    """out[h] = alpha softmax(q K[j]^T / sqrt(head_dim)) V[j] + (1 - alpha) mean, for each of ``heads`` independent heads.

    j are the ``selected`` tokens of highest approximate score, the last ``recent`` ones always among them; alpha is the share
    that they have of the softmax of all approximate scores, and those come from the ``channels`` elements of q that are largest
    in magnitude. ``mean`` is the mean of V. Dense attention takes all tokens, with alpha = 1: then channels = head_dim and
    selected = tokens. Source: InstAttention, HPCA'25 (arXiv 2409.04992); the form of the softmax's temperature: SparQ.

    Beside out [heads, head_dim] the results say which pages a head's data were read from, one bit per page.
    """

    kind = "sparse_attention"
    dimensions = ("heads",)
    heads: Extent = 1
    tokens: Extent
    head_dim: int
    channels: Extent
    selected: Extent
    recent: Extent = 0
    dense: bool = False
    channel_pages: Extent | None = None
    """Channel-indexed pages of keys that a head reads, where that is known: it narrows the price."""
    token_pages: Extent | None = None
    """Pages of keys by token that a head reads, and as many of values, where that is known."""
    activations: Format = FP16
    """The format of everything."""

    @classmethod
    def all_tokens(cls, tokens: Extent, head_dim: int, heads: Extent = 1) -> SparseAttention:
        """Dense attention."""
        return cls(heads=heads, tokens=tokens, head_dim=head_dim, channels=head_dim, selected=tokens, dense=True)

    @property
    def macs(self) -> Extent:
        """Products of the approximate scores, of the scores and of the values."""
        approximate = 0 if self.dense else self.tokens * self.channels
        return self.heads * (approximate + 2 * self.selected * self.head_dim)

    def operands(self) -> tuple[Operand, ...]:
        cached = ("heads", "tokens", "head_dim")
        return (
            Operand("query", self.activations, ("heads", "head_dim")),
            Operand("keys", self.activations, cached),
            Operand("values", self.activations, cached),
            Operand("mean", self.activations, ("heads", "head_dim")),
        )
