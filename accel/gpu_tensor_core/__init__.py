"""The tensor cores of one streaming multiprocessor (SM) of a GPU: GEMMs and attention, priced from measured efficiencies."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from accel.base.calibration import Calibration
from accel.base.cost import Cost
from accel.base.mapping import Mapping, ceil_div
from accel.base.unit import AnalyticalUnit
from accel.gpu_tensor_core.attention import attention_closures
from accel.gpu_tensor_core.gemm import gemm_ps, gemm_traffic
from workloads.formats import Format
from workloads.ops import Attention, Linear

_FIELD_OF_KIND = {"fp16": "fp16_macs", "int8": "int8_macs", "fp8": "fp8_macs", "int4": "int4_macs"}


class GpuTensorCore(AnalyticalUnit):
    """Tensor cores of one GPU SM: GEMMs with tile and wave quantisation, flash attention.

    One copy is one SM. It retires ``fp16_macs`` FP16 (or BF16) multiply-accumulates per cycle, and those of other formats where
    the generation has them. Operands compute in the widest of their kinds: FP16 if either is a float of 16 bits, else FP8, else
    INT8, else INT4 (INT8 where the unit has no INT4). Equations: `accel.gpu_tensor_core.gemm`, `accel.gpu_tensor_core.attention`.
    """

    executes = (Linear, Attention)

    fp16_macs: int = Field(default=1024, gt=0)
    """FP16 multiply-accumulates per cycle: 512 Volta and GA102/AD102, 1024 A100, 2048 H100."""
    int8_macs: int | None = Field(default=None, gt=0)
    fp8_macs: int | None = Field(default=None, gt=0)
    int4_macs: int | None = Field(default=None, gt=0)

    def check(self, op: Linear | Attention) -> None:
        super().check(op)
        self.kind_of(op)

    def kind_of(self, op: Linear | Attention) -> str:
        """The kind of arithmetic that ``op`` takes: "fp16", "fp8", "int8" or "int4". Raises ValueError where there is none."""
        formats = (op.activations, op.weights) if isinstance(op, Linear) else (op.activations,)
        return self._kind(*formats)

    def _kind(self, *formats: Format) -> str:
        if any(f.kind == "float" and f.bits > 8 for f in formats):
            wanted: tuple[str, ...] = ("fp16",)
        elif any(f.kind == "float" for f in formats):
            wanted = ("fp8",)
        else:
            wanted = ("int4", "int8") if max(f.bits for f in formats) <= 4 else ("int8",)
        for kind in wanted:
            if max(f.bits for f in formats) <= 16 and getattr(self, _FIELD_OF_KIND[kind]) is not None:
                return kind
        rated = [kind for kind, name in _FIELD_OF_KIND.items() if getattr(self, name) is not None]
        got = " x ".join(map(str, formats))
        raise ValueError(f"{self.kind()} has no rate for {got}: wanted operands that compute in {', '.join(rated)}")

    def rate(self, kind: str) -> int:
        """Multiply-accumulates per cycle of ``kind``."""
        return getattr(self, _FIELD_OF_KIND[kind])

    def operand_traffic(self, op: Linear, *, copies: int, buffer: int) -> tuple[Any, Any, Any]:
        return gemm_traffic(op, Calibration.load(self.calibration).gemm, copies=copies, buffer=buffer)

    def limits(self, op: Linear | Attention) -> dict[str, int]:
        """None: one invocation takes the whole op."""
        return {}

    def tile_cost(self, tile: Linear | Attention) -> Cost:
        """Cycles of one SM at its peak rate, and the useful multiply-accumulates; losses are in `time_ps`."""
        kind = self.kind_of(tile)
        cycles = ceil_div(tile.macs, self.rate(kind))
        return Cost(cycles, cycles, {f"mac_{kind}": tile.macs})

    def time_ps(
        self, op: Linear | Attention, *, copies: int, clock: int, bandwidth: int, buffer: int, mapping: Mapping | None = None
    ) -> Any:
        self.check(op)
        if isinstance(op, Linear):
            rate = self.rate(self.kind_of(op))
            machine = {"rate": rate, "clock": clock, "copies": copies, "bandwidth": bandwidth, "buffer": buffer}
            return gemm_ps(op, Calibration.load(self.calibration).gemm, **machine, mapping=mapping)
        decode, prefill = self.attention_pricer(_shape(op), copies=copies, clock=clock, bandwidth=bandwidth)
        if isinstance(op.tokens, int) and isinstance(op.requests, int):
            if op.tokens == op.requests:
                return decode(op.requests, op.context)
            return prefill(*_chunk_and_past(op), op.requests)
        import numpy as np

        return np.where(op.tokens == op.requests, decode(op.requests, op.context), prefill(*_chunk_and_past(op), op.requests))

    def attention_pricer(self, shape: dict[str, Any], *, copies: int, clock: int, bandwidth: int) -> tuple[Any, Any]:
        """Closures decode(requests, context) and prefill(chunk, past), equal to `time_ps` of those ops of ``shape``.

        ``shape`` holds the fields of `Attention` but its sums (heads, kv_heads, head_dim, formats, role).
        """
        figures = Calibration.load(self.calibration)
        shape = {name: value for name, value in shape.items() if name != "role"}
        activations = shape.get("activations", Attention.activations)
        rate = self.rate(self._kind(activations))
        machine: dict[str, Any] = {"rate": rate, "clock": clock, "copies": copies, "bandwidth": bandwidth}
        return attention_closures(figures.decode, figures.prefill, **machine, **shape)


def _shape(op: Attention) -> dict[str, Any]:
    names = ("heads", "kv_heads", "head_dim", "activations", "kv", "output")
    return {name: getattr(op, name) for name in names}


def _chunk_and_past(op: Attention) -> tuple[Any, Any]:
    """Mean chunk (rounded up) and mean cached tokens of the op's requests."""
    return ceil_div(op.tokens, op.requests), (op.context - op.tokens) // op.requests
