"""Error correction for a page of INT8 weights that protects outliers: how the spare area is written, and what comes back.

Of the n values of a page the e = max(1, n permille / 1000) largest in magnitude are protected, of equal magnitudes those of the
lowest addresses. The spare area holds, bit after bit, each field from its lowest bit:

    9 copies of the threshold (8 bits), the smallest protected magnitude
    e entries by ascending address: address (a bits), its Hamming code (h bits), two copies of the value (8 bits each)

With pages of 2^14 values at 1 %: 8 * 9 + (14 + 5 + 16) * 163 = 5777 bits = 722.125 bytes. Decoding a page:

1. The threshold is the bitwise majority of its copies.
2. An address is corrected by its syndrome: 0 is right, up to a + h names the bit that was wrong, above nothing can be said.
3. An entry is *lost*, and does nothing, if its syndrome names no bit, if its address is beyond the page, if it is not above the
   last address that counted, or if its successor's is not above it while still above the last one that counted. So a wrong
   address costs its entry, seldom the one before it (if it falls between two), and never those after it.
4. The value at an address that counts is the bitwise majority of the stored one and both copies.
5. Any other value whose magnitude is above the threshold becomes 0.

Steps 1, 2, 4, 5 and the sizes: Cambricon-LLM, MICRO'24 (arXiv 2409.15654). Step 3, ties and the order of bits are our own: the
source does not say what becomes of what cannot be corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from accel.base.extent import larger

COPIES = 9
VALUE_BITS = 8


class Counts(NamedTuple):
    """What decoding saw of a page: counted in hardware, and never silent."""

    threshold: int
    """Bits of the threshold in which its copies differ."""
    addresses: int
    """Entries whose Hamming code names a wrong bit."""
    values: int
    """Protected values whose three copies were not all the same."""
    clipped: int
    """Unprotected values above the threshold: now 0."""
    lost: int
    """Entries that cannot be used (step 3): errors beyond the power of the code."""
    doubtful: int
    """Of ``values`` those where no two copies agree, or the stored one is two bits or more from two that do: the address, or more
    than one copy, may be wrong."""

    @property
    def uncorrectable(self) -> int:
        """Errors that the code sees and cannot mend."""
        return self.lost + self.doubtful


class Stored(NamedTuple):
    """A page as it lies in flash: codes of ``values``, ``copies`` of the threshold, and the fields of each entry."""

    values: np.ndarray
    copies: np.ndarray
    addresses: np.ndarray
    parities: np.ndarray
    first: np.ndarray
    second: np.ndarray


class Report(NamedTuple):
    """What is left wrong, which nobody at the flash can count, as it takes the original to see it."""

    values: int
    """Values that differ from the original."""
    protected: int
    """Of these the protected ones."""


@dataclass(frozen=True)
class OutlierCode:
    """The code of pages of up to ``page_values`` values (a power of two), of which ``permille`` in a thousand are protected."""

    page_values: int = 1 << 14
    permille: int = 10

    @property
    def address_bits(self) -> int:
        return (self.page_values - 1).bit_length()

    @cached_property
    def parity_bits(self) -> int:
        """Bits of a Hamming code that corrects one error in the address and itself: the least h with 2^h > a + h."""
        return next(h for h in range(1, 32) if 1 << h > self.address_bits + h)

    @property
    def entry_bits(self) -> int:
        return self.address_bits + self.parity_bits + 2 * VALUE_BITS

    def entries(self, values: Any) -> Any:
        """Protected values of a page that holds ``values`` values: an int or int64 array, as ``values`` is."""
        return larger(values * self.permille // 1000, 1)

    def spare_bits(self, values: Any) -> Any:
        """Bits of the spare area that a page of ``values`` values takes."""
        return VALUE_BITS * COPIES + self.entry_bits * self.entries(values)

    @cached_property
    def places(self) -> np.ndarray:
        """Hamming's place of each bit of an address, then of each bit of its code: those at powers of two are of the code."""
        parities = [1 << i for i in range(self.parity_bits)]
        return np.array([p for p in range(1, self.address_bits + self.parity_bits + 1) if p not in parities] + parities)

    def parity(self, addresses: np.ndarray) -> np.ndarray:
        """The Hamming code of each address: the exclusive or of the places of its set bits."""
        return np.bitwise_xor.reduce(_bits(addresses, self.address_bits) * self.places[: self.address_bits], axis=-1)

    def encode(self, values: np.ndarray) -> Stored:
        """The page of INT8 ``values`` [n], n up to `page_values`. Raises ValueError where they are more, none, or no INT8."""
        values = np.asarray(values, np.int64)
        least, most = (int(values.min()), int(values.max())) if values.size else (0, 0)
        if not (1 <= len(values) <= self.page_values and -128 <= least <= most <= 127):
            raise ValueError(
                f"wanted 1 to {self.page_values} values from -128 to 127 in a page, got {len(values)} from {least} to {most}"
            )
        magnitudes = np.abs(values)
        addresses = np.sort(np.argsort(-magnitudes, kind="stable")[: self.entries(len(values))])
        codes = values & 0xFF
        protected = codes[addresses]
        copies = np.full(COPIES, magnitudes[addresses].min())
        return Stored(codes, copies, addresses, self.parity(addresses), protected, protected.copy())

    def flipped(self, stored: Stored, flips: np.ndarray) -> Stored:
        """``stored`` with the bits at the positions ``flips`` (modulo all bits, page first) flipped; one given twice is right."""
        page = _bits(stored.values, VALUE_BITS)
        copies = _bits(stored.copies, VALUE_BITS)
        widths = (self.address_bits, self.parity_bits, VALUE_BITS, VALUE_BITS)
        entries = np.concatenate([_bits(f, w) for f, w in zip(stored[2:], widths, strict=True)], axis=1)
        bits = np.concatenate([page.ravel(), copies.ravel(), entries.ravel()])
        bits ^= np.bincount(np.asarray(flips, np.int64) % len(bits), minlength=len(bits)) & 1
        page, copies, entries = np.split(bits, [page.size, page.size + copies.size])
        fields = np.split(entries.reshape(-1, self.entry_bits), np.cumsum(widths)[:-1], axis=1)
        return Stored(*(_numbers(b) for b in (page.reshape(-1, VALUE_BITS), copies.reshape(-1, VALUE_BITS), *fields)))

    def decode(self, stored: Stored) -> tuple[np.ndarray, Counts]:
        """The INT8 values of a page that has errors, and what was counted."""
        ones = _bits(stored.copies, VALUE_BITS).sum(axis=0)
        threshold = int(_numbers(ones > COPIES // 2))
        syndromes = self.parity(stored.addresses) ^ stored.parities
        named = (syndromes > 0) & (syndromes <= len(self.places))
        places = self.places[: self.address_bits]
        addresses = stored.addresses ^ _numbers(syndromes[:, None] == places)
        known = (syndromes <= len(self.places)) & (addresses < len(stored.values))
        counting = self._counting(addresses, known)
        at = addresses[counting]
        one, two, three = stored.values[at], stored.first[counting], stored.second[counting]
        voted = one & two | one & three | two & three
        apart = (one != two) & (one != three) & (two != three)
        far = (two == three) & (_bits(one ^ two, VALUE_BITS).sum(axis=-1) >= 2)
        values = _signed(stored.values)
        clipped = np.abs(values) > threshold
        clipped[at] = False
        values[clipped] = 0
        values[at] = _signed(voted)
        return values, Counts(
            threshold=int(np.count_nonzero((ones > 0) & (ones < COPIES))),
            addresses=int(np.count_nonzero(named)),
            values=int(np.count_nonzero((one != two) | (one != three))),
            clipped=int(np.count_nonzero(clipped)),
            lost=len(addresses) - len(at),
            doubtful=int(np.count_nonzero(apart | far)),
        )

    def _counting(self, addresses: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The indices of the entries that count, by step 3."""
        found, last = [], -1
        for i, address in enumerate(addresses.tolist()):
            follower = int(addresses[i + 1]) if i + 1 < len(addresses) and known[i + 1] else -1
            if known[i] and address > last and not last < follower <= address:
                found.append(i)
                last = address
        return np.array(found, np.int64)

    def beyond(self, rate: float) -> float:
        """Protected values of a full page that the code does not bring back, expected where each bit is wrong with the
        probability ``rate``: two wrong bits in the address and its code, or one bit of the value wrong in two copies.

        Raises ValueError for a rate that is no probability.
        """
        if not 0 <= rate <= 1:
            raise ValueError(f"wanted a rate of wrong bits from 0 to 1, got {rate:g}")
        width = self.address_bits + self.parity_bits
        address = (1 - rate) ** width + width * rate * (1 - rate) ** (width - 1)
        value = (1 - 3 * rate**2 + 2 * rate**3) ** VALUE_BITS
        return float(self.entries(self.page_values) * (1 - address * value))

    def report(self, original: np.ndarray, decoded: np.ndarray) -> Report:
        """How ``decoded`` differs from the ``original`` values that were encoded."""
        wrong = np.asarray(original) != decoded
        return Report(int(np.count_nonzero(wrong)), int(np.count_nonzero(wrong[self.encode(original).addresses])))


def _bits(numbers: np.ndarray, width: int) -> np.ndarray:
    """[..., width] bits of each number, lowest first."""
    return (np.asarray(numbers, np.int64)[..., None] >> np.arange(width)) & 1


def _numbers(bits: np.ndarray) -> np.ndarray:
    """The numbers whose bits the last axis holds, lowest first."""
    return np.asarray(bits, np.int64) @ (np.int64(1) << np.arange(bits.shape[-1]))


def _signed(codes: np.ndarray) -> np.ndarray:
    return (codes ^ 0x80) - 0x80
