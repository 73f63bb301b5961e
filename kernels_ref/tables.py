"""Golden kernels of the table precompute: the symmetrised half table of the LUT tensor core.

The LUT core computes sum_j q'_j A_j for weights q'_j of +1 or -1. Negating all weights negates the sum, so only the combinations
with q'_0 = -1 are stored. `half_table` takes INT8 activations or FP16 ones. Source: Mo et al., LUT Tensor Core, ISCA 2025.
"""

from __future__ import annotations

import numpy as np
import torch

from kernels_ref.floats import decode, encode, round_to
from workloads.formats import FORMATS
from workloads.ops import TablePrecompute

FP16 = FORMATS["fp16"]
CODE_MAX = 127
"""The largest magnitude of an INT8 table's code: symmetric, so that a look-up negates it in 8 bits."""
CODE_SCALE = 21
"""An INT8 table of the exponent e counts in steps of 2^(e - 21): a largest sum of 1.x 2^(e - 15) has a code of 64 to 127."""


def half_table(op: TablePrecompute, activations: np.ndarray) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """The half tables of ``activations[m, k]``, padded with zeros to a whole group of K: see `integer_half_table` for INT8 codes,
    `half_sums` for FP16 patterns, and `shared_exponent_codes` for those and ``op.entry_bits`` = 8.
    """
    if op.activations.kind != "float":
        return integer_half_table(op, activations)
    sums = half_sums(op, activations)
    return sums if op.entry_bits is None else shared_exponent_codes(sums)


def half_sums(op: TablePrecompute, activations: np.ndarray) -> np.ndarray:
    """The FP16 patterns of **-T**[m, g, i] = A[m, gK] - sum_{j=1..K-1} (2 bit_{j-1}(i) - 1) A[m, gK + j], as they travel.

    (T itself is its negation: the sign bit, which the look-up flips.) ``activations`` are FP16 patterns. The sum is that of a
    balanced tree of FP16 additions, each rounded to nearest even: the sum of n activations is that of the first ceil(n / 2) plus
    that of the rest, or minus it, with all signs in the rest turned around, where the rest starts with a minus. (That takes half
    of the adders, and is seen in the sign of a zero only.) As no addition of FP16 numbers underflows,

        |-T - exact| <= ((1 + 2^-11)^D - 1) sum_j |A_j|          D = ceil(log2 K)

    where nothing overflows. What overflows is an infinity, as IEEE has it; a sum of opposite infinities or with a NaN is the NaN.
    """
    groups = -(-op.k // op.group)
    padded = np.zeros((op.m, groups * op.group), dtype=np.int64)
    padded[:, : op.k] = activations
    return encode(_tree(decode(padded, FP16).reshape(op.m, groups, 1, op.group), -signs(op.group).numpy()), FP16)


def _tree(values: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """sum_j signs_j values_j over the last axes, of float64 values of FP16 numbers, in the order that `half_sums` states."""
    count, leading = values.shape[-1], signs[..., 0]
    if count == 1:
        return leading * values[..., 0]
    half, signs = -(-count // 2), leading[..., None] * signs
    with np.errstate(invalid="ignore"):  # opposite infinities
        total = _tree(values[..., :half], signs[..., :half]) + _tree(values[..., half:], signs[..., half:])
    return leading * round_to(total, FP16)


def shared_exponent_codes(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """INT8 codes [m, g, i] of the FP16 patterns ``sums`` of -T, and one exponent e [m, g] per table: -T ~ code 2^(e - 21).

    e is the largest FP16 exponent field of the table, at least 1 (subnormal numbers have the scale of 2^-14); a code is the
    number of steps rounded to nearest even, and cut off at +-127. So |code step - sum| <= step / 2, and < step where it is cut
    off; the step is at most the 64th of the table's largest magnitude, or 2^-20. With e = 31 some sum is infinite or no number;
    then the codes are zero and the whole table stands for NaN.
    """
    e = np.maximum((sums >> 10 & 31).max(axis=-1), 1)
    finite = e[..., None] < 31
    steps = np.where(finite, decode(np.where(finite, sums, 0), FP16) * np.exp2(CODE_SCALE - e)[..., None], 0)
    return np.clip(np.rint(steps), -CODE_MAX, CODE_MAX).astype(np.int64), e


def integer_half_table(op: TablePrecompute, activations: np.ndarray) -> np.ndarray:
    """T[m, g, i] = -A[m, gK] + sum_{j=1..K-1} (2 bit_{j-1}(i) - 1) A[m, gK + j], exactly, in integers.

    ``activations[m, k]`` are INT8 codes; the result is int64[m, ceil(k / K), 2^(K-1)].
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
