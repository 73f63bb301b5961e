"""Stream words as Python integers: fields of equal width, the first in the lowest bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pack_words(fields: np.ndarray, bits: int) -> list[int]:
    """One word per row of ``fields`` [words, fields per word], each field cut to ``bits`` bits (two's complement)."""
    fields = np.asarray(fields, dtype=np.int64)
    planes = (fields[:, :, None] >> np.arange(bits)) & 1
    rows = np.packbits(planes.astype(np.uint8).reshape(len(fields), -1), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def unpack_words(words: Sequence[int], bits: int, count: int) -> np.ndarray:
    """The signed fields [words, ``count``], each of ``bits`` bits (at most 63), from the low end of every word."""
    size = -(-bits * count // 8)
    mask = (1 << (bits * count)) - 1
    raw = b"".join((word & mask).to_bytes(size, "little") for word in words)
    rows = np.frombuffer(raw, dtype=np.uint8).reshape(len(words), size)
    planes = np.unpackbits(rows, axis=1, count=bits * count, bitorder="little").reshape(len(words), count, bits)
    weights = np.left_shift(np.int64(1), np.arange(bits, dtype=np.int64))
    weights[-1] = -weights[-1]
    return planes.astype(np.int64) @ weights
