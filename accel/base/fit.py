"""Non-negative least squares of energies over event counts, which refuses data that do not determine the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Fit:
    """Joules of each event, and how far to trust them. Errors are relative root mean squares."""

    joules: dict[str, float]
    carrier: dict[str, str]
    """Events that are always proportional to another one, by the event that carries their joules."""
    condition: float
    residual: float
    held_out: float
    """Error on the workloads that were not fitted."""
    workloads: int

    def summary(self) -> dict[str, Any]:
        """Plain data."""
        return dict(vars(self))


def fit(counts: Sequence[Mapping[str, int]], joules: Sequence[float], *, held_out: int, worst_condition: float) -> Fit:
    """Joules per event e >= 0 that minimise sum over workloads of ((counts e - joules) / joules)^2.

    The last ``held_out`` workloads are predicted only. Raises ValueError, with the condition number and the events that the
    workloads hardly tell apart, where the columns (each scaled to unit length) are worse conditioned than ``worst_condition``.
    """
    names = list(dict.fromkeys(name for row in counts for name in row))
    table = {name: [row.get(name, 0) for row in counts] for name in names}
    carrier: dict[str, str] = {}
    kept: list[str] = []
    for name in names:
        twin = next((other for other in kept if proportional(table[other], table[name])), None)
        if twin is None:
            kept.append(name)
        else:
            carrier[name] = twin
    weights = 1 / np.asarray(joules, dtype=float)
    matrix = np.array([table[name] for name in kept], dtype=float).T * weights[:, None]
    fitted = len(counts) - held_out
    scale = np.linalg.norm(matrix[:fitted], axis=0)
    if np.any(scale == 0):
        never = [name for name, s in zip(kept, scale, strict=True) if s == 0]
        raise ValueError(f"the workloads never raise the event {never[0]!r}, so nothing is known of its energy")
    scaled = matrix[:fitted] / scale
    condition = float(np.linalg.cond(scaled))
    if not condition <= worst_condition:
        *_, right = np.linalg.svd(scaled)
        alike = [kept[i] for i in np.argsort(-np.abs(right[-1]))[:2]]
        raise ValueError(
            f"the fit of joules per event is badly conditioned: condition number {condition:.3g}, wanted at most "
            f"{worst_condition:g}; the workloads hardly tell {' from '.join(map(repr, alike))}"
        )
    solution = non_negative_least_squares(scaled, np.ones(fitted)) / scale
    error = matrix @ solution - 1
    found = dict(zip(kept, solution.tolist(), strict=True)) | dict.fromkeys(carrier, 0.0)
    return Fit({name: found[name] for name in names}, carrier, condition, _rms(error[:fitted]), _rms(error[fitted:]), fitted)


def proportional(first: Sequence[int], second: Sequence[int]) -> bool:
    """True where the two columns of counts have one ratio in every row, and the same zeros."""
    if any((a == 0) != (b == 0) for a, b in zip(first, second, strict=True)):
        return False
    return len({Fraction(a, b) for a, b in zip(first, second, strict=True) if b}) <= 1


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2))) if errors.size else 0.0


def non_negative_least_squares(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The x >= 0 that minimises |matrix x - target|, by the active-set method of Lawson and Hanson (1974, chapter 23)."""
    columns = matrix.shape[1]
    x = np.zeros(columns)
    free = np.zeros(columns, dtype=bool)
    tolerance = 1e-12 * max(float(np.abs(matrix.T @ target).max()), 1e-300)
    for _ in range(10 * columns):
        gradient = matrix.T @ (target - matrix @ x)
        gradient[free] = -np.inf
        if gradient.max() <= tolerance:
            return x
        free[int(np.argmax(gradient))] = True
        while True:
            trial = np.zeros(columns)
            trial[free] = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
            negative = free & (trial <= 0)
            if not negative.any():
                x = trial
                break
            step = float(np.min(x[negative] / (x[negative] - trial[negative])))
            x = x + step * (trial - x)
            free &= x > 1e-300
            x[~free] = 0.0
    return x
