"""Arithmetic: one floating-point or integer operator by itself, to prove it, and to know its area, clock and energy.

    multiply  x * y      add  x + y      multiply_add  x * y + z, rounded once      convert  x in another format

element by element, on floats (`accel.base.fp`) and on INT8, INT16 and INT32. An integer product is exact in twice the bits; that
of INT32, and sums, keep the low bits as in PyTorch.

Words, first operand in the lowest bits; one word of operands enters and one result leaves per cycle, with an operator of depth d:

    cycle 0           the config word (number of words of the run) is taken
    cycle 1 + w       operands w are taken into the operand register
    cycle 2 + d + w   their result leaves, straight from the operator

Beyond the operator and the d registers in it, the unit holds the operand register, a valid bit for each stage, a counter of
`RUN_BITS` bits, and the handshake between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from accel.base.cost import Cost
from accel.base.unit import RtlUnit
from accel.base.words import pack_words, unpack_words
from workloads.formats import FLOAT_FIELDS, FORMATS, Format
from workloads.ops import Op, Pointwise

if TYPE_CHECKING:
    from amaranth.lib import wiring

RUN_BITS = 16
"""A run has less than 2^16 words, so that the counter stays small beside the operator."""
ROW_LIMIT = 1 << 8
INTEGERS = ("int8", "int16", "int32")
PRODUCTS = {"int8": "int16", "int16": "int32", "int32": "int32"}


class Arithmetic(RtlUnit):
    """One element-wise operator of one format, a result per cycle."""

    function: Literal["multiply", "add", "multiply_add", "convert"] = "multiply"
    format: str = "fp16"
    """Format of all operands: fp32, fp16, bf16, fp8_e4m3, fp8_e5m2, int8, int16, int32."""
    result: str | None = None
    """Format of the result. None: that of the operands, and for integer products the one that holds them. Only floating-point
    products and conversions have a choice."""
    depth: int = Field(default=0, ge=0)
    """Clock cycles that the operator is cut into, less one; integer operators are not cut."""

    executes: ClassVar[tuple[type[Op], ...]] = (Pointwise,)
    golden: ClassVar[str] = "arithmetic.arithmetic"

    @model_validator(mode="after")
    def _exists(self) -> Arithmetic:
        for name in (self.format, self.result):
            if name is not None and name not in (*FLOAT_FIELDS, *INTEGERS):
                raise ValueError(f"arithmetic knows the formats {', '.join((*FLOAT_FIELDS, *INTEGERS))}, not {name!r}")
        source, result = self.operand, self.output
        floats = "float" in (source.kind, result.kind)
        if self.function == "convert":
            if not floats or source == result:
                raise ValueError(f"convert takes a float to another format, or an integer to a float, not {source} to {result}")
        elif source.kind != result.kind or (result != self._natural and not (self.function == "multiply" and floats)):
            choice = "any floating-point format" if self.function == "multiply" and source.kind == "float" else self._natural
            raise ValueError(f"the result of {self.function} on {source} is in {choice}, not {result}")
        if not floats and self.function == "multiply_add":
            raise ValueError(f"multiply_add takes floats, not {source}: sums of integer products are exact in any order")
        deepest = self._part().DEEPEST if floats and self.depth else 0
        if self.depth > deepest:
            raise ValueError(f"{self.function} on {source} has a depth of 0 to {deepest}, not {self.depth}")
        return self

    @property
    def operand(self) -> Format:
        """The format of the operands."""
        return FORMATS[self.format]

    @property
    def output(self) -> Format:
        """The format of the result."""
        return FORMATS[self.result] if self.result else self._natural

    @property
    def _natural(self) -> Format:
        return FORMATS[PRODUCTS[self.format] if self.function == "multiply" and self.operand.kind == "int" else self.format]

    def _part(self) -> type[Any]:
        """The class of the floating-point operator."""
        from accel.base import fp

        return {"multiply": fp.Multiply, "add": fp.Add, "multiply_add": fp.MultiplyAdd, "convert": fp.Convert}[self.function]

    def operator(self) -> wiring.Component | None:
        """The floating-point operator, or None where it is one of integers."""
        if "float" not in (self.operand.kind, self.output.kind):
            return None
        operands = {"multiply": 2, "add": 0, "multiply_add": 2, "convert": 1}[self.function]
        return self._part()(*[self.operand] * operands, self.output, depth=self.depth)

    def check(self, op: Pointwise) -> None:
        super().check(op)
        wanted, got = (
            f"{function} from {source} to {result}"
            for function, source, result in (
                (self.function, self.operand, self.output),
                (op.function, op.activations, op.output),
            )
        )
        if wanted != got:
            raise ValueError(f"this {self.kind()} unit executes {wanted}, not {got}")
        if np.any(op.elements >= 1 << RUN_BITS):
            raise ValueError(f"{self.kind()} takes less than 2^{RUN_BITS} results, not {op.elements}")

    def limits(self, op: Pointwise) -> dict[str, int]:
        return {"rows": 1, "row": ROW_LIMIT}

    def tile_cost(self, tile: Pointwise) -> Cost:
        words = tile.rows * tile.row
        return Cost(latency=2 + self.depth + words, interval=words, events={"operation": words})

    def component(self) -> wiring.Component:
        from accel.arithmetic.rtl import Operator

        return Operator(self)

    def encode_config(self, tile: Pointwise, n: int) -> int:
        words = int(tile.rows * tile.row) * n
        if words >= 1 << RUN_BITS:
            raise ValueError(f"a run of {self.kind()} takes less than 2^{RUN_BITS} words, got {words}")
        return words

    def encode(self, tile: Pointwise, *arrays: np.ndarray) -> dict[str, list[int]]:
        return {"operands": pack_words(np.stack([np.ravel(array) for array in arrays], axis=1), self.operand.bits)}

    def output_words(self, tile: Pointwise) -> dict[str, int]:
        return {"results": tile.rows * tile.row}

    def decode(self, tile: Pointwise, words: Any) -> tuple[np.ndarray, ...]:
        values = unpack_words(words["results"], self.output.bits, 1).reshape(tile.rows, tile.row)
        return (values if self.output.kind == "int" else values & ((1 << self.output.bits) - 1),)

    def op(self, rows: int, row: int) -> Pointwise:
        """The op of ``rows`` x ``row`` results that this unit executes."""
        return Pointwise(function=self.function, rows=rows, row=row, activations=self.operand, output=self.output)

    @classmethod
    def examples(cls):
        yield cls(), cls().op(3, 40)
        for unit, rows, row in (
            (cls(function="multiply", format="int8"), 2, 30),
            (cls(function="add", format="int32"), 1, 20),
            (cls(function="multiply", format="fp8_e4m3", result="fp32", depth=1), 2, 9),
            (cls(function="multiply", format="fp32", depth=3), 1, 31),
            (cls(function="add", format="fp32", depth=4), 2, 17),
            (cls(function="multiply_add", format="bf16", depth=5), 3, 1),
            (cls(function="multiply_add", format="fp8_e5m2"), 1, 12),
            (cls(function="convert", format="int32", result="fp16", depth=2), 2, 21),
            (cls(function="convert", format="fp32", result="int8", depth=1), 5, 8),
        ):
            yield unit, unit.op(rows, row)

    @classmethod
    def draw(cls, rng):
        function: Any = str(rng.choice(["multiply", "add", "multiply_add", "convert"]))
        every = [*FLOAT_FIELDS, *INTEGERS]
        result = str(rng.choice(every)) if function == "convert" or (function == "multiply" and rng.random() < 0.4) else None
        unit = cls(function=function, format=str(rng.choice(every)), result=result, depth=int(rng.integers(0, 6)))
        return unit, unit.draw_op(rng)

    def draw_op(self, rng: np.random.Generator) -> Pointwise:
        return self.op(*(int(61 ** rng.random()) for _ in range(2)))
