"""The half table of the LUT tensor core, and how it travels from the unit that makes it to the unit that looks it up.

For K activations A_0 .. A_{K-1} and an index of K - 1 bits

    T[i] = -A_0 + sum_{j=1..K-1} (2 bit_{j-1}(i) - 1) A_j                      i < 2^(K-1)

The other half is its negation (T of the complemented index), so it is not stored; T[0] is minus the sum of the activations.
INT8 activations give T in [-(128 K - 1), 128 K]. **Streams carry -T**, which lies in [-128 K, 128 K - 1] and so takes one bit
less at K = 2 and K = 4: 10 bits for K = 4. Entries may be rounded to fewer bits (`round_entries`), as the paper's. Entry 0 is in
the lowest bits; the tables of several rows follow in row order.

FP16 activations give FP16 entries of -T (`half_sums`), or INT8 codes with one exponent per table after them, in a byte of its own
(`shared_exponent_codes`).

Source of the table: LUT Tensor Core, ISCA'25 (arXiv 2408.06003), section on table symmetrisation.
"""

from __future__ import annotations

import numpy as np

from accel.base.words import pack_words
from workloads.formats import Format

ACTIVATION_BITS = 8
CODE_BITS = 8
"""Bits of an INT8 table's code, and of the byte that holds its exponent."""
CODE_MAX = 127
NOT_FINITE = 31
"""The exponent of an INT8 table that stands for NaN."""


def entries(group: int) -> int:
    """Entries of the half table of ``group`` activations."""
    return 1 << (group - 1)


def entry_bits(group: int) -> int:
    """Bits of one entry as it travels: two's complement of [-128 K, 128 K - 1]."""
    return ACTIVATION_BITS + (group - 1).bit_length()


def rounding_shift(group: int, bits: int | None) -> int:
    """Low bits that entries of ``bits`` bits leave out; 0 where ``bits`` is None, which keeps them exact."""
    return 0 if bits is None else entry_bits(group) - bits


def table_fields(group: int, bits: int | None = None, activations: str = "int8") -> tuple[int, int]:
    """(fields, bits of each) that a table travels in: its entries, and after INT8 codes of FP16 sums their exponent."""
    if activations == "int8":
        return entries(group), bits or entry_bits(group)
    return (entries(group), 16) if bits is None else (entries(group) + 1, CODE_BITS)


def table_format(group: int, bits: int | None = None, activations: str = "int8") -> Format:
    """The format of activations held in memory as half tables: bits of a packed table per activation, rounded up."""
    count, width = table_fields(group, bits, activations)
    return Format(f"half_table{group}x{width}", -(-count * width // group), "int")


def round_entries(wire: np.ndarray, group: int, bits: int | None) -> np.ndarray:
    """-T as it travels in ``bits`` bits: floor((x + 2^(s-1)) / 2^s), at most the largest code; s = `rounding_shift`.

    What comes out counts in steps of 2^s. It is off by at most 2^(s-1), and by 2^s - 1 where the largest code cuts it off.
    """
    shift = rounding_shift(group, bits)
    if bits is None or not shift:
        return wire
    return np.minimum((wire + (1 << (shift - 1))) >> shift, (1 << (bits - 1)) - 1)


def half_tables(activations: np.ndarray) -> np.ndarray:
    """T [..., 2^(K-1)] of the activations [..., K], as int64."""
    activations = np.asarray(activations, dtype=np.int64)
    group = activations.shape[-1]
    index = np.arange(entries(group))
    signs = np.stack([np.full_like(index, -1), *((2 * ((index >> j) & 1) - 1) for j in range(group - 1))])
    return activations @ signs


def half_sums(activations: np.ndarray) -> np.ndarray:
    """Patterns of -T [..., 2^(K-1)] of the FP16 patterns [..., K], by the tree of rounded additions that the precompute has."""
    sums = _signed_sums(np.asarray(activations, dtype=np.int64).astype(np.uint16).view(np.float16))
    return np.where(np.isnan(sums), 0x7E00, np.ascontiguousarray(sums).view(np.uint16).astype(np.int64))


def _signed_sums(values: np.ndarray) -> np.ndarray:
    """A_0 +- A_1 +- .. over the last axis, in the order of the entries of -T: a first half, plus or minus the rest."""
    count = values.shape[-1]
    if count == 1:
        return values
    half = -(-count // 2)
    first, rest = _signed_sums(values[..., :half]), _signed_sums(values[..., half:])
    signed = np.stack([rest, -rest[..., ::-1]], axis=-1)  # the sign of the rest's first activation is the lowest bit of the index
    with np.errstate(over="ignore", invalid="ignore"):
        sums = first[..., None, None, :] + signed[..., None]
    return sums.reshape(*values.shape[:-1], -1)


def shared_exponent_codes(sums: np.ndarray) -> np.ndarray:
    """INT8 codes of the patterns of -T [..., entries], and after them the exponent of the table: [..., entries + 1].

    The exponent e is the largest of the table, at least 1; a code counts steps of 2^(e - 21), rounded to nearest even, and at
    most 127 of them. With e = `NOT_FINITE` the codes are zero.
    """
    exponents = np.maximum(sums >> 10 & 31, 1)
    shared = exponents.max(axis=-1, keepdims=True)
    significands = (sums & 0x3FF) | (sums & 0x7C00 > 0) << 10
    shift = 4 + shared - exponents
    kept, lost = significands >> shift, significands & ((1 << shift) - 1)
    codes = np.minimum(kept + (2 * lost + (kept & 1) > 1 << shift), CODE_MAX)
    codes = np.where(sums & 0x8000, -codes, codes) * (shared != NOT_FINITE)
    return np.concatenate([codes, shared], axis=-1)


def pack_fields(fields: np.ndarray, rows: int, bits: int) -> list[int]:
    """One stream word of ``bits``-bit fields per entry of the first axis of [words, rows used, fields of a table]."""
    words, used, count = fields.shape
    padded = np.zeros((words, rows, count), dtype=np.int64)
    padded[:, :used] = fields
    return pack_words(padded.reshape(words, -1), bits)


def pack_tables(tables: np.ndarray, rows: int, group: int, bits: int | None = None) -> list[int]:
    """One stream word per entry of the first axis of T [words, rows used, 2^(K-1)]; rows up to ``rows`` are left zero."""
    return pack_fields(round_entries(-tables, group, bits), rows, bits or entry_bits(group))
