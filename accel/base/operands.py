"""Operands for characterisation: arrays as an LLM has them, because energy depends on how many bits toggle.

Each array an op reads (`Op.operands`) is drawn after its name and format:

    weights                    codes uniform; floats normal with sigma 0.02, the standard deviation that GPT-2 starts from
    zero points                codes uniform; floats normal about 8 with sigma 2, as those of 4-bit codes
    scales                     normal about 0.01 with sigma 0.0025 (4-bit codes over four such sigmas of weights), positive
    cos, sin                   of uniform angles
    gain                       normal about 1 with sigma 0.1
    partial sums               normal, as a sum of `PARTIAL_TERMS` products of these activations and weights is
    INT32                      normal, as such a sum of INT8 products is
    anything else              integers normal over the range, which is 8 sigma, clipped; floats normal with sigma 1

FP8 has sigma 1 throughout: tensors are scaled into its range. The sigma of integers is that of a normal row whose largest of
about 4096 values, 4 sigma, has the largest code.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from workloads.formats import Format
from workloads.ops import Op, Operand

WEIGHT_SIGMA = 0.02
SCALE, SCALE_SIGMA = 0.01, 0.0025
ZERO, ZERO_SIGMA = 8.0, 2.0
GAIN_SIGMA = 0.1
PARTIAL_TERMS = 128  # of a cut reduction: one part of a group of weights
SIGMAS = 8  # of the range of an integer format
WIDE = 16  # bits of an integer format beyond which it holds sums
SUM_SIGMA = 32 * 74 * math.sqrt(PARTIAL_TERMS)  # of INT8 activations (sigma 32) by uniform INT8 weights (sigma 74)


def operands(op: Op, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Arrays for ``op`` as `encode` takes them: integer codes, or the bit patterns of floats, in int64."""
    return tuple(_draw(op, operand, rng) for operand in op.operands())


def statistics(op: Op) -> dict[str, str]:
    """What `operands` draws for each array of ``op``, in words, by name and format."""
    return {f"{o.name} {o.format.grouped(None)}": _words(op, o) for o in op.operands()}


def _draw(op: Op, operand: Operand, rng: np.random.Generator) -> np.ndarray:
    fmt, shape = operand.format, op.shape(operand)
    if _is_uniform(operand):
        return rng.integers(fmt.lowest, fmt.highest, shape, endpoint=True)
    if operand.name in ("cos", "sin"):
        values = np.cos(rng.uniform(0, 2 * math.pi, shape))
    else:
        mean, sigma = _normal(op, operand)
        values = rng.normal(mean, sigma, shape)
    if _is_scale(operand):
        values = np.maximum(values, SCALE_SIGMA)
    if fmt.kind == "float":
        return bits(values, fmt)
    return np.clip(np.rint(values), fmt.lowest, fmt.highest).astype(np.int64)


def _words(op: Op, operand: Operand) -> str:
    if _is_uniform(operand):
        return "uniform codes"
    if operand.name in ("cos", "sin"):
        return "of uniform angles"
    mean, sigma = _normal(op, operand)
    return f"normal{f' about {mean:g}' if mean else ''} with sigma {sigma:.3g}{', positive' if _is_scale(operand) else ''}"


def _is_uniform(operand: Operand) -> bool:
    return operand.name in ("weights", "zero") and operand.format.kind != "float"


def _is_scale(operand: Operand) -> bool:
    return operand.name in ("scale", "row_scale")


def _normal(op: Op, operand: Operand) -> tuple[float, float]:
    """Mean and standard deviation."""
    fmt = operand.format
    if _is_scale(operand):
        return SCALE, SCALE_SIGMA
    if operand.name == "zero":
        return ZERO, ZERO_SIGMA
    if operand.name == "gain":
        return 1.0, GAIN_SIGMA
    if operand.name == "partial":
        factors = [o for o in op.operands() if o.name in ("activations", "weights", "scale")]
        return 0.0, math.sqrt(PARTIAL_TERMS) * math.prod(SCALE if o.name == "scale" else _spread(op, o) for o in factors)
    if fmt.kind == "float":
        return 0.0, WEIGHT_SIGMA if operand.name == "weights" and fmt.bits > 8 else 1.0
    if fmt.bits > WIDE:
        return 0.0, SUM_SIGMA
    return (fmt.lowest + fmt.highest + 1) / 2, (fmt.highest - fmt.lowest + 1) / SIGMAS


def _spread(op: Op, operand: Operand) -> float:
    """Standard deviation of an operand's values."""
    if _is_uniform(operand):
        return (operand.format.highest - operand.format.lowest + 1) / math.sqrt(12)
    return _normal(op, operand)[1]


def bits(values: Any, fmt: Format) -> np.ndarray:
    """The patterns of the finite numbers of a floating-point format that are next to ``values``, as int64."""
    values = np.asarray(values, np.float64)
    if fmt.bits == 32:
        return values.astype(np.float32).view(np.uint32).astype(np.int64)
    numbers = _numbers(fmt)
    middle = (numbers[1:] + numbers[:-1]) / 2
    return np.searchsorted(middle, np.abs(values)) | np.signbit(values) * fmt.fields.sign


@cache
def _numbers(fmt: Format) -> np.ndarray:
    """The finite numbers from 0 up, by their patterns."""
    fields = fmt.fields
    patterns = np.arange(fields.highest + 1)
    exponent, mantissa = patterns >> fields.mantissa, patterns & ((1 << fields.mantissa) - 1)
    normal = np.ldexp(1 + mantissa / 2.0**fields.mantissa, exponent - fields.bias)
    return np.where(exponent == 0, np.ldexp(mantissa / 2.0**fields.mantissa, 1 - fields.bias), normal)
