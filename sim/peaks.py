"""Peak rates of a device, from the same costs that price it: a roofline is drawn from them, a design is checked against them."""

from __future__ import annotations

from typing import Any

from accel.base.unit import AnalyticalUnit
from sim.pricing import PricedStage
from sim.system import Device, Slot
from workloads.formats import Format
from workloads.ops import Attention, Linear

TILES = 64  # extent of the op that the peak is taken from, where a unit takes any
ENDLESS = 1 << 16  # and of the one that hides all loads: the reduction, or the rows that stream past a part of it


def peak_ops(slot: Slot, weights: Format, activations: Format) -> float:
    """Operations per second (two per multiply-accumulate) of all copies on an endless GEMM: its interval alone, no fill."""
    unit = slot.unit
    limits = unit.limits(Linear(m=1, n=1, k=1, weights=weights, activations=activations))
    extents = {"m": ENDLESS if "k" in limits else TILES, "n": TILES, "k": ENDLESS} | limits
    tile = Linear(**extents, weights=weights, activations=activations)
    unit.check(tile)
    cost = unit.tile_cost(tile)
    return 2 * tile.macs / cost.interval * slot.clock * slot.count


def roofline(device: Device, steps: dict[str, list[PricedStage]]) -> dict[str, Any]:
    """Peaks of the units that execute GEMMs and attention in ``steps`` (label -> priced stages), and where each of those lies.

    A point has ``ops_per_byte`` (operations by bytes of main memory) and ``tops`` (operations by time, in 10^12 per second).
    """
    points, peaks = [], {}
    for label, stages in steps.items():
        for priced in stages:
            op = priced.stage.op
            if not isinstance(op, Linear | Attention) or not priced.timing.ps:
                continue
            slot = device.units[priced.stage.unit]
            moved = sum(priced.timing.read.values()) + sum(priced.timing.written.values())
            points.append(
                {"step": label, "op": op.role or op.kind, "unit": priced.stage.unit}
                | {"ops_per_byte": 2 * op.macs / moved, "tops": 2 * op.macs / priced.timing.ps}
            )
            if isinstance(op, Linear):
                key = f"{priced.stage.unit} {op.weights} x {op.activations}"
                peaks[key] = peak_ops(slot, op.weights, op.activations) / 1e12
    bandwidth = device.memories[device.placement.weights].bandwidth / 1e3
    return {"peaks_tops": peaks, "bandwidth_gb_s": bandwidth, "points": points}


def unit_class(slot: Slot) -> str:
    """How the unit is priced: "rtl" (proved) or "analytical" with its calibration."""
    unit = slot.unit
    return f"analytical ({unit.calibration})" if isinstance(unit, AnalyticalUnit) else unit.proof_class
