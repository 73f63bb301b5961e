"""Whole numbers that people hand to `pim`: an int, or an array of integers, within bounds."""

from __future__ import annotations

from typing import Any

import numpy as np


def whole(name: str, value: Any, least: int, most: int | None = None) -> Any:
    """``value`` as an int, or as int64 array where it is one. Raises ValueError unless all of it is in [least, most]."""
    if type(value) is int:
        low = high = value
        taken: Any = value
    else:
        array = np.asarray(value)
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name}: wanted whole numbers {_bounds(least, most)}, got {value!r}{_rounded(array, least, most)}")
        if not array.size:
            return array.astype(np.int64)
        low, high = int(array.min()), int(array.max())
        taken = array.astype(np.int64) if array.ndim else int(array)
    if low < least:
        raise ValueError(f"{name}: wanted whole numbers {_bounds(least, most)}, got {low}; the nearest is {least}")
    if most is not None and high > most:
        raise ValueError(f"{name}: wanted whole numbers {_bounds(least, most)}, got {high}; the nearest is {most}")
    return taken


def _bounds(least: int, most: int | None) -> str:
    return f"from {least} on" if most is None else f"from {least} to {most}"


def _rounded(array: Any, least: int, most: int | None) -> str:
    """The nearest that would do of one number that is not whole; of anything else nothing."""
    if array.ndim or array.dtype.kind != "f" or not np.isfinite(array):
        return ""
    nearest = max(round(float(array)), least)
    return f"; the nearest is {nearest if most is None else min(nearest, most)}"
