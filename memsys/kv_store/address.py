"""Logical addresses of pages: fields packed into 32 bits, the first in the highest."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

ADDRESS_BITS = 32


class Fields:
    """Named fields of given extents; a field of n values has ceil(log2 n) bits."""

    def __init__(self, name: str, extents: Mapping[str, int]) -> None:
        """Raises ValueError, which names the widest field, where they take more than 32 bits."""
        self.name = name
        self.extents = dict(extents)
        self.bits = {field: (extent - 1).bit_length() for field, extent in self.extents.items()}
        over = sum(self.bits.values()) - ADDRESS_BITS
        if over > 0:
            widest = max(self.bits, key=lambda field: self.bits[field])
            got = " + ".join(f"{field} {bits}" for field, bits in self.bits.items())
            most = 1 << max(self.bits[widest] - over, 0)
            raise ValueError(
                f"{name}: wanted an address of {ADDRESS_BITS} bits, got {got} = {ADDRESS_BITS + over}; "
                f"the widest field {widest!r} has {self.extents[widest]} values, of which {most} fit"
            )

    @property
    def entries(self) -> int:
        """Addresses that the extents allow."""
        return prod(self.extents.values())

    def pack(self, *values: int) -> int:
        """The address of these values, in the order of the fields. Raises ValueError that names a field out of its range."""
        address = 0
        for (field, extent), value in zip(self.extents.items(), values, strict=True):
            if not 0 <= value < extent:
                raise ValueError(f"{self.name}: {field}: wanted 0 to {extent - 1}, got {value}")
            address = address << self.bits[field] | value
        return address

    def unpack(self, address: int) -> dict[str, int]:
        """The values of an address by field."""
        values = {}
        for field, bits in reversed(self.bits.items()):
            values[field] = address & ((1 << bits) - 1)
            address >>= bits
        return dict(reversed(values.items()))
