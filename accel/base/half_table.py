"""The half table of the LUT tensor core, and how it travels from the unit that makes it to the unit that looks it up.

For K activations A_0 .. A_{K-1} and an index of K - 1 bits

    T[i] = -A_0 + sum_{j=1..K-1} (2 bit_{j-1}(i) - 1) A_j                      i < 2^(K-1)

The other half is its negation (T of the complemented index), so it is not stored; T[0] is minus the sum of the activations.
INT8 activations give T in [-(128 K - 1), 128 K]. **Streams carry -T**, which lies in [-128 K, 128 K - 1] and so takes one bit
less at K = 2 and K = 4: 10 bits for K = 4. Entries may be rounded to fewer bits (`round_entries`), as the paper's. Entry 0 is in
the lowest bits; the tables of several rows follow in row order.

Source of the table: LUT Tensor Core, ISCA'25 (arXiv 2408.06003), section on table symmetrisation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from accel.base.words import pack_words
from workloads.formats import Format

ACTIVATION_BITS = 8


def entries(group: int) -> int:
    """Entries of the half table of ``group`` activations."""
    return 1 << (group - 1)


def entry_bits(group: int) -> int:
    """Bits of one entry as it travels: two's complement of [-128 K, 128 K - 1]."""
    return ACTIVATION_BITS + (group - 1).bit_length()


def rounding_shift(group: int, bits: int | None) -> int:
    """Low bits that entries of ``bits`` bits leave out; 0 where ``bits`` is None, which keeps them exact."""
    return 0 if bits is None else entry_bits(group) - bits


def checked_table_bits(unit: Any) -> Any:
    """``unit`` where its ``table_bits`` are None or fewer than the exact ones of its ``group``. Raises ValueError otherwise."""
    if unit.table_bits is not None and unit.table_bits >= entry_bits(unit.group):
        wanted = f"fewer than the {entry_bits(unit.group)} exact bits at group = {unit.group} (leave it out to keep them)"
        raise ValueError(f"table_bits: wanted {wanted}, got {unit.table_bits}")
    return unit


def table_format(group: int, bits: int | None = None) -> Format:
    """The format of activations held in memory as half tables: bits of a packed table per activation, rounded up."""
    width = bits or entry_bits(group)
    return Format(f"half_table{group}x{width}", -(-entries(group) * width // group), "int")


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


def pack_tables(tables: np.ndarray, rows: int, group: int, bits: int | None = None) -> list[int]:
    """One stream word per entry of the first axis of T [words, rows used, 2^(K-1)]; rows up to ``rows`` are left zero."""
    words, used, _ = tables.shape
    fields = np.zeros((words, rows, entries(group)), dtype=np.int64)
    fields[:, :used] = round_entries(-tables, group, bits)
    return pack_words(fields.reshape(words, -1), bits or entry_bits(group))
