"""Golden kernels of the mixed-precision linear layer O[m, n] = sum_k A[m, k] W[n, k] with quantised weights.

`ideal_linear` is the mathematics, in float64. `lut_linear` is what the LUT tensor core does, bit for bit: half tables, bit planes
and INT32 (FP16 activations: `kernels_ref.lut_float`). `lut_linear_float` goes all the way from float activations to float results
by INT8 ones, within `lut_error_bound` of the ideal.
Source: LUT Tensor Core, ISCA'25 (arXiv 2408.06003).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kernels_ref import lut_float, quantize
from kernels_ref.floats import UNIT
from kernels_ref.tables import integer_half_table, step
from workloads.formats import FORMATS, Format
from workloads.ops import Linear, TablePrecompute

FLOAT64_SLACK = 1 + 2.0**-30  # for the roundings of the ideal kernel, at most 2 k 127 half-codes of 2^-53 each


def ideal_linear(activations: Tensor, codes: Tensor, scale: Tensor, zero: Tensor, fmt: Format) -> Tensor:
    """O = A (s (q - z))^T in float64: activations [m, k], codes q [n, k], scale and zero point [n, S] -> [m, n]."""
    return activations.to(torch.float64) @ quantize.dequantize_weights(codes, scale, zero, fmt).T


def lut_linear(
    op: Linear, activations: np.ndarray, codes: np.ndarray, *, group: int = 4, table_bits: int | None = None, **floating: str
) -> tuple[np.ndarray, np.ndarray]:
    """The accumulators [S, m, n] and activation sums [S, m] of the LUT tensor core for one set of operands.

    INT8 activations: `lut_integer`. FP16 activations: `lut_float.lut_half`, with ``floating`` its ``table`` and ``accumulator``.
    """
    if op.activations.kind == "float":
        return lut_float.lut_half(op, activations, codes, group=group, **floating)
    return lut_integer(op, activations, codes, group=group, table_bits=table_bits)


def lut_integer(
    op: Linear, activations: np.ndarray, codes: np.ndarray, *, group: int, table_bits: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The INT32 accumulators [S, m, n] and activation sums [S, m] of the LUT tensor core, exactly.

        acc[s, m, n] = sum_{k in segment s} A[m, k] q'[n, k]          sums[s, m] = sum_{k in segment s} A[m, k]

    for INT8 ``activations`` [m, k] and ``codes`` [n, k] of ``op.weights``, k cut into one segment per weight scale. Computed as
    the hardware does: the table of each group of K = ``group`` activations; per bit plane b a look-up by the group's other bits,
    complemented and negated where bit 0 is set; 2^b times what is found, added up in INT32. The result does not depend on K,
    unless entries are rounded to ``table_bits`` bits: then both results count in steps of `tables.step`, and with G groups in a
    segment |step acc - exact| <= G (2^W - 1) (step - 1), |step sums - exact| <= G (step - 1).
    Raises ValueError where a code is outside of its format.
    """
    fmt = op.weights
    a = quantize.check_codes(torch.as_tensor(activations), op.activations, "activations")
    q = quantize.check_codes(torch.as_tensor(codes), fmt, "weights") - fmt.lowest
    parts = quantize.segments(a, fmt)
    m, count, length = parts.shape
    precompute = TablePrecompute(m=m * count, k=length, group=group, entry_bits=table_bits, activations=op.activations)
    tables = torch.as_tensor(integer_half_table(precompute, parts.reshape(m * count, length).numpy())).to(torch.int32)
    tables = tables.reshape(m, count, -1, 1 << (group - 1)).permute(2, 1, 0, 3)  # [groups, S, m, entries]
    weights = torch.nn.functional.pad(quantize.segments(q, fmt), (0, -length % group))
    weights = weights.reshape(len(q), count, -1, group).permute(2, 1, 0, 3)  # [groups, S, n, K]

    acc = torch.zeros(count, m, len(q), dtype=torch.int32)
    sums = torch.zeros(count, m, dtype=torch.int32)
    for table, group_weights in zip(tables, weights, strict=True):
        sums -= table[..., 0]
        for plane in range(fmt.bits):
            acc += _look_up(table, group_weights >> plane & 1) << plane
    return acc.to(torch.int64).numpy(), sums.to(torch.int64).numpy()


def _look_up(table: Tensor, bits: Tensor) -> Tensor:
    """sum_j (2 bit_j - 1) A_j [S, m, n] from half tables [S, m, entries] for the bits [S, n, K] of one plane."""
    entries = table.shape[-1]
    first = bits[..., 0]
    index = (bits[..., 1:] << torch.arange(bits.shape[-1] - 1)).sum(dim=-1)
    index = torch.where(first == 1, entries - 1 - index, index)
    found = table.gather(-1, index[:, None, :].expand(-1, table.shape[1], -1))
    return torch.where(first[:, None, :] == 1, -found, found)


def lut_linear_float(
    activations: Tensor, codes: Tensor, scale: Tensor, zero: Tensor, fmt: Format, *, group: int = 4, table_bits: int | None = None
) -> Tensor:
    """O in float32 [m, n], as the LUT tensor core and the vector units around it compute it.

    Float activations [m, k] -> INT8 per row -> tables, planes, INT32 -> float32 epilogue with s' and z'. Its distance to
    `ideal_linear` of the same operands is at most `lut_error_bound`.
    """
    quantized, row_scale = quantize.quantize_activations(activations)
    acc, sums = _accumulate(quantized, codes, fmt, group, table_bits)
    row_scale = row_scale * step(group, table_bits)  # a power of two: exact
    return quantize.dequantize(acc, sums, row_scale, *quantize.reinterpret_scale(scale, zero, fmt))


def lut_error_bound(
    activations: Tensor, codes: Tensor, scale: Tensor, zero: Tensor, fmt: Format, *, group: int = 4, table_bits: int | None = None
) -> Tensor:
    """Bound on |lut_linear_float - ideal_linear|, float64 [m, n], where nothing overflows or underflows float32:

        s_a / 2 sum_k |w[n, k]|   +   s_a (step - 1) sum_s |s'| G (2^W - 1 + |z'|)
                                  +   u' s_a sum_s |s'| (|acc| + |z' sums|)          u' = (S + 8) 2^-24 / (1 - (S + 8) 2^-24)

    The first term is the rounding of the activations to INT8, the second that of table entries to ``table_bits`` (none where they
    are exact: step = 1) over the G groups of a segment; INT32 sums are exact. The third is the float32 epilogue: at most S + 6
    roundings lie on the way of a term (z', sums, their product, the difference, s', its product, the sum over S segments, the
    row's scale). The float64 roundings of the ideal kernel are within the slack for k < 2^15.
    """
    quantized, row_scale = quantize.quantize_activations(activations)
    size = step(group, table_bits)
    acc, sums = (size * x.to(torch.float64) for x in _accumulate(quantized, codes, fmt, group, table_bits))
    s, z = (x.to(torch.float64).T[:, None, :] for x in quantize.reinterpret_scale(scale, zero, fmt))
    row = row_scale.to(torch.float64)[:, None]
    weights = quantize.dequantize_weights(codes, scale, zero, fmt).abs().sum(dim=-1)
    steps = (len(acc) + 8) * UNIT["fp32"]
    magnitude = (s.abs() * (acc.abs() + (z * sums[..., None]).abs())).sum(dim=0)
    groups = -(-(codes.shape[-1] // len(acc)) // group)
    rounding = row * (size - 1) * groups * (s.abs() * ((1 << fmt.bits) - 1 + z.abs())).sum(dim=0)
    return FLOAT64_SLACK * (row / 2 * weights + rounding) + steps / (1 - steps) * row * magnitude


def _accumulate(quantized: Tensor, codes: Tensor, fmt: Format, group: int, table_bits: int | None) -> tuple[Tensor, Tensor]:
    (m, k), n = quantized.shape, len(codes)
    op = Linear(m=m, n=n, k=k, weights=fmt, activations=FORMATS["int8"], output=FORMATS["fp32"])
    acc, sums = lut_linear(op, quantized.numpy(), codes.numpy(), group=group, table_bits=table_bits)
    return torch.as_tensor(acc), torch.as_tensor(sums)
