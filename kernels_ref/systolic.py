"""Golden kernels of systolic arrays: O[m, n] = C[m, n] + sum_k A[m, k] W[n, k], one product after the other in order of k.

`systolic_linear` is what the array does, bit for bit, in INT32 or FP32; `ideal_systolic` is the mathematics, in float64;
`systolic_error_bound` says how far apart they are.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kernels_ref.floats import UNIT
from workloads.formats import FORMATS, Format
from workloads.ops import Linear

FP32 = FORMATS["fp32"]
TYPES = {"fp16": (torch.int16, torch.float16), "bf16": (torch.int16, torch.bfloat16), "fp32": (torch.int32, torch.float32)}
UNDERFLOW = 2.0**-150
"""Half of the smallest FP32 number: the largest error of a product that falls below the normal numbers."""


def systolic_linear(op: Linear, activations: np.ndarray, weights: np.ndarray, partial: np.ndarray | None = None) -> np.ndarray:
    """The sums [m, n] of A [m, k] and W [n, k], starting from C [m, n] where ``op`` accumulates, else from zero.

    INT8: exactly, in an INT32 that wraps. FP16 and BF16: each product is rounded to FP32 (exact, unless a BF16 one underflows or
    overflows), then added in FP32, both to nearest even; within `systolic_error_bound` of `ideal_systolic`. Floats come and go as
    bits; a NaN has the one pattern of `workloads.formats`.
    """
    if op.accumulator.kind == "int":
        sums = torch.as_tensor(activations) @ torch.as_tensor(weights).T + (0 if partial is None else torch.as_tensor(partial))
        return sums.to(torch.int32).to(torch.int64).numpy()
    a, w = (_values(bits, fmt).to(torch.float32) for bits, fmt in ((activations, op.activations), (weights, op.weights)))
    total = torch.zeros(len(a), len(w)) if partial is None else _values(partial, FP32)
    for k in range(op.k):
        product = a[:, None, k] * w[None, :, k]
        total = total + product
    bits = total.view(torch.int32).to(torch.int64).numpy() & ((1 << FP32.bits) - 1)
    return np.where(total.isnan().numpy(), FP32.fields.nan, bits)


def _values(bits: np.ndarray, fmt: Format) -> Tensor:
    """The tensor of the type of ``fmt`` whose patterns are ``bits``."""
    integer, floating = TYPES[fmt.name]
    return torch.as_tensor(np.asarray(bits, dtype=np.int64)).to(integer).view(floating)


def ideal_systolic(op: Linear, activations: np.ndarray, weights: np.ndarray, partial: np.ndarray | None = None) -> Tensor:
    """C + A W^T of FP16 or BF16 operands (bits) in float64 [m, n]."""
    a, w = _values(activations, op.activations).double(), _values(weights, op.weights).double()
    return a @ w.T + (0 if partial is None else _values(partial, FP32).double())


def systolic_error_bound(op: Linear, activations: np.ndarray, weights: np.ndarray, partial: np.ndarray | None = None) -> Tensor:
    """Bound on |systolic_linear - ideal_systolic| of floats, float64 [m, n], where nothing overflows FP32 and k < 2^24:

        g (|C| + sum_k |A[m, k] W[n, k]|) + 2 k 2^-150          g = (k + 1) u / (1 - (k + 1) u),   u = 2^-24

    Every term passes k additions at most, each with a relative error of u (Higham, Accuracy and Stability of Numerical
    Algorithms, section 4.2); an addition that underflows is exact, and a product's error is at most 2^-150 where it underflows,
    and none elsewhere. The one u beyond k is for the float64 roundings of the ideal kernel.
    """
    steps = (op.k + 1) * UNIT["fp32"]
    a, w = _values(activations, op.activations).double().abs(), _values(weights, op.weights).double().abs()
    start = 0 if partial is None else _values(partial, FP32).double().abs()
    return steps / (1 - steps) * (start + a @ w.T) + 2 * op.k * UNDERFLOW
