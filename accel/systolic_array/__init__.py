"""Systolic array: matrix products in a grid of processing elements (PEs) that pass operands to their neighbours.

`accel.systolic_array.output_stationary` has the flow, words and timing of the output-stationary dataflow. Results are INT32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from accel.base.cost import Cost
from accel.base.unit import RtlUnit
from accel.base.words import pack_words, unpack_words
from workloads.formats import FORMATS
from workloads.ops import Linear, Op

if TYPE_CHECKING:
    from amaranth.lib import wiring


class SystolicArray(RtlUnit):
    """INT8 matrix products in a grid of processing elements, summed in INT32."""

    rows: int = Field(default=8, ge=2, le=256)
    columns: int = Field(default=8, ge=2, le=256)
    dataflow: Literal["output_stationary"] = "output_stationary"
    operands: Literal["int8"] = "int8"

    executes: ClassVar[tuple[type[Op], ...]] = (Linear,)
    golden: ClassVar[str] = "systolic.systolic_linear"
    partial_sums: ClassVar[bool] = True

    def check(self, op: Op) -> None:
        super().check(op)
        wanted = FORMATS[self.operands]
        if (op.weights, op.activations) != (wanted, wanted):
            raise ValueError(f"{self.kind()} takes {wanted} weights and activations, not {op.weights} and {op.activations}")

    def limits(self, op: Op) -> dict[str, int]:
        from accel.systolic_array.output_stationary import STEP_BITS

        return {"m": self.rows, "n": self.columns, "k": 1 << STEP_BITS}

    def tile_cost(self, tile: Op) -> Cost:
        from accel.systolic_array import output_stationary as stationary

        accumulate = int(tile.accumulate)
        size = (self.rows, tile.m, tile.n, tile.k)
        return Cost(
            latency=stationary.segment_latency(*size, accumulate=accumulate),
            interval=stationary.segment_interval(*size, accumulate=accumulate),
            events=stationary.segment_events(*size, accumulate=accumulate),
        )

    def component(self) -> wiring.Component:
        from accel.systolic_array.output_stationary import OutputStationary
        from accel.systolic_array.pe import INT8_ACCUMULATOR

        return OutputStationary(self.rows, self.columns, INT8_ACCUMULATOR)

    def encode_config(self, tile: Op, n: int) -> int:
        from accel.systolic_array.output_stationary import config_layout

        word = {"rows": tile.m, "columns": tile.n, "steps": tile.k - 1, "segments": n - 1, "accumulate": int(tile.accumulate)}
        return config_layout(self.rows, self.columns).const(word).as_bits()

    def encode(self, tile: Op, *arrays: np.ndarray) -> dict[str, list[int]]:
        activations, weights, *partial = arrays
        bits = tile.activations.bits
        return {
            "activations": pack_words(np.asarray(activations).T, bits),
            "weights": pack_words(np.asarray(weights).T, bits),
            "partial": [word for p in partial for word in pack_words(np.asarray(p)[::-1], 32)],
        }

    def output_words(self, tile: Op) -> dict[str, int]:
        return {"results": tile.m}

    def decode(self, tile: Op, words: Mapping[str, list[int]]) -> tuple[np.ndarray, ...]:
        return (unpack_words(words["results"], 32, tile.n)[::-1],)

    @classmethod
    def examples(cls) -> Iterable[tuple[RtlUnit, Op]]:
        def linear(m: int, n: int, k: int, **kwargs: Any) -> Linear:
            return Linear(m=m, n=n, k=k, weights=FORMATS["int8"], activations=FORMATS["int8"], output=FORMATS["int32"], **kwargs)

        yield cls(rows=4, columns=4), linear(6, 7, 9)
        yield cls(rows=2, columns=2), linear(3, 3, 5)
        yield cls(rows=3, columns=5), linear(7, 6, 3, accumulate=True)
        yield cls(rows=7, columns=2), linear(8, 3, 11)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> tuple[RtlUnit, Op]:
        def log_uniform(most: int) -> int:
            return int((most + 1) ** rng.random())

        rows, columns = (max(log_uniform(32), 2) for _ in range(2))
        unit = cls(rows=rows, columns=columns)
        int8 = FORMATS[unit.operands]
        m, n, k = log_uniform(3 * rows), log_uniform(3 * columns), log_uniform(64)
        return unit, Linear(m=m, n=n, k=k, weights=int8, activations=int8, output=FORMATS["int32"])
