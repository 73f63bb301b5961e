"""Timing, events and widths of both dataflows, each written once for RTL, cost and codec.

m, n and k are the extents of a tile, as ints or arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accel.base.extent import larger

if TYPE_CHECKING:
    from amaranth.lib import data

STEP_BITS = 20
"""Width of the counter of what streams through: k, or m where weights are stationary, is at most 2^20 in a tile."""
RUN_BITS = 40
"""Width of the counter of segments in a run."""
INTEGER_MULTIPLY, INTEGER_ADD = 1, 1
"""Cycles from the operands of an INT8 PE to its product, and from there to the sum: each has a register."""


def config_layout(rows: int, columns: int) -> data.StructLayout:
    """The word that opens a run: rows and columns in use, steps per segment and segments in the run (each less one), and whether
    there are partial sums. Where weights are stationary a step is a row of activations, and a segment a tile.
    """
    from amaranth.lib import data

    return data.StructLayout(
        {"rows": range(rows + 1), "columns": range(columns + 1), "steps": STEP_BITS, "segments": RUN_BITS, "accumulate": 1}
    )


def segment_latency(rows: int, m: Any, n: Any, k: Any, *, delay: int = 0, spacing: int = 1, accumulate: Any = 0) -> Any:
    """Cycles from the config word to the last result word of one segment, both included (output stationary)."""
    return (k - 1) * spacing + m + n + rows + delay + 3 + accumulate * (m - 1)


def segment_interval(rows: int, m: Any, n: Any, k: Any, *, delay: int = 0, spacing: int = 1, accumulate: Any = 0) -> Any:
    """Cycles from the last step of one segment to that of the next (output stationary)."""
    steps = (k - 1) * spacing
    return (1 - accumulate) * larger(steps + spacing, m + n - 1) + accumulate * (steps + 2 * m + n + rows + delay)


def segment_events(rows: int, m: Any, n: Any, k: Any, *, accumulate: Any = 0, row_sum: bool = False) -> dict[str, Any]:
    """The events of one segment; see `OutputStationary`. ``n`` does not include the column of row sums."""
    wide = n + row_sum
    moved = m * (m - 1) // 2 + (rows - m) * m  # from row to row, until below the grid
    return {
        "mac": m * n * k,
        "activation_load": m * k,
        "weight_load": n * k,
        "skew": k * (m * (m - 1) // 2 + wide * (wide - 1) // 2),
        "drain": (m + moved + accumulate * (m * (m - 1) // 2)) * wide,
        "output": m * wide,
        **({"row_sum": m * k} if row_sum else {"partial_load": accumulate * (m * n)}),
    }


def tile_latency(rows: int, columns: int, m: Any, k: Any, *, multiply_depth: int = 0, hop: int = 1) -> Any:
    """Cycles from the config word to the last result word of one tile, both included (weight stationary)."""
    return k + m + hop * rows + columns + multiply_depth + 3


def tile_interval(m: Any, k: Any, *, hop: int = 1) -> Any:
    """Cycles from the first row of activations of one tile to that of the next (weight stationary)."""
    return larger(m, hop * (k - 1) + 1)


def tile_events(
    rows: int, columns: int, m: Any, n: Any, k: Any, *, multiply_depth: int = 0, hop: int = 1, accumulate: Any = 0
) -> dict[str, Any]:
    """The events of one tile; see `WeightStationary`."""
    triangle = n * (n - 1) // 2
    return {
        "mac": m * n * k,
        "padding": m * n * (rows - k),
        "activation_load": m * k,
        "activation_skew": m * (hop * (k * (k - 1) // 2)),
        "weight_load": k * n,
        "weight_skew": k * triangle,
        "weight_shift": k * (k + 1) // 2 * n,
        "weight_swap": k * n,
        "partial_load": accumulate * (m * n),
        "partial_skew": accumulate * (m * (triangle + n * (1 + multiply_depth))),
        "deskew": m * (n * (columns - 1) - triangle),
        "output": m * n,
    }
