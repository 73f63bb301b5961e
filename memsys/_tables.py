"""The tables of a DRAM part: organisation, timings, currents and pins, with what each entry means and in what unit it is written.

A table says which names are missing, and the nearest right name of an unknown one.
"""

from __future__ import annotations

import difflib
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, WithJsonSchema, model_validator

from accel.base.quantity import Joules, parse
from accel.base.spec import Spec
from accel.base.tech import SourceClass


def _period(text: object) -> Fraction:
    """Picoseconds, exactly: half a clock of 0.625 ns is 625/2."""
    return parse(text, "time")


def _cycles(value: object, info: ValidationInfo) -> int:
    """Whole cycles: as given, or a time divided by tCK and rounded up."""
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"wanted whole cycles or a time with its unit, such as 14 or '14 ns', got {value!r}")
        return value
    return ceil(parse(value, "time") / info.data.get("tck", Fraction(1)))  # a wrong tCK is reported as such


def _megatransfers(text: object) -> int:
    """Transfers per second and pin in millions, of "3200 MT/s"."""
    number, _, unit = text.partition(" ") if isinstance(text, str) else ("", "", "")
    if unit != "MT/s" or not number.isdecimal() or not 0 < int(number) <= 100_000:
        raise ValueError(f"wanted the transfers of one data pin per second, such as '3200 MT/s', got {text!r}")
    return int(number)


def _power_of_two(value: int) -> int:
    if isinstance(value, int) and (value < 1 or value & (value - 1)):
        raise ValueError(f"wanted a power of two, so that it is a field of an address, got {value}")
    return value


Period = Annotated[
    Fraction,
    Field(gt=0),
    BeforeValidator(_period),
    PlainSerializer(lambda ps: f"{(Decimal(ps.numerator) / ps.denominator).normalize():f} ps", return_type=str),
    WithJsonSchema({"type": "string", "examples": ["1 ns"]}),
]
Cycles = Annotated[int, Field(gt=0, lt=1 << 24), BeforeValidator(_cycles)]
Rate = Annotated[int, BeforeValidator(_megatransfers), PlainSerializer(lambda rate: f"{rate} MT/s", return_type=str)]
Size = Annotated[int, Field(gt=0, le=1 << 24), BeforeValidator(_power_of_two)]


class Table(Spec):
    """A table of a part: says which names are missing, and the nearest right name of an unknown one."""

    @model_validator(mode="before")
    @classmethod
    def _names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = {field.alias or name: field for name, field in cls.model_fields.items()}
        faults = []
        for name in data:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                faults.append(
                    f"unknown name {name!r}" + (f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})")
                )
        for name, field in known.items():
            if field.is_required() and name not in data:
                meaning = (field.description or "").partition("\n")[0].rstrip(".")
                faults.append(f"wanted {name!r} ({meaning}), which is missing")
        if faults:
            raise ValueError("; ".join(faults))
        return data


class Organisation(Table):
    """What one device is made of. Sizes are powers of two, but for channels."""

    channels: int = Field(gt=0, le=1024)
    """Channels of one device, each with its own commands."""
    pseudo_channels: Size = 1
    """Pseudo channels of a channel: own data bus and banks, shared command bus."""
    ranks: Size = 1
    """Ranks (or stack ids) of a pseudo channel: own banks, shared data bus."""
    bank_groups: Size
    """Bank groups of a rank."""
    banks: Size
    """Banks of a bank group."""
    rows: Size
    """Rows of a bank."""
    columns: Size
    """Columns of a row, each as wide as the pseudo channel."""
    width: Size
    """Data pins of a pseudo channel."""
    device_width: Size
    """Data pins of a pseudo channel that one die or chip drives: width / device_width of them work in parallel."""
    burst: Size
    """Beats of a burst (BL)."""
    beats: Size = 2
    """Transfers of a data pin in one tCK."""
    split_command_bus: bool = False
    """Whether row and column commands have a command bus each (HBM)."""
    act_cycles: int = Field(default=1, gt=0, le=8)
    """Cycles that an ACT takes on its command bus."""
    row_cycles: int = Field(default=1, gt=0, le=8)
    """Cycles that PRE and REF take on their command bus."""
    column_cycles: int = Field(default=1, gt=0, le=8)
    """Cycles that RD and WR take on their command bus."""
    stack_ids: bool = False
    """Whether the ranks are stack ids (HBM3, HBM4): tRRD_S, tFAW, tRTW and tWTR_S then hold over the whole pseudo channel."""


class Timing(Table):
    """JEDEC timings in cycles of tCK, from the start of one command to the start of the next unless the name says otherwise."""

    tck: Period
    """Period of the clock that timings are counted in, ps."""
    cl: Cycles
    """Read latency, RD to the first beat."""
    cwl: Cycles
    """Write latency, WR to the first beat."""
    trcd_rd: Cycles
    """ACT to RD of the same bank."""
    trcd_wr: Cycles
    """ACT to WR of the same bank."""
    trp: Cycles
    """PRE to ACT of the same bank."""
    trp_ab: Cycles = 0
    """PREA to ACT; tRP where it is not given."""
    tppd: Cycles | None = None
    """PRE to PRE of the same rank, where it is bounded."""
    tras: Cycles
    """ACT to PRE of the same bank."""
    trc: Cycles
    """ACT to ACT of the same bank."""
    tccd_s: Cycles
    """Column command to the next of its kind, other bank group."""
    tccd_l: Cycles
    """Column command to the next of its kind, same bank group."""
    tccd_l_wr: Cycles | None = None
    """WR to WR, same bank group, where that is longer than tCCD_L (DDR5)."""
    tccd_r: Cycles | None = None
    """Column command to the next of its kind, other rank (stack id); burst + tRTRS where it is not given."""
    trrd_s: Cycles
    """ACT to ACT, other bank group."""
    trrd_l: Cycles
    """ACT to ACT, other bank of the same bank group."""
    tfaw: Cycles
    """Window that holds at most four ACT of a rank."""
    twr: Cycles
    """Last data of a write to PRE of its bank."""
    twtr_s: Cycles
    """Last data of a write to RD, other bank group."""
    twtr_l: Cycles
    """Last data of a write to RD, same bank group."""
    trtp: Cycles
    """RD to PRE of its bank (tRTP_L where a standard has two)."""
    turnaround: int = Field(ge=0, le=64)
    """Idle cycles of the data bus from a read's burst to a write's: tRTW = CL + burst + turnaround - CWL."""
    trtrs: int | None = Field(default=None, ge=0, le=64)
    """Idle cycles of the data bus between the bursts of two ranks."""
    trfc: Cycles
    """REFAB to the next command of the rank."""
    trefi: Cycles
    """Mean interval of REFAB."""
    trfc_pb: Cycles | None = None
    """REFPB to the next command of its bank."""
    trefi_pb: Cycles | None = None
    """Mean interval of REFPB of a rank: every bank once per tREFI."""
    trrefd: Cycles | None = None
    """REFPB to ACT of another bank, and to REFPB where tpbR2pbR is not given."""
    tpbr2pbr: Cycles | None = None
    """REFPB to REFPB of another bank."""

    @model_validator(mode="before")
    @classmethod
    def _all_banks_as_one(cls, data: Any) -> Any:
        """tRP_AB is tRP where a standard does not tell them apart."""
        return {"trp_ab": data["trp"], **data} if isinstance(data, dict) and "trp" in data else data


class Currents(Table):
    """Currents from one supply of one die or chip by JEDEC's measurement loops, in mA."""

    vdd: float = Field(gt=0, lt=5)
    """The supply, V."""
    idd0: float = Field(gt=0)
    """One bank activated and precharged every tRC."""
    idd2p: float = Field(gt=0)
    """Precharge power-down."""
    idd2n: float = Field(gt=0)
    """Precharge standby: all banks closed."""
    idd3p: float = Field(gt=0)
    """Active power-down."""
    idd3n: float = Field(gt=0)
    """Active standby: a bank open."""
    idd4w: float = Field(gt=0)
    """Write bursts back to back."""
    idd4r: float = Field(gt=0)
    """Read bursts back to back."""
    idd5ab: float = Field(gt=0)
    """All-bank refresh, one every tRFC."""
    idd5pb: float | None = Field(default=None, gt=0)
    """Per-bank refresh, one every tRFC_PB."""
    idd6: float = Field(gt=0)
    """Self refresh."""
    source_class: SourceClass = Field(alias="class")
    """Where the figures come from: datasheet, published, scaled or assumed."""
    source: str = Field(min_length=1)
    """The source in words."""


class Io(Table):
    """Energy of the path between array and reader per bit: TSV and interposer, or driver and termination."""

    read: Joules
    """J for one bit read."""
    write: Joules
    """J for one bit written."""
    source_class: SourceClass = Field(alias="class")
    """Where the figures come from: datasheet, published, scaled or assumed."""
    source: str = Field(min_length=1)
    """The source in words."""
