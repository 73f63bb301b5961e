"""Paged KV cache of one replica: blocks of a fixed number of tokens, counted, never listed.

The simulator needs how many blocks are free, not which: a request that caches t tokens holds ceil(t / block) blocks, and the
block table's contents change no price. So an allocation is an addition, whatever its size.
"""

from __future__ import annotations

from sim.errors import BadInput, CheckFailed


class KVCache:
    """``tokens // block`` blocks of ``block`` tokens each (vLLM's default: 16). A remainder of a block is not used.

    Raises BadInput where not one block fits.
    """

    __slots__ = ("block", "free", "least_free", "total")

    def __init__(self, tokens: int, block: int = 16) -> None:
        if block < 1:
            raise BadInput(f"KV cache: a block must hold at least 1 token, got {block}")
        if tokens < block:
            raise BadInput(f"KV cache: wanted room for at least one block of {block} tokens, got {tokens} tokens")
        self.block = block
        self.total = self.free = self.least_free = tokens // block

    def blocks(self, tokens: int) -> int:
        """ceil(tokens / block)."""
        return -(-tokens // self.block)

    def growth(self, cached: int, new: int) -> int:
        """Blocks that a request with ``cached`` tokens needs in addition for ``new`` more."""
        block = self.block
        return -(-(cached + new) // block) - -(-cached // block)

    def take(self, blocks: int) -> None:
        """Allocate. Raises CheckFailed where they are not free: schedulers ask before."""
        free = self.free - blocks
        if free < 0:
            raise CheckFailed(f"KV cache: {blocks} blocks taken, {self.free} of {self.total} free")
        self.free = free
        if free < self.least_free:
            self.least_free = free

    def give(self, blocks: int) -> None:
        """Free. Raises CheckFailed where more come back than were taken."""
        self.free += blocks
        if self.free > self.total:
            raise CheckFailed(f"KV cache: {self.free} blocks free of {self.total}")
