"""First come, first served, prefill first: the scheduler that vLLM had before chunked prefill."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sim.policies.base import DECODE, Batch, Policy, View

if TYPE_CHECKING:
    from sim.request import Request


class Fcfs(Policy):
    """Prefill first, whole prompts, in order of arrival; decodes wait while a prompt can be admitted.

    An iteration is either prefill or decode. Requests are admitted from the head of the queue until the next one exceeds
    `max_batched_tokens` or `max_num_seqs`, or its whole prompt does not fit in the free blocks less the watermark (ignored for
    the first when nothing runs, so that a request which fits alone is always served). A prompt longer than
    `max_batched_tokens` is prefilled alone.
    """

    max_batched_tokens: int | None = Field(default=None, ge=1)
    """Prompt tokens per iteration; None: max(context limit, 2048), vLLM's default without chunked prefill."""
    max_num_seqs: int = Field(default=256, ge=1)
    """Requests admitted at a time; vLLM's default."""
    watermark: float = Field(default=0.01, ge=0, lt=1)
    """Fraction of all KV blocks kept free on admission, against frequent evictions; vLLM's default."""

    repeats: ClassVar[bool] = True
    in_order: ClassVar[bool] = True

    def next_batch(self, view: View) -> Batch | None:
        request = view.queued(0)
        if request is not None:
            chunks: list[tuple[Request, int]] = []
            cache, running = view.cache, view.running
            budget = self.max_batched_tokens or max(view.max_context, 2048)
            seats = self.max_num_seqs - running
            free, kept = cache.free, int(self.watermark * cache.total)
            while request is not None and len(chunks) < seats:
                tokens = request.target
                budget -= tokens
                free -= cache.blocks(tokens)
                if free < (kept if running or chunks else 0) or (budget < 0 and chunks):
                    break
                chunks.append((request, tokens))
                request = view.queued(len(chunks))
            if chunks:
                return Batch(chunks, False)
        return DECODE if view.decodes.count else None
