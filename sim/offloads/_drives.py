"""What offloads to drives share: whether a design has drives with engines, made for the pages of its flash; pages and wear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memsys.nand_energy import bytes_written
from memsys.ssd import Ssd
from pim.storage_attention import StorageAttention
from sim.errors import BadInput
from sim.work import Work

if TYPE_CHECKING:
    from sim.engine import Served
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


def pages_and_wear(name: str, drives: Ssd, work: Work, served: Served, sent: int, stored: int) -> dict[str, Any]:
    """Metrics of the drives ``name``, those of all replicas, after ``work``: ``sent`` bytes of keys and values came, ``stored``
    for each token.

    Pages read and programmed; write amplification, copies on purpose included; the share of all program and erase cycles that is
    spent; and tokens that all cycles are good for.
    """
    read, programmed = work.events[name, "page_read"], work.events[name, "page_program"]
    lifetime = len(served.tallies) * drives.drives * bytes_written(drives.nand)
    written = programmed * drives.nand.page_bytes
    return {
        f"{name}_pages_read": read,
        f"{name}_pages_programmed": programmed,
        f"{name}_write_amplification": written / sent,
        f"{name}_endurance_share": written / lifetime,
        f"{name}_endurance_tokens": lifetime // stored,
    }
