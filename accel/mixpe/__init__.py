"""MixPE: matrix products on 4-bit weights in a systolic array of PEs that shift and add, dequantised below it, group by group.

    O[m, n] = sum_g s[n, g] (sum_{k in g} A[m, k] q[n, k] - z[n, g] sum_{k in g} A[m, k])

for INT8 (W4A8) or FP16 (W4A16) activations A, int4 or uint4 codes q in groups g along k, FP16 scales s, zero points z that are
codes, and results in FP32. sum A q is taken in the array (`accel.systolic_array.output_stationary`) without a multiplier, sum A
once per row at its left edge; scale and zero point follow below each column, once per group and row. Sums of a group are exact,
also those of FP16 activations; `kernels_ref.mixpe` has the roundings after them and the bound.

Words, first field in the lowest bits; u = q - lowest and z - lowest are unsigned codes, of 0 to 15:

    activations   rows x INT8 or FP16                                one per step of k
    weights       columns x u                                        one per step of k
    scales        columns x (16 bits of scale, 4 of zero point)      one per group
    results       columns x FP32                                     one per row in use, the last row first

Timing, for m rows and n columns in use, G groups of g steps, and D = 2 for FP16, else 1:

    cycles between groups    I = max(g, m + n)            cycles of one invocation    g + m + n + rows + D + depth + 8 + (G - 1) I

A group with fewer steps than the array has rows and columns in use waits for the drain. Source: MixPE (arXiv 2411.16158); what is
different here is in docs/decisions/0006-mixpe.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from accel.base.conversion import converted
from accel.base.cost import Cost
from accel.base.unit import RtlUnit
from accel.base.words import pack_words, unpack_words
from accel.mixpe.operands import BEFORE_SUM, GROUP_BITS, LONGEST_GROUP, OPERANDS, SHORTEST_GROUP, event_of
from accel.systolic_array.timing import segment_events, segment_interval, segment_latency
from workloads.formats import FORMATS, parse_format
from workloads.ops import Linear, Op

if TYPE_CHECKING:
    from amaranth.lib import wiring

FP32 = FORMATS["fp32"]


class MixPe(RtlUnit):
    """INT8 or FP16 x 4-bit matrix products by shift and add, with scales and zero points applied per group."""

    rows: int = Field(default=4, ge=2, le=64)
    columns: int = Field(default=4, ge=2, le=64)
    activations: Literal["int8", "fp16"] = "int8"
    depth: int = Field(default=5, ge=0, le=5)
    """Pipeline stages of the multiply-adder in every dequantiser."""

    executes: ClassVar[tuple[type[Op], ...]] = (Linear,)
    golden: ClassVar[str] = "mixpe.mixpe_linear"
    dequantizes: ClassVar[bool] = True

    def check(self, op: Linear) -> None:
        super().check(op)
        weights, group = op.weights, op.weights.group
        if weights.kind not in ("int", "uint") or weights.bits != 4:
            raise ValueError(f"{self.kind()} takes int4 or uint4 weights, not {weights}")
        if op.activations.name != self.activations:
            raise ValueError(f"{self.kind()} at these parameters takes {self.activations} activations, not {op.activations}")
        if group is None or not SHORTEST_GROUP <= group <= LONGEST_GROUP:
            wanted = f"groups of {SHORTEST_GROUP} to {LONGEST_GROUP} weights, such as {weights.name}:128"
            raise ValueError(f"{self.kind()} takes {wanted}, not {weights}")
        if np.any(op.k % group):
            raise ValueError(f"{self.kind()} takes whole groups of {group} weights, not k = {op.k}")
        if np.any(op.groups > 1 << GROUP_BITS):
            raise ValueError(f"{self.kind()} takes at most 2^{GROUP_BITS} groups of weights, not {op.groups}")

    def companions(self, op: Linear) -> tuple[list[Op], list[Op]]:
        """The conversion of FP32 results into the op's output format after."""
        return [], converted(op, FORMATS["fp32"])

    def limits(self, op: Linear) -> dict[str, int]:
        """Rows and columns; the whole reduction is one invocation, as no partial sum enters."""
        return {"m": self.rows, "n": self.columns}

    def tile_cost(self, tile: Linear) -> Cost:
        """Alike whether scales and zero points are operands of the op or whether it leaves them to the unit."""
        group, groups = tile.weights.group, tile.groups
        wide, delay = tile.n + 1, OPERANDS[self.activations].delay  # the sums of activations are one more column
        between = segment_interval(self.rows, tile.m, wide, group, delay=delay)
        first = segment_latency(self.rows, tile.m, wide, group, delay=delay)
        of_array = segment_events(self.rows, tile.m, tile.n, group, row_sum=True)
        results = tile.m * tile.n
        return Cost(
            latency=first + BEFORE_SUM + self.depth + 1 + (groups - 1) * between,
            interval=groups * between,
            events={event_of(name): groups * count for name, count in of_array.items()}
            | {
                "scale_load": groups * tile.n,  # scales and zero points
                "dequantize": groups * results,  # a zero point, a conversion, a multiply-add
                "output": results,
            },
        )

    def component(self) -> wiring.Component:
        from accel.mixpe.rtl import MixPeCore

        return MixPeCore(self)

    def encode_config(self, tile: Linear, n: int) -> int:
        from accel.mixpe.rtl import config_layout

        segments = n * tile.groups - 1
        array = {"rows": tile.m, "columns": tile.n, "steps": tile.k // tile.groups - 1, "segments": segments, "accumulate": 0}
        return config_layout(self).const({"array": array, "groups": tile.groups - 1, "invocations": n - 1}).as_bits()

    def encode(self, tile: Linear, *arrays: np.ndarray) -> dict[str, list[int]]:
        activations, codes, scale, zero = map(np.asarray, arrays)
        lowest = tile.weights.lowest
        return {
            "activations": pack_words(activations.T, tile.activations.bits),
            "weights": pack_words((codes - lowest).T, tile.weights.bits),
            "scales": pack_words((scale | zero - lowest << 16).T, 16 + tile.weights.bits),
        }

    def output_words(self, tile: Linear) -> dict[str, int]:
        return {"results": tile.m}

    def decode(self, tile: Linear, words: Mapping[str, list[int]]) -> tuple[np.ndarray, ...]:
        fields = unpack_words(words["results"], FP32.bits, tile.n)[::-1]
        return (fields & (1 << FP32.bits) - 1,)

    @classmethod
    def examples(cls) -> Iterable[tuple[RtlUnit, Op]]:
        yield cls(), _linear(6, 7, 96, "uint4:32", "int8")
        yield cls(rows=8, columns=8), _linear(9, 11, 64, "uint4:32", "int8")
        yield cls(activations="fp16"), _linear(6, 7, 96, "int4:32", "fp16")
        yield cls(rows=2, columns=2, depth=0), _linear(3, 3, 512, "int4:256", "int8")
        yield cls(rows=2, columns=3, activations="fp16", depth=0), _linear(3, 4, 512, "uint4:256", "fp16")
        yield cls(rows=11, columns=6, depth=2), _linear(12, 7, 48, "uint4:16", "int8")  # the drain is the bottleneck
        yield cls(rows=2, columns=7, activations="fp16", depth=3), _linear(5, 8, 34, "int4:17", "fp16")

    @classmethod
    def draw(cls, rng: np.random.Generator) -> tuple[RtlUnit, Op]:
        def log_uniform(least: int, most: int) -> int:
            return int(least * ((most + 1) / least) ** rng.random())

        activations: Literal["int8", "fp16"] = "int8" if rng.random() < 0.5 else "fp16"
        rows, columns = log_uniform(2, 32), log_uniform(2, 32)
        unit = cls(rows=rows, columns=columns, activations=activations, depth=int(rng.integers(6)))
        group = log_uniform(SHORTEST_GROUP, LONGEST_GROUP)
        weights = f"{rng.choice(['int4', 'uint4'])}:{group}"
        m, n, k = log_uniform(1, 2 * rows), log_uniform(1, 2 * columns), group * log_uniform(1, 4)
        return unit, _linear(m, n, k, weights, activations)


def _linear(m: int, n: int, k: int, weights: str, activations: str) -> Linear:
    formats = parse_format(weights), FORMATS[activations]
    return Linear(m=m, n=n, k=k, weights=formats[0], activations=formats[1], output=FP32, dequantized=True)
