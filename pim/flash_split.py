"""The split of a matrix-vector product between the cores in the dies of NAND flash and the chip that they hang on, and its time.

One plane of each die computes, the other is read; what is read goes to the chip in slices, between vectors and results. With a
tile of H rows and W columns, C channels of rate b and c cores on each:

    round       = max(tR, core) + command + vector                      vector = bytes of W / C elements / b
    channel     = (vector + results + (1 + c) command) / round          what rounds take of it; results = bytes of H sums / b
    page        = slices command + bytes / b                            an ordinary read on its channel
    all in dies   F = rounds(n, k) round
    all streamed  S = pages on a channel max(page / (1 - channel), tR / c)

core is the time of the core's RTL on a page; the next page is read meanwhile, into the other register. Weights wait for nothing,
so that planes go on reading, and channels sending, from one matrix to the next: each matrix takes its share of the steady state,
parts of a round included. r rows of n in the dies take F r / n, the others S (n - r) / n, and both end together at

    r = n S / (F + S)            time = F S / (F + S)                   up to one row

`pim.flash_channel` plays a channel event by event, with its registers and all that waits for vectors; a test holds the closed
form against it. Times are ps and exact.

Source: Cambricon-LLM, MICRO'24 (arXiv 2409.15654), secondary. What is different here: a sum takes the 4 bytes that the core
gives, not one; commands are charged; rounds are those of the real matrix (`pim.flash_tiling`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from accel.base.clock import bytes_to_ps
from accel.base.mapping import ceil_div
from memsys.nand_part import NandPart
from pim.flash_tiling import Tile

RESULT_BYTES = 4
"""Of a sum of products (`pim.flash_compute`)."""
PLANES = 2
"""Planes of a die that work apart: one computes, the other is read."""


class Split(NamedTuple):
    """Rows of a matrix in the dies, the others being the chip's, and the time of each side in ps."""

    rows: int
    dies_ps: int
    chip_ps: int

    @property
    def ps(self) -> int:
        """Time of both, side by side."""
        return max(self.dies_ps, self.chip_ps)


@dataclass(frozen=True)
class ReadCompute:
    """Rounds of ``tile`` on ``part``, whose dies take ``core_ps`` to compute a page, beside ordinary reads.

    Raises ValueError where a die has one plane only, or rounds leave the channels no time.
    """

    part: NandPart
    tile: Tile
    core_ps: int
    vector_bits: int
    """Bits of an element of the vector."""
    slice_bytes: int
    """Bytes of an ordinary read that go on the channel at a time."""

    def __post_init__(self) -> None:
        if self.part.planes < PLANES:
            raise ValueError(f"wanted {PLANES} planes in a die, one to compute and one to read, got {self.part.planes}")
        if self.busy_ps >= self.round_ps:
            raise ValueError(
                f"wanted rounds of {self.tile} that leave time on the channels, got {self.busy_ps} ps of vectors and results in "
                f"rounds of {self.round_ps} ps"
            )

    @property
    def vector_bytes(self) -> int:
        """Bytes of the vector that a channel takes for a round."""
        return ceil_div(self.tile.page_columns * self.vector_bits, 8)

    @property
    def result_bytes(self) -> int:
        """Bytes of the sums that a channel gives back for a round."""
        return RESULT_BYTES * self.tile.rows

    @cached_property
    def send_ps(self) -> int:
        """The vector of a round on its channel, with its command."""
        return self.part.command_ps + int(bytes_to_ps(self.vector_bytes, self.part.channel_mb_per_s))

    @cached_property
    def result_ps(self) -> int:
        """The sums of one core on its channel, with their command."""
        each = self.result_bytes // self.tile.array.cores
        return self.part.command_ps + int(bytes_to_ps(each, self.part.channel_mb_per_s))

    @cached_property
    def round_ps(self) -> int:
        """From one round to the next."""
        return max(self.part.mean_read_ps, self.core_ps) + self.send_ps

    @cached_property
    def busy_ps(self) -> int:
        """What a round takes of its channel."""
        return self.send_ps + self.tile.array.cores * self.result_ps

    @cached_property
    def page_ps(self) -> int:
        """An ordinary page on its channel, in slices."""
        return ceil_div(self.part.page_bytes, self.slice_bytes) * self.part.command_ps + self.part.page_transfer_ps

    @property
    def channel_share(self) -> Fraction:
        """Share of the channel that rounds take."""
        return Fraction(self.busy_ps, self.round_ps)

    @property
    def request_share(self) -> Fraction:
        """Share in the dies of one page that is computed and one that is read, t_r / (t_r + t_rc)."""
        read = self.page_ps / (1 - self.channel_share)
        return read / (read + self.round_ps)

    def dies_ps(self, n: int, k: int) -> int:
        """All of a matrix of ``n`` rows and ``k`` columns in the dies."""
        return self.tile.rounds(n, k) * self.round_ps

    def stream_ps(self, nbytes: int) -> int:
        """``nbytes`` of weights to the chip beside rounds, spread evenly over the channels."""
        pages = Fraction(nbytes, self.part.channels * self.part.page_bytes)
        planes_ps = Fraction(self.part.mean_read_ps, self.part.dies_per_channel)
        time = pages * max(self.page_ps / (1 - self.channel_share), planes_ps)
        return -(-time.numerator // time.denominator)

    def split(self, n: int, k: int, *, nbytes: int, chip_ps: int) -> Split:
        """The split of a matrix of ``n`` rows, ``k`` columns and ``nbytes`` that the chip alone computes in ``chip_ps``."""
        dies, chip = self.dies_ps(n, k), max(self.stream_ps(nbytes), chip_ps)
        rows = n * chip // (dies + chip)
        return Split(rows, ceil_div(dies * rows, n), ceil_div(chip * (n - rows), n))
