"""Drives on NVMe: NAND behind a link, as the host sees it, in closed form.

One command of n bytes on an idle drive, with L the latency of the link, p = ceil(n / page) pages, striped over C channels, and
k = ceil(p / C) of them on the busiest channel:

    read    3 L + [command + tR + transfer + f(k - 1)] + L + n / link
    write   3 L + L + L + n / link + [command + transfer + tPROG + f(k - 1)] + L
    attend  3 L + L + L + sent / link + [command + tR + transfer + max(f(k - 1), engine)] + L + result / link

where f(j) = floor(j / u) period + (j mod u) (command + transfer): on the u planes of a channel pages follow each other as fast as
it carries them, and u pages later in steady state (`NandPart.read_period_ps`, `program_period_ps`). tR and tPROG are means over
the page types. The trips are NVMe's: doorbell, fetch of the command and its answer; a drive fetches the data of a write itself.
Entries of the queues (64 and 16 B) are not charged. A write ends when its pages are programmed; no volatile cache answers for it.
`memsys.nand_ops` plays the same pages die by die. Many commands reach

    min(link, internal n / (p page), queue depth n / latency(n))

with no fitted factor, and at most the bandwidth that is stated. `memsys.drive.nvme` is the same drive as SimPy resources.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from functools import cache
from typing import Any

from pydantic import Field, TypeAdapter, model_validator

from accel.base.clock import PS_PER_US, scale_up
from accel.base.extent import larger, smaller
from accel.base.mapping import ceil_div
from accel.base.tech import Entry
from memsys._flash_memory import FlashMemory
from memsys.dram_energy import Figure
from memsys.link import Link, NamedLink
from memsys.nand_energy import figures, joules_per_s
from memsys.nand_part import NandPart, load_nand

TRIPS_TO_START = 3
"""Crossings of the link before a drive works: doorbell, fetch of the command, its answer."""
SPARE_PERMILLE = 70
"""Share of the blocks that are no capacity: over-provisioning of MQSim's default drive (ssdconfig.xml, 2022-10), 7 %."""


class Ssd(FlashMemory):
    """NVMe drives of one NAND part, each on a link of its own. Capacity and bandwidth are those of all drives.

    Events: ``read_byte`` and ``write_byte`` are bytes on the links; pages and blocks count apart.
    """

    drives: int = Field(default=1, gt=0, le=1024)
    link: NamedLink
    """Link of one drive: a name (memsys/links) or a table."""
    queue_depth: int = Field(default=32, gt=0, le=65536)
    """Commands under way at one drive at a time. 32: what one queue of many hosts holds; assumed."""
    spare_permille: int = Field(default=SPARE_PERMILLE, ge=0, lt=1000)
    """Share of the blocks kept for reclaim (over-provisioning)."""

    @model_validator(mode="before")
    @classmethod
    def _totals_of_the_drives(cls, data: Any) -> Any:
        """Capacity and bandwidth of the drives, where they are not given: less may be."""
        if not isinstance(data, dict):
            return data
        drives, spare = data.get("drives", 1), data.get("spare_permille", SPARE_PERMILLE)
        capacity, bandwidth = 1, 1  # where a field below is wrong, which is then refused on its own
        counted = type(drives) is int and type(spare) is int and 0 < drives <= 1024 and 0 <= spare < 1000
        if counted and isinstance(data.get("part"), str):
            with suppress(KeyError, ValueError):
                link = TypeAdapter(NamedLink).validate_python(data["link"])
                capacity, bandwidth = _totals(load_nand(data["part"]), link, drives, spare)
        return {"capacity": f"{max(capacity, 1)} B", "bandwidth": f"{max(bandwidth, 1)} MB/s"} | data

    @model_validator(mode="after")
    def _within_the_drives(self) -> Ssd:
        most = _totals(self.nand, self.link, self.drives, self.spare_permille)
        self._at_most(*most, f"{self.drives} drives of {self.part} on {self.link.name}")
        return self

    def carried_ps(self, read: Any, written: Any) -> Any:
        """Picoseconds for which so many bytes keep the links busy, whose two directions are apart."""
        return larger(self.time_ps(read), self.time_ps(written))

    @property
    def internal_mb_per_s(self) -> int:
        """What the dies of one drive deliver to its controller: min(channels, cells), MB/s."""
        return self.nand.read_mb_per_s

    @property
    def program_mb_per_s(self) -> int:
        """What the dies of one drive take from its controller, MB/s."""
        return self.nand.program_mb_per_s

    # one command on one idle drive

    def pages_ps(self, pages: Any, *, program: bool = False) -> Any:
        """For how long ``pages`` of one channel keep it busy in steady state."""
        period, at_once = _steady(self.part, program)
        return scale_up(pages, period.numerator, period.denominator * at_once)

    def following_ps(self, pages: Any, *, program: bool = False) -> Any:
        """Picoseconds from the first page of a command on an idle channel to the last of ``pages`` more."""
        period, at_once = _steady(self.part, program)
        on_bus = self.nand.command_ps + self.nand.page_transfer_ps
        return scale_up(pages // at_once, period.numerator, period.denominator) + pages % at_once * on_bus

    def flash_ps(self, nbytes: Any, *, program: bool = False) -> Any:
        """Picoseconds in which idle dies read (program) the pages of ``nbytes`` above zero, striped over all channels."""
        part = self.nand
        first = part.command_ps + part.page_transfer_ps + (part.mean_program_ps if program else part.mean_read_ps)
        return first + self.following_ps(ceil_div(self.pages(nbytes), part.channels) - 1, program=program)

    def read_ps(self, nbytes: Any) -> Any:
        """Picoseconds from doorbell to last byte of a read of ``nbytes`` above zero (int or int64 array) on an idle drive."""
        return TRIPS_TO_START * self.link.latency + self.flash_ps(nbytes) + self.link.time_ps(nbytes)

    def write_ps(self, nbytes: Any) -> Any:
        """Picoseconds from doorbell to completion of a write of ``nbytes`` above zero, programmed, on an idle drive."""
        trips = (TRIPS_TO_START + 2) * self.link.latency  # the drive asks for the data; the completion
        return trips + self.link.time_ps(nbytes) + self.flash_ps(nbytes, program=True)

    def attend_ps(self, pages: Any, engine_ps: Any, sent: Any, result: Any) -> Any:
        """Picoseconds of a command that takes ``sent`` bytes, reads ``pages`` inside an idle drive, works on them for
        ``engine_ps`` from the first page on, and returns ``result`` bytes. All are ints or int64 arrays."""
        first, some = self.flash_ps(1), smaller(pages, 1)
        rest = self.following_ps(larger(ceil_div(pages, self.nand.channels) - 1, 0))
        ends = self.link.time_ps(sent) + self.link.time_ps(result) + (TRIPS_TO_START + 1) * self.link.latency
        return ends + first * some + larger(rest, engine_ps)

    # many commands on one drive

    def read_mb_per_s(self, chunk_bytes: Any) -> Any:
        """What a host reads from one drive in commands of ``chunk_bytes`` (int or int64 array), MB/s, rounded down."""
        return self._stream(chunk_bytes, self.internal_mb_per_s, self.read_ps(chunk_bytes))

    def write_mb_per_s(self, chunk_bytes: Any) -> Any:
        """What a host writes to one drive in commands of ``chunk_bytes``, MB/s, rounded down."""
        return self._stream(chunk_bytes, self.program_mb_per_s, self.write_ps(chunk_bytes))

    def _stream(self, chunk: Any, flash_mb_per_s: int, latency_ps: Any) -> Any:
        on_link = chunk * self.link.bandwidth // self.link.wire_bytes(chunk)
        in_flash = flash_mb_per_s * chunk // (self.pages(chunk) * self.nand.page_bytes)
        each_ps = ceil_div(latency_ps, self.queue_depth)  # first, as depth x chunk x 10^6 may leave int64
        rate = smaller(smaller(on_link, in_flash), chunk * PS_PER_US // each_ps)
        return smaller(rate, self.bandwidth // self.drives)  # which may be stated lower

    @property
    def copies(self) -> int:
        return self.drives

    def entries(self) -> tuple[Entry, ...]:
        """Joules of a byte on the link, of a page and of a block, from the figures of link and part; standby of one drive."""
        part, link = self.nand, self.link
        known, full = figures(part), link.packet or 1
        wire = Figure(link.joules(full) / full, link.energy_class, f"link {link.name}, headers included: {link.energy_source}")
        byte, idle = known["channel_byte"], known["standby"]
        bus = Figure(part.page_bytes * byte.joules, byte.source_class, f"{part.page_bytes} B on the channel: {byte.source}")
        dies = f"{part.total_dies} dies of a drive; the controller is not in it: {idle.source}"
        standby = Figure(joules_per_s(part), idle.source_class, dies)
        return (
            *(self._entry(event, "", wire) for event in ("read_byte", "write_byte")),
            *(self._entry(event, "", known[event]) for event in ("page_read", "page_program", "block_erase")),
            *(self._entry(event, "channel", bus) for event in ("page_read", "page_program")),
            self._entry(None, "standby", standby),
        )

    def _entry(self, event: str | None, which: str, figure: Figure) -> Entry:
        same = {"part": self.part, "drives": self.drives, "capacity": self.capacity, "bandwidth": self.bandwidth}
        value = {"power": f"{figure.joules!r} W"} if event is None else {"energy": f"{figure.joules!r} J"}
        named = {"component": self.kind(), "parameters": same, "event": event, "part": which}
        return Entry.from_data({**named, **value, "class": figure.source_class, "source": figure.source})


@cache
def _steady(name: str, program: bool) -> tuple[Fraction, int]:
    """Of a channel in steady state: ps in which each of its planes reads (programs) a page, and how many planes those are."""
    part = load_nand(name)
    return part.program_period_ps if program else part.read_period_ps, part.dies_per_channel * part.planes_at_work


def _totals(part: NandPart, link: Link, drives: int, spare_permille: int) -> tuple[int, int]:
    """Bytes and MB/s of so many drives: blocks that are no spare; the lesser of link and dies."""
    blocks = part.total_planes * part.blocks * (1000 - spare_permille) // 1000
    return drives * blocks * part.block_bytes, drives * min(link.payload_mb_per_s, part.read_mb_per_s)
