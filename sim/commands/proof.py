"""What is proved of a unit, for lists and prices."""

from __future__ import annotations

from typing import Any


def status(unit: Any) -> dict[str, str]:
    """``{proof, detail}`` of a unit at its parameters: proved, other (at other parameters only), none, or analytical."""
    from accel.base.proofs import proof_status
    from accel.base.unit import RtlUnit

    if not isinstance(unit, RtlUnit):
        return {"proof": "analytical", "detail": f"priced from the calibration {unit.calibration!r}, not from RTL"}
    found = proof_status(unit)
    return {"proof": found.status, "detail": found.detail}


def of_kind(cls: type[Any]) -> str:
    """The proof of a kind of unit at its default parameters (of its first example where some have no default)."""
    if any(field.is_required() for field in cls.model_fields.values()):
        return status(next(iter(cls.examples()))[0])["proof"]
    return status(cls())["proof"]


def of_device(device: Any) -> list[dict[str, Any]]:
    """``{name, kind, count, class, proof, detail}`` of each unit of a device."""
    return [
        {"name": name, "kind": slot.unit.kind(), "count": slot.count, "class": slot.unit.proof_class} | status(slot.unit)
        for name, slot in device.units.items()
    ]
