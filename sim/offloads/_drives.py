"""Whether a design has drives with engines: as many for each, and made for the pages and channels of its flash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memsys.ssd import Ssd
from pim.storage_attention import StorageAttention
from sim.errors import BadInput

if TYPE_CHECKING:
    from sim.system import Device


def check_places(device: Device, engine: str) -> None:
    """Raise BadInput, with its key, for what does not fit: the kind of memory, and the unit and number of its engines."""
    drives, slot = device.memories[device.placement.kv], device.units[engine]
    if not isinstance(slot.unit, StorageAttention):
        kind = slot.unit.kind()
        raise BadInput(
            f"{device.name}: placement.offload.engine: wanted a unit of kind storage_attention, got {engine!r}, a {kind}"
        )
    if not isinstance(drives, Ssd):
        raise BadInput(f"{device.name}: placement.kv: wanted drives (kind ssd), got {device.placement.kv!r}, a {drives.kind()}")
    part, unit = drives.nand, f"{device.name}: units.{engine}"
    if slot.count % drives.drives:
        raise BadInput(f"{unit}.count: wanted a multiple of the {drives.drives} drives, got {slot.count}")
    for what, wanted in (("page_bytes", part.page_bytes), ("flash_channels", part.channels)):
        if getattr(slot.unit, what) != wanted:
            raise BadInput(f"{unit}.{what}: wanted {wanted}, as {drives.part} has, got {getattr(slot.unit, what)}")
