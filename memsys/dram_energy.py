"""Energy of DRAM from its command counts and the cycles that its ranks spend in each state.

Joules of one event = sum over supplies of V x mA x cycles x tCK x devices per rank, by JEDEC's measurement loops (Micron TN-40-07
and DRAMsim3, whose own output leaves out tCK and is right at 1 ns only):

================================  ============================================================
activate (ACT and its PRE)        IDD0 tRC - IDD3N tRAS - IDD2N tRP
read, write (a burst)             (IDD4R - IDD3N) B, (IDD4W - IDD3N) B, with B cycles of a burst
refresh (REFAB)                   (IDD5AB - IDD3N) tRFC
refresh_bank (REFPB)              (IDD5PB - IDD3N) tRFC_PB, or refresh / banks where IDD5PB is not known
a cycle of a rank                 IDD3N with a bank open, IDD2N with none, IDD3P and IDD2P in power-down, IDD6 in self refresh
read_io, write_io (a burst)       bits of a burst x J per bit beyond the array: apart, with a source of its own
================================  ============================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from accel.base.tech import SourceClass
from memsys._tables import Currents
from memsys.part import Command, Part

COMMANDS = {
    "activate": (Command.ACT,),
    "read": (Command.RD, Command.RDA),
    "write": (Command.WR, Command.WRA),
    "refresh": (Command.REFAB,),
    "refresh_bank": (Command.REFPB,),
}
IO = {"read_io": "read", "write_io": "write"}
STATES = {
    "active": "idd3n",
    "precharged": "idd2n",
    "active_power_down": "idd3p",
    "precharged_power_down": "idd2p",
    "self_refresh": "idd6",
}
BY_TRUST: tuple[SourceClass, ...] = ("datasheet", "synthesized", "published", "scaled", "assumed")


@dataclass(frozen=True)
class Activity:
    """What the ranks of a memory have done: commands, and cycles by state, each summed over all ranks of all channels."""

    commands: Mapping[Command, int]
    cycles: Mapping[str, int] = field(default_factory=dict)
    """By state: ``active``, ``precharged``, ``active_power_down``, ``precharged_power_down``, ``self_refresh``."""

    @classmethod
    def of(cls, counts: NDArray[np.int64], active: NDArray[np.int64], cycles: int) -> Activity:
        """From what a run of `memsys.reference` counts: [channels, ranks, commands], [channels, ranks] and cycles."""
        commands = counts.sum(axis=(0, 1))
        opened = int(active.sum())
        closed = cycles * active.size - opened
        return cls({command: int(commands[command]) for command in Command}, {"active": opened, "precharged": closed})

    def count(self, event: str) -> int:
        """How often ``event`` has happened; a state's event is one cycle of one rank."""
        if event in STATES:
            return self.cycles.get(event, 0)
        return sum(self.commands.get(command, 0) for command in COMMANDS[IO.get(event, event)])


@dataclass(frozen=True)
class Figure:
    """Joules of one event, with their source."""

    joules: float
    source_class: SourceClass
    source: str


@dataclass(frozen=True)
class Row:
    """One line of the account: an event, how often, and what it has cost in all."""

    event: str
    count: int
    joules: float
    source_class: SourceClass
    source: str


@dataclass(frozen=True)
class Energy:
    """An account by event. ``joules`` is its total; the parts add up to it."""

    part: Part
    rows: tuple[Row, ...]

    @property
    def joules(self) -> float:
        """All rows, J."""
        return sum(row.joules for row in self.rows)

    @property
    def io(self) -> float:
        """Rows of the pins, J."""
        return self.of(*IO)

    @property
    def array(self) -> float:
        """All rows but those of the pins, J."""
        return self.joules - self.io

    @property
    def refresh(self) -> float:
        """Rows of refresh, J."""
        return self.of("refresh", "refresh_bank")

    @property
    def background(self) -> float:
        """Rows of the states, J: what is drawn whether anything is done or not."""
        return self.of(*STATES)

    def of(self, *events: str) -> float:
        """The rows of ``events``, J."""
        return sum(row.joules for row in self.rows if row.event in events)

    def pj_per_bit(self, joules: float) -> float:
        """``joules`` by the bits that were read and written, pJ."""
        bursts = sum(row.count for row in self.rows if row.event in ("read", "write"))
        return joules * 1e12 / (bursts * self.part.burst_bytes * 8)


def figures(part: Part) -> dict[str, Figure]:
    """Joules of every event of ``part``. Those of the pins are missing where no source gives them.

    Raises ValueError where the part has no currents.
    """
    if not part.currents:
        raise ValueError(f"{part}: wanted supply currents (a [[currents]] table), which no source gives for this part")
    t, burst = part.timing, part.burst_cycles
    found = {
        "activate": _figure(part, lambda i: i.idd0 * t.trc - i.idd3n * t.tras - i.idd2n * t.trp),
        "read": _figure(part, lambda i: (i.idd4r - i.idd3n) * burst),
        "write": _figure(part, lambda i: (i.idd4w - i.idd3n) * burst),
        "refresh": _figure(part, lambda i: (i.idd5ab - i.idd3n) * t.trfc),
    }
    if part.per_bank_refresh:
        found["refresh_bank"] = _refresh_of_a_bank(part, found["refresh"])
    for state, name in STATES.items():
        found[state] = _figure(part, attrgetter(name))
    if part.io is not None:
        bits, io = part.burst_bytes * 8, part.io
        found["read_io"] = Figure(io.read * bits, io.source_class, io.source)
        found["write_io"] = Figure(io.write * bits, io.source_class, io.source)
    return found


def energy(part: Part, activity: Activity) -> Energy:
    """The account of ``activity`` on ``part``: a row for each event that has happened.

    Raises ValueError where an event has no figure; the pins alone may lack theirs, and then have no row.
    """
    known = figures(part)
    rows = []
    for event in (*COMMANDS, *STATES, *IO):
        count = activity.count(event)
        if not count or (event in IO and event not in known):
            continue
        if event not in known:
            raise ValueError(f"{part}: no figure for {count} x {event!r}; known: {', '.join(known)}")
        figure = known[event]
        rows.append(Row(event, count, count * figure.joules, figure.source_class, figure.source))
    return Energy(part, tuple(rows))


def _figure(part: Part, milliamp_cycles: Callable[[Currents], float]) -> Figure:
    """J = V x mA x cycles x ps x 1e-15, over all supplies and the devices of a rank."""
    joules = sum(supply.vdd * milliamp_cycles(supply) for supply in part.currents) * float(part.timing.tck) * 1e-15
    least = max((supply.source_class for supply in part.currents), key=BY_TRUST.index)
    return Figure(joules * part.devices_per_rank, least, "; ".join(dict.fromkeys(supply.source for supply in part.currents)))


def _refresh_of_a_bank(part: Part, of_all: Figure) -> Figure:
    if all(supply.idd5pb is not None for supply in part.currents):
        return _figure(part, lambda i: ((i.idd5pb or 0.0) - i.idd3n) * (part.timing.trfc_pb or 0))
    least = max(of_all.source_class, "scaled", key=BY_TRUST.index)
    return Figure(of_all.joules / part.banks_per_rank, least, f"REFAB by {part.banks_per_rank} banks; {of_all.source}")
