"""The half table of the LUT tensor core, and how it travels from the unit that makes it to the unit that looks it up.

For K activations A_0 .. A_{K-1} and an index of K - 1 bits

    T[i] = -A_0 + sum_{j=1..K-1} (2 bit_{j-1}(i) - 1) A_j                      i < 2^(K-1)

The other half is its negation (T of the complemented index), so it is not stored; T[0] is minus the sum of the activations.
INT8 activations give T in [-(128 K - 1), 128 K]. **Streams carry -T**, which lies in [-128 K, 128 K - 1] and so takes one bit
less at K = 2 and K = 4: 10 bits for K = 4. Entry 0 is in the lowest bits; the tables of several rows follow in row order.

Source of the table: LUT Tensor Core, ISCA'25 (arXiv 2408.06003), section on table symmetrisation.
"""

from __future__ import annotations

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


def table_format(group: int) -> Format:
    """The format of activations held in memory as half tables: bits of a packed table per activation, rounded up."""
    bits = -(-entries(group) * entry_bits(group) // group)
    return Format(f"half_table{group}", bits, "int")


def half_tables(activations: np.ndarray) -> np.ndarray:
    """T [..., 2^(K-1)] of the activations [..., K], as int64."""
    activations = np.asarray(activations, dtype=np.int64)
    group = activations.shape[-1]
    index = np.arange(entries(group))
    signs = np.stack([np.full_like(index, -1), *((2 * ((index >> j) & 1) - 1) for j in range(group - 1))])
    return activations @ signs


def pack_tables(tables: np.ndarray, rows: int, group: int) -> list[int]:
    """One stream word per entry of the first axis of T [words, rows used, 2^(K-1)]; rows up to ``rows`` are left zero."""
    words, used, _ = tables.shape
    fields = np.zeros((words, rows, entries(group)), dtype=np.int64)
    fields[:, :used] = -tables
    return pack_words(fields.reshape(words, -1), entry_bits(group))
