"""Table precompute: turns groups of activations into the half tables that the LUT tensor core looks up.

One word of ``rows`` x ``group`` INT8 activations enters and one word of ``rows`` x 2^(group - 1) entries leaves per cycle:

    cycle 0           the config word (number of words of the run) is taken
    cycle 1 + w       input word w is taken and its tables are written into the output register
    cycle 2 + w       they leave

As on every stream of half tables (`accel.base.half_table`), what leaves is -T, which takes a bit less than T.
Source of the symmetrised table: Mo et al., LUT Tensor Core, ISCA 2025.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from accel.base.cost import Cost
from accel.base.half_table import ACTIVATION_BITS, checked_table_bits, entries, entry_bits, table_format
from accel.base.mapping import ceil_div
from accel.base.unit import RtlUnit
from accel.base.words import pack_words, unpack_words
from workloads.formats import FORMATS
from workloads.ops import Op, TablePrecompute

if TYPE_CHECKING:
    from amaranth.lib import wiring

GROUP_BITS = 16  # an invocation takes at most 2^16 - 1 groups
REGISTER_CYCLES = 1  # from an input word's handshake to that of its tables
CONFIG_CYCLES = 1


class TablePrecomputeUnit(RtlUnit):
    """Half tables of INT8 activations, one group of each row per cycle."""

    rows: int = Field(default=2, ge=1, le=8)
    """Rows of activations side by side (M of the LUT core's tile)."""
    group: int = Field(default=4, ge=2, le=5)
    """Activations per table (K of the LUT core's tile)."""

    table_bits: int | None = Field(default=None, ge=4)
    """Bits that entries are rounded to, fewer than the exact ones; None keeps them exact (10 bits at K = 4)."""

    executes = (TablePrecompute,)
    golden: ClassVar[str] = "tables.half_table"

    @model_validator(mode="after")
    def _narrower_than_exact(self) -> TablePrecomputeUnit:
        return checked_table_bits(self)

    @property
    def entry_bits(self) -> int:
        """Bits of an entry as it leaves."""
        return self.table_bits or entry_bits(self.group)

    def check(self, op: Op) -> None:
        super().check(op)
        if op.group != self.group or op.activations.name != FORMATS["int8"].name:
            raise ValueError(
                f"{self.kind()} with group = {self.group} takes int8 activations in groups of {self.group}, "
                f"got {op.activations} in groups of {op.group}"
            )
        if op.entry_bits != self.table_bits:
            wanted, got = (bits or "exact" for bits in (self.table_bits, op.entry_bits))
            raise ValueError(f"{self.kind()} with table_bits = {wanted} makes no entries of {got} bits; give both units the same")

    def table_bytes(self, op: TablePrecompute) -> Any:
        """Bytes of the half tables that ``op`` leaves in memory."""
        return table_format(self.group, self.table_bits).nbytes(op.m * op.k)

    def limits(self, op: TablePrecompute) -> dict[str, int]:
        return {"m": self.rows, "k": self.group * ((1 << GROUP_BITS) - 1)}

    def tile_cost(self, tile: TablePrecompute) -> Cost:
        words = ceil_div(tile.k, self.group)
        return Cost(
            latency=CONFIG_CYCLES + words + REGISTER_CYCLES,
            interval=words,
            events={"table_write": words * self.rows * entries(self.group)},
        )

    def component(self) -> wiring.Component:
        from accel.table_precompute.rtl import Precompute

        return Precompute(self)

    def encode_config(self, tile: TablePrecompute, n: int) -> int:
        from accel.table_precompute.rtl import RUN_BITS

        words = ceil_div(tile.k, self.group) * n
        if words >= 1 << RUN_BITS:
            raise ValueError(f"a run of {self.kind()} takes less than 2^{RUN_BITS} words, got {words}")
        return words

    def encode(self, tile: TablePrecompute, *arrays: np.ndarray) -> dict[str, list[int]]:
        (activations,) = arrays
        words = ceil_div(tile.k, self.group)
        padded = np.zeros((self.rows, words * self.group), np.int64)
        padded[: tile.m, : tile.k] = activations
        by_word = padded.reshape(self.rows, words, self.group).swapaxes(0, 1)
        return {"activations": pack_words(by_word.reshape(words, -1), ACTIVATION_BITS)}

    def output_words(self, tile: TablePrecompute) -> dict[str, int]:
        return {"tables": ceil_div(tile.k, self.group)}

    def decode(self, tile: TablePrecompute, words: Any) -> tuple[np.ndarray, ...]:
        fields = unpack_words(words["tables"], self.entry_bits, self.rows * entries(self.group))
        tables = -fields.reshape(-1, self.rows, entries(self.group)).swapaxes(0, 1)
        if tables[tile.m :].any():
            raise ValueError(f"wanted zeros in the tables of the {self.rows - tile.m} padding rows, got {tables[tile.m :]}")
        return (tables[: tile.m],)

    @classmethod
    def examples(cls):
        shapes = [
            (2, 4, None, 5, 42),
            (1, 2, None, 3, 7),
            (8, 5, None, 19, 31),
            (3, 3, None, 6, 9),
            (2, 4, 8, 3, 25),
            (1, 2, 8, 3, 9),
        ]
        for rows, group, bits, m, k in shapes:
            yield cls(rows=rows, group=group, table_bits=bits), TablePrecompute(m=m, k=k, group=group, entry_bits=bits)

    @classmethod
    def draw(cls, rng):
        group = int(rng.integers(2, 6))
        bits = int(rng.integers(4, entry_bits(group))) if rng.random() < 0.4 else None
        unit = cls(rows=int(rng.integers(1, 9)), group=group, table_bits=bits)
        m, k = int(rng.integers(1, 4 * unit.rows)), int(rng.integers(1, 40 * unit.group))
        return unit, TablePrecompute(m=m, k=k, group=unit.group, entry_bits=bits)
