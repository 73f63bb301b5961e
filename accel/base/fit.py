"""Non-negative least squares of energies over event counts, which refuses data that do not determine the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DEPENDENT = 1e-8
"""The difference below which two vectors of unit length are the same: counts are exact, only sums of them are rounded."""


@dataclass(frozen=True)
class Fit:
    """Joules of each event, and how far to trust them. Errors are relative root mean squares."""

    joules: dict[str, float]
    carrier: dict[str, str]
    """Events that are always proportional to another one, or a sum of others: by those that carry their joules ("a + b")."""
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
    carrier = carriers(table)
    kept = [name for name in names if name not in carrier]
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


def carriers(table: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """The events whose counts follow from those of others in every workload, as a sum c_1 a + c_2 b + ..., by these others.

    ``table`` has a column per event. Where an equation between events can be read in several ways, an event is chosen that is a
    sum with positive factors, so that no other event's joules need be negative to carry its own.
    """
    columns = {name: np.asarray(counts, dtype=float) for name, counts in table.items()}
    columns = {name: column / (np.linalg.norm(column) or 1.0) for name, column in columns.items()}
    kept: list[str] = []
    found: dict[str, str] = {}
    for name in table:
        factors = dict(zip(kept, _factors([columns[k] for k in kept], columns[name]), strict=False))
        if not factors:
            kept.append(name)
            continue
        equation = {name: -1.0} | {k: f for k, f in factors.items() if abs(f) > DEPENDENT}
        alone = [n for n, f in equation.items() if sum((g > 0) == (f > 0) for g in equation.values()) == 1]
        gone = name if name in alone or not alone else alone[0]
        found[gone] = " + ".join(n for n in table if n in equation and n != gone)
        kept = [n for n in (*kept, name) if n != gone]
    return found


def _factors(columns: Sequence[np.ndarray], wanted: np.ndarray) -> Sequence[float]:
    """Factors whose sum of ``columns`` is ``wanted``; none where there are none."""
    if not columns or not wanted.any():
        return ()
    matrix = np.array(columns).T
    factors = np.linalg.lstsq(matrix, wanted, rcond=None)[0]
    return factors.tolist() if np.linalg.norm(matrix @ factors - wanted) < DEPENDENT else ()


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
