"""Golden kernel of systolic arrays: O[m, n] = C[m, n] + sum_k A[m, k] W[n, k], summed in order of k in INT32 or FP32."""

from __future__ import annotations

import numpy as np

from workloads.ops import Linear


def systolic_linear(op: Linear, activations: np.ndarray, weights: np.ndarray, partial: np.ndarray | None = None) -> np.ndarray:
    """The accumulators [m, n] of a systolic array, for A [m, k], W [n, k] and, where ``op`` accumulates, C [m, n].

    Integers: INT32, exact but that sums wrap.
    """
    sums = np.asarray(activations, dtype=np.int64) @ np.asarray(weights, dtype=np.int64).T
    if partial is not None:
        sums = sums + partial
    return ((sums + (1 << 31)) & ((1 << 32) - 1)) - (1 << 31)
