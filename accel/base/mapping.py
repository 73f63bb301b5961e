"""Mapping: how a GEMM is cut over cores, and the traffic that follows from it.

Three levels: the tile that a unit executes, the thread block that one core works on, and the waves of blocks over all cores. The
idle cores of the last wave are paid for (tile and wave quantisation).
"""

from __future__ import annotations

from pydantic import Field

from accel.base.spec import Spec
from workloads.ops import Linear


class Mapping(Spec):
    """The extents of one thread block: ``m`` x ``n`` results, the reduction taken in slabs of ``k``."""

    m: int = Field(gt=0)
    n: int = Field(gt=0)
    k: int = Field(default=32, gt=0)

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


def gemm_traffic(op: Linear, buffer: int):
    """Bytes (read, written) between main memory and a shared buffer of ``buffer`` bytes: the sum of `operand_traffic`."""
    activations, weights, results = operand_traffic(op, buffer)
    return activations + weights, results


def operand_traffic(op: Linear, buffer: int):
    """Bytes of activations read, weights read and results written between main memory and the shared buffer.

    One operand is held in panels of half the buffer, the other streams past each panel once; the cheaper choice is taken:

        read = min(A + B ceil(A / (S / 2)), B + A ceil(B / (S / 2)))        written = C

    so both operands are read exactly once (the compulsory traffic) as long as either fits half of the buffer. Each operand is
    multicast to the cores that share it.
    """
    a, b, half = op.input_bytes, op.weight_bytes, max(buffer // 2, 1)
    b_again = b * ceil_div(a, half)
    a_again = a * ceil_div(b, half)
    hold_a = a + b_again < b + a_again
    return a * hold_a + a_again * (1 - hold_a), b_again * hold_a + b * (1 - hold_a), op.output_bytes
