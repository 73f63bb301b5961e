"""What a DRAM channel reaches of its peak, tabulated from the command-level reference: ``efficiency.csv``.

One row for each part, address map, pattern, block, share of reads and depth of the queues; ``python -m memsys.tabulate`` writes
them again. A system simulator looks a stream up here, because a command at a time is too slow for it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from accel.base.spec import lookup


@dataclass(frozen=True)
class Row:
    """``share`` of the peak bandwidth of a channel, with the share of row ``hits`` and the mean ``latency`` in ns."""

    part: str
    mapping: str
    pattern: str
    block: int
    """Bytes of a block that is read or written through, of one channel: of a random stream; 0 for others."""
    reads: float
    """Share of reads; the others are writes, in random order."""
    depth: int
    share: float
    hits: float
    latency: float
    """From acceptance to the last data."""


@cache
def table() -> tuple[Row, ...]:
    """All rows."""
    text = (files("memsys") / "efficiency.csv").read_text(encoding="utf-8")
    kinds = {"str": str, "int": int, "float": float}
    convert = {name: kinds[str(kind)] for name, kind in Row.__annotations__.items()}
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return tuple(Row(**{name: convert[name](value) for name, value in row.items()}) for row in csv.DictReader(lines))


def provenance() -> dict[str, str]:
    """What the table was made by and from: version, date, digest of the code, seed, requests of a stream."""
    text = (files("memsys") / "efficiency.csv").read_text(encoding="utf-8")
    pairs = (line.removeprefix("# ").partition(": ") for line in text.splitlines() if line.startswith("# "))
    return {name: value for name, _, value in pairs}


def efficiency(part: str, mapping: str, pattern: str, *, block: int = 0, reads: float = 1.0, depth: int = 32) -> Row:
    """The row of a stream. Raises ValueError, with what is tabulated, where there is none."""
    chosen = _of(part, mapping, reads, depth)
    for row in chosen:
        if (row.pattern, row.block) == (pattern, block):
            return row
    known = ", ".join(f"{row.pattern} {row.block or ''}".strip() for row in chosen)
    raise ValueError(f"efficiency of {part}: wanted one of the patterns {known}, got {pattern} {block or ''}".rstrip())


def share_at(part: str, mapping: str, hits: float, *, reads: float = 1.0, depth: int = 32) -> float:
    """Share of the peak at a share of row ``hits``: between the random streams of smaller and larger blocks, linearly.

    Below the fewest and above the most that are tabulated, that row's share. Raises ValueError as `efficiency`.
    """
    if not 0 <= hits <= 1:
        raise ValueError(f"hits: wanted a share from 0 to 1, got {hits}")
    chosen = sorted((row.hits, row.share) for row in _of(part, mapping, reads, depth) if row.pattern == "random")
    at, share = zip(*chosen, strict=True)
    return float(np.interp(hits, at, share))


def _of(part: str, mapping: str, reads: float, depth: int) -> list[Row]:
    """The rows of these four, each looked up with what is known of it."""
    chosen: list[Row] = list(table())
    for name, wanted in (("part", part), ("mapping", mapping), ("reads", reads), ("depth", depth)):
        known = {str(getattr(row, name)): row for row in chosen}
        try:
            lookup(str(wanted), known, name)
        except ValueError as error:
            raise ValueError(f"efficiency: {error}") from None
        chosen = [row for row in chosen if str(getattr(row, name)) == str(wanted)]
    return chosen
