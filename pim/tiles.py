"""What a PIM channel does for the attention of one request, as operations on whole rows; `pim.layout` says what lies in them.

With R elements in a row, B banks and M multipliers in a bank (NeuPIMs: 512, 32 and 16), of H heads of d elements, S in a row:

    logits   for each of the ceil(H / S) rows of keys of a token: GWRITE of that part of the query, then for every B tokens a tile
             with a GEMV(d / M) for each head in the row
    attend   for every head and every R tokens: GWRITE of the probabilities, then d / B tiles with one GEMV(ceil(tokens / M))

Source: the NeuPIMs simulator (2024-06), `NeuPIMSLogitSoftmax.cc` and `NeuPIMSAttend.cc`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from accel.base.mapping import ceil_div
from memsys.part import Part
from pim.checks import whole
from pim.layout import KvLayout


class Gwrite(NamedTuple):
    """A page from a memory row buffer to the global vector buffer."""

    bank: int = 0
    row: int = 0


class Tile(NamedTuple):
    """``results`` times GEMV(``bursts``) on one row of all banks."""

    bursts: int
    results: int
    row: int = 1


Operation = Gwrite | Tile


def check(part: Part, operation: Operation) -> None:
    """Raise ValueError where a channel of ``part`` has no such ``operation``."""
    if not isinstance(operation, Gwrite | Tile):
        raise ValueError(f"{part}: wanted a Gwrite or a Tile, got {operation!r}")
    whole("row", operation.row, 0, part.organisation.rows - 1)
    if isinstance(operation, Gwrite):
        whole("bank", operation.bank, 0, part.banks_per_channel - 1)
    else:
        whole("bursts", operation.bursts, 1)
        whole("results", operation.results, 1)


def layout_on(part: Part, heads: int, head_dim: int, full_rows: bool = True) -> KvLayout:
    """Keys and values of ``heads`` heads on a channel of ``part``. Raises ValueError where they do not map onto its rows."""
    rows = part.organisation.rows
    banks = part.banks_per_channel
    return KvLayout(
        heads=heads, head_dim=head_dim, banks=banks, row_bytes=part.row_bytes, rows_per_bank=rows, full_rows=full_rows
    )


def logits(layout: KvLayout, context: int, row: int = 1) -> Iterator[Operation]:
    """q K^T of one token over ``context`` tokens, whose keys lie in rows from ``row`` on."""
    context = whole("context", context, 1, layout.capacity)
    for part in range(layout.key_rows):
        yield Gwrite()
        heads = min(layout.slots, layout.heads - part * layout.slots)
        for tile in range(ceil_div(context, layout.banks)):
            yield Tile(layout.head_dim // layout.multipliers, heads, row + tile * layout.key_rows + part)


def attend(layout: KvLayout, context: int, row: int = 1) -> Iterator[Operation]:
    """p V of one token over ``context`` tokens, whose values lie in rows from ``row`` on."""
    context = whole("context", context, 1, layout.capacity)
    for head in range(layout.heads):
        for first in range(0, context, layout.row):
            yield Gwrite()
            bursts = ceil_div(min(layout.row, context - first), layout.multipliers)
            start = row + (first // layout.row * layout.heads + head) * layout.value_rows
            for tile in range(layout.value_rows):
                yield Tile(bursts, 1, start + tile)
