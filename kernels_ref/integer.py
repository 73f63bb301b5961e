"""Golden kernel of integer matrix products, as units with accumulators of limited width compute them."""

from __future__ import annotations

import numpy as np
import torch

from kernels_ref import quantize
from workloads.ops import Linear


def integer_linear(
    op: Linear,
    activations: np.ndarray,
    weights: np.ndarray,
    partial: np.ndarray | None = None,
    *,
    reinterpreted: bool = False,
    accumulator_bits: int = 32,
) -> tuple[np.ndarray]:
    """O[m, n] = C[m, n] + sum_k A[m, k] W[n, k] modulo 2^B, as the int64 in [-2^(B-1), 2^(B-1)) that it is congruent to.

    B is ``accumulator_bits``; C is ``partial``, zero where it is None. W are the codes themselves, or where ``reinterpreted`` the
    odd numbers q' = 2 (q - lowest) - (2^W - 1). Both stand for the same weights, w = s (q - z) = s' (q' - z')
    (`quantize.reinterpret_scale`), so that they differ by sums of activations: A q' = 2 A q - (2 lowest + 2^W - 1) sum_k A.
    Exact where the sum fits B bits, so ideal and hardware kernel are one. Raises ValueError for a code outside of its format.
    """
    a = quantize.check_codes(torch.as_tensor(activations), op.activations, "activations")
    q = quantize.check_codes(torch.as_tensor(weights), op.weights, "weights")
    if reinterpreted:
        q = quantize.reinterpret(q, op.weights)
    total = a @ q.T
    if partial is not None:
        total = total + torch.as_tensor(partial)
    half = 1 << (accumulator_bits - 1)
    return ((((total + half) & (2 * half - 1)) - half).numpy(),)
