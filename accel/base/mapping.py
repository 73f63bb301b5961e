"""Mapping: how a GEMM is cut over cores, and the traffic that follows from it.

Three levels: the tile that a unit executes, the thread block that one core works on, and the waves of blocks over all cores. The
idle cores of the last wave are paid for (tile and wave quantisation).
"""

from __future__ import annotations

from math import isqrt

from pydantic import Field

from accel.base.spec import Spec
from workloads.ops import Linear

LARGEST_BLOCK = 1 << 20


class Mapping(Spec):
    """The extents of one thread block: ``m`` x ``n`` results, the reduction taken in slabs of ``k``."""

    m: int = Field(gt=0, le=LARGEST_BLOCK)
    n: int = Field(gt=0, le=LARGEST_BLOCK)
    k: int = Field(default=32, gt=0, le=LARGEST_BLOCK)

    def clipped(self, op: Linear) -> Mapping:
        """The block no larger than the op itself (scalar extents)."""
        return Mapping(m=min(self.m, op.m), n=min(self.n, op.n), k=min(self.k, op.k))


def ceil_div(a, b):
    """ceil(a / b) of ints or int64 arrays."""
    return -(-a // b)


def blocks(op: Linear, block: Mapping):
    """Number of thread blocks that cover ``op``."""
    return ceil_div(op.m, block.m) * ceil_div(op.n, block.n)


def waves(op: Linear, block: Mapping, cores: int):
    """ceil(blocks / cores): rounds in which every core executes at most one block."""
    return ceil_div(blocks(op, block), cores)


def operand_traffic(op: Linear, buffer: int, wave_area: int = 0):
    """Bytes of activations read, weights read and results written between main memory and a shared buffer of ``buffer`` bytes.

    Each operand is multicast to the cores that share it. One operand is held in panels of half the buffer while the other streams
    past each panel once, so that both are read exactly once (the compulsory traffic) as long as either fits half of the buffer:

        min(A + B ceil(A / (S / 2)), B + A ceil(B / (S / 2)))

    or, where that moves less, every square wave of ``wave_area`` results (edge e = floor(sqrt(wave_area))) reads its own rows and
    columns: A ceil(n / e) + B ceil(m / e).
    """
    a, b, half = op.input_bytes, op.weight_bytes, max(buffer // 2, 1)
    b_again = b * ceil_div(a, half)
    a_again = a * ceil_div(b, half)
    hold_a = a + b_again < b + a_again
    read_a, read_b = a * hold_a + a_again * (1 - hold_a), b_again * hold_a + b * (1 - hold_a)
    if wave_area:
        edge = isqrt(wave_area)
        wave_a, wave_b = a * ceil_div(op.n, edge), b * ceil_div(op.m, edge)
        by_waves = wave_a + wave_b < read_a + read_b
        read_a, read_b = wave_a * by_waves + read_a * (1 - by_waves), wave_b * by_waves + read_b * (1 - by_waves)
    return read_a, read_b, op.output_bytes
