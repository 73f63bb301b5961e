"""Table precompute: turns groups of activations into the half tables that the LUT tensor core looks up.

One word of ``rows`` x ``group`` INT8 activations enters and one word of ``rows`` x 2^(group - 1) entries leaves per cycle:

    cycle 0           the config word (number of words of the run) is taken
    cycle 1 + w       input word w is taken and its tables are written into the output register
    cycle 2 + w       they leave

As on every stream of half tables (`accel.base.half_table`), what leaves is -T, which takes a bit less than T.

FP16 activations pass a pipeline: a balanced tree of ceil(log2 K) levels of FP16 adders of three stages each, and for INT8 tables
one more stage, which finds the largest exponent of the table and rounds every sum to steps of it. With D stages the tables of
word w leave in cycle 1 + D + w.
Source of the symmetrised table: Mo et al., LUT Tensor Core, ISCA 2025.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from accel.base.cost import Cost
from accel.base.half_table import CODE_BITS, entries, entry_bits, table_format
from accel.base.mapping import ceil_div
from accel.base.table_unit import TableUnit
from accel.base.words import pack_words, unpack_words
from workloads.formats import FORMATS
from workloads.ops import TablePrecompute

if TYPE_CHECKING:
    from amaranth.lib import wiring

GROUP_BITS = 16  # an invocation takes at most 2^16 - 1 groups
CONFIG_CYCLES = 1
LEVEL_STAGES = 3  # registers of a level of FP16 adders, the one behind it included


class TablePrecomputeUnit(TableUnit):
    """Half tables of INT8 or FP16 activations, one group of each row per cycle."""

    executes = (TablePrecompute,)
    golden: ClassVar[str] = "tables.half_table"

    @property
    def stages(self) -> int:
        """Registers from an input word to its tables."""
        return 1 if self.activations == "int8" else LEVEL_STAGES * (self.group - 1).bit_length() + (self.table == "int8")

    def check(self, op: TablePrecompute) -> None:
        super().check(op)
        if op.group != self.group or op.activations.name != self.activations:
            raise ValueError(
                f"{self.kind()} with group = {self.group} takes {self.activations} activations in groups of {self.group}, "
                f"got {op.activations} in groups of {op.group}"
            )
        if op.entry_bits != self.rounded_to:
            field = "table_bits" if self.activations == "int8" else "table"
            wanted, got = (bits or "exact" for bits in (getattr(self, field), op.entry_bits))
            raise ValueError(f"{self.kind()} with {field} = {wanted} makes no entries of {got} bits; give both units the same")

    def table_bytes(self, op: TablePrecompute) -> Any:
        """Bytes of the half tables that ``op`` leaves in memory."""
        return table_format(self.group, self.rounded_to, self.activations).nbytes(op.m * op.k)

    def limits(self, op: TablePrecompute) -> dict[str, int]:
        return {"m": self.rows, "k": self.group * ((1 << GROUP_BITS) - 1)}

    def tile_cost(self, tile: TablePrecompute) -> Cost:
        words = ceil_div(tile.k, self.group)
        return Cost(
            latency=CONFIG_CYCLES + words + self.stages,
            interval=words,
            events={"table_write": words * self.rows * entries(self.group)},
        )

    def component(self) -> wiring.Component:
        from accel.table_precompute.rtl import Precompute
        from accel.table_precompute.rtl_float import FloatPrecompute

        return Precompute(self) if self.activations == "int8" else FloatPrecompute(self)

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
        return {"activations": pack_words(by_word.reshape(words, -1), FORMATS[self.activations].bits)}

    def output_words(self, tile: TablePrecompute) -> dict[str, int]:
        return {"tables": ceil_div(tile.k, self.group)}

    def decode(self, tile: TablePrecompute, words: Any) -> tuple[np.ndarray, ...]:
        count, bits = self.table_fields
        fields = unpack_words(words["tables"], bits, self.rows * count).reshape(-1, self.rows, count).swapaxes(0, 1)
        spare = np.zeros(count, np.int64)
        spare[entries(self.group) :] = 1  # the exponent of a table of zeros
        if (fields[tile.m :] != spare).any():
            raise ValueError(f"wanted zeros in the tables of the {self.rows - tile.m} padding rows, got {fields[tile.m :]}")
        if self.activations == "int8":
            return (-fields[: tile.m],)
        if self.table == "fp16":
            return (fields[: tile.m] & 0xFFFF,)  # patterns have no sign
        return fields[: tile.m, :, :-1], fields[: tile.m, :, -1]

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
        fp16 = FORMATS["fp16"]
        tables: list[tuple[Any, int | None]] = [("fp16", None), ("int8", CODE_BITS)]
        for table, bits in tables:
            for rows, group, m, k in [(2, 4, 5, 42), (1, 2, 3, 7), (2, 5, 3, 31), (3, 3, 4, 10)]:
                op = TablePrecompute(m=m, k=k, group=group, entry_bits=bits, activations=fp16)
                yield cls(rows=rows, group=group, activations="fp16", table=table), op

    @classmethod
    def draw(cls, rng):
        group, rows = int(rng.integers(2, 6)), int(rng.integers(1, 9))
        if rng.random() < 0.5:
            bits = int(rng.integers(4, entry_bits(group))) if rng.random() < 0.4 else None
            unit = cls(rows=rows, group=group, table_bits=bits)
        else:
            table: Any = str(rng.choice(["fp16", "int8"]))
            unit = cls(rows=rows, group=group, activations="fp16", table=table)
        m, k = int(rng.integers(1, 4 * unit.rows)), int(rng.integers(1, 40 * unit.group))
        entry, activations = unit.rounded_to, FORMATS[unit.activations]
        return unit, TablePrecompute(m=m, k=k, group=unit.group, entry_bits=entry, activations=activations)
