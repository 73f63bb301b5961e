"""What a store says of itself: wear, and what a loss of power took."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


class LostTokens(LookupError):
    """What is asked for was in DRAM when the power failed."""


@dataclass(frozen=True)
class Lost:
    """Tokens of one layer of a sequence that were in DRAM when the power failed: they must be sent again."""

    sequence: int
    layer: int
    first: int
    tokens: int


@dataclass(frozen=True)
class Wear:
    """What a drive has written for what it was sent."""

    host_bytes: int
    """Keys and values that have reached flash, once."""
    copy_bytes: int
    """The copy of K by channel."""
    pages_programmed: int
    pages_moved: int
    """Copied by reclaim."""
    pages_partial: int
    """Programmed before they were full."""
    pages_read_back: int
    """Read inside the drive: K for the copy, and partial pages to be merged."""
    erases: int
    max_erases: int
    mean_erases: Fraction
    write_amplification: Fraction
    """Bytes programmed by bytes of the layout: K, V and the copy."""
