"""Golden kernel of single operators: element by element, each with one rounding.

Values are held in float64. It is exact for operands of all formats here, and for products of any two of them. A sum is rounded
to odd where float64 does not hold it, which leaves the one rounding to the result's format as if it were exact: rounding to odd
into p bits and then to nearest into at most p - 2 bits is rounding to nearest (Boldo and Melquiond, 2008).
"""

from __future__ import annotations

import numpy as np

from kernels_ref import floats
from workloads.formats import Format


def arithmetic(op, x, *others):
    """``op.function`` of the arrays, codes or bit patterns of ``op.activations``, as those of ``op.output``.

    Integers wrap; a float converted to an integer is rounded to nearest even and saturates, and a NaN gives 0.
    """
    if op.activations.kind == op.output.kind == "int":
        (y,) = others
        return _wrapped(x * y if op.function == "multiply" else x + y, op.output)
    values = [_values(array, op.activations) for array in (x, *others)]
    result = evaluate(op.function, *values)
    return floats.encode(result, op.output) if op.output.kind == "float" else _saturated(result, op.output)


def evaluate(function: str, x: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """x, x * y, x + y or x * y + z of float64 arrays that hold numbers of at most 24 bits, rounded to odd."""
    with np.errstate(over="ignore", invalid="ignore"):
        if function == "convert":
            return x
        if function == "multiply":
            return x * others[0]
        if function == "multiply_add":
            return _add_to_odd(x * others[0], others[1])
        return _add_to_odd(x, others[0])


def _add_to_odd(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x + y, rounded to odd: the exact error of the nearest sum (Knuth's TwoSum) says on which side of it the sum lies."""
    nearest = x + y
    of_x = nearest - y
    error = (x - of_x) + (y - (nearest - of_x))
    even = (nearest.view(np.int64) & 1) == 0
    other = np.nextafter(nearest, np.where(error > 0, np.inf, -np.inf))
    return np.where(np.isfinite(nearest) & (error != 0) & even, other, nearest)


def _values(array: np.ndarray, fmt: Format) -> np.ndarray:
    return floats.decode(array, fmt) if fmt.kind == "float" else np.asarray(array, dtype=np.float64)


def _wrapped(values: np.ndarray, fmt: Format) -> np.ndarray:
    """The low bits of ``values``, as signed integers."""
    return ((values - fmt.lowest) & ((1 << fmt.bits) - 1)) + fmt.lowest


def _saturated(values: np.ndarray, fmt: Format) -> np.ndarray:
    whole = np.rint(np.where(np.isnan(values), 0.0, values))
    return np.clip(whole, fmt.lowest, fmt.highest).astype(np.int64)
