"""Seeded traces with the statistics of a profile: the same seed gives the same requests."""

from __future__ import annotations

import math
from os import PathLike
from typing import Literal

import numpy as np

from workloads.profile import Profile, normal_cdf
from workloads.trace import LATEST_PS, LONGEST, Trace, TraceError

MOST_REQUESTS = 10**8
_PS_PER_US = 10**6


def generate(
    profile: str | PathLike[str] | Profile,
    requests: int,
    rate: float | None = None,
    seed: int = 0,
    *,
    arrivals: Literal["profile", "poisson"] = "profile",
) -> Trace:
    """``requests`` requests with the lengths and arrivals of ``profile`` (a name, a path, or a `Profile`).

    The first request arrives at 0 and the last after exactly (requests - 1) / rate seconds, so that ``rate`` (requests per
    second; None: that of the profile) is the mean rate of the trace and not only of the process. ``arrivals="poisson"`` takes the
    lengths alone from the profile. Times are rounded to microseconds. Raises `TraceError` on a number of requests, rate, seed or
    span that makes no sense.
    """
    law = profile if isinstance(profile, Profile) else Profile.load(profile)
    if type(requests) is not int or not 1 <= requests <= MOST_REQUESTS:
        raise TraceError(f"requests: wanted 1 to {MOST_REQUESTS}, got {requests!r}")
    if rate is None:
        rate = law.rate
    if not isinstance(rate, (int, float)) or not 0 < rate <= 1e9:
        raise TraceError(f"rate: wanted requests per second above 0, got {rate!r}")
    if type(seed) is not int or seed < 0:
        raise TraceError(f"seed: wanted a whole number from 0, got {seed!r}")
    if arrivals not in ("profile", "poisson"):
        raise TraceError(f"arrivals: wanted profile or poisson, got {arrivals!r}")
    span = (requests - 1) / rate
    if span * 1e12 > LATEST_PS:
        raise TraceError(f"rate: wanted {requests} requests within {LATEST_PS // 10**12} s, got {rate!r} per second")
    of_lengths, of_intervals, of_rates = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    prompt, output = _lengths(law, requests, of_lengths)
    if arrivals == "poisson":
        seconds = _cumulated(of_intervals.standard_exponential(requests - 1), span)
    else:
        seconds = _modulated(law, _cumulated(_intervals(law, requests - 1, of_intervals), span), of_rates)
    return Trace(
        arrival_ps=np.rint(seconds * 1e6).astype(np.int64) * _PS_PER_US,
        prompt=prompt,
        output=output,
        name=f"{law.name} x{requests}",
        source=f"generated, seed {seed}, {rate:g}/s, {arrivals} arrivals, from {law.source}",
    )


def _intervals(law: Profile, count: int, rng: np.random.Generator) -> np.ndarray:
    """Relative intervals by their quantiles, at ranks that are independent or, where the profile has clustering, come in runs."""
    if not law.clustering:
        return law.intervals(rng.random(count))
    score = math.sqrt(1.0 - min(1.0, sum(weight for _, weight in law.clustering))) * rng.standard_normal(count)
    for size, weight in law.clustering:
        score += math.sqrt(weight) * np.repeat(rng.standard_normal(-(-count // size)), size)[:count]
    return law.intervals(normal_cdf(score))


def _cumulated(intervals: np.ndarray, span: float) -> np.ndarray:
    """Times from 0 to ``span`` with intervals in proportion."""
    times = np.concatenate([[0.0], np.cumsum(intervals)])
    return times * (span / times[-1]) if times.size > 1 else times


def _modulated(law: Profile, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The times at which a clock of random rate (mean 1 over the span) shows ``times``: t with integral of rate to t = times."""
    span = times[-1]
    levels = [(seconds, sigma) for seconds, sigma in law.modulation if sigma > 0]
    if not levels or span == 0:
        return times
    step = min(seconds for seconds, _ in levels)
    edges = np.append(np.arange(0.0, span, step), span)
    rates = np.ones(edges.size - 1)
    for seconds, sigma in levels:
        block = (edges[:-1] // seconds).astype(np.int64)
        rates *= np.exp(sigma * rng.standard_normal(block[-1] + 1) - sigma**2 / 2)[block]
    shown = np.concatenate([[0.0], np.cumsum(rates * np.diff(edges))])
    return np.interp(times, shown * (span / shown[-1]), edges)


def _lengths(law: Profile, requests: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Prompts by their quantiles, and each one's output by the quantiles of its prompt's bin."""
    rank = rng.random(requests)
    prompt = law.prompt(rank)
    at = law.output[0].at
    table = np.log(np.stack([bin_law.values for bin_law in law.output]))
    row = np.minimum((rank * len(law.output)).astype(np.int64), len(law.output) - 1)
    chance = rng.random(requests)
    column = np.clip(np.searchsorted(at, chance, side="right") - 1, 0, at.size - 2)
    weight = (chance - at[column]) / np.diff(at)[column]
    low, high = table[row, column], table[row, column + 1]
    output = np.exp(low + weight * (high - low))
    return _whole(prompt), _whole(output)


def _whole(tokens: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(tokens), 1, LONGEST).astype(np.int64)
