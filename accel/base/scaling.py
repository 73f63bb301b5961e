"""Energies of an array too large to play, from smaller arrays of the same modules.

The joules of an event grow with what the event drives: nothing (a product in one PE), the columns that a word runs along, or all
cells (the clock). Over the workloads w of several arrays with the extents r and c,

    E_w = sum_j events_wj (a_j + b_j r + c_j c + d_j r c),   all coefficients >= 0, relative errors least in square

(or whatever terms the caller gives to an event), and workloads that were not fitted are predicted, of two extents those of the
largest array: that is the error to expect beyond.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from accel.base.fit import Fit, carriers, non_negative_least_squares
from accel.base.spec import Spec
from accel.base.unit import RtlUnit

Scaled = TypeVar("Scaled", bound=Spec)

SCALES = ("rows", "columns", "lanes")
"""Parameters by which arrays are enlarged without a change of what they are made of."""
SMALL = 4
WORST_PREDICTION = 0.25


def extents(unit: Spec) -> dict[str, int]:
    """The parameters by which ``unit`` is scaled."""
    return {name: value for name in SCALES if isinstance(value := getattr(unit, name, None), int)}


def shrunk(unit: Scaled, size: int = SMALL) -> Scaled:
    """``unit`` with no more than ``size`` rows, columns or lanes: as few as it accepts from there on."""
    for most in range(size, max([size, *extents(unit).values()]) + 1):
        try:
            return _with(unit, {name: min(value, most) for name, value in extents(unit).items()})
        except ValueError:
            continue
    return unit


def _with(unit: Scaled, changed: Mapping[str, int]) -> Scaled:
    return type(unit)(**dict(unit) | dict(changed))


def array_sizes(unit: RtlUnit) -> list[RtlUnit]:
    """Arrays small enough to play, the largest last: with s the least size that ``unit`` accepts, s and 2 s of one extent; of
    two, s x s, s x 4 s, 4 s x s, 2 s x 2 s and 4 s x 4 s. Raises ValueError where there is no extent to change."""
    own = extents(unit)
    if not own:
        raise ValueError(f"{unit.kind()} is too large to be played, and has none of the parameters {', '.join(SCALES)} to shrink")
    least = max(extents(shrunk(unit, 2)).values())
    sizes = [(1,), (2,)] if len(own) == 1 else [(1, 1), (1, 4), (4, 1), (2, 2), (4, 4)]
    wanted = [{n: min(own[n], least * f) for n, f in zip(own, factors, strict=True)} for factors in sizes]
    return list(dict.fromkeys(_with(unit, sizes) for sizes in wanted))


Rows = tuple[RtlUnit, Sequence[Mapping[str, int]], Sequence[float]]
"""An array, and the event counts and joules of each of its workloads."""
Growth = Callable[[RtlUnit, str], Sequence[float]]
"""The terms that the joules of an event are a sum of, each with a coefficient of its own: what follows from a unit's extents."""


def products(unit: RtlUnit, event: str) -> list[float]:
    """1, and the products of every choice of extents, whatever the event."""
    values = extents(unit).values()
    choices = itertools.chain.from_iterable(itertools.combinations(values, n) for n in range(len(values) + 1))
    return [float(math.prod(choice)) for choice in choices]


def extrapolate(unit: RtlUnit, fitted: Sequence[Rows], predicted: Rows, growth: Growth = products) -> Fit:
    """Joules per event of ``unit`` from the arrays ``fitted``; ``held_out`` is the error on the workloads ``predicted``.

    Raises ValueError where that exceeds `WORST_PREDICTION`.
    """
    names = list(dict.fromkeys(name for _, counts, _ in fitted for row in counts for name in row))
    carrier = carriers({name: [row.get(name, 0) for _, counts, _ in fitted for row in counts] for name in names})
    kept = [name for name in names if name not in carrier]
    matrix = np.concatenate([_columns(array, kept, growth) for array in fitted])
    scale = np.linalg.norm(matrix, axis=0)
    used = scale > 0
    solution = np.zeros(len(scale))
    solution[used] = non_negative_least_squares(matrix[:, used] / scale[used], np.ones(len(matrix))) / scale[used]
    residual, held_out = (float(np.sqrt(np.mean((m @ solution - 1) ** 2))) for m in (matrix, _columns(predicted, kept, growth)))
    if held_out > WORST_PREDICTION:
        raise ValueError(
            f"the joules of {unit.kind()} cannot be told from smaller arrays: of workloads of one with {extents(predicted[0])} "
            f"they are predicted to {held_out:.0%}, wanted {WORST_PREDICTION:.0%}"
        )
    coefficients = iter(solution.tolist())
    joules = {name: sum(term * next(coefficients) for term in growth(unit, name)) for name in kept}
    found = joules | dict.fromkeys(carrier, 0.0)
    condition = float(np.linalg.cond(matrix[:, used] / scale[used]))
    return Fit({name: found[name] for name in names}, carrier, condition, residual, held_out, len(matrix))


def _columns(array: Rows, names: Sequence[str], growth: Growth) -> np.ndarray:
    """One row per workload and one column per event and term of its growth, as parts of the workload's joules."""
    unit, counts, joules = array
    table = np.array([[row.get(name, 0) for name in names] for row in counts], dtype=float) / np.asarray(joules)[:, None]
    return np.concatenate([np.outer(table[:, n], growth(unit, name)) for n, name in enumerate(names)], axis=1)
