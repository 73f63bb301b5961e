"""Exact time: integer picoseconds from cycles and bytes, the same in scalar and array code.

A clock of f Hz has the period num / den ps with num / den = 10^12 / f reduced (1.41 GHz: 100000 / 141). Then

    ps(cycles) = ceil(cycles * num / den)        ps(bytes) = ceil(bytes * 10^6 / (MB/s))

No float enters. The quotient is taken apart before it is multiplied, so that no product leaves int64 unless the result does.
"""

from __future__ import annotations

from functools import cache
from math import gcd

PS_PER_S = 10**12
PS_PER_MS = 10**9
PS_PER_US = 10**6
INT64 = 1 << 63
LIMB_BITS = 16


@cache
def _reduced(numerator: int, denominator: int) -> tuple[int, int]:
    divisor = gcd(numerator, denominator)
    return numerator // divisor, denominator // divisor


def scale_up(amount, numerator: int, denominator: int):
    """ceil(amount * numerator / denominator) for a non-negative int or int64 array; ``denominator`` below 2^46.

    Raises OverflowError where a result of an array would not fit in int64.
    """
    numerator, denominator = _reduced(numerator, denominator)
    if numerator and not isinstance(amount, int) and amount.size and int(amount.max()) > (INT64 - 1) // numerator * denominator:
        raise OverflowError(f"{amount.max()} * {numerator} / {denominator} does not fit in 63 bits (106 days of picoseconds)")
    whole, rest = amount // denominator, amount % denominator
    if isinstance(amount, int) or numerator * denominator < INT64:
        return whole * numerator + -(-(rest * numerator) // denominator)
    quotient, remainder = _long_product(rest, numerator, denominator)
    return whole * numerator + quotient + (remainder > 0)


def _long_product(rest, numerator: int, denominator: int):
    """Quotient and remainder of rest * numerator / denominator in int64, numerator taken 16 bits at a time (Horner)."""
    quotient = remainder = 0
    for shift in reversed(range(0, numerator.bit_length(), LIMB_BITS)):
        limb = (numerator >> shift) & ((1 << LIMB_BITS) - 1)
        partial = (remainder << LIMB_BITS) + rest * limb
        quotient = (quotient << LIMB_BITS) + partial // denominator
        remainder = partial % denominator
    return quotient, remainder


def cycles_to_ps(cycles, hertz: int):
    """Picoseconds that ``cycles`` take at ``hertz``, rounded up once."""
    return scale_up(cycles, PS_PER_S, hertz)


def bytes_to_ps(nbytes, mb_per_s: int):
    """Picoseconds that ``nbytes`` take at ``mb_per_s`` (10^6 bytes per second), rounded up once."""
    return scale_up(nbytes, PS_PER_US, mb_per_s)
