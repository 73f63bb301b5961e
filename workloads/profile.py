"""Profile: the statistics of a request trace that the seeded generator needs, and how they are taken from a trace.

A profile holds no request of its trace, but a few quantiles:

- *Intervals* between arrivals, relative to their mean. Heavy tails (long silences between bursts) are in them.
- *Modulation* of the arrival rate, where drawing intervals one by one explains less than half of the variance of counts:
  independent log-normal levels, each constant over blocks of ``seconds``, with mean 1 and sigma as given (a rate that drifts).
- *Clustering* where there is no such drift: short intervals follow short ones. The interval's rank is Phi(z), z a sum of
  independent normals, of which one of variance ``weight`` is constant over blocks of ``requests`` (bursts, as an editor sends).
- *Lengths*: the quantiles of the prompt, and those of the output within equally likely bins of the prompt (their joint law).

Between two probabilities a quantile is interpolated in its logarithm, which keeps mean and variance of heavy tails.
"""

from __future__ import annotations

import math
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from workloads.names import did_you_mean
from workloads.trace import LONGEST, Trace, TraceError

MAX_PROFILE_BYTES = 1 << 20
_TAIL = [0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 1.0]
_BODY = [round(0.05 * i, 2) for i in range(1, 20)]
INTERVAL_AT = np.array([0.0, 0.001, 0.01, 0.02, *_BODY, *_TAIL])
PROMPT_AT = np.array([0.0, 0.002, 0.005, 0.01, 0.02, *_BODY, *_TAIL[:-3], 1.0])
OUTPUT_AT = np.array([0.0, 0.02, *_BODY, 0.98, 0.99, 0.995, 1.0])
PROMPT_BINS = 20
LEVELS_S = (8.0, 64.0, 512.0)  # block lengths of the modulation; an hour of trace holds seven of the longest
CLUSTERS = (1, 4, 16, 64, 256)  # block lengths of the clustering, in requests

_Z = np.linspace(-6.0, 6.0, 4801)
_PHI = np.array([0.5 * (1.0 + math.erf(z / math.sqrt(2.0))) for z in _Z])


def normal_cdf(z: np.ndarray) -> np.ndarray:
    """Phi(z), the standard normal distribution, from a table (error below 1e-6)."""
    return np.interp(z, _Z, _PHI)


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantiles:
    """A positive quantile function: ``values[i]`` at probability ``at[i]``, from 0 to 1."""

    at: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        at, values = self.at, self.values
        if not (at.ndim == values.ndim == 1 and at.size == values.size >= 2 and at[0] == 0 and at[-1] == 1):
            raise TraceError("quantiles: wanted as many values as probabilities, which run from 0 to 1")
        if not (np.all(np.diff(at) > 0) and np.all(np.diff(values) >= 0) and values[0] >= 1e-9 and values[-1] <= 1e9):
            raise TraceError("quantiles: wanted rising probabilities, and values from 1e-9 to 1e9 that never fall")

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        return np.exp(np.interp(probability, self.at, np.log(self.values)))

    def moment(self, order: int) -> float:
        """E[x^order], in closed form: the integral of values^order over the probability."""
        low, high = self.values[:-1] ** order, self.values[1:] ** order
        ratio = np.log(high / low)
        flat = ratio < 1e-9
        pieces = np.where(flat, low, (high - low) / np.where(flat, 1.0, ratio))
        return float(np.sum(np.diff(self.at) * pieces))

    @property
    def squared_cv(self) -> float:
        """Variance over squared mean."""
        return self.moment(2) / self.moment(1) ** 2 - 1.0

    def power(self, exponent: float) -> Quantiles:
        """The quantiles of x^exponent, scaled to mean 1."""
        raised = Quantiles(at=self.at, values=self.values**exponent)
        return Quantiles(at=self.at, values=raised.values / raised.moment(1))


@dataclass(frozen=True, eq=False, kw_only=True)
class Profile:
    """Statistics of a trace: mean ``rate`` in requests per second, and the parts that the module describes.

    Raises `TraceError` where a figure makes no sense.
    """

    name: str
    source: str
    requests: int
    rate: float
    intervals: Quantiles
    modulation: tuple[tuple[float, float], ...] = ()  # (seconds, sigma)
    clustering: tuple[tuple[int, float], ...] = ()  # (requests, weight)
    prompt: Quantiles
    output: tuple[Quantiles, ...]  # one per bin of the prompt

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1e9:
            raise TraceError(f"rate: wanted requests per second above 0, got {self.rate}")
        if not self.output or any(not np.array_equal(law.at, self.output[0].at) for law in self.output):
            raise TraceError("output: wanted the quantiles of at least one bin, all at the same probabilities")
        if not all(0.1 <= seconds <= 1e6 and 0 <= sigma <= 3 for seconds, sigma in self.modulation):
            raise TraceError("modulation: wanted blocks of 0.1 to 10^6 seconds and a sigma of 0 to 3")
        weights = [weight for _, weight in self.clustering]
        if not (all(size >= 1 for size, _ in self.clustering) and all(0 <= w <= 1 for w in weights) and sum(weights) <= 1):
            raise TraceError("clustering: wanted blocks of at least 1 request, and weights of 0 to 1 in all")
        for name, law in (("prompt", self.prompt), *(("output", law) for law in self.output)):
            if law.values[0] < 1 or law.values[-1] > LONGEST:
                raise TraceError(f"{name}: wanted 1 to {LONGEST} tokens, got {law.values[0]:g} to {law.values[-1]:g}")

    @classmethod
    def load(cls, name: str | PathLike[str]) -> Profile:
        """The committed profile ``name``, or the one in the TOML file of that path. Raises `TraceError` or OSError."""
        text = fspath(name)
        if text in available():
            return _committed(text)
        if not (isinstance(name, PathLike) or "/" in text or text.endswith(".toml")):
            known = ", ".join(available())
            raise TraceError(f"unknown profile {text!r}{did_you_mean(text, available())} (known: {known}; or a path to a .toml)")
        with Path(text).open("rb") as file:
            return cls.parse(file.read(MAX_PROFILE_BYTES + 1), text)

    @classmethod
    def parse(cls, data: bytes, where: str) -> Profile:
        """A profile from the bytes of its TOML file; ``where`` names the file in messages. Raises `TraceError`."""
        if len(data) > MAX_PROFILE_BYTES:
            raise TraceError(f"{where}: wanted a profile of at most {MAX_PROFILE_BYTES} bytes, got a larger file")
        try:
            table = tomllib.loads(data.decode())
            prompt, output = table["prompt"], table["output"]
            return cls(
                name=str(table["name"]),
                source=str(table["source"]),
                requests=int(table["requests"]),
                rate=float(table["rate"]),
                intervals=_quantiles(table["intervals"]["at"], table["intervals"]["values"]),
                modulation=tuple((float(level["seconds"]), float(level["sigma"])) for level in table.get("modulation", [])),
                clustering=tuple((int(level["requests"]), float(level["weight"])) for level in table.get("clustering", [])),
                prompt=_quantiles(prompt["at"], prompt["values"]),
                output=tuple(_quantiles(output["at"], values) for values in output["values"]),
            )
        except KeyError as error:
            raise TraceError(f"{where}: wanted the key {error}, got none") from None
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise TraceError(f"{where}: {error}") from None

    def to_toml(self) -> str:
        """The text that `load` reads."""
        lines = [
            "# Statistics of a public request trace, made by: python -m workloads.profile TRACE NAME SOURCE",
            f"name = {_text(self.name)}",
            f"source = {_text(self.source)}",
            f"requests = {self.requests}",
            f"rate = {self.rate:.6g}  # requests per second",
            *("", "[intervals]  # between arrivals, relative to their mean"),
            f"at = {_list(self.intervals.at)}",
            f"values = {_list(self.intervals.values, 5)}",
        ]
        for seconds, sigma in self.modulation:
            lines += ["", "[[modulation]]  # log-normal, mean 1", f"seconds = {seconds:g}", f"sigma = {sigma:.4f}"]
        for size, weight in self.clustering:
            lines += ["", "[[clustering]]", f"requests = {size}", f"weight = {weight:.4f}"]
        lines += ["", "[prompt]  # tokens", f"at = {_list(self.prompt.at)}", f"values = {_list(self.prompt.values)}"]
        lines += [
            "",
            "[output]  # tokens; one row per bin of the prompt, bins equally likely",
            f"at = {_list(self.output[0].at)}",
        ]
        lines += ["values = [", *(f"    {_list(law.values)}," for law in self.output), "]"]
        return "\n".join(lines) + "\n"


def fit(trace: Trace, name: str, source: str) -> Profile:
    """The profile of ``trace``. Raises `TraceError` where it is too short to have statistics (less than 1,000 requests)."""
    if len(trace) < 1000:
        raise TraceError(f"{trace.name}: wanted at least 1000 requests for a profile, got {len(trace)}")
    seconds = (trace.arrival_ps - trace.arrival_ps[0]) / 1e12
    intervals = np.diff(seconds)
    rate = 1.0 / float(intervals.mean())
    # Requests in one clock tick have a gap of 0, which has no logarithm: a millionth of the mean gap stands for it.
    relative = np.maximum(np.quantile(intervals, INTERVAL_AT) * rate, 1e-6)
    law = Quantiles(at=INTERVAL_AT, values=relative).power(1.0)
    modulation = _levels(seconds, rate, law)
    spread = float(np.prod([np.exp(sigma**2) for _, sigma in modulation]))  # 1 + variance of the relative rate
    if modulation:
        # Modulated intervals x / m have (1 + cv^2) = (1 + cv_x^2) E[1/m], and E[1/m] = E[m^2] for a log-normal m of mean 1.
        law = _with_cv(law, (1.0 + law.squared_cv) / spread - 1.0)
    order = np.argsort(trace.prompt, kind="stable")
    bins = [trace.output[part] for part in np.array_split(order, PROMPT_BINS)]
    return Profile(
        name=name,
        source=source,
        requests=len(trace),
        rate=rate,
        intervals=law,
        modulation=modulation,
        clustering=() if modulation else _clusters(intervals),
        prompt=_quantiles(PROMPT_AT, np.quantile(trace.prompt, PROMPT_AT)),
        output=tuple(_quantiles(OUTPUT_AT, np.quantile(part, OUTPUT_AT)) for part in bins),
    )


def count_variance(seconds: np.ndarray, window: float) -> float:
    """Relative variance of the rate over windows of ``window`` seconds: (Var N - E N) / (E N)^2 of the arrivals N in a window.

    0 for a Poisson process; E N times it, plus 1, is the index of dispersion of counts.
    """
    counts = np.bincount((seconds // window).astype(np.int64))[:-1]
    mean = counts.mean()
    return float((counts.var() - mean) / mean**2)


def _levels(seconds: np.ndarray, rate: float, law: Quantiles) -> tuple[tuple[float, float], ...]:
    """The modulation that explains what a renewal process with the same intervals leaves, from the slowest level down."""
    renewal = np.cumsum(law(np.random.default_rng(0).random(500_000))) / rate
    explained = 0.0
    levels: list[tuple[float, float]] = []
    for window in reversed(LEVELS_S):
        if seconds[-1] < 4 * window:
            continue
        measured, alone = count_variance(seconds, window), max(count_variance(renewal, window), 0.0)
        rest = measured - alone - explained
        if measured > 2 * alone and rest > 0.001:
            levels.append((window, round(float(np.sqrt(np.log1p(rest))), 4)))
            explained += rest
    return tuple(reversed(levels))


def _clusters(intervals: np.ndarray) -> tuple[tuple[int, float], ...]:
    """The weights of blocks of `CLUSTERS` requests in the normal scores of the intervals' ranks.

    The mean of m successive scores has the variance sum_b weight_b min(1, b / m); non-negative least squares over m gives them.
    """
    rank = np.argsort(np.argsort(intervals, kind="stable"), kind="stable")
    score = np.interp((rank + 0.5) / rank.size, _PHI, _Z)
    sizes = np.array(CLUSTERS)
    measured = np.array([score[: score.size // m * m].reshape(-1, m).mean(axis=1).var() for m in CLUSTERS])
    share = np.minimum(1.0, sizes[None, :] / sizes[:, None])
    gram, target = share.T @ share, share.T @ measured
    weights = np.zeros(sizes.size)
    for _ in range(2000):  # coordinate descent
        for j in range(sizes.size):
            weights[j] = max(0.0, weights[j] + (target[j] - gram[j] @ weights) / gram[j, j])
    weights /= weights.sum()
    levels = zip(CLUSTERS, weights.tolist(), strict=True)
    return tuple((size, round(weight, 4)) for size, weight in levels if size > 1 and weight >= 0.001)


def _with_cv(law: Quantiles, squared_cv: float) -> Quantiles:
    """``law`` raised to the power that gives it the squared coefficient of variation, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if law.power(middle).squared_cv < squared_cv else (low, middle)
    return law.power(high)


def available() -> Sequence[str]:
    """Names of the committed profiles, in alphabetical order."""
    folder = files("workloads") / "profiles"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


@cache
def _committed(name: str) -> Profile:
    return Profile.parse((files("workloads") / "profiles" / f"{name}.toml").read_bytes(), f"{name}.toml")


def _quantiles(at: Any, values: Any) -> Quantiles:
    return Quantiles(at=np.asarray(at, dtype=float), values=np.asarray(values, dtype=float))


def _list(values: np.ndarray, digits: int = 6) -> str:
    return "[" + ", ".join(f"{value:.{digits}g}" for value in values) + "]"


def _text(value: str) -> str:
    if not all(c.isprintable() and c not in '"\\' for c in value):
        raise TraceError(f"wanted a name or source without quotes, backslashes and control characters, got {value!r}")
    return f'"{value}"'


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m workloads.profile TRACE NAME SOURCE > NAME.toml")
    sys.stdout.write(fit(Trace.read(sys.argv[1]), sys.argv[2], sys.argv[3]).to_toml())
