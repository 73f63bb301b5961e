"""Golden kernels of a memory bank that computes: dot products with the rows of the bank, and the bank's reads and writes.

`bank_gemv` is what the bank does, bit for bit. A dot product is taken in bursts of B elements (as many as there are multipliers),
the last one filled up with zeros:

    p_i = x_i w_i                                     i = 0 .. B - 1, exact in FP32 where both are FP16
    s = ((p_0 + p_1) + (p_2 + p_3)) + ...             a balanced tree over neighbours, log2 B levels
    O = (((0 + s_0) + s_1) + s_2) + ...               one burst after the other

in FP32, each sum rounded to nearest even, or exactly in an INT32 that wraps. `ideal_bank_gemv` is the mathematics, in float64;
`bank_gemv_error_bound` says how far apart they are. Source of the organisation: NeuPIMs, ASPLOS'24 (arXiv 2403.00579).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kernels_ref.floats import UNIT, decode
from workloads.ops import BankGemv


def bank_gemv(
    op: BankGemv,
    vector: np.ndarray,
    matrix: np.ndarray,
    memory: np.ndarray,
    read_columns: np.ndarray,
    write_columns: np.ndarray,
    written: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The dot products [rows, slots] (FP32 patterns or INT32), the bursts read [pages, reads, burst], the pages [pages, row].

    Operands are those of `BankGemv.operands`; a float is its bits. A NaN among the dot products has the one pattern of
    `workloads.formats`; what memory holds is never looked at.
    """
    return dot_products(op, vector, matrix), *accesses(op, memory, read_columns, write_columns, written)


def dot_products(op: BankGemv, vector: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """sum_j x[s, j] W[r, s, j], int64 [rows, slots], in the order of the module's docstring."""
    integers = op.activations.kind == "int"
    x, w = (torch.as_tensor(np.asarray(a, np.int64)) for a in (vector, matrix))
    if not integers:
        x, w = (a.to(torch.int16).view(torch.float16).to(torch.float32) for a in (x, w))
    terms = torch.nn.functional.pad(x * w, (0, -op.length % op.burst)).unflatten(-1, (-1, op.burst))
    while terms.shape[-1] > 1:
        terms = terms[..., 0::2] + terms[..., 1::2]
    total = torch.zeros_like(terms[..., 0, 0])
    for burst in terms[..., 0].unbind(-1):
        total = total + burst
    if integers:
        return total.to(torch.int32).to(torch.int64).numpy()
    bits = total.view(torch.int32).to(torch.int64).numpy() & ((1 << 32) - 1)
    return np.where(total.isnan().numpy(), op.accumulator.fields.nan, bits)


def accesses(
    op: BankGemv, memory: np.ndarray, read_columns: np.ndarray, write_columns: np.ndarray, written: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What reads of the pages give [pages, reads, burst], and the pages after all writes [pages, row]."""
    pages = np.array(memory, np.int64).reshape(op.pages, op.columns, op.burst)
    found = np.zeros((op.pages, op.reads, op.burst), np.int64)
    every = np.arange(op.pages)
    for i in range(max(op.reads, op.writes)):
        if i < op.reads:
            found[:, i] = pages[every, read_columns[:, i]]
        if i < op.writes:
            pages[every, write_columns[:, i]] = written[:, i]
    return found, pages.reshape(op.pages, op.row)


def ideal_bank_gemv(op: BankGemv, vector: np.ndarray, matrix: np.ndarray) -> Tensor:
    """The dot products of floats (bits) in float64 [rows, slots]."""
    x, w = (torch.as_tensor(decode(a, op.activations)) for a in (vector, matrix))
    return (x * w).sum(-1)


def bank_gemv_error_bound(op: BankGemv, vector: np.ndarray, matrix: np.ndarray) -> Tensor:
    """Bound on |bank_gemv - ideal_bank_gemv| of finite FP16 operands, float64 [rows, slots], for lengths below 2^20:

        g sum_j |x[s, j] W[r, s, j]|          g = (d + 1) u / (1 - (d + 1) u),   u = 2^-24,   d = log2 B + ceil(length / B)

    Products are exact; every term passes the levels of the tree and at most one addition per burst, each with a relative error of
    u (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2). No sum underflows, as all terms are multiples of
    2^-48, and none overflows. The one u beyond d is for the float64 roundings of the ideal kernel.
    """
    steps = ((op.burst - 1).bit_length() + -(-op.length // op.burst) + 1) * UNIT["fp32"]
    x, w = (torch.as_tensor(decode(a, op.activations)).abs() for a in (vector, matrix))
    return steps / (1 - steps) * (x * w).sum(-1)
