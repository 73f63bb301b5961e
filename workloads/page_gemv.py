"""The op of a compute core on a NAND die: a matrix-vector product with one page of weights, some of whose bits may be wrong.

    O[r] = sum_c W[r, c] x[c],   INT8 times INT8 in INT32

Source: Cambricon-LLM, MICRO'24 (arXiv 2409.15654).
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.ops import INT8, INT32, Extent, Op, Operand


@dataclass(frozen=True, eq=False, kw_only=True)
class PageGemv(Op):
    """O[r] = sum_c W[r, c] x[c] with ``rows`` rows of ``columns`` weights that lie in one page, and come from it with errors.

    Operand ``flips`` holds the positions of bits that are wrong, modulo the bits of the page and of the spare area as they are
    stored; a position that is given twice is right again. Results: O [rows] in INT32, and what error correction counted.
    """

    kind = "page_gemv"
    dimensions = ("rows", "columns", "flips")
    rows: Extent
    columns: Extent
    flips: Extent = 0

    @property
    def macs(self) -> Extent:
        return self.rows * self.columns

    def operands(self) -> tuple[Operand, ...]:
        return (
            Operand("weights", INT8, ("rows", "columns")),
            Operand("vector", INT8, ("columns",)),
            Operand("flips", INT32, ("flips",)),
        )
