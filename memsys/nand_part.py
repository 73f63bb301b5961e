"""NAND part: the flash behind one controller, by the terms of ONFI: organisation, timings, energies. All that is known of it.

A part is a file of ``memsys/nand_parts``; `load_nand` loads it. Levels: channel > chip (package) > die (LUN) > plane > block >
page. A channel moves one byte per transfer, one thing at a time; a die senses, programs or erases, one thing at a time in all the
planes that take part; a page register for each plane stands between.

Units: times are whole picoseconds, sizes bytes, rates 10^6 B/s. A cell of b bits holds pages of b types (LSB, CSB, MSB, top) with
a time each; page p of a block is of type p mod b. (Devices shuffle the types of the first and last pages of a block; no figure
here depends on it.) The spare bytes of a page are read and programmed with it; they move on the channel only where asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from typing import Literal

from pydantic import Field, field_validator, model_validator

from accel.base.clock import PS_PER_US, bytes_to_ps
from accel.base.committed import committed, read_committed
from accel.base.quantity import MBytesPerSecond, Picoseconds
from accel.base.tech import SourceClass
from memsys._nand_tables import Energies
from memsys._tables import Table

BITS = {"slc": 1, "mlc": 2, "tlc": 3, "qlc": 4}


class NandPart(Table):
    """NAND dies on the channels of one controller: organisation, timings and energies, each with its source."""

    name: str
    """The part's name: that of its file."""
    about: str
    """What it is, in a line."""
    source: str = Field(min_length=1)
    """Where organisation and timings come from."""
    scaled: dict[str, str] = Field(default_factory=dict)
    """Entries that were derived from figures of another part, each with how."""
    assumed: dict[str, str] = Field(default_factory=dict)
    """Entries that no source gives, each with the reason for the value."""
    channels: int = Field(gt=0, le=1024)
    """Channels, each with its own bus."""
    chips: int = Field(gt=0, le=1024)
    """Chips of a channel."""
    dies: int = Field(gt=0, le=64)
    """Dies of a chip."""
    planes: int = Field(gt=0, le=64)
    """Planes of a die."""
    blocks: int = Field(gt=0, le=1 << 20)
    """Blocks of a plane."""
    pages: int = Field(gt=0, le=1 << 16)
    """Pages of a block."""
    page_bytes: int = Field(gt=0, le=1 << 20)
    """Data of a page."""
    spare_bytes: int = Field(ge=0, le=1 << 20)
    """Bytes of a page beside its data, for ECC and metadata."""
    cell: Literal["slc", "mlc", "tlc", "qlc"]
    """Bits of a cell: 1 to 4."""
    read_ps: tuple[Picoseconds, ...] = Field(alias="read")
    """tR, from the cells into the register, for each type of page."""
    program_ps: tuple[Picoseconds, ...] = Field(alias="program")
    """tPROG, from the register into the cells, for each type of page."""
    erase_ps: Picoseconds = Field(alias="erase")
    """tBERS of a block."""
    channel_mb_per_s: MBytesPerSecond = Field(alias="channel_rate")
    """Data rate of a channel."""
    command_ps: Picoseconds = Field(alias="command")
    """Command and address of one operation on the channel."""
    multi_plane: bool
    """Whether the planes of a die work together, on the same page number."""
    cache_read: bool
    """Whether a die senses its next page while the one before leaves from a cache register."""
    suspend_program_ps: Picoseconds | None = Field(default=None, alias="suspend_program")
    """From the command that suspends a program until the die is free; where it is not given, a program cannot be suspended."""
    suspend_erase_ps: Picoseconds | None = Field(default=None, alias="suspend_erase")
    """The same of an erase."""
    endurance: int = Field(gt=0)
    """Program and erase cycles that a block lasts."""
    energies: Energies
    """Energy of each operation."""

    def __hash__(self) -> int:
        return hash((self.name, self.channels, self.chips, self.read_ps, self.channel_mb_per_s))

    def __str__(self) -> str:
        return self.name

    @field_validator("read_ps", "program_ps")
    @classmethod
    def _positive(cls, times: tuple[int, ...]) -> tuple[int, ...]:
        if min(times, default=1) == 0:
            raise ValueError("wanted times above zero, got 0")
        return times

    @field_validator("erase_ps", "suspend_program_ps", "suspend_erase_ps")
    @classmethod
    def _above_zero(cls, time: int | None) -> int | None:
        if time == 0:
            raise ValueError("wanted a time above zero, got 0")
        return time

    @model_validator(mode="after")
    def _consistent(self) -> NandPart:
        faults = []
        for name, times in (("read", self.read_ps), ("program", self.program_ps)):
            if len(times) != BITS[self.cell]:
                faults.append(
                    f"{name}: wanted a time for each of the {BITS[self.cell]} page types of {self.cell}, got {len(times)}"
                )
        for name, suspend, whole in (
            ("suspend_program", self.suspend_program_ps, min(self.program_ps, default=0)),
            ("suspend_erase", self.suspend_erase_ps, self.erase_ps),
        ):
            if suspend is not None and suspend >= whole:
                faults.append(f"{name}: wanted less than the {whole} ps of what it suspends, got {suspend} ps")
        known = {info.alias or field for field, info in type(self).model_fields.items()}
        for kind, notes in (("scaled", self.scaled), ("assumed", self.assumed)):
            faults += [f"{kind}: no entry is named {entry!r}" for entry in notes if entry not in known]
        if faults:
            raise ValueError(f"{self}: " + "; ".join(faults))
        return self

    def resized(self, *, channels: int | None = None, chips: int | None = None) -> NandPart:
        """The same dies on other numbers of channels and of chips per channel. Raises ValueError where one is not positive."""
        sizes = {"channels": channels, "chips": chips}
        data = self.model_dump(by_alias=True, exclude_none=True)
        return NandPart.from_data(data | {name: size for name, size in sizes.items() if size is not None})

    @property
    def source_classes(self) -> tuple[SourceClass, ...]:
        """Classes of the figures that did not come from the part's own source: scaled, assumed, those of energies."""
        found: set[SourceClass] = {draw.source_class for _, draw in self.energies}
        found |= {"scaled"} if self.scaled else set()
        found |= {"assumed"} if self.assumed else set()
        return tuple(sorted(found))

    @property
    def dies_per_channel(self) -> int:
        """Dies that share the bus of a channel."""
        return self.chips * self.dies

    @property
    def total_dies(self) -> int:
        """Dies of all channels: what works at one time."""
        return self.channels * self.dies_per_channel

    @property
    def total_planes(self) -> int:
        """Planes of all channels."""
        return self.total_dies * self.planes

    @property
    def block_bytes(self) -> int:
        """Data of a block."""
        return self.pages * self.page_bytes

    @property
    def capacity(self) -> int:
        """Data bytes of all channels; spare bytes are not counted."""
        return self.total_planes * self.blocks * self.block_bytes

    @property
    def page_types(self) -> int:
        """Types of pages: bits of a cell."""
        return BITS[self.cell]

    @property
    def planes_at_work(self) -> int:
        """Planes of a die that work together: all, or one without multi-plane operations."""
        return self.planes if self.multi_plane else 1

    @property
    def mean_read_ps(self) -> int:
        """tR, mean over the page types, rounded up."""
        return -(-sum(self.read_ps) // len(self.read_ps))

    @property
    def mean_program_ps(self) -> int:
        """tPROG, mean over the page types, rounded up."""
        return -(-sum(self.program_ps) // len(self.program_ps))

    @property
    def page_transfer_ps(self) -> int:
        """Data of a page on the channel, without the command."""
        return int(bytes_to_ps(self.page_bytes, self.channel_mb_per_s))

    def read_latency_ps(self, page: int = 0) -> int:
        """One page alone: command + tR of its type + transfer."""
        return self.command_ps + self.read_ps[page % self.page_types] + self.page_transfer_ps

    def program_latency_ps(self, page: int = 0) -> int:
        """One page alone: command + transfer + tPROG of its type."""
        return self.command_ps + self.page_transfer_ps + self.program_ps[page % self.page_types]

    @property
    def channels_mb_per_s(self) -> int:
        """Raw rate of all channels: channels x rate."""
        return self.channels * self.channel_mb_per_s

    @property
    def bus_read_mb_per_s(self) -> int:
        """What the channels carry with a command for every page: channels x page / (command + transfer)."""
        return int(self._rate(self.channels, self.command_ps + self.page_transfer_ps))

    @property
    def array_read_mb_per_s(self) -> int:
        """What the cells give into the registers: planes at work x page / mean tR. Figures inside the dies count by this one."""
        return int(self._rate(self.total_dies * self.planes_at_work, Fraction(sum(self.read_ps), self.page_types)))

    @property
    def array_program_mb_per_s(self) -> int:
        """What the cells take from the registers: planes at work x page / mean tPROG."""
        return int(self._rate(self.total_dies * self.planes_at_work, Fraction(sum(self.program_ps), self.page_types)))

    @property
    def read_period_ps(self) -> Fraction:
        """Steady state of a channel of which all dies read in step: mean ps in which each gives a page of every plane at work.

        With n planes at work, D dies, c command and x transfer, that is the mean over the page types of max(D n (c + x), die),
        where a die takes n c + max(tR, n x) with a cache register, which lets its next sensing overlap the transfer, and
        n c + tR + n x without. The engine of `memsys.nand_ops` takes just that where all types take the same time.
        """
        n = self.planes_at_work
        out = n * self.page_transfer_ps
        return self._period(n * self.command_ps + (max(sense, out) if self.cache_read else sense + out) for sense in self.read_ps)

    @property
    def program_period_ps(self) -> Fraction:
        """The same of programs: max(D n (c + x), n (c + x) + tPROG), as a die loads its registers, and then programs them."""
        load = self.planes_at_work * (self.command_ps + self.page_transfer_ps)
        return self._period(load + program for program in self.program_ps)

    def _period(self, dies: Iterable[int]) -> Fraction:
        bus = self.dies_per_channel * self.planes_at_work * (self.command_ps + self.page_transfer_ps)
        return Fraction(sum(max(bus, die) for die in dies), self.page_types)

    @property
    def read_mb_per_s(self) -> int:
        """What all dies deliver to the controller in steady state, by `read_period_ps`.

        At most `bus_read_mb_per_s`, which it is where the channels are the limit, and `array_read_mb_per_s`.
        """
        return int(self._rate(self.total_dies * self.planes_at_work, self.read_period_ps))

    @property
    def program_mb_per_s(self) -> int:
        """What all dies take from the controller in steady state, by `program_period_ps`."""
        return int(self._rate(self.total_dies * self.planes_at_work, self.program_period_ps))

    def _rate(self, pages: int, ps: int | Fraction) -> Fraction:
        """10^6 B/s of so many pages in so many ps."""
        return pages * self.page_bytes * PS_PER_US / Fraction(ps)


def nands() -> list[str]:
    """Names of the NAND parts known: the files of memsys/nand_parts."""
    return committed("memsys", "nand_parts")


@cache
def load_nand(name: str) -> NandPart:
    """The NAND part ``name``. Raises ValueError with the nearest right name where there is none."""
    return NandPart.from_data({"name": name, **read_committed("memsys", "nand_parts", name, "NAND part")})
