"""Chunked prefill with stall-free batches, as Sarathi-Serve (OSDI'24) schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from sim.policies.base import DECODE, Batch, Policy, View

if TYPE_CHECKING:
    from sim.request import Request


class ChunkedPrefill(Policy):
    """All decodes first, then partly done prefills, then new requests, each with a chunk of what is left of the token budget.

    KV blocks are allocated chunk by chunk, after those of the decodes. A chunk whose blocks are not free waits, and so do those
    behind it; a new request must leave the watermark free besides (ignored for the first when nothing runs). When the decodes
    alone lack blocks, the iteration decodes and evicts, and prefills nothing.
    """

    max_batched_tokens: int = Field(default=512, ge=1)
    """Tokens per iteration, decodes included (Sarathi-Serve: 512 under strict latency targets, 2048 under relaxed ones)."""
    max_num_seqs: int = Field(default=256, ge=1)
    """Requests admitted at a time; vLLM's default."""
    watermark: float = Field(default=0.01, ge=0, lt=1)
    """Fraction of all KV blocks kept free on admission, against frequent evictions; vLLM's default."""

    repeats: ClassVar[bool] = True
    in_order: ClassVar[bool] = True

    @model_validator(mode="after")
    def _decodes_fit(self) -> ChunkedPrefill:
        if self.max_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_batched_tokens must be at least max_num_seqs, so that every request can decode; "
                f"got {self.max_batched_tokens} and {self.max_num_seqs}"
            )
        return self

    def next_batch(self, view: View) -> Batch | None:
        cache, decodes = view.cache, view.decodes.count
        budget = self.max_batched_tokens - decodes
        free = cache.free - view.decodes.demand()
        if free < 0:
            return DECODE
        chunks: list[tuple[Request, int]] = []
        for request in view.prefilling:
            tokens = min(request.target - request.prefilled, budget)
            free -= cache.growth(request.prefilled, tokens)
            if not tokens or free < 0:
                return Batch(chunks, decodes > 0) if chunks else DECODE
            chunks.append((request, tokens))
            budget -= tokens
        if budget:
            running = view.running
            kept = int(self.watermark * cache.total)
            position = 0
            seats = self.max_num_seqs - running
            while budget and position < seats and (head := view.queued(position)) is not None:
                tokens = min(head.target, budget)
                free -= cache.blocks(tokens)
                if free < (kept if running or position else 0):
                    break
                chunks.append((head, tokens))
                budget -= tokens
                position += 1
        if chunks:
            return Batch(chunks, decodes > 0)
        return DECODE if decodes else None
