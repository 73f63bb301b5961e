"""From the address of a byte to channel, bank, row and column, and back.

A mapping is an order of fields, the most significant first, and exclusive-ors on top. Fields: ``ch`` channel, ``pc`` pseudo
channel, ``ra`` rank (or stack id), ``bg`` bank group, ``ba`` bank, ``ro`` row, ``co`` column in bursts. A field with a number is
so many of its lowest bits that are not placed further down: in "ro co ba co2" the two lowest bits of the column are the lowest of
the address. An exclusive-or ``ba^ro`` or ``bg^co1`` adds the second field, shifted right by the number, to the first, in as many
bits as that has. No source is a target of another, so that a map stays one to one.

What lies below the column are the bytes of a burst.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accel.base.spec import lookup
from memsys.part import Part

FIELDS = ("ch", "pc", "ra", "bg", "ba", "ro", "co")
Integers = NDArray[np.int64]


class Location(NamedTuple):
    """Where bursts lie: int64 arrays of one length each. ``bank`` counts within the channel, over pseudo channels and ranks."""

    channel: Integers
    bank: Integers
    row: Integers
    column: Integers


@dataclass(frozen=True)
class AddressMap:
    """``order`` of fields and ``xor`` pairs, both in the notation of this module, separated by spaces."""

    name: str
    order: str
    xor: str = ""

    def __post_init__(self) -> None:
        fields = re.findall(r"([a-z]+)(\d*)(?: |$)", self.order)
        names = [name for name, _ in fields]
        whole = [name for name, digits in fields if not digits]
        if " ".join(map("".join, fields)) != self.order or sorted(whole) != sorted(FIELDS) or not set(names) <= set(FIELDS):
            raise ValueError(
                f"address map {self.name}: order: wanted each of {' '.join(FIELDS)} once without a number, got {self.order!r}"
            )
        pairs = self._pairs()
        targets = {target for target, _, _ in pairs}
        for target, source, _ in pairs:
            if target not in FIELDS or source not in FIELDS or source in targets:
                raise ValueError(
                    f"address map {self.name}: xor: wanted pairs such as ba^ro of fields {' '.join(FIELDS)}, "
                    f"where no field is both changed and a source, got {self.xor!r}"
                )

    def _pairs(self) -> list[tuple[str, str, int]]:
        """(target, source, right shift of the source) of every exclusive-or."""
        pairs = re.findall(r"([a-z]+)\^([a-z]+)(\d*)(?: |$)", self.xor)
        if " ".join(f"{target}^{source}{shift}" for target, source, shift in pairs) != self.xor:
            raise ValueError(f"address map {self.name}: xor: wanted pairs such as ba^ro or bg^co1, got {self.xor!r}")
        return [(target, source, int(shift or 0)) for target, source, shift in pairs]

    def _pieces(self, part: Part, channels: int) -> list[tuple[str, int, int]]:
        """(field, its lowest bit, bits) from the least significant piece of an address up.

        Raises ValueError where a field has fewer bits than its pieces take.
        """
        sizes = _bits(part, channels)
        placed = dict.fromkeys(FIELDS, 0)
        pieces = []
        for name, digits in reversed(re.findall(r"([a-z]+)(\d*)", self.order)):
            left = sizes[name] - placed[name]
            bits = int(digits) if digits else left
            if bits > left:
                raise ValueError(f"address map {self.name}: wanted {name} of at least {bits} bits in {part}, got {sizes[name]}")
            pieces.append((name, placed[name], bits))
            placed[name] += bits
        return pieces

    def decode(self, addresses: Integers, part: Part, channels: int | None = None) -> Location:
        """Where the bursts at byte ``addresses`` (integers) lie in ``channels`` channels of ``part``, or in all.

        Raises ValueError for an address that is no integer, outside of them, or not the first of a burst; and where the device
        has fewer channels, or they are no power of two.
        """
        channels = part.organisation.channels if channels is None else channels
        pieces, sizes = self._pieces(part, channels), _bits(part, channels)
        whole_numbers("addresses", addresses)
        capacity = part.capacity // part.organisation.channels * channels
        outside = addresses[(addresses < 0) | (addresses >= capacity)]
        if outside.size:
            raise ValueError(f"wanted addresses from 0 to {capacity - 1} ({part}, {channels} channels), got {outside[0]}")
        rest, within = np.divmod(addresses.astype(np.int64), part.burst_bytes)
        if within.any():
            between = addresses[within != 0][0]
            raise ValueError(f"wanted addresses that are multiples of a burst of {part.burst_bytes} B ({part}), got {between}")
        value = {name: np.zeros_like(rest) for name in FIELDS}
        for name, low, bits in pieces:
            value[name] |= (rest & ((1 << bits) - 1)) << low
            rest >>= bits
        self._xor(value, sizes)
        o = part.organisation
        bank = ((value["pc"] * o.ranks + value["ra"]) * o.bank_groups + value["bg"]) * o.banks + value["ba"]
        return Location(value["ch"], bank, value["ro"], value["co"])

    def encode(self, location: Location, part: Part, channels: int | None = None) -> Integers:
        """The byte addresses of ``location``: the inverse of `decode`. Raises ValueError for a location outside of them."""
        channels = part.organisation.channels if channels is None else channels
        within(location, part, channels)
        o = part.organisation
        value = {"ch": location.channel.copy(), "ro": location.row.copy(), "co": location.column.copy()}
        rest = location.bank
        for name, size in (("ba", o.banks), ("bg", o.bank_groups), ("ra", o.ranks), ("pc", o.pseudo_channels)):
            rest, value[name] = np.divmod(rest, size)
        self._xor(value, _bits(part, channels))
        address, low = np.zeros_like(location.row), 0
        for name, first, bits in self._pieces(part, channels):
            address |= ((value[name] >> first) & ((1 << bits) - 1)) << low
            low += bits
        return address * part.burst_bytes

    def _xor(self, value: dict[str, Integers], sizes: dict[str, int]) -> None:
        for target, source, shift in self._pairs():
            value[target] ^= (value[source] >> shift) & ((1 << sizes[target]) - 1)


def _bits(part: Part, channels: int) -> dict[str, int]:
    """Bits of each field. Raises ValueError where the channels are not a power of two, or more than a device has."""
    if channels < 1 or channels & (channels - 1):
        raise ValueError(f"wanted a power of two of channels, so that they are a field of an address, got {channels}")
    o = part.organisation
    if channels > o.channels:
        raise ValueError(f"wanted at most the {o.channels} channels of {part}, got {channels}")
    sizes = (channels, o.pseudo_channels, o.ranks, o.bank_groups, o.banks, o.rows, part.bursts_per_row)
    return {name: size.bit_length() - 1 for name, size in zip(FIELDS, sizes, strict=True)}


def whole_numbers(what: str, values: NDArray[np.generic]) -> None:
    """Raises ValueError where ``values`` are not integers; none at all are."""
    if values.size and not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{what}: wanted integers, got {values.dtype}")


def within(location: Location, part: Part, channels: int | None = None) -> None:
    """Raises ValueError where ``location`` lies outside of ``channels`` channels of ``part`` (all of a device where None)."""
    o = part.organisation
    limits = (channels or o.channels, part.banks_per_channel, o.rows, part.bursts_per_row)
    for name, values, limit in zip(Location._fields, location, limits, strict=True):
        whole_numbers(name, values)
        if values.size and not 0 <= int(values.min()) <= int(values.max()) < limit:
            raise ValueError(f"{name}: wanted 0 to {limit - 1} ({part}), got {int(values.min())} to {int(values.max())}")


def mop4clxor(part: Part) -> AddressMap:
    """Four bursts, then the next bank; banks are permuted by the column (minimalist open page, Kaseridis et al., MICRO'11).

    Bits of the column, from the lowest up, go to pseudo channel, rank, bank group, bank, row (Ramulator 2.1).
    """
    sizes, shift, pairs = _bits(part, 1), 0, []
    for name in ("pc", "ra", "bg", "ba", "ro"):
        if sizes[name] and shift < sizes["co"]:
            pairs.append(f"{name}^co{shift}" if shift else f"{name}^co")
            shift += sizes[name]
    return AddressMap("MOP4CLXOR", "ro co ba bg ra pc co2 ch", " ".join(pairs))


PLAIN = {
    known.name: known
    for known in (
        AddressMap("RoBaRaCoCh", "ro ba bg ra pc co ch"),  # the lowest level first, as Ramulator 2.1 reads the name
        AddressMap("RoRaBaCoCh", "ro ra ba bg pc co ch"),
        AddressMap("RoCoBaRaCh", "ro co ba bg ra pc ch"),
        AddressMap("ChRaBaRoCo", "ch pc ra bg ba ro co"),
        AddressMap("rochrababgco", "ro ch pc ra ba bg co"),  # DRAMsim3's for DDR4
        AddressMap("rorabgbachco", "ro ra bg ba ch pc co"),  # DRAMsim3's for HBM2
        AddressMap("RoBaRaCoCh-XOR", "ro ba bg ra pc co ch", "ba^ro bg^ro2"),  # permuted banks, Zhang et al., MICRO'00
    )
}
MAPPINGS = (*PLAIN, "MOP4CLXOR")


def address_map(name: str, part: Part) -> AddressMap:
    """The mapping of this name for ``part``. Raises ValueError, with the nearest right name, where there is none."""
    lookup(name, dict.fromkeys(MAPPINGS, True), "address map")
    return mop4clxor(part) if name == "MOP4CLXOR" else PLAIN[name]
