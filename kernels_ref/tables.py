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
    Ideal and hardware kernel are one: no entry is rounded.
    """
    groups = -(-op.k // op.group)
    padded = torch.zeros(op.m, groups * op.group, dtype=torch.int64)
    padded[:, : op.k] = torch.as_tensor(activations, dtype=torch.int64)
    return (padded.reshape(op.m, groups, op.group) @ signs(op.group).T).numpy()


def signs(group: int) -> torch.Tensor:
    """int64[2^(group-1), group]: the sign of each activation in each table entry; the first is always -1."""
    index = torch.arange(1 << (group - 1))[:, None]
    rest = 2 * ((index >> torch.arange(group - 1)) & 1) - 1
    return torch.cat([torch.full_like(index, -1), rest], dim=1)
