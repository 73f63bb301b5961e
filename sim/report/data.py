"""What a report is made of: plain data of the experiment and of each result, which JSON can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sim.errors import BadInput
from sim.provenance import resolved

CURVES = ("ttft_ms", "tpot_ms", "e2el_ms")
CURVE_POINTS = 200
DIGITS = 6  # of a point of a curve: far below what a chart shows


def gather(results: Sequence[Any], experiment: Any) -> dict[str, Any]:
    """``{"experiment": ..., "systems": [...]}``: each system is its result's `as_dict` and ``curves``, under its own name."""
    if not results:
        raise BadInput("report: wanted at least one result, got none")
    names = distinct(result.name for result in results)
    systems = [
        {**result.as_dict(), "name": name, "curves": curves(result.requests())}
        for name, result in zip(names, results, strict=True)
    ]
    return {"experiment": resolved(experiment), "systems": systems}


def distinct(names: Iterable[str]) -> list[str]:
    """``names`` with a number behind those that were there before: a stored run may be compared with another of its name."""
    found: list[str] = []
    for name in names:
        number, label = 2, name
        while label in found:
            number, label = number + 1, f"{name} ({number})"
        found.append(label)
    return found


def curves(columns: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Quantiles of each latency at `CURVE_POINTS` shares from 0 to 1, evenly spaced; of requests that have one."""
    shares = np.linspace(0, 1, CURVE_POINTS)
    found = {}
    for name in CURVES:
        values = np.asarray(columns[name], dtype=np.float64)
        values = values[~np.isnan(values)]
        quantiles = np.quantile(values, shares).tolist() if len(values) else []
        found[name] = [float(f"{value:.{DIGITS}g}") for value in quantiles]
    return found
