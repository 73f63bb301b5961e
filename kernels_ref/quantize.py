"""Quantisation, and the offline re-interpretation of weights for look-up: w = s (q - z) = s' (q' - z').

``q`` are a format's own codes (`Format.lowest` .. `Format.highest`; ternary 0, 1, 2 with zero point 1). ``s`` and ``z`` are a
scale and a zero point per output channel and segment of the reduction, [n, S], with S = 1 unless the format is grouped. All
functions take and return torch tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.formats import Format

INT8_MAX = 127
SMALLEST_NORMAL = 2.0**-126  # of float32: a smaller scale would lose bits


def quantize_activations(values: Tensor) -> tuple[Tensor, Tensor]:
    """INT8 codes [m, k] and one float32 scale per row [m]: scale = max |A| / 127, code = round(A / scale).

    Symmetric, per token, rounded to nearest even and never clipped, so |A - scale code| <= scale / 2. An all-zero row gets the
    smallest scale. Raises ValueError where a value is not finite.
    """
    if not torch.isfinite(values).all():
        raise ValueError("wanted finite activations, got infinities or NaNs")
    scale = (values.to(torch.float64).abs().amax(dim=-1) / INT8_MAX).clamp_min(SMALLEST_NORMAL).to(torch.float32)
    codes = torch.round(values.to(torch.float64) / scale.to(torch.float64)[:, None])
    return codes.to(torch.int64), scale


def quantize_weights(values: Tensor, fmt: Format) -> tuple[Tensor, Tensor, Tensor]:
    """Codes [n, k], scales and zero points [n, S] of ``values`` [n, k].

    Integers: asymmetric min-max, the range widened to contain zero, which is then exact. Ternary: scale = mean |w|,
    code = clip(round(w / scale), -1, 1) + 1 (BitNet b1.58, arXiv 2402.17764). Raises ValueError for a float format or for groups
    that do not divide k.
    """
    parts = segments(values.to(torch.float64), fmt)
    if fmt.kind == "ternary":
        scale = _nonzero(parts.abs().mean(dim=-1))
        zero = torch.ones_like(scale)
    else:
        low, high = parts.amin(dim=-1).clamp_max(0), parts.amax(dim=-1).clamp_min(0)
        scale = _nonzero((high - low) / (fmt.highest - fmt.lowest))
        zero = torch.round(fmt.lowest - low / scale).clamp(fmt.lowest, fmt.highest)
    codes = torch.round(parts / scale[..., None] + zero[..., None]).clamp(fmt.lowest, fmt.highest)
    return codes.reshape(values.shape).to(torch.int64), scale, zero


def dequantize_weights(codes: Tensor, scale: Tensor, zero: Tensor, fmt: Format) -> Tensor:
    """w = s (q - z) in float64, [n, k]."""
    parts = segments(codes.to(torch.float64), fmt)
    return (scale[..., None].to(torch.float64) * (parts - zero[..., None])).reshape(codes.shape)


def reinterpret(codes: Tensor, fmt: Format) -> Tensor:
    """q' = 2 (q - lowest) - (2^W - 1): odd numbers, symmetric about zero, whose bit planes are +-1."""
    return 2 * (codes - fmt.lowest) - ((1 << fmt.bits) - 1)


def reinterpret_scale(scale: Tensor, zero: Tensor, fmt: Format) -> tuple[Tensor, Tensor]:
    """s' = s / 2 and z' = 2 (z - lowest) + 1 - 2^W, with which s' (q' - z') = s (q - z); in float64."""
    scale, zero = scale.to(torch.float64), zero.to(torch.float64)
    return scale / 2, 2 * (zero - fmt.lowest) + 1 - (1 << fmt.bits)


def dequantize(accumulators: Tensor, sums: Tensor, activation_scale: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """The epilogue, in float32: O[m, n] = s_a[m] sum_s s'[n, s] (acc[s, m, n] - z'[n, s] sums[s, m]).

    ``scale`` and ``zero`` are those of `reinterpret_scale`. The vector unit's work: no table or bit plane is left in it.
    """
    scale, zero = (x.to(torch.float32).T[:, None, :] for x in (scale, zero))  # [S, 1, n]
    terms = scale * (accumulators.to(torch.float32) - zero * sums.to(torch.float32)[..., None])
    return activation_scale[:, None] * terms.sum(dim=0)


def segments(rows: Tensor, fmt: Format) -> Tensor:
    """``rows`` [r, k] as [r, S, k / S], one segment per scale of ``fmt``. Raises ValueError where groups do not divide k."""
    k = rows.shape[-1]
    length = fmt.group or k
    if k % length:
        raise ValueError(f"wanted a whole number of groups of {length} elements, got k = {k}")
    return rows.reshape(len(rows), k // length, length)


def check_codes(codes: Tensor, fmt: Format, what: str) -> Tensor:
    """``codes`` as int64. Raises ValueError, naming ``what``, where one is outside of the format."""
    codes = codes.to(torch.int64)
    if codes.numel() and (codes.min() < fmt.lowest or codes.max() > fmt.highest):
        got = f"{int(codes.min())} .. {int(codes.max())}"
        raise ValueError(f"{what}: wanted codes of {fmt}, {fmt.lowest} .. {fmt.highest}, got {got}")
    return codes


def _nonzero(scale: Tensor) -> Tensor:
    """A group of zeros has no scale of its own; any will do."""
    return torch.where(scale > 0, scale, torch.ones_like(scale))
