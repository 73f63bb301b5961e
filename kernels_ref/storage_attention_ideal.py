"""In-storage attention as mathematics, in float64, and how far the engine's numbers may be from it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from kernels_ref.elementary import EXPONENTIAL, RECIPROCAL, ROOT
from kernels_ref.floats import UNIT, decode
from kernels_ref.storage_attention import FP16, LOG2E, selections
from workloads.sparse_attention import SparseAttention

U, HALF = UNIT["fp32"], UNIT["fp16"]
SMALLEST = 2.0**-24
"""The smallest FP16 number; rounding to FP16 is off by half of it below the normal range."""
FLUSHED = 64
"""Exponents beyond which a weight is 0 in FP16, and far below one unit of any sum in float32."""


def ideal_storage_attention(op: SparseAttention, *arrays: np.ndarray) -> Tensor:
    """out [heads, head_dim] in float64 of the operands (FP16 patterns), with the channels and tokens that the engine selects:

    out = alpha softmax(q K[j]^T / sqrt(d)) V[j] + (1 - alpha) mean,  alpha = sum_j softmax(q[i] K[:, i]^T / tau),
    tau = sqrt(d |q[i]|_1 / |q|_1); alpha = 1 where attention is dense.
    """
    return torch.stack([_ideal(op, *each)[0] for each in zip(*arrays, strict=True)])


def storage_attention_error_bound(op: SparseAttention, *arrays: np.ndarray, lanes: int) -> Tensor:
    """Bound on |storage_attention - ideal_storage_attention| of finite operands with the same selections, [heads, head_dim].

    For each element of out, with M the largest |V[j]|, R the range of V[j], u = 2^-24, g(n) = n u / (1 - n u):

        alpha               |a' - a| (M + |mean|)                 a: the ideal one, a' the engine's
        weights             R w(rho, k)                           rho: relative error of a weight before it is normalised
        sums, rounding      (M + |mean|) (3 g(k + 4) + 2^-19) + 2^-11 (M + |mean|) + 2^-24

    rho = 2^D (1 + 2^-21) (1 + 2^-11) - 1, where the exponents (s - max s) C are off by at most D: by C g(log2 L + d / L + 1)
    sum |q K| from the dot products, and by 4 u of themselves, which counts up to 64, as smaller weights are 0 in FP16. Weights
    off by rho, and by 2^-24 absolute, move their average by at most w(rho, n) = rho (1 + n 2^-24) / (1 - rho) + n 2^-24 of the
    range, because the largest weight is exactly 1; and never by more than the range. a' is bounded alike, with the errors of
    1 / tau (2^-20 + 2^-20 + g) in its exponents. Higham, Accuracy and Stability of Numerical Algorithms, section 4.2, for the
    sums.
    """
    return torch.stack([_bound(op, lanes, *each) for each in zip(*arrays, strict=True)])


def _ideal(
    op: SparseAttention, query: np.ndarray, keys: np.ndarray, values: np.ndarray, mean: np.ndarray
) -> tuple[Tensor, Tensor, Tensor]:
    """out, the scores of the selected tokens and their weights, times alpha, of one head."""
    channels, tokens = (torch.as_tensor(chosen) for chosen in selections(op, query, keys))
    q, k, v, average = (torch.as_tensor(decode(bits, FP16)) for bits in (query, keys, values, mean))
    alpha = torch.tensor(1.0, dtype=torch.float64) if op.dense else _approximate(op, q, k, channels)[tokens].sum()
    weights = torch.softmax(k[tokens] @ q / math.sqrt(op.head_dim), 0)
    return alpha * (weights @ v[tokens]) + (1 - alpha) * average, alpha, tokens


def _temperature(op: SparseAttention, q: Tensor, channels: Tensor) -> Tensor:
    """1 / tau."""
    return torch.rsqrt(op.head_dim * q[channels].abs().sum() / q.abs().sum()) if q.any() else torch.zeros(())


def _approximate(op: SparseAttention, q: Tensor, k: Tensor, channels: Tensor) -> Tensor:
    return torch.softmax(k[:, channels] @ q[channels] * _temperature(op, q, channels), 0)


def _sum_error(terms: float) -> float:
    """g(n) of a sum of which a term passes ``terms`` roundings."""
    return terms * U / (1 - terms * U)


def _off(exponents: Tensor, sums: Tensor, relative: float, weight: float) -> float:
    """rho of weights 2^exponents: these are off by ``sums`` and by ``relative`` of themselves, the weights by ``weight`` more."""
    most = (exponents.max() - exponents + 2 * sums.max()).clamp(max=FLUSHED)
    return float((1 + weight) * torch.exp2((sums + relative * most).max()) * (1 + EXPONENTIAL) - 1)


def _average_error(rho: float, count: int) -> float:
    """w(rho, n)."""
    return min(1.0, rho * (1 + count * SMALLEST) / (1 - rho) + count * SMALLEST) if rho < 1 else 1.0


def _bound(op: SparseAttention, lanes: int, query: np.ndarray, keys: np.ndarray, values: np.ndarray, mean: np.ndarray) -> Tensor:
    q, k, v, average = (torch.as_tensor(decode(bits, FP16)) for bits in (query, keys, values, mean))
    _, _, tokens = _ideal(op, query, keys, values, mean)
    scale, burst = LOG2E / math.sqrt(op.head_dim), _sum_error((lanes - 1).bit_length() + op.head_dim // lanes + 1)
    scores, magnitudes = k[tokens] @ q * scale, k[tokens].abs() @ q.abs() * scale
    weights = _average_error(_off(scores, burst * magnitudes, 4 * U, HALF), op.selected)
    largest, spread = v[tokens].abs().amax(0), v[tokens].amax(0) - v[tokens].amin(0)
    size = largest + average.abs() * (not op.dense)
    sums = 3 * _sum_error(op.selected + 4) + RECIPROCAL
    bound = spread * weights + size * (sums + HALF) + SMALLEST
    if op.dense:
        return bound
    channels, _ = (torch.as_tensor(chosen) for chosen in selections(op, query, keys))
    factor = _temperature(op, q, channels) * LOG2E
    approximate, magnitudes = k[:, channels] @ q[channels] * factor, k[:, channels].abs() @ q[channels].abs() * factor
    relative = 2 * burst + RECIPROCAL / 2 + ROOT + 8 * U
    rho = _off(approximate, _sum_error(op.channels + 1) * magnitudes, relative, 0.0)
    share = min(1.0, _average_error(rho, op.tokens) + 2 * _sum_error(op.tokens + 2) + RECIPROCAL)
    return bound + share * size
