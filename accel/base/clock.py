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


@cache
def _reduced(numerator: int, denominator: int) -> tuple[int, int]:
    divisor = gcd(numerator, denominator)
    return numerator // divisor, denominator // divisor


def scale_up(amount, numerator: int, denominator: int):
    """ceil(amount * numerator / denominator) for a non-negative int or int64 array."""
    numerator, denominator = _reduced(numerator, denominator)
    whole, rest = amount // denominator, amount % denominator
    return whole * numerator + -(-(rest * numerator) // denominator)


def cycles_to_ps(cycles, hertz: int):
    """Picoseconds that ``cycles`` take at ``hertz``, rounded up once."""
    return scale_up(cycles, PS_PER_S, hertz)


def bytes_to_ps(nbytes, mb_per_s: int):
    """Picoseconds that ``nbytes`` take at ``mb_per_s`` (10^6 bytes per second), rounded up once."""
    return scale_up(nbytes, PS_PER_US, mb_per_s)
