"""The vector lanes of one streaming multiprocessor (SM) of a GPU: pointwise and row-wise passes over main memory."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from accel.base.calibration import Calibration
from accel.base.clock import bytes_to_ps, scale_up
from accel.base.cost import Cost
from accel.base.extent import at_share, larger
from accel.base.half_table import table_format
from accel.base.mapping import Mapping, ceil_div
from accel.base.unit import AnalyticalUnit
from workloads.ops import Pointwise, TablePrecompute

# Lane operations per result, counted on the textbook formula of each function (assumed: compilers differ by one or two).
OPERATIONS = {
    "embedding": 1,
    "rms_norm": 4,  # square, accumulate, times 1 / rms, times weight
    "layer_norm": 7,  # sum, difference, square, accumulate, times 1 / sigma, times weight, plus bias
    "rope": 3,  # two products and a sum per rotated component
    "add": 1,
    "bias": 1,
    "relu": 1,
    "silu_mul": 5,  # exponential, sum, reciprocal, two products
    "gelu": 8,  # tanh form: cube, two products, sum, tanh, sum, two products
    "quantize": 3,  # product, round, clamp
    "dequantize": 2,  # difference, product
    "convert": 1,
}


class GpuVectorUnit(AnalyticalUnit):
    """Vector lanes of one GPU SM: pointwise and row-wise passes.

    One copy is one SM of ``lanes`` lanes. With b bytes read and written and rows of r elements, each worked through by one SM,

        time = launch + max(r * row, b / bandwidth / e)

    where launch, row and e are those of the function in the calibration (``default`` for functions that were not measured).
    A table precompute is a pass that reads activations and writes half tables.
    """

    executes = (Pointwise, TablePrecompute)

    lanes: int = Field(default=64, gt=0)
    """FP32 lanes of an SM: 64 Volta and A100, 128 GA102, AD102 and H100."""

    def check(self, op: Pointwise | TablePrecompute) -> None:
        super().check(op)
        if isinstance(op, Pointwise) and op.function not in OPERATIONS:
            raise ValueError(f"{self.kind()} executes the functions {', '.join(OPERATIONS)}, not {op.function!r}")

    def limits(self, op: Pointwise | TablePrecompute) -> dict[str, int]:
        """None: one invocation takes the whole op."""
        return {}

    def tile_cost(self, tile: Pointwise | TablePrecompute) -> Cost:
        """Cycles of one SM with every lane busy, and its lane operations; losses are in `time_ps`."""
        if isinstance(tile, TablePrecompute):
            work = tile.tables * (1 << (tile.group - 1)) * (tile.group - 1)  # K - 1 sums per entry
        else:
            work = tile.elements * OPERATIONS[tile.function]
        cycles = ceil_div(work, self.lanes)
        return Cost(cycles, cycles, {"lane_op": work})

    def table_bytes(self, op: TablePrecompute) -> Any:
        """Bytes of the half tables that ``op`` leaves in memory."""
        return table_format(op.group, op.entry_bits, op.activations.name).nbytes(op.m * op.k)

    def time_ps(
        self,
        op: Pointwise | TablePrecompute,
        *,
        copies: int,
        clock: int,
        bandwidth: int,
        buffer: int,
        mapping: Mapping | None = None,
    ) -> Any:
        self.check(op)
        figures = Calibration.load(self.calibration).pointwise
        if isinstance(op, TablePrecompute):
            name, row, nbytes = "default", op.k, op.activations.nbytes(op.m * op.k) + self.table_bytes(op)
        else:
            name, row, nbytes = op.function, op.row, op.read_bytes + op.write_bytes
        return pointwise_ps(nbytes, row, figures.get(name, figures["default"]), bandwidth)


def pointwise_ps(nbytes: Any, row: Any, figures: Any, bandwidth: int) -> Any:
    """launch + max(row, traffic) of `GpuVectorUnit`, in picoseconds; none where nothing is moved."""
    traffic = at_share(bytes_to_ps(nbytes, bandwidth), figures.bandwidth_permille)
    return (figures.launch_ps + larger(scale_up(row, figures.row_ps_per_1000, 1000), traffic)) * (nbytes > 0)
