"""Four steps from UNPU to the LUT tensor core: one tile of bit-serial look-up, as LUT Tensor Core's table 2 takes it apart.

All steps multiply INT8 activations A[m, k] by W-bit weights, W cycles for a tile of M x N x K, and add the products to partial
sums C[m, n], in accumulators of B bits (exact where the result fits them, else modulo 2^B). They differ in what they look up:

    step             table, per row                        planes of weights              at the look-up
    unpu             2^K sums of any of the activations    two's complement, 0 or 1       the sign plane is subtracted
    reinterpreted    2^(K-1) of +-A_0 +-A_1 ... (half)     q' = 2 q + 1: +1 or -1         index complemented, entry negated
    negated_offline  the same                              complemented offline           entry negated
    fused            the same, made elsewhere              the same                       entry negated

The first three build their tables, in M trees of adders in front of table registers. `add` and `mac` are no steps but what tables
compete with in figure 13: +-1 times activations summed by adders, one plane per cycle, and whole products, one tile per cycle.

`unpu` and `mac` compute A q, the others A q' for the re-interpreted codes: the same layer (`kernels_ref.integer`).

Words, first field in the lowest bits; one of each per invocation:

    activations   rows x K x INT8                  step fused: ``tables``, rows x 2^(K-1) entries of -T (`accel.base.half_table`)
    weights       columns x K x W bits             held by its sender for all planes, as the published RTL holds them
    partial       rows x columns x B bits          taken with the first plane; zero where nothing is added to
    sums          rows x columns x B bits          the accumulators themselves; there is no drain copy

Timing, with P planes (1 for mac) and t = 1 where tables are in registers (else 0): interval P, latency 2 + t + P.

Sources: LUT Tensor Core, ISCA'25 (arXiv 2408.06003), table 2, and its RTL (github.com/microsoft/T-MAC, sv_lut_array/rtl); UNPU,
JSSC 2019, by a public re-implementation (github.com/Chenyungchin/UNPU). What each step contains, and why: docs/decisions/0010.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from accel.base.cost import Cost
from accel.base.half_table import ACTIVATION_BITS, half_tables, pack_tables
from accel.base.unit import RtlUnit
from accel.base.words import pack_words, unpack_words
from accel.lut_ablation.timing import FILL, RUN_BITS, TABLE_STAGE
from workloads.formats import FORMATS
from workloads.ops import Linear, Op

if TYPE_CHECKING:
    from amaranth.lib import wiring

Step = Literal["unpu", "reinterpreted", "negated_offline", "fused", "add", "mac"]
STEPS: tuple[Step, ...] = ("unpu", "reinterpreted", "negated_offline", "fused")
RIVALS: tuple[Step, ...] = ("add", "mac")


class LutAblation(RtlUnit):
    """INT8 x W-bit integer products by one of the ``step``s from UNPU to the LUT tensor core, or by ``add`` or ``mac``."""

    step: Step = "fused"
    rows: int = Field(default=2, ge=1, le=8)
    """M: activation rows, each with a table of its own."""
    columns: int = Field(default=64, ge=1, le=64)
    """N: output channels."""
    group: int = Field(default=4, ge=2, le=5)
    """K: activations per table, and per invocation."""
    weight_bits: int = Field(default=2, ge=1, le=8)
    """W: bits of the widest weights; narrower ones take fewer planes, as both papers have it."""
    accumulator_bits: int = Field(default=16, ge=8, le=32)
    """B: bits of an accumulator. 16 is the published RTL's."""

    executes: ClassVar[tuple[type[Op], ...]] = (Linear,)
    partial_sums: ClassVar[bool] = True
    golden: ClassVar[str] = "integer.integer_linear"

    @property
    def planes(self) -> int:
        """Planes of the widest weights, one per cycle."""
        return 1 if self.step == "mac" else self.weight_bits

    @property
    def builds(self) -> bool:
        """Whether the unit makes its tables itself, into registers."""
        return self.step in ("unpu", "reinterpreted", "negated_offline")

    @property
    def reinterpreted(self) -> bool:
        """Whether planes stand for +1 and -1."""
        return self.step not in ("unpu", "mac")

    @property
    def source(self) -> str:
        """The input stream that comes once per group: activations, or tables of them."""
        return "tables" if self.step == "fused" else "activations"

    def numerics(self) -> dict[str, Any]:
        return {"reinterpreted": self.reinterpreted, "accumulator_bits": self.accumulator_bits}

    def check(self, op: Linear) -> None:
        super().check(op)
        if op.activations.name != "int8":
            raise ValueError(f"{self.kind()} takes int8 activations, not {op.activations}")
        if op.weights.kind != "int" or op.weights.bits > self.weight_bits or op.weights.group is not None:
            wanted = f"int weights of 1 to {self.weight_bits} bits, one scale per output channel"
            raise ValueError(f"{self.kind()} takes {wanted}, not {op.weights}")
        magnitude = (1 << op.weights.bits) - 1 if self.reinterpreted else 1 << (op.weights.bits - 1)
        longest = ((1 << (self.accumulator_bits - 1)) - 1) // (magnitude << (ACTIVATION_BITS - 1))
        if not op.accumulate and np.any(op.k > longest):
            raise ValueError(
                f"{self.kind()} sums at most {longest} products of {op.weights} weights in {self.accumulator_bits} bits, "
                f"not k = {op.k}"
            )

    def limits(self, op: Linear) -> dict[str, int]:
        return {"m": self.rows, "n": self.columns, "k": self.group}

    def tile_cost(self, tile: Linear) -> Cost:
        planes = 1 if self.step == "mac" else tile.weights.bits
        return Cost(
            latency=FILL + TABLE_STAGE * self.builds + planes,
            interval=planes,
            events={
                "load": 1,  # a word of activations or tables is taken, and its tables are written
                "accumulate": planes,  # all accumulators are written
                "output": 1,  # words
            },
        )

    def component(self) -> wiring.Component:
        from accel.lut_ablation.rtl import Tile

        return Tile(self)

    def encode_config(self, tile: Linear, n: int) -> int:
        from accel.lut_ablation.rtl import config_layout

        if n > 1 << RUN_BITS:
            raise ValueError(f"{self.kind()} takes runs of at most 2^{RUN_BITS} invocations, not {n}")
        planes = 1 if self.step == "mac" else tile.weights.bits
        return config_layout(self).const({"invocations": n - 1, "planes": planes - 1}).as_bits()

    def encode(self, tile: Linear, *arrays: np.ndarray) -> dict[str, list[int]]:
        activations, codes, *partial = arrays
        a = _padded(activations, self.rows, self.group)
        if self.step == "fused":
            source = pack_tables(half_tables(a)[None], self.rows, self.group)
        else:
            source = pack_words(a.reshape(1, -1), ACTIVATION_BITS)
        sums = _padded(partial[0] if partial else np.zeros((tile.m, tile.n), np.int64), self.rows, self.columns)
        return {
            self.source: source,
            "weights": pack_words(_padded(self._fields(tile, codes), self.columns, self.group).reshape(1, -1), self.weight_bits),
            "partial": pack_words(sums.reshape(1, -1), self.accumulator_bits),
        }

    def _fields(self, tile: Linear, codes: np.ndarray) -> np.ndarray:
        """The W bits [n, k] of each weight as they are stored: two's complement, or the planes of q', complemented or not."""
        codes = np.asarray(codes, dtype=np.int64)
        if not self.reinterpreted:
            return codes
        fields = codes - tile.weights.lowest
        if self.step in ("negated_offline", "fused"):
            fields = np.concatenate([fields[:, :1], fields[:, 1:] ^ fields[:, :1]], axis=1)
        return fields

    def output_words(self, tile: Linear) -> dict[str, int]:
        return {"sums": 1}

    def decode(self, tile: Linear, words: Mapping[str, list[int]]) -> tuple[np.ndarray, ...]:
        fields = unpack_words(words["sums"], self.accumulator_bits, self.rows * self.columns)
        return (fields.reshape(self.rows, self.columns)[: tile.m, : tile.n],)

    @classmethod
    def examples(cls) -> Iterable[tuple[RtlUnit, Op]]:
        for step in STEPS:
            yield cls(step=step), _linear(3, 70, 11, 2)
            yield cls(step=step, rows=1, columns=3, group=2, weight_bits=1, accumulator_bits=12), _linear(2, 4, 7, 1)
            yield cls(step=step, rows=3, columns=2, group=5, weight_bits=4), _linear(4, 3, 8, 3)
            yield cls(step=step, rows=2, columns=4, group=3, weight_bits=8, accumulator_bits=32), _linear(3, 5, 13, 8)
        for step in RIVALS:
            yield cls(step=step, rows=2, columns=3, weight_bits=1), _linear(3, 4, 9, 1)
            yield cls(step=step, rows=3, columns=2, group=3, weight_bits=8, accumulator_bits=32), _linear(4, 3, 13, 5)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> tuple[RtlUnit, Op]:
        def log_uniform(most: int) -> int:
            return int((most + 1) ** rng.random())

        weight_bits, group = int(rng.integers(1, 9)), int(rng.integers(2, 6))
        unit = cls(
            step=(*STEPS, *RIVALS)[rng.integers(6)],
            rows=log_uniform(8),
            columns=log_uniform(64),
            group=group,
            weight_bits=weight_bits,
            accumulator_bits=int(rng.integers(8, 33)),
        )
        bits = int(rng.integers(1, weight_bits + 1)) if rng.random() < 0.4 else weight_bits
        return unit, _linear(log_uniform(3 * unit.rows), log_uniform(2 * unit.columns), log_uniform(6 * group), bits)


def _linear(m: int, n: int, k: int, bits: int) -> Linear:
    return Linear(m=m, n=n, k=k, weights=FORMATS[f"int{bits}"], activations=FORMATS["int8"], output=FORMATS["int32"])


def _padded(array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """``array`` [r, c] in the corner of zeros [``rows``, ``columns``]."""
    array = np.asarray(array, dtype=np.int64)
    whole = np.zeros((rows, columns), np.int64)
    whole[: array.shape[0], : array.shape[1]] = array
    return whole
