"""PIM bank: a DRAM bank with two row buffers, one for reads and writes, one whose bursts meet those of a broadcast vector.

    O[r, s] = sum_j x[s, j] W[r, s, j]     for rows r of the bank with s vectors each, while other rows are read and written

16 multipliers take a column burst, FP16 (products exact, sums in FP32) or INT8 (sums in INT32, which wrap); an adder tree over
neighbours and an accumulator add up, in the order that `kernels_ref.pim` states. Source: NeuPIMs, ASPLOS'24 (arXiv 2403.00579).

Two streams of commands, as a channel controller sends them; a command waits until it can be executed:

    memory    ACT (a row of ``cells`` fills the memory row buffer), RD and WR of a column, PRE (the row goes back, ``restored``)
    pim       ACT (a row of ``pim_cells`` fills the PIM row buffer), COMP (a column times a burst of ``vector``, added up),
              READRES (the sum leaves on ``results``, and the next COMP starts from zero), PRE

and a word on ``done`` when all commands of an invocation have been executed and their words are gone: which rows are open.

With ``dual_row_buffer`` both sides work at once. Without, there is one row buffer, and ``cells`` fills it for both: the bank
computes first, and then is a memory for the rest of the invocation.

The global vector buffer is one per channel, and not in here: what GWRITE has put there comes as the stream ``vector``, one burst
for every COMP, which the 32 banks of a channel take together. So a bank has neither its area nor its energy.

What is not modelled in time: cells. A row comes and goes one column burst per cycle, as fast as the streams bring it, where a
DRAM senses it at once. When a command may be sent (tRCD, tRAS, tRP, tRRD, tCCD, ...) is up to the channel's controller; the bank
wants COMPs at least `Depth.accumulate` cycles apart, 2 for FP16, as tCCD_S is.

Words, first field in the lowest bits: a burst has ``multipliers`` elements; a result is an FP32 pattern or INT32. A last burst
that is not full comes with the number of its lanes, and what the row and the vector hold beyond them is not looked at.

Timing in cycles (`pim.pim_bank.timing`), with C columns per row, b bursts per dot product, D stages, A = `Depth.accumulate`:

    P = rows (C + 2 + slots b A), for INT8 rows (C + 2 + slots (b + 1))          M = pages (2 C + 2 + reads + writes)
    an invocation takes max(P + D, M + 2), with one row buffer max(P + D, P + M + 2); a run one more, for its config word
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from accel.base.cost import Cost
from accel.base.extent import larger
from accel.base.mapping import ceil_div
from accel.base.spec import PowerOfTwo
from accel.base.unit import RtlUnit
from accel.base.words import pack_words, unpack_words
from pim.pim_bank.timing import CONFIG, DEPTHS, DONE, LEAVE, Depth, memory_cycles, pim_cycles, pim_tail
from workloads.formats import FORMATS, Format
from workloads.ops import BankGemv, Op

if TYPE_CHECKING:
    from amaranth.lib import wiring

FEWEST_COLUMNS, MOST_COLUMNS = 2, 256
LONGEST = 1 << 24
"""Rows, pages, or accesses of a page, in an invocation; its commands are counted in 32 bits."""


class PimBank(RtlUnit):
    """Dot products with the rows of a DRAM bank beside its reads and writes, with two row buffers or one."""

    operands: Literal["fp16", "int8"] = "fp16"
    """Format of the vector and of the rows."""
    multipliers: PowerOfTwo = Field(default=16, ge=2, le=32)
    """Elements of a column burst, a power of two."""
    row_bytes: PowerOfTwo = Field(default=1024, ge=4, le=2048)
    """Bytes of a row, a power of two."""
    dual_row_buffer: bool = True
    """Two row buffers, so that the bank computes and is read and written at once; else one, and it does either."""

    executes: ClassVar[tuple[type[Op], ...]] = (BankGemv,)
    golden: ClassVar[str] = "pim.bank_gemv"

    @model_validator(mode="after")
    def _whole_row(self) -> PimBank:
        burst = self.multipliers * self.format.bits // 8
        if not FEWEST_COLUMNS * burst <= self.row_bytes <= MOST_COLUMNS * burst:
            raise ValueError(
                f"row_bytes: wanted {FEWEST_COLUMNS} to {MOST_COLUMNS} bursts of {self.multipliers} {self.operands} elements, "
                f"which is {FEWEST_COLUMNS * burst} to {MOST_COLUMNS * burst} bytes, got {self.row_bytes}"
            )
        return self

    @property
    def format(self) -> Format:
        return FORMATS[self.operands]

    @property
    def depth(self) -> Depth:
        """Registers of each part of the pipeline."""
        return DEPTHS[self.operands]

    @property
    def columns(self) -> int:
        """Bursts of a row."""
        return self.row_bytes * 8 // (self.format.bits * self.multipliers)

    def check(self, op: BankGemv) -> None:
        super().check(op)
        if op.activations != self.format:
            raise ValueError(f"{self.kind()} with {self.operands} operands takes {self.format} rows, not {op.activations}")
        if (op.burst, op.columns) != (self.multipliers, self.columns):
            wanted = f"rows of {self.columns} bursts of {self.multipliers} elements"
            raise ValueError(f"{self.kind()} has {wanted}, not of {op.columns} bursts of {op.burst}")
        if np.any(np.minimum(np.minimum(op.rows, op.slots), op.length) < 1):
            raise ValueError(f"{self.kind()} takes rows, slots and lengths of at least 1, not {op.describe()}")
        if np.any(op.slots * self._bursts(op) > self.columns):
            raise ValueError(
                f"wanted at most {self.columns} bursts in a row, got {op.slots} slots of {self._bursts(op)}: dot products longer "
                f"than a row, and slots that do not fit it, take several invocations"
            )
        for name in ("rows", "pages", "reads", "writes"):
            if np.any(getattr(op, name) > LONGEST):
                raise ValueError(f"{self.kind()} takes up to {LONGEST} {name}, not {getattr(op, name)}")

    def limits(self, op: BankGemv) -> dict[str, int]:
        """None: the layout decides what lies in a row, and everything else is only counted."""
        return {}

    def _bursts(self, op: BankGemv) -> Any:
        """Bursts of a dot product."""
        return ceil_div(op.length, self.multipliers)

    def tile_cost(self, tile: BankGemv) -> Cost:
        bursts, rows, pages = self._bursts(tile), tile.rows, tile.pages
        pim = pim_cycles(self.depth, self.columns, rows, tile.slots, bursts)
        memory = memory_cycles(self.columns, pages, tile.reads, tile.writes)
        if not self.dual_row_buffer:
            memory = pim + memory
        interval = larger(pim + pim_tail(self.depth, self.multipliers), memory + LEAVE) + DONE
        events = {
            "memory_fill": pages * self.columns,
            "read": pages * tile.reads,
            "write": pages * tile.writes,
            "restore": pages * self.columns,
            "pim_fill": rows * self.columns,
            "comp": rows * tile.slots * bursts,
            "mac": rows * tile.slots * tile.length,
            "read_result": rows * tile.slots,
        }
        return Cost(latency=CONFIG + interval, interval=interval, events=events)

    def component(self) -> wiring.Component:
        from pim.pim_bank.rtl import BankRtl

        return BankRtl(self.format, self.multipliers, self.columns, self.dual_row_buffer)

    def encode_config(self, tile: BankGemv, n: int) -> int:
        from pim.pim_bank.rtl import RUN_BITS, config_layout

        memory = tile.pages * (tile.reads + tile.writes + 2)
        pim = tile.rows * (tile.slots * (self._bursts(tile) + 1) + 2)
        if max(memory, pim, n) >= 1 << RUN_BITS:
            raise ValueError(f"{self.kind()} counts less than 2^{RUN_BITS} commands and invocations, got {memory}, {pim}, {n}")
        return config_layout().const({"invocations": n - 1, "memory": memory, "pim": pim}).as_bits()

    def encode(self, tile: BankGemv, *arrays: np.ndarray) -> dict[str, list[int]]:
        vector, matrix, memory, read_columns, write_columns, written = (np.asarray(a, np.int64) for a in arrays)
        # What no slot uses is ones, NaNs where they are floats: nobody may look at it.
        rows, vectors = np.full((tile.rows, tile.row), -1), np.full((tile.slots, self._bursts(tile) * self.multipliers), -1)
        vectors[:, : tile.length] = vector
        for slot in range(tile.slots):
            start = slot * vectors.shape[1]
            rows[:, start : start + tile.length] = matrix[:, slot]
        pim_cells = self._words(rows)
        cells = self._words(memory)
        words = {
            "memory": [word for r, w in zip(read_columns, write_columns, strict=True) for word in self._page(r, w)],
            "written": self._words(written),
            "cells": cells if self.dual_row_buffer else pim_cells + cells,
            "pim": self._row(tile) * tile.rows,
            "vector": self._words(vectors) * tile.rows,
        }
        return words | ({"pim_cells": pim_cells} if self.dual_row_buffer else {})

    def _words(self, elements: np.ndarray) -> list[int]:
        """``elements`` as bursts."""
        return pack_words(elements.reshape(-1, self.multipliers), self.format.bits) if elements.size else []

    def _page(self, read_columns: np.ndarray, write_columns: np.ndarray) -> list[int]:
        """The memory side's commands for a page."""
        from pim.pim_bank.rtl import MemoryCode, memory_layout

        def word(code: Any, column: int = 0) -> int:
            return memory_layout(self.columns).const({"code": code, "column": column}).as_bits()

        words = [word(MemoryCode.ACT)]
        for i in range(max(len(read_columns), len(write_columns))):
            words += [word(MemoryCode.RD, int(column)) for column in read_columns[i : i + 1]]
            words += [word(MemoryCode.WR, int(column)) for column in write_columns[i : i + 1]]
        return [*words, word(MemoryCode.PRE)]

    def _row(self, tile: BankGemv) -> list[int]:
        """The PIM side's commands for a row."""
        from pim.pim_bank.rtl import PimCode, pim_layout

        def word(code: Any, column: int = 0, lanes: int = 1) -> int:
            fields = {"code": code, "column": column, "lanes": lanes - 1}
            return pim_layout(self.columns, self.multipliers).const(fields).as_bits()

        bursts = self._bursts(tile)
        words = [word(PimCode.ACT)]
        for slot in range(tile.slots):
            for i in range(bursts):
                lanes = min(tile.length - i * self.multipliers, self.multipliers)
                words.append(word(PimCode.COMP, slot * bursts + i, lanes))
            words.append(word(PimCode.READRES))
        return [*words, word(PimCode.PRE)]

    def output_words(self, tile: BankGemv) -> dict[str, int]:
        restored = tile.pages * self.columns
        return {"reads": tile.pages * tile.reads, "restored": restored, "results": tile.rows * tile.slots, "done": 1}

    def decode(self, tile: BankGemv, words: Mapping[str, list[int]]) -> tuple[np.ndarray, ...]:
        if any(words["done"]):
            raise ValueError(f"wanted both row buffers closed when an invocation is done, got {words['done']}")
        results = unpack_words(words["results"], tile.accumulator.bits, 1).reshape(tile.rows, tile.slots)
        reads = self._elements(words["reads"]).reshape(tile.pages, tile.reads, self.multipliers)
        restored = self._elements(words["restored"]).reshape(tile.pages, tile.row)
        return (_patterns(results, tile.accumulator), reads, restored)

    def _elements(self, words: list[int]) -> np.ndarray:
        return _patterns(unpack_words(words, self.format.bits, self.multipliers), self.format) if words else np.zeros(0, np.int64)

    @classmethod
    def examples(cls) -> Iterable[tuple[RtlUnit, Op]]:
        small: dict[str, Any] = {"multipliers": 4, "row_bytes": 64}
        for operands in ("fp16", "int8"):
            for dual in (True, False):
                unit = cls(operands=operands, dual_row_buffer=dual, **small)
                yield unit, unit.op(rows=3, slots=2, length=14, pages=2, reads=5, writes=3)
        unit = cls(multipliers=2, row_bytes=64)
        yield unit, unit.op(rows=2, slots=3, length=9, pages=1, reads=1, writes=4)
        unit = cls(multipliers=32, row_bytes=128, operands="int8")
        yield unit, unit.op(rows=4, slots=1, length=101, pages=3, reads=2, writes=2)
        unit = cls()  # one token's four heads of 128 elements
        yield unit, unit.op(rows=1, slots=4, length=128, pages=2, reads=12, writes=7)
        unit = cls(dual_row_buffer=False)
        yield unit, unit.op(rows=2, slots=1, length=509, pages=1, reads=3, writes=3)
        unit = cls(operands="int8")
        yield unit, unit.op(rows=2, slots=8, length=128, pages=1, reads=3, writes=3)

    def op(self, **extents: Any) -> BankGemv:
        """An op on rows of this bank."""
        return BankGemv(burst=self.multipliers, columns=self.columns, activations=self.format, **extents)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> tuple[RtlUnit, Op]:
        operands: Any = str(rng.choice(["fp16", "int8"]))
        multipliers = 2 << int(5 * rng.random() ** (3 if operands == "fp16" else 1))  # few: so that it simulates in seconds
        burst = multipliers * FORMATS[operands].bits // 8
        columns = 2 << int(rng.integers(6))
        unit = cls(operands=operands, multipliers=multipliers, row_bytes=burst * columns, dual_row_buffer=bool(rng.integers(2)))
        return unit, unit.draw_op(rng)

    def draw_op(self, rng: np.random.Generator) -> Op:
        def log_uniform(most: int) -> int:
            return int((most + 1) ** rng.random())

        slots = log_uniform(self.columns)
        length = int(rng.integers(1, self.columns // slots * self.multipliers + 1))
        traffic = {"pages": int(rng.integers(4)), "reads": log_uniform(12) - 1, "writes": log_uniform(12) - 1}
        return self.op(rows=log_uniform(6), slots=slots, length=length, **traffic)


def _patterns(elements: np.ndarray, fmt: Format) -> np.ndarray:
    """What `unpack_words` gives, as ``fmt`` has it: a pattern of bits has no sign."""
    return elements & ((1 << fmt.bits) - 1) if fmt.kind == "float" else elements
