"""Arithmetic on extents that are ints or int64 arrays, with the builtins where both are ints: hot paths stay cheap."""

from __future__ import annotations

from typing import Any

from accel.base.clock import scale_up


def larger(a: Any, b: Any) -> Any:
    """max(a, b) of ints, element-wise of arrays."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    import numpy as np

    return np.maximum(a, b)


def smaller(a: Any, b: Any) -> Any:
    """min(a, b) of ints, element-wise of arrays."""
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    import numpy as np

    return np.minimum(a, b)


def at_share(ps: Any, permille: int) -> Any:
    """ceil(ps * 1000 / permille): the time of work that takes ``ps`` at full rate, at ``permille`` of it."""
    return scale_up(ps, 1000, permille)
