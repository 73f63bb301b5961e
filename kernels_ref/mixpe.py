"""Golden kernel of MixPE: a linear layer on 4-bit weights whose scales and zero points are applied after each group's sum.

    O[m, n] = sum_g s[n, g] (sum_{k in g} A[m, k] q[n, k] - z[n, g] sum_{k in g} A[m, k])

`mixpe_linear` is what the hardware computes, bit for bit, for INT8 and FP16 activations; it stays within `mixpe_error_bound` of
`kernels_ref.linear.ideal_linear`. Source: MixPE (arXiv 2411.16158), its two ideas; widths and roundings are ours.
"""

from __future__ import annotations

import numpy as np
import torch

from kernels_ref.arithmetic import evaluate
from kernels_ref.floats import UNIT, decode, encode
from kernels_ref.linear import ideal_linear
from workloads.formats import FORMATS
from workloads.ops import Linear

FP16, FP32 = FORMATS["fp16"], FORMATS["fp32"]
POINT = 24  # binary places of the smallest FP16 number


def mixpe_linear(op: Linear, activations: np.ndarray, codes: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """FP32 bits [m, n] of the layer, group after group.

    ``activations`` [m, k] are INT8 codes or FP16 bits, ``codes`` [n, k] and ``zero`` [n, G] codes of ``op.weights``, ``scale``
    [n, G] FP16 bits. In every group sum A q and sum A are exact, by bit planes of u = q - lowest; so is their difference
    d = sum A u - (z - lowest) sum A = sum A (q - z). Then d is rounded to FP32, and s d is added to the sum over groups, which
    starts from +0, with one rounding (a fused multiply-add). Where a group of FP16 activations holds an infinity or a NaN, the
    row is NaN.
    """
    group, lowest = op.weights.group or op.k, op.weights.lowest
    fixed, finite = _fixed_point(op, activations)
    unsigned, offset, scales = np.asarray(codes) - lowest, np.asarray(zero) - lowest, decode(scale, FP16)
    place = 2.0**-POINT if op.activations == FP16 else 1.0
    total = np.zeros((len(fixed), len(unsigned)))
    for g in range(op.groups):
        part = slice(g * group, (g + 1) * group)
        products = sum(_matmul(fixed[:, part], unsigned[:, part] >> i & 1) << i for i in range(op.weights.bits))
        sums = fixed[:, part].sum(axis=1)
        difference = products - offset[:, g] * sums[:, None]
        rounded = decode(encode(difference * place, FP32), FP32)
        rounded = np.where(finite[:, part].all(axis=1, keepdims=True), rounded, np.nan)
        total = decode(encode(evaluate("multiply_add", rounded, scales[:, g], total), FP32), FP32)
    return encode(total, FP32)


def mixpe_ideal(op: Linear, activations: np.ndarray, codes: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """O [m, n] in float64, of the arrays that `mixpe_linear` takes."""
    a, q, s, z = (torch.as_tensor(x) for x in (_values(op, activations), codes, decode(scale, FP16), zero))
    return ideal_linear(a, q, s, z, op.weights).numpy()


def mixpe_error_bound(op: Linear, activations: np.ndarray, codes: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """Bound on |mixpe_linear - mixpe_ideal|, float64 [m, n], for finite activations and scales:

        r u / (1 - r u) sum_g |s d_g|    with u = 2^-24 and r = G (INT8) or G + 1 (FP16) roundings on the way of a term

    d_g is exact for INT8, whose |d| < 2^24; for FP16 it is rounded once. Nothing overflows (|s d| < 2^44), nothing underflows
    (all is a multiple of 2^-48). The term k 2^-52 sum |A W| is for the sums of the ideal kernel itself.
    """
    values, scales = _values(op, activations), decode(scale, FP16)
    length = op.weights.group or op.k
    weights = (np.asarray(codes).reshape(-1, op.groups, length) - np.asarray(zero)[..., None]) * scales[..., None]
    terms = np.einsum("mgk,ngk->mng", values.reshape(-1, op.groups, length), weights)
    steps = (op.groups + (op.activations == FP16)) * UNIT["fp32"]
    of_ideal = op.k * 2 * UNIT["fp64"] * (np.abs(values) @ np.abs(weights).reshape(len(weights), -1).T)
    return steps / (1 - steps) * np.abs(terms).sum(axis=-1) + of_ideal


def _values(op: Linear, activations: np.ndarray) -> np.ndarray:
    return decode(activations, FP16) if op.activations == FP16 else np.asarray(activations, dtype=np.float64)


def _fixed_point(op: Linear, activations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Activations as integers, FP16 in units of 2^-24, with 0 for what is not finite; and which are finite."""
    values = _values(op, activations)
    finite = np.asarray(np.isfinite(values))
    scaled = np.ldexp(np.where(finite, values, 0.0), POINT if op.activations == FP16 else 0)
    return scaled.astype(np.int64), finite


def _matmul(a: np.ndarray, w: np.ndarray) -> np.ndarray:
    return (torch.as_tensor(a) @ torch.as_tensor(w).T).numpy()
