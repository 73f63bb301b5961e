"""GEMM time on a GPU: tile and wave quantisation, measured efficiencies, split reductions.

For blocks of b_m x b_n results, the reduction in s parts, P cores of R multiply-accumulates per cycle at clock f:

    cycles  = ceil(ceil(m / b_m) ceil(n / b_n) s / P) * ceil(b_m b_n ceil(k / s) / R)
    compute = cycles / f / e_compute
    traffic = (A + W + C + [s > 1] 8 s m n) / bandwidth / e_bandwidth
    time    = launch + [s > 1] split + max(compute, traffic) + overlap * min(compute, traffic)

A and W are read again per panel that the shared buffer cannot hold, or per square wave of blocks where that is less, as in large
GEMMs (`accel.base.mapping.operand_traffic`); a split reduction writes and reads s FP32 partial results. A published mapping fixes
the block and leaves the reduction whole; otherwise the best of the calibration's blocks and splits is taken, as a tuned library
does. The figures are measured on FP16 kernels: for INT8, FP8 and INT4 only R and the bytes are others, and launches, efficiencies
and blocks are assumed to carry over. Widening weights that are narrower than what they compute in costs nothing here (assumed).
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from accel.base.calibration import GemmFigures
from accel.base.clock import bytes_to_ps, cycles_to_ps, scale_up
from accel.base.extent import at_share, larger, smaller
from accel.base.mapping import Mapping, operand_traffic
from workloads.ops import Linear

PARTIAL_BYTES = 8  # an FP32 partial result written and read once


def gemm_traffic(
    op: Linear, figures: GemmFigures, *, copies: int, buffer: int, mapping: Mapping | None = None
) -> tuple[Any, ...]:
    """Bytes of activations and weights read and of results written, with the calibrated share of the buffer."""
    area = max(m * n for m, n in figures.blocks) if mapping is None else mapping.m * mapping.n
    return operand_traffic(op, buffer * figures.cache_permille // 1000, copies * area)


def gemm_ps(
    op: Linear, figures: GemmFigures, *, rate: int, clock: int, copies: int, bandwidth: int, buffer: int, mapping: Mapping | None
) -> Any:
    """Picoseconds of ``op`` on ``copies`` cores of ``rate`` multiply-accumulates per cycle; none where an extent is 0."""
    blocks = figures.blocks if mapping is None else ((mapping.m, mapping.n),)
    splits = figures.splits if mapping is None else (1,)
    least = sum(gemm_traffic(op, figures, copies=copies, buffer=buffer, mapping=mapping))
    results = op.m * op.n
    tiles = [(-(-op.m // m) * -(-op.n // n), m * n) for m, n in blocks]
    best: Any = None
    for split in splits:
        depth = -(-op.k // split)
        cycles = _least([-(-count * split // copies) * -(-area * depth // rate) for count, area in tiles])
        compute = at_share(cycles_to_ps(cycles, clock), figures.compute_permille)
        nbytes = least + (PARTIAL_BYTES * split * results if split > 1 else 0)
        traffic = at_share(bytes_to_ps(nbytes, bandwidth), figures.bandwidth_permille)
        unhidden = scale_up(smaller(compute, traffic), figures.overlap_permille, 1000)
        time = larger(compute, traffic) + unhidden + (figures.split_ps if split > 1 else 0)
        best = time if best is None else smaller(best, time)
    return (best + figures.launch_ps) * (results * op.k > 0)


def _least(values: list[Any]) -> Any:
    return min(values) if isinstance(values[0], int) else reduce(smaller, values)
