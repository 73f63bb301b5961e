"""Activation sparsity of a model: which share of its FFN neurons some consecutive tokens use, in all.

A neuron of an FFN is a row of the up projection (and of the gate) with the column of the down projection that takes its result.
Where the activation leaves most results zero, a token uses few of them. The union over t consecutive tokens grows as a power of
t, as the number of different words in a text does (Heaps' law), which Zipf's law of how often each is used brings about:

    used(t) = min(1, used(1) t^g)        g = ln(used(w) / used(1)) / ln w

through two published points, used(1) and used(w). It is tabulated once, in parts per million; prices take whole numbers only. A
cache of the neurons of the last k tokens misses, of the next m tokens together, in the mean and exactly where the statistics do
not change along the text,

    fresh(k, m) = used(k + m) - used(k)

because what is new is what the union grows by. An LRU cache of c neurons holds those of the last T tokens where used(T) = c (the
characteristic time of Che, Tung and Wang, "Hierarchical Web Caching Systems", IEEE JSAC 2002).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import numpy as np

from workloads.model import Transformer
from workloads.names import did_you_mean

WHOLE = 1_000_000  # parts per million
LONGEST = 1 << 20  # tokens that the table goes to; a union that is not whole by then stays as it is


class SparsityError(ValueError):
    """A profile of activation sparsity that is unknown, is not understood, or is of another model."""


@dataclass(frozen=True, kw_only=True)
class Sparsity:
    """Activation sparsity of the FFNs of ``models``. Shares are of the neurons of a block, in parts per million."""

    name: str
    about: str
    models: tuple[str, ...]
    """Names of the models that it was measured on, or of those with the same shape."""
    gated: bool
    """Whether the FFNs have a gate beside the up projection."""
    used_ppm: int
    """used(1): what one token uses, false alarms of the predictor included."""
    window_tokens: int
    """w of the second point."""
    window_ppm: int
    """used(w)."""
    predictor_ranks: tuple[tuple[int, int], ...]
    """(blocks, rank) of the low-rank predictors that say which neurons a token uses: hidden x rank and rank x neurons."""
    source: str
    source_class: str = "published"
    hot_ppm: int = WHOLE
    """The most used of the neurons ..."""
    hot_uses_ppm: int = WHOLE
    """... and the share of all uses that fall on them; both whole where it is not known."""

    def __post_init__(self) -> None:
        if not (0 < self.used_ppm <= self.window_ppm <= WHOLE and self.window_tokens > 1):
            raise SparsityError(
                f"{self.name}: wanted 0 < used_ppm <= window_ppm <= {WHOLE} and window_tokens above 1, "
                f"got {self.used_ppm}, {self.window_ppm} and {self.window_tokens}"
            )
        if self.window_ppm > self.used_ppm * self.window_tokens:
            raise SparsityError(
                f"{self.name}: wanted window_ppm of at most window_tokens x used_ppm, what tokens without a neuron in common "
                f"use, got {self.window_ppm} of {self.window_tokens} x {self.used_ppm}"
            )
        if not 0 < self.hot_ppm <= self.hot_uses_ppm <= WHOLE:
            raise SparsityError(
                f"{self.name}: wanted 0 < hot_ppm <= hot_uses_ppm <= {WHOLE}, got {self.hot_ppm} and {self.hot_uses_ppm}"
            )
        if not self.predictor_ranks or any(blocks < 1 or rank < 1 for blocks, rank in self.predictor_ranks):
            raise SparsityError(f"{self.name}: predictor_ranks: wanted positive [blocks, rank], got {self.predictor_ranks}")

    def covered(self, share_ppm: int) -> int:
        """Share of all uses that fall on the most used ``share_ppm`` of the neurons, ppm: share^b through the known point."""
        if self.hot_ppm == WHOLE or not share_ppm:
            return share_ppm
        power = math.log(self.hot_uses_ppm / WHOLE) / math.log(self.hot_ppm / WHOLE)
        return round(WHOLE * (share_ppm / WHOLE) ** power)

    @property
    def exponent(self) -> float:
        """g of the power law."""
        return math.log(self.window_ppm / self.used_ppm) / math.log(self.window_tokens)

    @cached_property
    def _table(self) -> np.ndarray:
        """used(t) at t = 0, 1, 2, ..., up to the first that is whole."""
        growth = self.exponent
        more = math.log(WHOLE / self.used_ppm)  # of the logarithm of the union, until it is whole
        longest = math.ceil(math.exp(more / growth)) if more < growth * math.log(LONGEST) else LONGEST
        tokens = np.arange(1, longest + 1)
        shares = np.minimum(np.rint(self.used_ppm * tokens**growth), WHOLE).astype(np.int64)
        return np.concatenate([np.zeros(1, np.int64), shares])

    def used(self, tokens: Any) -> Any:
        """Share of the neurons that ``tokens`` consecutive tokens (int or int64 array, from 0) use in all, ppm."""
        found = self._table[np.minimum(tokens, len(self._table) - 1)]
        return int(found) if isinstance(tokens, int) else found

    def fresh(self, window: int, tokens: Any) -> Any:
        """Share that the next ``tokens`` tokens use together and the ``window`` before them do not, ppm."""
        return self.used(window + tokens) - self.used(window)

    def window_of(self, share_ppm: int) -> int:
        """The longest window whose neurons are at most ``share_ppm``: that of an LRU cache of this size. 0 where none is."""
        return int(np.searchsorted(self._table, share_ppm, side="right")) - 1

    @property
    def mean_rank(self) -> int:
        """Rank of the predictors, mean over the blocks, rounded up."""
        blocks = sum(count for count, _ in self.predictor_ranks)
        return -(-sum(count * rank for count, rank in self.predictor_ranks) // blocks)

    def check(self, model: Transformer) -> None:
        """Raises SparsityError where the profile is not of ``model``."""
        if model.name not in self.models:
            others = [name for name in available() if model.name in load(name).models]
            use = f"; use {', '.join(others)}" if others else ""
            raise SparsityError(f"profile {self.name!r} is of {', '.join(self.models)}, not of {model.name}{use}")
        if model.gated != self.gated:
            wanted, got = ("a gated", "none") if self.gated else ("a plain", "a gated one")
            raise SparsityError(f"profile {self.name!r}: wanted {wanted} FFN, got {got} in {model.name}")


WANTED = {
    "str": "text",
    "int": "a whole number",
    "bool": "true or false",
    "tuple[str, ...]": "a list of names",
    "tuple[tuple[int, int], ...]": "a list of [blocks, rank]",
}
"""What a profile says of a field, by its type."""


def _is(value: Any, wanted: Any) -> bool:
    """Whether ``value``, as TOML gives it, is of the type of a field."""
    if wanted == "tuple[str, ...]":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if wanted == "tuple[tuple[int, int], ...]":
        return isinstance(value, list) and all(
            isinstance(pair, list) and len(pair) == 2 and all(type(each) is int for each in pair) for pair in value
        )
    return type(value).__name__ == wanted


def available() -> list[str]:
    """Names of the shipped profiles, in alphabetical order."""
    folder = files("workloads") / "sparsity_profiles"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


@cache
def load(name: str) -> Sparsity:
    """The shipped profile ``name``. Raises SparsityError with the nearest right name where there is none."""
    if name not in available():
        raise SparsityError(
            f"unknown sparsity profile {name!r}{did_you_mean(name, available())} (known: {', '.join(available())})"
        )
    return from_data(name, tomllib.loads((files("workloads") / "sparsity_profiles" / f"{name}.toml").read_text()))


def from_data(name: str, data: Mapping[str, Any]) -> Sparsity:
    """The profile that a TOML file holds. Raises SparsityError that names what is missing or not known."""
    known = [field.name for field in fields(Sparsity) if field.name != "name"]
    for key in data:
        if key not in known:
            raise SparsityError(f"{name}: unknown entry {key!r}{did_you_mean(key, known)} (known: {', '.join(known)})")
    missing = [field.name for field in fields(Sparsity) if field.default is MISSING and field.name not in ("name", *data)]
    if missing:
        raise SparsityError(f"{name}: wanted {', '.join(missing)}, which is missing")
    for field in fields(Sparsity):
        if field.name in data and not _is(data[field.name], field.type):
            raise SparsityError(f"{name}: {field.name}: wanted {WANTED[str(field.type)]}, got {data[field.name]!r}")
    ranks = tuple((blocks, rank) for blocks, rank in data["predictor_ranks"])
    return Sparsity(name=name, **{**data, "models": tuple(data["models"]), "predictor_ranks": ranks})
