"""What the serving engine asks of a price, and what it counts for the energy ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np


class Pricer(Protocol):
    """Durations of iterations on one replica, in integer picoseconds above zero. Every iteration is rounded once.

    The two methods must agree bit for bit:
    ``decode_run_ps(d, c, n)[i] == step_ps(d, d, (), d, c + i * d)``.
    """

    def step_ps(self, tokens: int, sequences: int, chunks: Sequence[tuple[int, int]], decodes: int, context: int) -> int:
        """One iteration of ``tokens`` new tokens in all (the chunks' and one per decode).

        ``sequences`` rows pass the LM head (the decodes, and the chunks that complete their prompt); ``chunks`` are
        (new tokens, cached tokens before them) of the requests in prefill; the ``decodes`` decoding requests attend ``context``
        cached tokens in all, their new ones included.
        """
        ...

    def decode_run_ps(self, decodes: int, context: int, iterations: int) -> np.ndarray:
        """int64[iterations]: consecutive decode-only iterations; each adds one token per request to the context."""
        ...


@dataclass(slots=True)
class Tally:
    """What one replica has executed: sums over all iterations, exact Python ints."""

    linear: Counter[int] = field(default_factory=Counter)
    """Iterations by their new tokens."""
    head: Counter[int] = field(default_factory=Counter)
    """Iterations by rows through the LM head; those without any are not counted."""
    decode_iterations: int = 0
    decode_tokens: int = 0
    decode_context: int = 0
    """Tokens that decodes attended, the new ones included."""
    chunks: int = 0
    chunk_tokens: int = 0
    chunk_context: int = 0
    """Past and new tokens of every chunk."""
    chunk_pairs: int = 0
    """Query-key pairs of prefill under a causal mask: c * past + c (c + 1) / 2 for a chunk of c tokens."""
    busy_ps: int = 0
    """Time in iterations."""

    @property
    def iterations(self) -> int:
        return sum(self.linear.values())

    def add_chunks(self, chunks: Sequence[tuple[int, int]]) -> None:
        """Count the prefill chunks (new tokens, past) of one iteration."""
        self.chunks += len(chunks)
        for new, past in chunks:
            self.chunk_tokens += new
            self.chunk_context += past + new
            self.chunk_pairs += new * past + new * (new + 1) // 2

    def add_decodes(self, decodes: int, context: int, iterations: int) -> None:
        """Count ``iterations`` iterations of ``decodes`` requests, the first of which attends ``context`` tokens in all."""
        self.decode_iterations += iterations
        self.decode_tokens += decodes * iterations
        self.decode_context += context * iterations + decodes * (iterations * (iterations - 1) // 2)
