"""DRAM behind a compute device: HBM stacks or GDDR and DDR chips, by JEDEC standard.

With a ``part`` (`memsys.part.Part`) the memory knows its commands. Capacity and bandwidth are then those of the devices; a stream
reaches what the table of `memsys.efficiency` says; and the joules of a byte, of standby and of refresh follow from the currents:

    read_byte, write_byte   (burst + activate x (1 - row hits)) / bytes of a burst; the pins apart (part "io")
    standby                 every rank with a bank open, all the time
    refresh                 every rank, each tREFI
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import Field, field_validator, model_validator

from accel.base.clock import PS_PER_S
from accel.base.spec import lookup
from accel.base.tech import Entry
from memsys.base import Memory
from memsys.dram_energy import BY_TRUST, IO, Figure, figures
from memsys.efficiency import Row, efficiency
from memsys.part import Part
from memsys.standard import load_part, load_standard

QUEUE = 32
"""Requests that wait at a channel: depth of the reads' queue of Ramulator 2.1, and of DRAMsim3's transactions."""


class Dram(Memory):
    """DRAM of one standard: ``devices`` stacks or chips with ``capacity`` and ``bandwidth`` in all.

    Where ``devices`` is given, capacity and bandwidth must be within what so many devices of the standard, or the part, offer.
    """

    standard: str
    devices: int | None = Field(default=None, gt=0)
    part: str | None = None
    """One of the standard's parts (`rtloom list parts`). It wants ``devices``; capacity and bandwidth may then be left out."""
    mapping: str | None = None
    """The address mapping of a part: RoBaRaCoCh or MOP4CLXOR (`memsys.efficiency`), by default that which streams best."""

    @model_validator(mode="before")
    @classmethod
    def _totals_of_the_part(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("part"), str) or not isinstance(data.get("standard"), str):
            return data
        devices, part = data.get("devices"), _part(data["standard"], data["part"])
        if not isinstance(devices, int) or isinstance(devices, bool):
            raise ValueError(f"devices: wanted the number of devices beside part {data['part']!r}, got {devices}")
        return {"capacity": f"{devices * part.capacity} B", "bandwidth": f"{devices * part.peak_mb_per_s} MB/s"} | data

    @field_validator("standard")
    @classmethod
    def _known(cls, name: str) -> str:
        load_standard(name)
        return name

    @model_validator(mode="after")
    def _within_the_standard(self) -> Dram:
        if self.part is None and self.mapping is not None:
            raise ValueError(f"mapping: wanted a part beside the address mapping {self.mapping!r}, got none")
        if self.devices is None:
            return self
        if self.part is None:
            one = load_standard(self.standard)
            what, peak, largest = self.standard, one.peak, one.largest
        else:
            known = _part(self.standard, self.part)
            what, peak, largest = str(known), known.peak_mb_per_s, known.capacity
            _stream(str(known), self.mapping, 1.0)
        for name, unit, got, most in (
            ("bandwidth", "MB/s", self.bandwidth, self.devices * peak),
            ("capacity", "B", self.capacity, self.devices * largest),
        ):
            if got > most:
                raise ValueError(
                    f"{name}: wanted at most the {most} {unit} that {self.devices} devices of {what} offer, got {got} {unit}"
                )
        return self

    @property
    def stream_permille(self) -> int:
        """Share of the peak that a sequential stream of reads reaches by the commands of the part; all of it without one."""
        if self.part is None:
            return 1000
        return int(1000 * _stream(str(_part(self.standard, self.part)), self.mapping, 1.0).share)

    def entries(self) -> tuple[Entry, ...]:
        """Joules of a byte, watts of standby and refresh, from the currents of the part; none without a part or its currents."""
        if self.part is None or not (part := _part(self.standard, self.part)).currents:
            return ()
        return _entries(part, self.mapping, self.devices or 1)


def _part(standard: str, name: str) -> Part:
    """The part ``name`` of ``standard``. Raises ValueError with the nearest right name where there is none."""
    lookup(name, load_standard(standard).parts, f"part of {standard}")
    return load_part(f"{standard}/{name}")


@cache
def _stream(part: str, mapping: str | None, reads: float) -> Row:
    """What is tabulated of a sequential stream with this share of ``reads``, under ``mapping`` or that which streams best."""
    mappings = ("RoBaRaCoCh", "MOP4CLXOR") if mapping is None else (mapping,)
    rows = [efficiency(part, each, "sequential", reads=reads, depth=QUEUE) for each in mappings]
    return max(rows, key=lambda row: row.share)


@cache
def _entries(part: Part, mapping: str | None, devices: int) -> tuple[Entry, ...]:
    known = figures(part)
    stream = _stream(str(part), mapping, 1.0)
    chosen = {"standard": part.standard, "part": part.name, "mapping": mapping or "none", "devices": devices}
    same = {"component": Dram.kind(), "parameters": chosen}
    found = []
    for event, burst in (("read_byte", "read"), ("write_byte", "write")):
        joules = known[burst].joules + (1 - stream.hits) * known["activate"].joules
        how = f"{burst} burst and {1 - stream.hits:.3f} activates ({stream.mapping}, sequential) of {part.burst_bytes} bytes: "
        found.append(_entry(same, event, "", "energy", joules / part.burst_bytes, [known[burst], known["activate"]], how))
        io = known.get(next(pin for pin, array in IO.items() if array == burst))
        if io is not None:
            found.append(_entry(same, event, "io", "energy", io.joules / part.burst_bytes, [io], "pins: "))
    ranks = devices * part.organisation.channels * part.organisation.pseudo_channels * part.organisation.ranks
    per_s = PS_PER_S / float(part.timing.tck)
    standby, refresh = known["active"], known["refresh"]
    how = f"{ranks} ranks, a bank open all the time: "
    found.append(_entry(same, None, "standby", "power", ranks * standby.joules * per_s, [standby], how))
    how = f"{ranks} ranks, each tREFI: "
    found.append(_entry(same, None, "refresh", "power", ranks * refresh.joules * per_s / part.timing.trefi, [refresh], how))
    return tuple(found)


def _entry(same: dict[str, Any], event: str | None, which: str, quantity: str, value: float, of: list[Figure], how: str) -> Entry:
    unit = "J" if quantity == "energy" else "W"
    least = max((figure.source_class for figure in of), key=BY_TRUST.index)
    source = how + "; ".join(dict.fromkeys(figure.source for figure in of))
    figure = {quantity: f"{value!r} {unit}", "class": least, "source": source}
    return Entry.from_data({**same, **figure, "event": event, "part": which})
