"""Where the keys and values of a request lie in the banks of a PIM channel, and what each bank has to compute.

With B banks, R elements in a row, H heads of d elements, S = R / d heads in a row and C = ceil(H / S) rows of keys per token:

    key, token t, head h                bank t mod B    row floor(t / B) C + floor(h / S)                 from element (h mod S) d
    value, token t, head h, element e   bank e mod B    row (floor(t / R) H + h) d / B + floor(e / B)     element t mod R

Rows are numbered from the first one of the request's keys, or values, in each bank. So a bank gives the logits of every B-th
token, for all heads of a row at once, and in attention every B-th element of a head, for R tokens at once; what the parts of R
tokens give is added up outside of the bank. Source: NeuPIMs, ASPLOS'24 (arXiv 2403.00579), and its simulator (pages of 32 tokens
of keys and 512 of values; rows of 1024 bytes, 32 banks and 1 GB per channel).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import lcm
from typing import Any, NamedTuple

from accel.base.mapping import ceil_div
from pim.checks import whole
from workloads.formats import FORMATS, Format
from workloads.ops import BankGemv

FP16 = FORMATS["fp16"]


class Place(NamedTuple):
    """A bank, a row of it, and an element of the row: ints, or arrays where the question was one of arrays."""

    bank: Any
    row: Any
    element: Any


@dataclass(frozen=True, kw_only=True)
class KvLayout:
    """Keys and values of ``heads`` KV heads on one channel. Raises ValueError where heads do not map onto rows and banks."""

    heads: int
    """KV heads on this device, after tensor parallelism."""
    head_dim: int
    activations: Format = FP16
    banks: int = 32
    row_bytes: int = 1024
    multipliers: int = 16
    rows_per_bank: int = 32768
    """1 GB per channel, in 32 banks of rows of 1024 bytes."""
    full_rows: bool = True
    """Refuse heads that leave a part of each token's last row of keys empty, as GPT3-13B on four devices does."""

    def __post_init__(self) -> None:
        for name in ("heads", "banks", "row_bytes", "multipliers", "rows_per_bank", "head_dim"):
            whole(name, getattr(self, name), 1)
        usable = [d for d in range(self.banks, self.row + 1, self.banks) if self.row % d == 0 and d % self.multipliers == 0]
        if self.head_dim not in usable:
            if not usable:
                raise ValueError(
                    f"no head fills rows of {self.row} elements, bursts of {self.multipliers} and {self.banks} banks; "
                    f"wanted one of {' or '.join(self._nearest())}"
                )
            nearest = min(usable, key=lambda d: (abs(d - self.head_dim), -d))
            raise ValueError(f"head_dim = {self.head_dim} {self._misfit()}; the nearest that maps is {nearest}")
        if self.full_rows and self.heads % self.slots:
            below = self.heads // self.slots * self.slots
            near = " or ".join(str(n) for n in (below, below + self.slots) if n)
            empty = (-self.heads % self.slots) * self.head_dim
            raise ValueError(
                f"{self.heads} heads of {self.head_dim} leave {empty} of {self.row} elements of each token's last row of keys "
                f"empty; the nearest that fill rows are {near} (full_rows = False takes the waste)"
            )
        if (least := self.rows(1)) > self.rows_per_bank:
            raise ValueError(f"rows_per_bank: wanted at least {least}, which one token takes, got {self.rows_per_bank}")

    def _nearest(self) -> list[str]:
        """What one of banks, bytes of a row and multipliers could be, for heads to fill rows."""
        found = []
        for name, own, other in (("banks", self.banks, self.multipliers), ("multipliers", self.multipliers, self.banks)):
            fits = [(abs(n - own), -n) for n in range(1, self.row + 1) if self.row % lcm(n, other) == 0]
            found += [f"{name} = {-min(fits)[1]}"] if fits else []
        unit = lcm(lcm(self.banks, self.multipliers) * self.activations.bits, 8) // 8
        return [*found, f"row_bytes = {max(round(self.row_bytes / unit), 1) * unit}"]

    def _misfit(self) -> str:
        """Why a head does not map."""
        d, row = self.head_dim, self.row
        if d > row:
            return f"is longer than a row of {row} elements"
        if d < 1 or d % self.multipliers:
            return f"is not whole bursts of {self.multipliers} elements"
        if row % d:
            return f"wastes {row % d} of {row} elements of each row of keys, which holds {row // d} heads"
        return f"leaves {self.banks - d % self.banks} of {self.banks} banks without values"

    @property
    def row(self) -> int:
        """Elements of a row."""
        return self.row_bytes * 8 // self.activations.bits

    @property
    def slots(self) -> int:
        """Heads that a row of keys holds."""
        return self.row // self.head_dim

    @property
    def key_rows(self) -> int:
        """Rows of keys that a token takes in its bank."""
        return ceil_div(self.heads, self.slots)

    @property
    def value_rows(self) -> int:
        """Rows of values that a head takes in each bank."""
        return self.head_dim // self.banks

    def key(self, token: Any, head: Any) -> Place:
        """Where the first element of a key lies; the others follow it."""
        row = token // self.banks * self.key_rows + head // self.slots
        return Place(token % self.banks, row, head % self.slots * self.head_dim)

    def value(self, token: Any, head: Any, element: Any) -> Place:
        """Where an element of a value lies."""
        row = (token // self.row * self.heads + head) * self.value_rows + element // self.banks
        return Place(element % self.banks, row, token % self.row)

    def rows(self, tokens: int) -> int:
        """Rows of each bank that a request of ``tokens`` tokens takes, keys and values together."""
        tokens = whole("tokens", tokens, 0)
        return ceil_div(tokens, self.banks) * self.key_rows + ceil_div(tokens, self.row) * self.heads * self.value_rows

    @cached_property
    def capacity(self) -> int:
        """The most tokens of one request that the channel holds, keys and values together."""
        return self._longest(self.rows_per_bank)

    def fit(self, lengths: Sequence[int]) -> int:
        """Rows of each bank left over by requests of these lengths. Raises ValueError where they do not fit the channel."""
        left = self.rows_per_bank
        for i, tokens in enumerate(lengths):
            whole(f"tokens of request {i}", tokens, 0)
            if (wanted := self.rows(tokens)) > left:
                raise ValueError(
                    f"request {i} of {tokens} tokens takes {wanted} rows of each bank, and {left} of {self.rows_per_bank} are "
                    f"left; at most {self._longest(left)} tokens fit"
                )
            left -= wanted
        return left

    def _longest(self, rows: int) -> int:
        """The most tokens that ``rows`` rows of each bank hold."""
        low, high = 0, rows * self.banks
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.rows(middle) <= rows else (low, middle - 1)
        return low

    def logit_ops(self, bank: int, tokens: int) -> list[BankGemv]:
        """K q of one query token in ``bank``: an op per row of keys of a token, over all its tokens."""
        mine = len(range(bank, tokens, self.banks))
        slots = [min(self.slots, self.heads - first) for first in range(0, self.heads, self.slots)]
        return [self._op(rows=mine, slots=each, length=self.head_dim) for each in slots] if mine else []

    def attend_ops(self, tokens: int) -> list[BankGemv]:
        """p V of one query token in any bank: an op per row of tokens, and head."""
        lengths = [min(self.row, tokens - first) for first in range(0, tokens, self.row)]
        return [self._op(rows=self.value_rows, slots=1, length=each) for each in lengths for _ in range(self.heads)]

    def _op(self, **extents: Any) -> BankGemv:
        columns = self.row // self.multipliers
        return BankGemv(burst=self.multipliers, columns=columns, activations=self.activations, **extents)
