"""Golden kernel of the LUT tensor core with FP16 activations: floating-point tables or INT8 tables with a shared exponent.

The same look-up as in `kernels_ref.linear`, with sums that round, so that their order is part of the result:

    groups of K activations in order; within a group the bit planes from the least significant; within a plane one look-up

Zeros need no rule of their own: accumulators start at +0, and adding in round-to-nearest never leaves -0.
Source: LUT Tensor Core, ISCA'25 (arXiv 2408.06003), whose RTL accumulates in FP16; FP32 is ours.
"""

from __future__ import annotations

import numpy as np
import torch

from kernels_ref import quantize
from kernels_ref.floats import UNIT, decode, encode, round_to
from kernels_ref.tables import CODE_SCALE, half_sums, shared_exponent_codes
from workloads.formats import FORMATS, Format
from workloads.ops import Linear, TablePrecompute

FP16 = FORMATS["fp16"]


def lut_half(
    op: Linear, activations: np.ndarray, codes: np.ndarray, *, group: int = 4, table: str = "fp16", accumulator: str = "fp32"
) -> tuple[np.ndarray, np.ndarray]:
    """Patterns of acc[s, m, n] ~ sum_{k in s} A[m, k] q'[n, k] and sums[s, m] ~ sum_{k in s} A[m, k] in ``accumulator``.

    ``activations`` [m, k] are FP16 patterns, ``codes`` [n, k] those of ``op.weights``, k cut into one segment s per weight scale,
    each padded with zeros to G groups of K = ``group``. fl() rounds to ``accumulator``; entry (or code) is what the plane's bits
    find in the half table of the group (`kernels_ref.tables`), with its sign; that of all ones is the sum of the activations.

        table = "fp16":  acc = fl(acc + fl(2^b entry)) for each plane b       sums = fl(sums + entry of ones)
        table = "int8":  acc = fl(acc + fl(2^(e - 21) sum_b 2^b code))        sums = fl(sums + fl(2^(e - 21) code of ones))

    so an INT8 table's planes are added as integers, and its scale is applied once per group. Multiplying by a power of two is
    exact, subnormal numbers included, but for what overflows FP16 (an infinity, as IEEE has it) and for a sum of codes of more
    than 11 bits in FP16. Infinite and NaN activations make infinities and NaNs as IEEE has it; in an INT8 table, which has no
    code for them, they make every entry of their table NaN.

    Where nothing overflows, the distance to the exact sums is at most `half_error_bound`.
    """
    fmt = FORMATS[accumulator]
    entries, exponents = _tables(op, activations, group, table)  # [groups, S, m, entries] and [groups, S, m]
    planes = _signs_and_indices(op, codes, group)  # two of [groups, planes, S, n]
    scale = np.where(exponents < 31, np.exp2(exponents - CODE_SCALE), np.nan) if table == "int8" else np.ones(exponents.shape)
    acc = np.zeros((*entries.shape[1:3], op.n))
    sums = np.zeros(entries.shape[1:3])
    with np.errstate(invalid="ignore"):  # opposite infinities
        for entry, factor, sign, index in zip(entries, scale, *planes, strict=True):
            sums = round_to(sums + round_to(factor * entry[..., 0], fmt), fmt)
            terms = [
                np.ldexp(s[:, None] * np.take_along_axis(entry, i[:, None], axis=-1), b)
                for b, (s, i) in enumerate(zip(sign, index, strict=True))
            ]
            for term in terms if table == "fp16" else [sum(terms) * factor[..., None]]:
                acc = round_to(acc + round_to(term, fmt), fmt)
    return encode(acc, fmt), encode(sums, fmt)


def half_error_bound(
    op: Linear, activations: np.ndarray, *, group: int = 4, table: str = "fp16", accumulator: str = "fp32"
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds on |acc - sum A q'| [S, m, 1] and |sums - sum A| [S, m] of `lut_half`, where nothing overflows; float64.

        |acc - exact| <= (2^W - 1) sum_g ((t a_g + step_g) (1 + u)^R - a_g)        t = (1 + 2^-11)^ceil(log2 K)
        |sums - exact| <= sum_g ((t a_g + step_g) (1 + u)^G - a_g)                 a_g = sum_{j in g} |A_j|

    u is the accumulator's unit, 2^-11 or 2^-24. R counts the roundings on a term's way: G W additions from FP16 tables, else G
    and the conversion, G + 1. step_g = max(t a_g, 2^-14) / 64 is the rounding of an entry to INT8, and 0 for
    FP16 tables. The factor 2^W - 1 is the sum of the planes' weights.
    It is as well the bound on what `ideal_linear` says with s' = 1 and z' = 0.
    """
    segments, length = op.groups, op.k // op.groups
    a = np.abs(decode(activations, FP16)).reshape(op.m, segments, length)
    groups = -(-length // group)
    a = np.pad(a, ((0, 0), (0, 0), (0, -length % group))).reshape(op.m, segments, groups, group).sum(axis=-1)
    most = (1 + UNIT["fp16"]) ** (group - 1).bit_length() * a
    step = np.maximum(most, 2.0**-14) / 64 if table == "int8" else 0.0

    def bound(roundings: int) -> np.ndarray:
        return ((most + step) * (1 + UNIT[accumulator]) ** roundings - a).sum(axis=-1).T

    roundings = groups + 1 if table == "int8" else groups * op.weights.bits
    return (2**op.weights.bits - 1) * bound(roundings)[..., None], bound(groups)


def _tables(op: Linear, activations: np.ndarray, group: int, table: str) -> tuple[np.ndarray, np.ndarray]:
    """The entries of -T as float64 [groups, S, m, entries] (INT8: codes), and the exponents of the tables [groups, S, m]."""
    parts = quantize.segments(torch.as_tensor(activations), op.weights)
    m, segments, length = parts.shape
    precompute = TablePrecompute(m=m * segments, k=length, group=group, activations=FP16)
    sums = half_sums(precompute, parts.reshape(m * segments, length).numpy())
    sums = sums.reshape(m, segments, *sums.shape[1:]).transpose(2, 1, 0, 3)
    if table == "int8":
        codes, exponents = shared_exponent_codes(sums)
        return codes.astype(np.float64), exponents
    return decode(sums, FP16), np.zeros(sums.shape[:3], dtype=np.int64)


def _signs_and_indices(op: Linear, codes: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """For each group, plane, segment and channel: the sign (+-1) of the entry of -T that its bits find, and the entry's index.

    -T of index i is A_0 - sum_j (2 bit_{j-1}(i) - 1) A_j. A plane's bits w ask for sum_j (2 w_j - 1) A_j: where w_0 is set that
    is the entry of the complement of the other bits, else the negated entry of those bits.
    """
    fmt: Format = op.weights
    q = quantize.check_codes(torch.as_tensor(codes), fmt, "weights") - fmt.lowest
    parts = quantize.segments(q, fmt).numpy()
    n, segments, length = parts.shape
    padded = np.pad(parts, ((0, 0), (0, 0), (0, -length % group))).reshape(n, segments, -1, group)
    bits = padded.transpose(2, 1, 0, 3)[:, None] >> np.arange(fmt.bits)[:, None, None, None] & 1  # [groups, planes, S, n, K]
    first = bits[..., 0]
    index = (bits[..., 1:] << np.arange(group - 1)).sum(axis=-1)
    return 2 * first - 1, np.where(first == 1, (1 << (group - 1)) - 1 - index, index)
