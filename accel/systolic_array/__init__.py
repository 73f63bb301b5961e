"""Systolic array: matrix products in a grid of processing elements (PEs) that pass operands to their neighbours.

    O[m, n] = C[m, n] + sum_k A[m, k] W[n, k], in order of k; C = 0 unless the op accumulates

INT8 operands are summed in INT32, which wraps; FP16 and BF16 ones in FP32, product and sum each rounded. Two dataflows:

    output_stationary    rows of the grid are rows of A, columns those of W; k streams through, sums stay
    weight_stationary    rows of the grid are elements of k, columns rows of W; m streams through, weights stay

Words, first field in the lowest bits, and timing: see `accel.systolic_array.output_stationary` and ``weight_stationary``.
Source: H. T. Kung, Why systolic architectures?, IEEE Computer 15(1), 1982; double-buffered weights as in the TPU (ISCA'17).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from accel.base.conversion import converted
from accel.base.cost import Cost
from accel.base.unit import RtlUnit
from accel.base.words import pack_words, unpack_words
from accel.systolic_array import timing
from workloads.formats import FORMATS, Format
from workloads.ops import Linear, Op

if TYPE_CHECKING:
    from amaranth.lib import wiring


class SystolicArray(RtlUnit):
    """INT8, FP16 or BF16 matrix products in a grid of multiply-add cells, summed in INT32 or FP32."""

    rows: int = Field(default=8, ge=2, le=256)
    """Rows of PEs: of activations where outputs are stationary, of reduction steps where weights are."""
    columns: int = Field(default=8, ge=2, le=256)
    """Columns of PEs: output channels."""
    dataflow: Literal["output_stationary", "weight_stationary"] = "output_stationary"
    operands: Literal["int8", "fp16", "bf16"] = "int8"
    """Format of activations and weights."""
    multiply_depth: int = Field(default=1, ge=0, le=3)
    """Registers inside the multiplier of a floating-point PE, besides the one behind it."""
    add_depth: int = Field(default=0, ge=0, le=4)
    """Registers inside the adder of a floating-point PE, besides the one behind it. With d of them a PE adds in every (d + 1)-th
    cycle where outputs are stationary; where weights are, a partial sum takes d + 1 cycles per row."""

    executes: ClassVar[tuple[type[Op], ...]] = (Linear,)
    golden: ClassVar[str] = "systolic.systolic_linear"
    partial_sums: ClassVar[bool] = True

    @model_validator(mode="after")
    def _integers_have_no_depth(self) -> SystolicArray:
        for name in ("multiply_depth", "add_depth") if self.operands == "int8" else ():
            default, given = type(self).model_fields[name].default, getattr(self, name)
            if given != default:
                raise ValueError(f"{name} is for floating-point operands; wanted it left out with int8, got {given}")
        return self

    @property
    def format(self) -> Format:
        return FORMATS[self.operands]

    @property
    def _pe(self) -> Any:
        """The kind of PE; see `accel.systolic_array.pe`."""
        from accel.systolic_array import pe

        stationary = self.dataflow == "output_stationary"
        if self.operands == "int8":
            return pe.INT8_ACCUMULATOR if stationary else pe.INT8_MULTIPLY_ADD
        make = pe.float_accumulator if stationary else pe.float_multiply_add
        return make(self.format, self.multiply_depth, self.add_depth)

    def check(self, op: Linear) -> None:
        super().check(op)
        if (op.weights, op.activations) != (self.format, self.format):
            taken = f"{self.kind()} with {self.operands} operands takes {self.format} weights and activations"
            raise ValueError(f"{taken}, not {op.weights} and {op.activations}")

    def companions(self, op: Linear) -> tuple[list[Op], list[Op]]:
        """The conversion of sums into the op's output format after."""
        return [], converted(op, op.accumulator)

    def limits(self, op: Linear) -> dict[str, int]:
        """The dimension that streams is bound by a counter only."""
        streams = 1 << timing.STEP_BITS
        if self.dataflow == "output_stationary":
            return {"m": self.rows, "n": self.columns, "k": streams}
        return {"m": streams, "n": self.columns, "k": self.rows}

    def tile_cost(self, tile: Linear) -> Cost:
        accumulate = 1 * tile.accumulate
        rows, columns, m, n, k = self.rows, self.columns, tile.m, tile.n, tile.k
        multiply, add = timing.INTEGER_MULTIPLY, timing.INTEGER_ADD
        if self.operands != "int8":
            multiply, add = self.multiply_depth + 1, self.add_depth + 1
        if self.dataflow == "output_stationary":
            flow: dict[str, Any] = {"delay": multiply + add, "spacing": add, "accumulate": accumulate}
            return Cost(
                latency=timing.segment_latency(rows, m, n, k, **flow),
                interval=timing.segment_interval(rows, m, n, k, **flow),
                events=timing.segment_events(rows, m, n, k, accumulate=accumulate),
            )
        return Cost(
            latency=timing.tile_latency(rows, columns, m, k, multiply_depth=multiply, hop=add),
            interval=timing.tile_interval(m, k, hop=add),
            events=timing.tile_events(rows, columns, m, n, k, multiply_depth=multiply, hop=add, accumulate=accumulate),
        )

    def component(self) -> wiring.Component:
        from accel.systolic_array.output_stationary import OutputStationary
        from accel.systolic_array.weight_stationary import WeightStationary

        array = OutputStationary if self.dataflow == "output_stationary" else WeightStationary
        return array(self.rows, self.columns, self._pe)

    def encode_config(self, tile: Linear, n: int) -> int:
        if n > 1 << timing.RUN_BITS:
            raise ValueError(f"{self.kind()} takes runs of at most 2^{timing.RUN_BITS} tiles, not {n}")
        word = {"columns": tile.n, "segments": n - 1, "accumulate": int(tile.accumulate)}
        if self.dataflow == "output_stationary":
            word |= {"rows": tile.m, "steps": tile.k - 1}
        else:
            word |= {"rows": tile.k, "steps": tile.m - 1}
        return timing.config_layout(self.rows, self.columns).const(word).as_bits()

    def encode(self, tile: Linear, *arrays: np.ndarray) -> dict[str, list[int]]:
        activations, weights, *partial = (np.asarray(a) for a in arrays)
        bits, sums = self.format.bits, tile.accumulator.bits
        if self.dataflow == "output_stationary":
            return {
                "activations": pack_words(activations.T, bits),
                "weights": pack_words(weights.T, bits),
                "partial": [word for p in partial for word in pack_words(p[::-1], sums)],
            }
        return {
            "activations": pack_words(activations, bits),
            "weights": pack_words(weights.T[::-1], bits),
            "partial": [word for p in partial for word in pack_words(p, sums)],
        }

    def output_words(self, tile: Linear) -> dict[str, int]:
        return {"results": tile.m}

    def decode(self, tile: Linear, words: Mapping[str, list[int]]) -> tuple[np.ndarray, ...]:
        sums = unpack_words(words["results"], tile.accumulator.bits, tile.n)
        if tile.accumulator.kind == "float":
            sums = sums & ((1 << tile.accumulator.bits) - 1)  # a pattern of bits has no sign
        return (sums[::-1] if self.dataflow == "output_stationary" else sums,)

    @classmethod
    def examples(cls) -> Iterable[tuple[RtlUnit, Op]]:
        def linear(m: int, n: int, k: int, operands: str = "int8", **kwargs: Any) -> Linear:
            fmt = FORMATS[operands]
            output = FORMATS["int32" if fmt.kind == "int" else "fp32"]
            return Linear(m=m, n=n, k=k, weights=fmt, activations=fmt, output=output, **kwargs)

        output: dict[str, Any] = {"dataflow": "output_stationary"}
        weight: dict[str, Any] = {"dataflow": "weight_stationary"}
        yield cls(rows=2, columns=2, **output), linear(3, 3, 5)
        yield cls(rows=2, columns=2, **weight), linear(3, 3, 5)
        yield cls(rows=3, columns=5, **output), linear(7, 6, 3, accumulate=True)
        yield cls(rows=3, columns=5, **weight), linear(7, 6, 7, accumulate=True)
        yield cls(rows=7, columns=2, **output), linear(8, 3, 11)
        yield cls(rows=7, columns=2, **weight), linear(5, 3, 20)
        yield cls(), linear(9, 12, 17)
        yield cls(**weight), linear(9, 12, 17)
        yield cls(rows=2, columns=3, operands="fp16", **output), linear(3, 4, 9, "fp16")
        yield cls(rows=3, columns=2, operands="fp16", **weight), linear(4, 3, 7, "fp16")
        shallow: dict[str, Any] = {"operands": "bf16", "multiply_depth": 0, "add_depth": 0}
        yield cls(rows=2, columns=2, **shallow, **output), linear(3, 2, 6, "bf16")
        yield cls(rows=2, columns=2, **shallow, **weight), linear(3, 2, 6, "bf16")
        deep: dict[str, Any] = {"multiply_depth": 3, "add_depth": 4}
        yield cls(rows=3, columns=2, operands="bf16", **deep, **output), linear(4, 3, 5, "bf16", accumulate=True)
        yield cls(rows=4, columns=2, operands="fp16", **deep, **weight), linear(5, 3, 11, "fp16")

    @classmethod
    def draw(cls, rng: np.random.Generator) -> tuple[RtlUnit, Op]:
        def log_uniform(most: int) -> int:
            return int((most + 1) ** rng.random())

        dataflow: Any = str(rng.choice(["output_stationary", "weight_stationary"]))
        operands: Any = str(rng.choice(["int8", "fp16", "bf16"]))
        rows = max(log_uniform(32), 2)
        columns = max(log_uniform(min(32, (64 if operands == "int8" else 12) // rows)), 2)  # so that it simulates in seconds
        if rng.random() < 0.5:
            rows, columns = columns, rows
        depths: dict[str, Any] = (
            {} if operands == "int8" else {"multiply_depth": int(rng.integers(4)), "add_depth": int(rng.integers(5))}
        )
        unit = cls(rows=rows, columns=columns, dataflow=dataflow, operands=operands, **depths)
        streams = log_uniform(64)
        m, k = (log_uniform(3 * rows), streams) if dataflow == "output_stationary" else (streams, log_uniform(3 * rows))
        op = Linear(m=m, n=log_uniform(3 * columns), k=k, weights=unit.format, activations=unit.format)
        return unit, op.resized(output=op.accumulator, accumulate=bool(rng.random() < 0.2))
