"""Streams of addresses by which memories are compared: sequential, strided and random bursts, and random among a few rows."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Pattern = Literal["sequential", "strided", "random"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


def addresses(pattern: Pattern, count: int, burst: int, span: int, *, stride: int = 0, seed: int = 0) -> NDArray[np.int64]:
    """Byte addresses, int64 [count], of bursts of ``burst`` bytes within ``span`` bytes.

    sequential: burst after burst, from 0 and around. strided: ``stride`` bytes apart, each round one burst further on. random:
    every burst alike, by ``seed``. Raises ValueError where the span holds no burst, or the stride is no multiple of one within
    the span.
    """
    bursts = span // burst
    if bursts < 1:
        raise ValueError(f"span: wanted at least a burst of {burst} B, got {span} B")
    if pattern == "random":
        return np.random.default_rng(seed).integers(0, bursts, count) * burst
    index = np.arange(count)
    if pattern == "strided":
        if stride <= 0 or stride % burst or stride > span:
            raise ValueError(f"stride: wanted a multiple of a burst of {burst} B up to {span} B, got {stride} B")
        rounds, place = np.divmod(index, span // stride)
        return (place * stride + rounds * burst) % span // burst * burst
    return index % bursts * burst
