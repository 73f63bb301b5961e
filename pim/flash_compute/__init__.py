"""Compute core of a NAND die: multiplies the page in the die's register with a vector, and mends the page's outliers on the way.

    O[r] = sum_c W[r, c] x[c]     for a page of INT8 weights W, x INT8, O INT32; W as `pim.outlier_ecc` decodes it

Source: Cambricon-LLM, MICRO'24 (arXiv 2409.15654): one core per die, 1.6 GOPS (two multiply-accumulates per cycle at 400 MHz),
two buffers of 2 KB for the vector and the results, correction of the page's largest 1 %.

Streams, ``macs`` bytes wide but for the spare area:

    vector    the columns of x, filled up with zeros to whole words
    page      the weights row by row, each row filled up with zeros to whole words: the address of a value is its place here
    spare     9 words with the copies of the threshold, then one word for each entry
    results   the INT32 sums, once the whole page is done
    status    one word when all results are gone: what the correction counted (`pim.outlier_ecc.Counts`)

In a cycle the core either multiplies a word of the page or handles one entry, which overwrites a value of the word that waits:
so its cycles do not depend on where the outliers lie or which bits are wrong. Nothing of one page overlaps with the next inside
of the core; reading the next page from the cells into the die's other register does, and is the die's time, not the core's.

Cycles of a page with rows R of b = ceil(columns / macs) words and e = max(1, R b macs permille / 1000) entries:

    max(b, 10) + R b + e + R + 4, and 1 more for a run's config word
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from accel.base.cost import Cost
from accel.base.extent import larger
from accel.base.mapping import ceil_div
from accel.base.spec import PowerOfTwo
from accel.base.unit import RtlUnit
from accel.base.words import pack_words, unpack_words
from pim.flash_compute.timing import CONFIG, OVERHEAD, READY
from pim.outlier_ecc import COPIES, VALUE_BITS, Counts, OutlierCode, Stored
from workloads.ops import Op
from workloads.page_gemv import PageGemv

if TYPE_CHECKING:
    from amaranth.lib import wiring

RESULT_BITS = 32


class FlashCompute(RtlUnit):
    """Matrix-vector products with a page of flash, in the die, with correction of outliers."""

    macs: PowerOfTwo = Field(default=2, ge=1, le=16)
    """Products per cycle, a power of two."""
    page_values: PowerOfTwo = Field(default=1 << 14, ge=64, le=1 << 16)
    """INT8 values of a page, a power of two."""
    spare_bytes: int = Field(default=1664, ge=1)
    """Bytes of the page's spare area, into which the code must fit."""
    buffer_bytes: PowerOfTwo = Field(default=2048, ge=16, le=1 << 14)
    """Bytes of each of the two buffers, for the vector and for the results; a power of two."""
    permille: int = Field(default=10, ge=1, le=500)
    """Of a thousand values those that are protected."""

    executes: ClassVar[tuple[type[Op], ...]] = (PageGemv,)
    golden: ClassVar[str] = "flash_compute.page_gemv"

    @model_validator(mode="after")
    def _code_fits(self) -> FlashCompute:
        needed = -(-self.code.spare_bits(self.page_values) // 8)
        if needed > self.spare_bytes:
            raise ValueError(
                f"spare_bytes: wanted at least {needed} to protect {self.code.entries(self.page_values)} of {self.page_values} "
                f"values, got {self.spare_bytes}"
            )
        return self

    @property
    def code(self) -> OutlierCode:
        """The layout of page and spare area."""
        return OutlierCode(self.page_values, self.permille)

    def numerics(self) -> dict[str, Any]:
        return {"macs": self.macs, "page_values": self.page_values, "permille": self.permille}

    def check(self, op: PageGemv) -> None:
        super().check(op)
        if np.any(larger(1 - op.rows, 1 - op.columns) > 0) or np.any(op.flips < 0):
            raise ValueError(f"{self.kind()} takes rows and columns of at least 1 and flips of at least 0, not {op.describe()}")
        if np.any(self._words(op) * self.macs > self.buffer_bytes):
            raise ValueError(f"{self.kind()} has a buffer for {self.buffer_bytes} columns, not for {op.columns}")
        if np.any(op.rows * RESULT_BITS // 8 > self.buffer_bytes):
            raise ValueError(f"{self.kind()} has a buffer for {self.buffer_bytes * 8 // RESULT_BITS} results, not for {op.rows}")
        if np.any(self._values(op) > self.page_values):
            raise ValueError(
                f"wanted at most {self.page_values} values in a page, got {op.rows} rows of {op.columns} in words of {self.macs}"
            )

    def limits(self, op: PageGemv) -> dict[str, int]:
        """None: an op is one page."""
        return {}

    def _words(self, op: PageGemv) -> Any:
        """Words of the vector, and of a row."""
        return ceil_div(op.columns, self.macs)

    def _values(self, op: PageGemv) -> Any:
        """Values of the page, those that fill up its rows included."""
        return op.rows * self._words(op) * self.macs

    def tile_cost(self, tile: PageGemv) -> Cost:
        words, values = self._words(tile), self._values(tile)
        entries = self.code.entries(values)
        interval = larger(words, READY) + tile.rows * words + entries + tile.rows + OVERHEAD
        events = {
            "vector_in": words,
            "page_in": tile.rows * words,
            "spare_in": COPIES + entries,
            "entry": entries,
            "mac": tile.macs,
            "padding": values - tile.macs,
            "result": tile.rows,
        }
        return Cost(latency=CONFIG + interval, interval=interval, events=events)

    def component(self) -> wiring.Component:
        from pim.flash_compute.rtl import FlashComputeRtl

        return FlashComputeRtl(self.code, self.macs, self.buffer_bytes)

    def encode_config(self, tile: PageGemv, n: int) -> int:
        from pim.flash_compute.rtl import RUN_BITS, config_layout

        if n >= 1 << RUN_BITS:
            raise ValueError(f"{self.kind()} counts less than 2^{RUN_BITS} invocations, got {n}")
        words = self._words(tile)
        fields = {
            "invocations": n - 1,
            "words": words - 1,
            "beats": tile.rows * words - 1,
            "entries": self.code.entries(self._values(tile)) - 1,
            "tail": (tile.columns - 1) % self.macs,
        }
        return config_layout(self.code, self.macs).const(fields).as_bits()

    def encode(self, tile: PageGemv, *arrays: np.ndarray) -> dict[str, list[int]]:
        weights, vector, flips = (np.asarray(a, np.int64) for a in arrays)
        columns = self._words(tile) * self.macs
        padded = np.zeros((tile.rows, columns), np.int64)
        padded[:, : tile.columns] = weights
        stored = self.code.flipped(self.code.encode(padded.ravel()), flips)
        x = np.zeros(columns, np.int64)
        x[: tile.columns] = vector
        return {
            "vector": pack_words(x.reshape(-1, self.macs), VALUE_BITS),
            "page": pack_words(stored.values.reshape(-1, self.macs), VALUE_BITS),
            "spare": self._spare(stored),
        }

    def _spare(self, stored: Stored) -> list[int]:
        """The words of the spare area: copies of the threshold, then entries with the fields from the lowest bit."""
        widths = (self.code.address_bits, self.code.parity_bits, VALUE_BITS, VALUE_BITS)
        starts = np.cumsum((0, *widths[:-1]))
        entries = sum(fields << int(at) for fields, at in zip(stored[2:], starts, strict=True))
        return [*stored.copies.tolist(), *np.asarray(entries).tolist()]

    def output_words(self, tile: PageGemv) -> dict[str, int]:
        return {"results": tile.rows, "status": 1}

    def decode(self, tile: PageGemv, words: Mapping[str, list[int]]) -> tuple[np.ndarray, ...]:
        from pim.flash_compute.rtl import status_layout

        layout = status_layout(self.code)
        (status,) = words["status"]
        counts = [status >> layout[name].offset & ((1 << layout[name].width) - 1) for name in Counts._fields]
        return unpack_words(words["results"], RESULT_BITS, 1)[:, 0], np.array(counts, np.int64)

    @classmethod
    def examples(cls) -> Iterable[tuple[RtlUnit, Op]]:
        small: dict[str, Any] = {"page_values": 256, "spare_bytes": 256, "buffer_bytes": 64, "permille": 60}
        for macs in (1, 2, 4, 16):  # dense in entries and in wrong bits: several in a word, and all that can go wrong with them
            yield cls(macs=macs, **small), PageGemv(rows=5, columns=23, flips=90)
        unit = cls(macs=2, page_values=64, spare_bytes=128, buffer_bytes=64, permille=500)  # half of the values protected
        yield unit, PageGemv(rows=4, columns=16, flips=70)
        yield cls(buffer_bytes=256), PageGemv(rows=9, columns=50, flips=5)
        yield cls(), PageGemv(rows=3, columns=81)
        yield cls(), PageGemv(rows=64, columns=256, flips=30)  # a whole page, at an error rate of 2e-4

    @classmethod
    def draw(cls, rng: np.random.Generator) -> tuple[RtlUnit, Op]:
        macs, page_values = 1 << int(rng.integers(5)), 64 << int(rng.integers(5))
        permille, buffer_bytes = int(500 ** rng.random()), 16 << int(rng.integers(5))
        spare_bytes = page_values * 4  # more than any share takes
        unit = cls(macs=macs, page_values=page_values, spare_bytes=spare_bytes, buffer_bytes=buffer_bytes, permille=permille)
        return unit, unit.draw_op(rng)

    def draw_op(self, rng: np.random.Generator) -> Op:
        columns = int((min(self.buffer_bytes, self.page_values, 256) + 1) ** rng.random())
        most = min(self.buffer_bytes * 8 // RESULT_BITS, self.page_values // (ceil_div(columns, self.macs) * self.macs), 64)
        op = PageGemv(rows=int(rng.integers(1, most + 1)), columns=columns)
        bits = self._values(op) * VALUE_BITS
        return op.resized(flips=int((bits // 8 + 1) ** rng.random()) - 1)
