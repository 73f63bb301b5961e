"""LUT tensor core: mixed-precision matrix products by looking weights up in tables of activation sums.

Weights are re-interpreted offline: with the bits w_b of a code q, q' = 2 q - (2^W - 1) = sum_b 2^b (2 w_b - 1). So each bit plane
is a product with +-1, and K of its bits are one look-up in the half table of K activations (`accel.base.half_table`). Codes
q[n, k] and INT8 activations A[m, k] are cut along k into S segments, one per weight scale where the weights are grouped, else
S = 1. One invocation computes exactly, in INT32,

    acc[s, m, n] = sum_{k in s} A[m, k] q'[n, k]          sums[s, m] = sum_{k in s} A[m, k]

Scales and zero points are the vector unit's epilogue: O = sum_s s' (acc - z' sums), s' = s / 2, z' = 2 z + 1 - 2^W.

FP16 activations give the same in floating point, in FP32 or FP16 accumulators, in a fixed order: groups along k, within a group
planes from the least significant. With FP16 tables every plane is one addition; with INT8 tables, which have one power of two as
their scale, the planes of a group are added as integers and the group is one (`kernels_ref.lut_float`, decision record 7).

Words, first field in the lowest bits; a segment has G = ceil(k / (S K)) groups, the last one padded with zero activations:

    tables    rows x 2^(K-1) entries of -T, exponent if INT8    one per group
    weights   columns x (K-1 bits of index, 1 bit negate)       one per group and plane, plane 0 (least significant) first
    results   columns x accumulator, then the sum likewise      one per row in use, per segment

Timing, with P = W G planes per segment and m rows in use: the planes of all segments follow one another without a bubble, and
the results of one segment leave while the next computes. F is 1, and 2 where INT8 tables are scaled before they are added:

    cycles between segments I = max(P, m + 1 + F)    cycles of a run of S segments = 2 + P + F + m + (S - 1) I

Source: LUT Tensor Core, ISCA'25 (arXiv 2408.06003). Here tables of INT8 activations are exact (10 bits at K = 4; the paper rounds
those of floating-point activations to 8) and summed in INT32, and tables are doubled from plane to plane in place of a shifter
per multiplexer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from accel.base.cost import Cost
from accel.base.half_table import (
    entry_bits,
    half_sums,
    half_tables,
    pack_fields,
    round_entries,
    shared_exponent_codes,
    table_format,
)
from accel.base.mapping import ceil_div
from accel.base.table_unit import TableUnit
from accel.base.unit import RtlUnit
from accel.base.words import pack_words, unpack_words
from accel.lut_tensor_core.timing import BUFFER_FREE, FILL, INTEGER_BITS, RUN_BITS, finish, longest_segment
from workloads.formats import FORMATS, Format
from workloads.ops import Linear, Op, Pointwise, TablePrecompute

if TYPE_CHECKING:
    from amaranth.lib import wiring


class LutTensorCore(TableUnit):
    """INT8 or FP16 x 1- to 8-bit matrix products, bit-serial, one weight plane of K columns per cycle."""

    columns: int = Field(default=64, ge=1, le=128)
    """N: output channels, each with its own index into the tables of all rows."""
    weight_bits: int = Field(default=2, ge=1, le=8)
    """W: bits of the widest weights; narrower ones take fewer planes. Ternary weights are stored in two bits."""
    accumulator: Literal["fp32", "fp16"] | None = None
    """The format that FP16 activations are summed in: FP32 (the default there), or FP16 as in the published RTL."""

    executes: ClassVar[tuple[type[Op], ...]] = (Linear,)
    golden: ClassVar[str] = "linear.lut_linear"
    of_fp16: ClassVar[dict[str, str]] = {"table": "fp16", "accumulator": "fp32"}

    @model_validator(mode="after")
    def _sums_hold_what_activations_give(self) -> LutTensorCore:
        if self.activations == "fp16" and self.accumulator is None:
            raise ValueError("accumulator: wanted fp32 or fp16 for fp16 activations, got none")
        if self.activations == "int8" and self.accumulator is not None:
            raise ValueError(f"accumulator: wanted fp16 activations (int8 ones are summed in INT32), got {self.accumulator}")
        return self

    @property
    def accumulator_bits(self) -> int:
        """Bits of an accumulator and of a result."""
        return INTEGER_BITS if self.accumulator is None else FORMATS[self.accumulator].bits

    def numerics(self) -> dict[str, Any]:
        if self.activations == "fp16":
            return {"group": self.group, "table": self.table, "accumulator": self.accumulator}
        return {} if self.table_bits is None else {"group": self.group, "table_bits": self.table_bits}

    def check(self, op: Linear) -> None:
        super().check(op)
        weights = op.weights
        if weights.kind not in ("int", "uint", "ternary") or weights.bits > self.weight_bits:
            raise ValueError(f"{self.kind()} takes integer or ternary weights of 1 to {self.weight_bits} bits, not {weights}")
        if op.activations.name != self.activations:
            raise ValueError(f"{self.kind()} takes {self.activations} activations, not {op.activations}")
        if weights.group is not None and np.any(op.k % weights.group):
            raise ValueError(f"{self.kind()} takes whole groups of {weights.group} weights, not k = {op.k}")
        longest = longest_segment(weights.bits if self.activations == "int8" else 1)
        if np.any(_segment(op)[1] > longest):
            which = f"products of {weights.bits}-bit weights in INT32" if self.activations == "int8" else "products"
            raise ValueError(f"{self.kind()} sums at most {longest} {which} (per scale), not k = {_segment(op)[1]}")

    def companions(self, op: Linear) -> tuple[list[Op], list[Op]]:
        """The tables of the activations before, and the scales and zero points of the weights after."""
        segments, length = _segment(op)
        whole = op.weights.group is None or length % self.group == 0  # else each segment starts a table of its own
        rows, depth = (op.m, op.k) if whole else (op.m * segments, length)
        tables = TablePrecompute(
            role=f"tables_{op.role}", m=rows, k=depth, group=self.group, entry_bits=self.rounded_to, activations=op.activations
        )
        results = segments * op.m * (op.n + 1)
        accumulator = FORMATS[self.accumulator or "int32"]
        dequantize = Pointwise(
            role=f"dequantize_{op.role}",
            function="dequantize",
            rows=segments * op.m,
            row=op.n,
            read_bytes=accumulator.nbytes(results),
            write_bytes=op.output_bytes,
            activations=accumulator,
            output=op.output,
        )
        return [tables], [dequantize]

    def fetched(self, op: Linear) -> Op:
        """``op`` reading tables where it would read activations."""
        return op.resized(activations=table_format(self.group, self.rounded_to, self.activations))

    def limits(self, op: Linear) -> dict[str, int]:
        """Rows and columns; the whole reduction is one invocation, as no partial sum enters."""
        return {"m": self.rows, "n": self.columns}

    def tile_cost(self, tile: Linear) -> Cost:
        segments, length = _segment(tile)
        groups = ceil_div(length, self.group)
        planes = tile.weights.bits * groups
        behind = finish(self.table)
        drain = tile.m + BUFFER_FREE + behind
        between = planes + (drain - planes) * (drain > planes)
        rows_groups = segments * groups * tile.m
        all_planes = segments * planes
        return Cost(
            latency=FILL + planes + behind + tile.m + (segments - 1) * between,
            interval=segments * between,
            events={
                "table_load": rows_groups,  # tables of 2^(K-1) entries
                "table_shift": (tile.weights.bits - 1) * rows_groups,  # the same
                "weight_load": all_planes * tile.n,  # K bits
                "accumulate": all_planes * tile.n * tile.m,  # a look-up, an addition and its write
                **({"group_accumulate": rows_groups * tile.n} if self.table == "int8" else {}),  # a scaling, an addition, writes
                "sum_accumulate": rows_groups,  # an addition and a write
                "drain": segments * tile.m * (tile.n + 1),  # writes of an accumulator, the sum's included
                "output": segments * tile.m,  # words
            },
        )

    def component(self) -> wiring.Component:
        from accel.lut_tensor_core.rtl import Core

        return Core(self)

    def encode_config(self, tile: Linear, n: int) -> int:
        from amaranth.lib import data

        from accel.lut_tensor_core.rtl import config_layout

        segments, length = _segment(tile)
        if n * segments > 1 << RUN_BITS:
            raise ValueError(f"{self.kind()} takes runs of at most 2^{RUN_BITS} segments, not {n} times {segments}")
        layout: data.StructLayout = config_layout(self)
        word = {
            "rows": tile.m,
            "columns": tile.n,
            "planes": tile.weights.bits - 1,
            "groups": ceil_div(length, self.group) - 1,
            "segments": n * segments - 1,
        }
        return layout.const(word).as_bits()

    def encode(self, tile: Linear, *arrays: np.ndarray) -> dict[str, list[int]]:
        activations, codes = arrays
        by_group = self._grouped(tile, activations).swapaxes(0, 1)  # [segments * groups, m, K]
        return {
            "tables": pack_fields(self._tables(by_group), self.rows, self.table_fields[1]),
            "weights": pack_words(self._plane_fields(tile, codes), self.group),
        }

    def _tables(self, activations: np.ndarray) -> np.ndarray:
        """The fields of the tables [..., fields] of ``activations`` [..., K]."""
        if self.activations == "int8":
            return round_entries(-half_tables(activations), self.group, self.table_bits)
        sums = half_sums(activations)
        return sums if self.table == "fp16" else shared_exponent_codes(sums)

    def _plane_fields(self, tile: Linear, codes: np.ndarray) -> np.ndarray:
        """The K-bit fields [planes of all groups, columns]: where each column looks, and whether it subtracts the entry -T.

        A group whose bit of activation 0 is w_0 adds T[w] for w_0 = 0 and -T[~w] for w_0 = 1, w being its other bits.
        """
        unsigned = np.asarray(codes, dtype=np.int64) - tile.weights.lowest
        bits = self._grouped(tile, unsigned).transpose(1, 0, 2)[:, None] >> np.arange(tile.weights.bits)[:, None, None] & 1
        positive = bits[..., 0]  # [segments * groups, planes, n]
        index = (bits[..., 1:] ^ positive[..., None]) @ (1 << np.arange(self.group - 1))
        fields = np.zeros((positive.shape[0] * positive.shape[1], self.columns), dtype=np.int64)
        fields[:, : tile.n] = (index | (1 - positive) << (self.group - 1)).reshape(-1, tile.n)
        return fields

    def _grouped(self, tile: Linear, rows: np.ndarray) -> np.ndarray:
        """``rows`` [r, k] as [r, segments * groups, K], each segment padded with zeros to whole groups."""
        segments, length = _segment(tile)
        rows = np.asarray(rows).reshape(-1, segments, length)
        padded = np.pad(rows, ((0, 0), (0, 0), (0, -length % self.group)))
        return padded.reshape(len(rows), -1, self.group)

    def output_words(self, tile: Linear) -> dict[str, int]:
        return {"results": _segment(tile)[0] * tile.m}

    def decode(self, tile: Linear, words: Mapping[str, list[int]]) -> tuple[np.ndarray, ...]:
        fields = unpack_words(words["results"], self.accumulator_bits, self.columns + 1).reshape(-1, tile.m, self.columns + 1)
        if self.accumulator is not None:
            fields = fields & ((1 << self.accumulator_bits) - 1)  # patterns have no sign
        return fields[..., : tile.n], fields[..., self.columns]

    @classmethod
    def examples(cls) -> Iterable[tuple[RtlUnit, Op]]:
        def linear(m, n, k, weights, activations="int8"):
            return Linear(m=m, n=n, k=k, weights=weights, activations=FORMATS[activations], output=FORMATS["int32"])

        yield cls(), linear(5, 130, 70, FORMATS["ternary"])
        yield cls(), linear(3, 70, 256, FORMATS["uint2"].grouped(128))
        yield cls(weight_bits=4), linear(2, 64, 40, FORMATS["int2"])
        yield cls(table_bits=8), linear(3, 66, 30, FORMATS["ternary"])
        yield cls(rows=1, columns=1), linear(2, 3, 9, FORMATS["uint2"])
        yield cls(rows=8, columns=3, weight_bits=1), linear(11, 5, 3, FORMATS["uint1"])  # the drain is the bottleneck
        yield cls(rows=3, columns=5, group=2, weight_bits=1), linear(4, 7, 15, FORMATS["int1"])
        yield cls(rows=2, columns=8, group=3, weight_bits=3), linear(3, 9, 28, FORMATS["uint3"].grouped(14))
        yield cls(rows=5, columns=4, group=5, weight_bits=4), linear(6, 5, 33, FORMATS["int4"])
        yield cls(rows=4, columns=2, group=5, weight_bits=1), linear(9, 3, 12, FORMATS["uint1"].grouped(3))
        yield cls(rows=1, columns=128, weight_bits=4), linear(1, 128, 16, FORMATS["uint4"].grouped(8))
        yield cls(rows=2, columns=3, group=5, weight_bits=8), linear(3, 4, 22, FORMATS["int8"])
        for table, accumulator in itertools.product(("fp16", "int8"), ("fp32", "fp16")):
            floating: dict[str, Any] = {"activations": "fp16", "table": table, "accumulator": accumulator}
            grouped = FORMATS["uint8"].grouped(6)
            yield cls(rows=2, columns=8, **floating), linear(3, 9, 30, FORMATS["ternary"], "fp16")
            yield cls(rows=3, columns=1, group=5, weight_bits=1, **floating), linear(4, 2, 7, FORMATS["uint1"], "fp16")
            yield cls(rows=1, columns=2, group=2, weight_bits=8, **floating), linear(2, 3, 12, grouped, "fp16")

    @classmethod
    def draw(cls, rng: np.random.Generator) -> tuple[RtlUnit, Op]:
        def log_uniform(most: int) -> int:
            return int((most + 1) ** rng.random())

        weight_bits, group = int(rng.integers(1, 9)), int(rng.integers(2, 6))
        sizes: dict[str, Any] = {"rows": log_uniform(8), "columns": log_uniform(128), "group": group, "weight_bits": weight_bits}
        if rng.random() < 0.5:
            unit = cls(**sizes, table_bits=int(rng.integers(4, entry_bits(group))) if rng.random() < 0.25 else None)
        else:
            floating = {"table": str(rng.choice(["fp16", "int8"])), "accumulator": str(rng.choice(["fp32", "fp16"]))}
            sizes["columns"] = max(1, sizes["columns"] // sizes["rows"])  # Icarus takes its time for hundreds of FP adders
            unit = cls(**(sizes | floating), activations="fp16")
        bits = int(rng.integers(1, weight_bits + 1)) if rng.random() < 0.3 else weight_bits
        kinds = [f"int{bits}", f"uint{bits}", *(["ternary"] if bits == 2 else [])]
        weights: Format = FORMATS[str(rng.choice(kinds))]
        k = log_uniform(12 * unit.group)
        if rng.random() < 0.4:
            weights, k = weights.grouped(k), k * int(rng.integers(1, 5))
        m, n = log_uniform(3 * unit.rows), log_uniform(min(3 * unit.columns, 200))
        return unit, Linear(m=m, n=n, k=k, weights=weights, activations=FORMATS[unit.activations], output=FORMATS["int32"])


def _segment(op: Linear) -> tuple[Any, Any]:
    """(segments, elements along k of each) of a Linear; ints or arrays."""
    group = op.weights.group
    return (1, op.k) if group is None else (op.k // group, group)
