"""Tiling of a matrix over the compute cores in the dies of NAND flash, one core per die.

In a *round* every core multiplies one page of its die with its part of the vector. The pages of a round are a tile of the matrix:

    rows x columns = channels cores page         cores of one channel; page in values

Every channel has columns / channels of the columns, and deals the rows over its cores, so that one broadcast on a channel serves
all of them. Over all channels a round moves columns + channels rows values in and out, least where

    rows = sqrt(cores page)        columns = channels sqrt(cores page)

Of a matrix of n rows and k columns the blocks of whole tiles, k // columns, take n / rows rounds each. The r = k mod columns that
are left keep only ceil(r / (columns / channels)) channels busy; as many blocks of rows as fit beside one another share a round.
All quotients are rounded up: that is the padding, and all there is of it.

Source: Cambricon-LLM, MICRO'24 (arXiv 2409.15654), secondary; that blocks of rows share a round too where k is more than a tile,
and that they do so by whole channels, is inferred (docs/decisions/0018-cambricon.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from accel.base.mapping import ceil_div


@dataclass(frozen=True)
class CoreArray:
    """The compute cores of a flash: ``cores`` on each of ``channels``, and pages of ``page`` values."""

    channels: int
    cores: int
    page: int

    @property
    def values(self) -> int:
        """Values of a tile."""
        return self.channels * self.cores * self.page

    def tiles(self) -> list[Tile]:
        """Every tile whose cores have whole pages: one for each divisor of the page's values, the narrowest first."""
        rows = [d for d in range(self.page, 0, -1) if self.page % d == 0]
        return [Tile(self, self.cores * share, self.channels * (self.page // share)) for share in rows]

    def published(self) -> Tile:
        """The tile that moves least on the channels; of two that move the same, the narrower, whose vector is sent sooner."""
        return min(self.tiles(), key=lambda tile: (tile.moved, tile.columns))


@dataclass(frozen=True)
class Tile:
    """The shape of a round on ``array``: ``rows`` x ``columns`` of the matrix."""

    array: CoreArray
    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows % self.array.cores or self.columns % self.array.channels or self.rows * self.columns != self.array.values:
            raise ValueError(
                f"wanted a tile of {self.array.values} values, its rows a multiple of {self.array.cores} cores and its columns "
                f"of {self.array.channels} channels, got {self}"
            )

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @property
    def page_rows(self) -> int:
        """Rows of the matrix in one page."""
        return self.rows // self.array.cores

    @property
    def page_columns(self) -> int:
        """Columns of the matrix in one page, which are those of its channel."""
        return self.columns // self.array.channels

    @property
    def moved(self) -> int:
        """Values that a round moves on all channels: the vector once, and results on every channel."""
        return self.columns + self.array.channels * self.rows

    def rounds(self, n: int, k: int) -> int:
        """Rounds that a matrix of ``n`` rows and ``k`` columns takes, padding included."""
        whole, rest = divmod(k, self.columns)
        rounds = whole * ceil_div(n, self.rows)
        if rest:
            beside = self.array.channels // ceil_div(rest, self.page_columns)
            rounds = rounds + ceil_div(n, beside * self.rows)
        return rounds

    def pages(self, n: int, k: int) -> int:
        """Pages that hold such a matrix; one that no part of it lies in is not read."""
        return ceil_div(n, self.page_rows) * ceil_div(k, self.page_columns)

    def utilisation(self, n: int, k: int) -> Fraction:
        """Values of the matrix by those of all its rounds."""
        return Fraction(n * k, self.rounds(n, k) * self.array.values)
