"""Streams of addresses by which memories are compared: sequential, strided and random bursts, and random among a few rows."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Pattern = Literal["sequential", "strided", "random"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


def addresses(
    pattern: Pattern, count: int, burst: int, span: int, *, stride: int = 0, block: int = 0, seed: int = 0
) -> NDArray[np.int64]:
    """Byte addresses, int64 [count], of bursts of ``burst`` bytes within ``span`` bytes.

    sequential: burst after burst, from 0 and around. strided: ``stride`` bytes apart, each round one burst further on. random:
    blocks of ``block`` bytes (a burst where 0), each read through, every block alike, by ``seed``. Raises ValueError where the
    span holds no block, or stride or block is no multiple of a burst within the span.
    """
    block = block or burst
    for name, size in (("block", block), ("stride", stride if pattern == "strided" else burst)):
        if size <= 0 or size % burst or size > span:
            raise ValueError(f"{name}: wanted a multiple of a burst of {burst} B up to {span} B, got {size} B")
    index = np.arange(count)
    if pattern == "random":
        number, place = np.divmod(index, block // burst)
        start = np.random.default_rng(seed).integers(0, span // block, count)[number] * block
        return start + place * burst
    if pattern == "strided":
        rounds, place = np.divmod(index, span // stride)
        return (place * stride + rounds * burst) % span // burst * burst
    return index % (span // burst) * burst
