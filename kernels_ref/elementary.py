"""Exponential, reciprocal and reciprocal square root as the vector unit computes them, bit for bit, on float32.

All three end in one step: a fraction f of 23 bits chooses one of 32 segments by its highest five bits, and its other 18 bits d
run along the quadratic through the ends and the middle of the segment, in integers that count in 2^-23:

    y = c0 + ((c1 + (c2 (d >> 6) >> 12)) d >> 18)        in [2^23, 2^24], a significand

    2^x      f is the fraction of x, cut off at 23 bits                   the exponent is the whole part of x
    1 / x    f is the significand of x, the table holds 2 / m
    x^-1/2   the same, the table holds 2 / sqrt(m) for m in [1, 2) and for m in [2, 4)

Against the exact function of the same float32 the relative error is at most `EXPONENTIAL`, `RECIPROCAL` and `ROOT`; that is far
below the 2^-12 of one rounding to FP16. Results below the normal range of float32 become zero, subnormal operands count as zero.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

EXPONENTIAL, RECIPROCAL, ROOT = 2.0**-21, 2.0**-19, 2.0**-20
"""Largest relative errors."""
FRACTION_BITS = 23
OFFSET_BITS = 18
ONE = 1 << FRACTION_BITS
NAN, INFINITY = 0x7FC00000, 0x7F800000


def _table(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """c0, c1 and c2 of 32 segments of ``function`` over [0, 1], in units of 2^-23: [3, 32]."""
    start, middle, end = (function((np.arange(32) + part) / 32) for part in (0, 0.5, 1))
    c2 = np.rint(2 * ONE * (start - 2 * middle + end))
    return np.array([np.rint(ONE * start), np.rint(ONE * (end - start)) - c2, c2]).astype(np.int64)


_EXPONENTIAL = _table(np.exp2)
_RECIPROCAL = _table(lambda f: 2 / (1 + f))
_ROOT = np.stack([_table(lambda f, first=first: 2 / np.sqrt(first * (1 + f))) for first in (1, 2)])


def _interpolate(table: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """The significand for ``fraction`` by ``table`` [3, 32]; see the module's docstring."""
    c0, c1, c2 = table[:, fraction >> OFFSET_BITS]
    d = fraction & ((1 << OFFSET_BITS) - 1)
    return c0 + ((c1 + (c2 * (d >> 6) >> 12)) * d >> OFFSET_BITS)


def exponential(x: np.ndarray) -> np.ndarray:
    """2^x of float32 ``x``: infinite from 128 on, zero below -126."""
    x = np.asarray(x, dtype=np.float32)
    inside = np.abs(x) < 128  # False for NaN
    fixed = np.trunc(np.where(inside, x, 0).astype(np.float64) * ONE).astype(np.int64)
    bits = _number((fixed >> FRACTION_BITS) + 127, _interpolate(_EXPONENTIAL, fixed & (ONE - 1)))
    bits = np.where(inside, bits, np.where(x < 0, 0, INFINITY))
    return _floats(np.where(np.isnan(x), NAN, bits))


def reciprocal(x: np.ndarray) -> np.ndarray:
    """1 / x of float32 ``x``."""
    sign, exponent, fraction = _fields(x)
    bits = _number(253 - exponent, _interpolate(_RECIPROCAL, fraction))
    bits = np.where(exponent == 255, 0, np.where(exponent == 0, INFINITY, bits)) | sign
    return _floats(np.where(np.isnan(x), NAN, bits))


def reciprocal_root(x: np.ndarray) -> np.ndarray:
    """x^-1/2 of float32 ``x``: infinite at zero, NaN below."""
    sign, exponent, fraction = _fields(x)
    odd = exponent & 1 == 1  # the exponent less its bias is even
    bits = _number((380 - exponent) >> 1, np.where(odd, _interpolate(_ROOT[0], fraction), _interpolate(_ROOT[1], fraction)))
    bits = np.where(exponent == 255, 0, np.where(exponent == 0, INFINITY, bits))
    return _floats(np.where(np.isnan(x) | ((sign > 0) & (exponent > 0)), NAN, bits))


def _fields(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    bits = np.asarray(x, dtype=np.float32).view(np.uint32).astype(np.int64)
    return bits & 1 << 31, bits >> FRACTION_BITS & 255, bits & (ONE - 1)


def _number(exponent: np.ndarray, significand: np.ndarray) -> np.ndarray:
    """The bits of a positive float32 of biased ``exponent`` and ``significand`` up to 2^24; 0 below the normal range."""
    bits = (exponent << FRACTION_BITS) + significand - ONE
    return np.where(bits < ONE, 0, bits)


def _floats(bits: np.ndarray) -> np.ndarray:
    return np.asarray(bits).astype(np.uint32).view(np.float32)
