"""Point-wise and row-wise functions in float64 by torch, and how far the vector unit's kernels may be from them.

`pointwise_ideal` is the mathematics of `kernels_ref.pointwise`; `pointwise_bound` its distance to that, where results are numbers
of FP16 (one beyond 65504 (1 + 2^-11) may come out infinite). GELU is the tanh form, within 2^-11 of x Phi(x) everywhere.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kernels_ref.elementary import RECIPROCAL, ROOT
from kernels_ref.floats import UNIT, decode
from kernels_ref.pointwise import EPSILON, INT8_MAX, LOG2E, PARTS
from workloads.ops import Pointwise

LEAST = 2.0**-24  # of FP16: the smallest number; below the normal range a rounding is off by half of it


def operand_values(op: Pointwise, *arrays: np.ndarray) -> list[Tensor]:
    """The operands' patterns as float64."""
    return [
        torch.as_tensor(decode(array, operand.format) if operand.format.kind == "float" else np.asarray(array)).to(torch.float64)
        for array, operand in zip(arrays, op.operands(), strict=True)
    ]


def pointwise_ideal(op: Pointwise, *arrays: np.ndarray) -> Tensor:
    """The exact results [rows, row] in float64; of quantize the values that its codes stand for, which are ``x`` itself."""
    x, *others = operand_values(op, *arrays)
    match op.function, others:
        case "add" | "bias", [y]:
            return x + y
        case "relu", []:
            return torch.relu(x)
        case "silu", []:
            return torch.nn.functional.silu(x)
        case "silu_mul", [y]:
            return torch.nn.functional.silu(x) * y
        case "gelu", []:
            return torch.nn.functional.gelu(x, approximate="tanh")
        case "softmax", []:
            return torch.softmax(x, dim=-1)
        case "rms_norm", [gain]:
            return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + EPSILON) * gain
        case "layer_norm", [gain, bias]:
            return torch.nn.functional.layer_norm(x, (op.row,), gain, bias, EPSILON)
        case "rope", [cos, sin]:
            first, second = x.reshape(len(x), -1, 2, op.half_head).unbind(dim=2)
            cos, sin = cos[:, None], sin[:, None]
            return torch.stack([first * cos - second * sin, second * cos + first * sin], dim=2).reshape(x.shape)
        case "quantize", []:
            return x
        case "dequantize", [sums, row_scale, zero, scale]:
            return (x - zero * sums[:, None]) * scale * row_scale[:, None]
    raise ValueError(f"no ideal kernel of {op.describe()}")


def pointwise_bound(op: Pointwise, *arrays: np.ndarray, lanes: int) -> Tensor:
    """Bound on |hardware - ideal|, float64 [rows, row]: what `_before_rounding` says, and the last rounding, of FP16

        2^-11 (|y| + before) + 2^-25

    but for relu, which is exact, and for quantize, whose codes times scale are within scale (1/2 + 2^-11) of x, with
    scale = max |x| / 127.
    """
    if op.function == "quantize":
        (x,) = operand_values(op, *arrays)
        return (x.abs().amax(dim=-1, keepdim=True) / INT8_MAX * (0.5 + UNIT["fp16"])).expand(x.shape)
    y = pointwise_ideal(op, *arrays)
    if op.function == "relu":
        return torch.zeros_like(y)
    before = _before_rounding(op, y, operand_values(op, *arrays), lanes)
    return UNIT["fp16"] * (y.abs() + before) + LEAST / 2 + before


def _before_rounding(op: Pointwise, y: Tensor, operands: list[Tensor], lanes: int) -> Tensor:
    """How far the float32 result may be off, where a term of a sum passes at most s = log2(lanes) + words / 4 + 1
    additions (words / 4 rounded up), each off by 2^-24. Four of them have 2^-100 besides, for what falls below the normal range:

    add, bias    2^-24 |y|
    silu(_mul)   2^-15 |y|: with t = x log2 e, |t| < 128, 2^t is off by 2^-21 + 2^-23 ln 2 |t|; where 2^t overflows, y < 2^-120
    gelu         2^-14 |y|: t = (c1 x^2 + c0) x with four roundings in place of one
    softmax      (2^-16 + 2^-18 + 2^-23 (log2 e max |x| + s)) |y|: two exponentials of t = x log2 e - M, where x log2 e is off by
                 2^-24 of it, and a reciprocal
    rms_norm     (2^-20 + 2^-24 s + 2^-21) |y|
    layer_norm   |gain| r (mean_off + |d| (2^-20 + 2^-24 s + 2^-21 + (r mean_off)^2)) + 2^-23 (|gain d r| + |bias|),
                 mean_off = 2^-24 (s + 2) mean |x|
    rope         2^-23 (|x1 cos| + |x2 sin|)
    dequantize   2^-21 (|x| + |zero sums|) |scale row_scale|
    """
    x, *others = operands
    steps = -(-op.row // (PARTS * lanes)) + lanes.bit_length()
    norm = ROOT + UNIT["fp32"] * (steps + 8)
    match op.function, others:
        case "add" | "bias", _:
            return UNIT["fp32"] * y.abs()
        case "silu" | "silu_mul", _:
            return 2.0**-15 * y.abs() + 2.0**-100
        case "gelu", _:
            return 2.0**-14 * y.abs() + 2.0**-100
        case "softmax", _:
            highest = torch.where(x.isfinite(), x.abs(), 0.0).amax(dim=-1, keepdim=True)
            return (
                y.abs() * (2.0**-16 + 2 * RECIPROCAL + 2 * LOG2E * UNIT["fp32"] * highest + 2 * UNIT["fp32"] * steps) + 2.0**-100
            )
        case "rms_norm", _:
            return norm * y.abs()
        case "layer_norm", [gain, bias]:
            off = UNIT["fp32"] * (steps + 2) * x.abs().mean(dim=-1, keepdim=True)
            d = x - x.mean(dim=-1, keepdim=True)
            r = torch.rsqrt(d.square().mean(dim=-1, keepdim=True) + EPSILON)
            scaled = gain.abs() * r
            return scaled * (off + d.abs() * (norm + (r * off) ** 2)) + 2 * UNIT["fp32"] * (scaled * d.abs() + bias.abs())
        case "rope", [cos, sin]:
            first, second = x.abs().reshape(len(x), -1, 2, op.half_head).unbind(dim=2)
            cos, sin = cos.abs()[:, None], sin.abs()[:, None]
            terms = [first * cos + second * sin, second * cos + first * sin]
            return 2 * UNIT["fp32"] * torch.stack(terms, dim=2).reshape(x.shape)
        case "dequantize", [sums, row_scale, zero, scale]:
            terms = x.abs() + (zero * sums[:, None]).abs()
            return 8 * UNIT["fp32"] * terms * (scale * row_scale[:, None]).abs()
    raise ValueError(f"no bound for {op.describe()}")
