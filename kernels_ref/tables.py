"""Golden kernel of the table precompute: the symmetrised half table of the LUT tensor core.

The LUT core computes sum_j q'_j A_j for weights q'_j of +1 or -1. Negating all weights negates the sum, so only the combinations
with q'_0 = -1 are stored. Source: Mo et al., LUT Tensor Core, ISCA 2025.
"""

from __future__ import annotations

import numpy as np
import torch

from workloads.ops import TablePrecompute


def half_table(op: TablePrecompute, activations: np.ndarray) -> np.ndarray:
    """T[m, g, i] = -A[m, gK] + sum_{j=1..K-1} (2 bit_{j-1}(i) - 1) A[m, gK + j], exactly, in integers.

    ``activations[m, k]`` are INT8 codes, padded with zeros to a whole group of K; the result is int64[m, ceil(k / K), 2^(K-1)].
    Ideal and hardware kernel are one where ``op.entry_bits`` is None. Else -T is rounded to that many bits and T counts in steps
    of `step`: |step T - exact| <= step / 2, and <= step - 1 where -T is cut off at the largest code.
    """
    groups = -(-op.k // op.group)
    padded = torch.zeros(op.m, groups * op.group, dtype=torch.int64)
    padded[:, : op.k] = torch.as_tensor(activations, dtype=torch.int64)
    exact = padded.reshape(op.m, groups, op.group) @ signs(op.group).T
    size = step(op.group, op.entry_bits)
    if size > 1:
        exact = -torch.clamp(torch.div(-exact + size // 2, size, rounding_mode="floor"), max=2 ** (op.entry_bits - 1) - 1)
    return exact.numpy()


def step(group: int, entry_bits: int | None) -> int:
    """What one unit of an entry stands for: 1 where entries are exact, else 2 per bit that is left out of the exact ones."""
    exact_bits = 8 + (group - 1).bit_length()  # two's complement of [-128 K, 128 K - 1]
    return 1 if entry_bits is None else 2 ** (exact_bits - entry_bits)


def signs(group: int) -> torch.Tensor:
    """int64[2^(group-1), group]: the sign of each activation in each table entry; the first is always -1."""
    index = torch.arange(1 << (group - 1))[:, None]
    rest = 2 * ((index >> torch.arange(group - 1)) & 1) - 1
    return torch.cat([torch.full_like(index, -1), rest], dim=1)
