"""What the control of the LUT tensor core and its cells share: the plane that is in stage 2, and how its flags move on."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Module, Signal, Value


@dataclass(frozen=True)
class Plane:
    """The plane in stage 2, as registers and one gate behind them."""

    fire: Value
    """Its look-ups happen in this cycle."""
    first: Value
    """It is the first plane of its segment."""
    first_plane: Value
    last_plane: Value
    """It is the first, or the last, of its group."""
    first_group: Value
    row_used: Value
    fire_row: Value
    """`fire`, for the rows in use."""
    sum_row: Value
    """`fire` of a group's first plane, for the rows in use: -T[0] is the sum of the group's activations."""
    last_high: Value
    """Not of stage 2: the segment's last plane is in the last stage, and goes to the drain buffer."""


def follow(m: Module, signal: Signal, source: Value, cycles: int) -> Value:
    """``signal`` becomes ``source`` of ``cycles`` clock edges before. Returns what it will be after one more."""
    for _ in range(cycles - 1):
        register = Signal(len(signal))
        m.d.sync += register.eq(source)
        source = register
    m.d.sync += signal.eq(source)
    return source
