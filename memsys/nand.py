"""NAND dies on channels of the compute die itself, without a drive between: weights in flash as in Cambricon-LLM (MICRO'24).

Capacity and peak bandwidth are those of the part's channels; a long stream of reads reaches what its commands and cells leave
(`memsys.nand_part.NandPart.read_mb_per_s`). Each joule is in one event:

    read_byte, write_byte                  a byte on a channel, whichever way it goes and whatever it is
    page_read, page_program, block_erase   what the cells take, whether the page then leaves its die or is computed with there
    standby                                all dies, all the time

So a page that is read and sent is one ``page_read`` and ``page_bytes`` of ``read_byte``; what a core in the die computes with is
a ``page_read`` alone. Streams count whole pages (`cell_events`); an offload that moves bytes otherwise counts its own.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import Field, model_validator

from accel.base.tech import Entry
from memsys._flash_memory import FlashMemory
from memsys.dram_energy import Figure
from memsys.nand_energy import figures, joules_per_s
from memsys.nand_part import NandPart, load_nand, nands


class Nand(FlashMemory):
    """NAND of one part on channels of the device itself; capacity and bandwidth are the part's, or less."""

    channels: int | None = Field(default=None, gt=0, le=1024)
    """Channels, where other than the part's."""
    chips: int | None = Field(default=None, gt=0, le=1024)
    """Chips of a channel, where other than the part's."""

    @model_validator(mode="before")
    @classmethod
    def _totals_of_the_part(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        channels, chips = data.get("channels"), data.get("chips")
        if any(size is not None and (type(size) is not int or not 0 < size <= 1024) for size in (channels, chips)):
            channels = chips = None  # refused as a field
        capacity, bandwidth = 1, 1  # where the part is wrong, which is then refused on its own
        if data.get("part") in nands():
            part = _built(data["part"], channels, chips)
            capacity, bandwidth = part.capacity, part.channels_mb_per_s
        return {"capacity": f"{capacity} B", "bandwidth": f"{bandwidth} MB/s"} | data

    @model_validator(mode="after")
    def _within_the_part(self) -> Nand:
        part = self.nand
        what = f"{part.channels} channels of {part.chips} chips of {part}"
        self._at_most(part.capacity, part.channels_mb_per_s, what)
        return self

    @property
    def nand(self) -> NandPart:
        """The part with the channels and chips that are built."""
        return _built(self.part, self.channels, self.chips)

    @property
    def stream_permille(self) -> int:
        """Share of the peak that a long stream of reads reaches: that of the part's channels and cells; at most all of it."""
        return min(1000, 1000 * self.nand.read_mb_per_s // self.bandwidth)

    def entries(self) -> tuple[Entry, ...]:
        """Joules of a byte on a channel, of a page and of a block, watts of standby, from the figures of the part."""
        part = self.nand
        known = figures(part)
        named = {"read_byte": "channel_byte", "write_byte": "channel_byte"}
        found = [self._entry(event, known[named.get(event, event)]) for event in self.events]
        standby = known["standby"]
        source = f"{part.total_dies} dies: {standby.source}"
        return (*found, self._entry(None, Figure(joules_per_s(part), standby.source_class, source)))

    def _entry(self, event: str | None, figure: Figure) -> Entry:
        value = {"power": f"{figure.joules!r} W", "part": "standby"} if event is None else {"energy": f"{figure.joules!r} J"}
        size = {"part": self.part, "channels": self.channels or "none", "chips": self.chips or "none"}
        named = {"component": self.kind(), "parameters": size, "event": event}
        return Entry.from_data({**named, **value, "class": figure.source_class, "source": figure.source})


@cache
def _built(name: str, channels: int | None, chips: int | None) -> NandPart:
    return load_nand(name).resized(channels=channels, chips=chips)
