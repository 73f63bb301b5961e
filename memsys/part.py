"""Part: one DRAM at one speed, by JEDEC names: organisation, timings, currents. All that is known of a DRAM stands here.

Parts are tables in the files of ``memsys/standards`` (`memsys.standard` loads them). The reference simulator, the RTL of the
controller, the rules of time (`memsys.constraints`) and the energy (`memsys.dram_energy`) read the same object, so that no figure
is kept twice.

Units: timings are whole cycles of tCK, the finest step in which commands are issued (half a clock of HBM3, whose row commands
take half a clock), in picoseconds, exactly. A file may give a timing as a time with its unit, which is rounded up to cycles. A
burst of BL beats takes BL / ``beats`` cycles, where ``beats`` are the transfers of a data pin in one tCK (2 for DDR4 and HBM2).
Levels: channel > pseudo channel (a data bus each) > rank (or stack id) > bank group > bank > row > column, where a column is as
wide as the pseudo channel.
"""

from __future__ import annotations

from enum import IntEnum
from fractions import Fraction
from math import ceil

from pydantic import Field, model_validator

from accel.base.tech import SourceClass
from memsys._checks import contradictions
from memsys._tables import Currents, Io, Organisation, Rate, Table, Timing


class Command(IntEnum):
    """What a controller sends to a DRAM. PRE closes one bank, PREA a rank; RDA and WRA close their bank after the burst."""

    ACT = 0
    PRE = 1
    PREA = 2
    RD = 3
    WR = 4
    RDA = 5
    WRA = 6
    REFAB = 7
    """Refresh all banks of a rank."""
    REFPB = 8
    """Refresh one bank."""


COLUMN_COMMANDS = (Command.RD, Command.WR, Command.RDA, Command.WRA)
ROW_COMMANDS = tuple(command for command in Command if command not in COLUMN_COMMANDS)


class Part(Table):
    """One DRAM at one speed: organisation, timings and currents, each entry with its source."""

    standard: str
    """The standard's name, as its file."""
    name: str
    """The part's name in that file."""
    about: str
    """What it is, in a line."""
    speed: Rate
    """Nominal transfers of one data pin per second; tCK, often rounded, must agree with it to 2 %."""
    source: str = Field(min_length=1)
    """Where organisation and timings come from."""
    scaled: dict[str, str] = Field(default_factory=dict)
    """Entries that were derived from figures of another part, each with how."""
    assumed: dict[str, str] = Field(default_factory=dict)
    """Entries that no source gives, each with the reason for the value."""
    organisation: Organisation
    """Channels, banks, rows, columns, pins."""
    timing: Timing
    """JEDEC timings."""
    currents: tuple[Currents, ...] = ()
    """Currents of each supply, where a source gives them. The core's only: those of the pins are ``io``."""
    io: Io | None = None
    """Energy per bit beyond the array, where a source gives it."""

    def __hash__(self) -> int:
        return hash((self.standard, self.name, self.timing, self.organisation))

    def __str__(self) -> str:
        return f"{self.standard}/{self.name}"

    @model_validator(mode="after")
    def _consistent(self) -> Part:
        found = contradictions(self)
        if found:
            raise ValueError(f"{self}: " + "; ".join(found))
        return self

    @property
    def source_classes(self) -> tuple[SourceClass, ...]:
        """Classes of the figures that did not come from the part's own source: scaled, assumed, those of currents and pins."""
        found: set[SourceClass] = {table.source_class for table in self.currents}
        found |= {self.io.source_class} if self.io else set()
        found |= {"scaled"} if self.scaled else set()
        found |= {"assumed"} if self.assumed else set()
        return tuple(sorted(found))

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands that the part knows: REFPB only where its three timings are given."""
        return tuple(command for command in Command if command is not Command.REFPB or self.per_bank_refresh)

    @property
    def per_bank_refresh(self) -> bool:
        """Whether one bank can be refreshed at a time."""
        return self.timing.trfc_pb is not None

    def command_cycles(self, command: Command) -> int:
        """Cycles that ``command`` takes on its command bus."""
        if command is Command.ACT:
            return self.organisation.act_cycles
        return self.organisation.column_cycles if command in COLUMN_COMMANDS else self.organisation.row_cycles

    @property
    def burst_cycles(self) -> int:
        """Cycles that a burst takes on the data bus: BL / beats. HBM2 with BL 4: 2."""
        return self.organisation.burst // self.organisation.beats

    @property
    def burst_bytes(self) -> int:
        """Bytes of one burst: what one RD or WR moves."""
        return self.organisation.burst * self.organisation.width // 8

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of one rank (its page)."""
        return self.organisation.columns * self.organisation.width // 8

    @property
    def bursts_per_row(self) -> int:
        """Bursts that one row holds."""
        return self.organisation.columns // self.organisation.burst

    @property
    def banks_per_rank(self) -> int:
        """Banks of one rank."""
        return self.organisation.bank_groups * self.organisation.banks

    @property
    def banks_per_channel(self) -> int:
        """Banks of one channel, over its pseudo channels and ranks."""
        return self.organisation.pseudo_channels * self.organisation.ranks * self.banks_per_rank

    @property
    def devices_per_rank(self) -> int:
        """Dies or chips that drive one burst together."""
        return self.organisation.width // self.organisation.device_width

    @property
    def pins(self) -> int:
        """Data pins of all channels."""
        return self.organisation.channels * self.organisation.pseudo_channels * self.organisation.width

    @property
    def capacity(self) -> int:
        """Bytes of all channels."""
        return self.organisation.channels * self.banks_per_channel * self.organisation.rows * self.row_bytes

    @property
    def peak_mb_per_s(self) -> int:
        """Peak bandwidth of all channels in 10^6 B/s, rounded down: pins x beats / 8 / tCK."""
        return int(self.organisation.channels * self.channel_peak_mb_per_s)

    @property
    def channel_peak_mb_per_s(self) -> Fraction:
        """Peak bandwidth of one channel in 10^6 B/s, exactly."""
        channel = self.organisation.pseudo_channels * self.organisation.width * self.organisation.beats
        return channel * 10**6 / (8 * self.timing.tck)

    @property
    def read_to_write(self) -> int:
        """tRTW: RD to WR of the same rank, so that the write's burst follows the read's on the data bus."""
        t = self.timing
        return t.cl + self.burst_cycles + t.turnaround - t.cwl

    @property
    def write_recovery(self) -> int:
        """WR to PRE of the same bank: CWL + burst + tWR."""
        return self.timing.cwl + self.burst_cycles + self.timing.twr

    @property
    def refresh_share(self) -> Fraction:
        """Share of the time in which an all-bank refresh keeps a rank from everything else: tRFC / tREFI."""
        return Fraction(self.timing.trfc, self.timing.trefi)

    def time_ps(self, cycles: int) -> int:
        """Picoseconds of ``cycles`` of tCK, rounded up once."""
        return ceil(cycles * self.timing.tck)
