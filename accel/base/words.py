"""Words: how arrays of elements become the bits of stream words, and back.

Element 0 takes the lowest bits of a word; each element takes ``bits`` bits, in two's complement where it is signed. The RTL
sees the same word as an Amaranth ``ArrayLayout`` of the elements.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pack(elements: np.ndarray, bits: int) -> list[int]:
    """One word per row of ``elements[word, element]``.

    Raises ValueError where an element fits ``bits`` bits neither as a signed nor as an unsigned number.
    """
    values = np.asarray(elements, np.int64)
    if values.size and (values.max() >= 1 << bits or values.min() < -(1 << (bits - 1))):
        raise ValueError(f"wanted elements of {bits} bits, got the range {values.min()}..{values.max()}")
    ones = (values[..., None] >> np.arange(bits)) & 1
    packed = np.packbits(ones.reshape(len(values), -1).astype(np.uint8), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def unpack(words: Sequence[int], count: int, bits: int, *, signed: bool) -> np.ndarray:
    """int64 array[word, element] of the ``count`` elements in each word; the inverse of `pack`."""
    nbytes = -(-count * bits // 8)
    raw = b"".join(word.to_bytes(nbytes, "little") for word in words)
    ones = np.unpackbits(np.frombuffer(raw, np.uint8).reshape(len(words), nbytes), axis=1, bitorder="little")
    ones = ones[:, : count * bits].reshape(len(words), count, bits).astype(np.int64)
    values = (ones << np.arange(bits)).sum(axis=-1)
    return values - (ones[..., -1] << bits) if signed else values
