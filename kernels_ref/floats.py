"""Bit patterns of floating-point formats and their values, with one rounding.

A value is held in float64, which holds every number of every format here, and any product of two of at most 26 bits, exactly.
``round_to`` is the rounding of hardware (`accel.base.fp`) and of PyTorch: to nearest, ties to even, through subnormals, and to
infinity beyond the highest number; E4M3, which has no infinity, saturates there. A NaN has one pattern, `FloatFields.nan`.
"""

from __future__ import annotations

import numpy as np

from workloads.formats import Format

UNIT = {"fp16": 2.0**-11, "fp32": 2.0**-24, "fp64": 2.0**-53}
"""Largest relative error of one rounding to nearest in the normal range, by format (the unit roundoff)."""


def decode(bits: np.ndarray, fmt: Format) -> np.ndarray:
    """The float64 values of the patterns ``bits`` of ``fmt``, exactly."""
    bits, fields = np.asarray(bits, dtype=np.int64), fmt.fields
    top = (1 << fields.exponent) - 1
    exponent = bits >> fields.mantissa & top
    mantissa = bits & ((1 << fields.mantissa) - 1)
    significand = mantissa + (exponent > 0) * (1 << fields.mantissa)
    values = np.ldexp(significand.astype(np.float64), np.maximum(exponent, 1) - fields.bias - fields.mantissa)
    if fields.infinities:
        values = np.where(exponent == top, np.where(mantissa > 0, np.nan, np.inf), values)
    else:
        values = np.where(bits & (fields.sign - 1) == fields.nan, np.nan, values)
    return np.where(bits & fields.sign, -values, values)


def encode(values: np.ndarray, fmt: Format) -> np.ndarray:
    """The int64 patterns of ``fmt`` nearest to the float64 ``values``; see the module's docstring."""
    values, fields = np.asarray(values, dtype=np.float64), fmt.fields
    rounded = np.abs(round_to(values, fmt))
    finite = np.where(np.isfinite(rounded), rounded, 0.0)
    _, exponent = np.frexp(finite)  # 2^(exponent - 1) <= finite < 2^exponent
    exponent = np.where(finite > 0, np.maximum(exponent - 1 + fields.bias, 1), 1).astype(np.int64)
    significand = np.ldexp(finite, fields.mantissa + fields.bias - exponent).astype(np.int64)
    bits = ((exponent - 1) << fields.mantissa) + significand  # a subnormal has no leading one, and so the exponent field 0
    if fields.infinities:
        bits = np.where(np.isinf(rounded), ((1 << fields.exponent) - 1) << fields.mantissa, bits)
    bits = bits | np.signbit(values) * fields.sign
    return np.where(np.isnan(rounded), fields.nan, bits)


def round_to(values: np.ndarray, fmt: Format) -> np.ndarray:
    """The float64 ``values`` rounded to numbers of ``fmt``."""
    values, fields = np.asarray(values, dtype=np.float64), fmt.fields
    _, exponent = np.frexp(values)
    step = np.ldexp(1.0, np.maximum(exponent - 1, 1 - fields.bias) - fields.mantissa)
    with np.errstate(invalid="ignore"):
        rounded = np.where(np.isfinite(values), np.rint(values / step) * step, values)
        highest = decode(np.array(fields.highest), fmt)
        beyond = np.copysign(np.inf if fields.infinities else highest, values)
        return np.where(np.abs(rounded) > highest, beyond, rounded)
