"""Run page operations on a NAND part: operations in, times and counts out.

The rules are in `memsys.nand_ops`, their code in `engine`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accel.base.clock import PS_PER_US, bytes_to_ps
from memsys.address_map import whole_numbers
from memsys.nand_part import NandPart

if TYPE_CHECKING:
    from memsys.nand_ops.engine import Channel, Outcome
    from memsys.nand_ops.engine import Operations as Compiled

Integers = NDArray[np.int64]
OVERTAKES = 16
"""Jobs of reads that may go before a program or erase; assumed. A suspended erase is then back after at most 16 tR."""


class Kind(IntEnum):
    """What is done with a page, or with a block."""

    READ = 0
    PROGRAM = 1
    ERASE = 2


class Place(NamedTuple):
    """Where each operation goes: arrays of one length. The page of an erase is not looked at."""

    channel: Integers
    chip: Integers
    die: Integers
    plane: Integers
    block: Integers
    page: Integers


class Interval(NamedTuple):
    """A line of a trace. ``what``: command, load and out, resume and suspend on the channel; sense for the array at work."""

    what: str
    die: int
    """Of the channel: chip x dies + die."""
    operation: int
    """-1 of resume and suspend."""
    start: int
    end: int


USES = ("command", "resume", "suspend", "load", "out", "sense")


@dataclass(frozen=True)
class Operations:
    """Page operations, in the order of arrival; arrays of one length.

    ``nbytes``: what moves on the channel, by default the data of a page; 0 for erases, whatever stands there. ``arrival``: ps, in
    order; all at 0 where it is None.
    """

    kind: Integers
    place: Place
    nbytes: Integers | None = None
    arrival: Integers | None = None


@dataclass(frozen=True)
class Run:
    """What became of operations on ``part``."""

    part: NandPart
    start: Integers
    """[n]: ps at which its command goes onto the channel."""
    end: Integers
    """[n]: ps at which its data have left (reads), or its array is done."""
    channel_busy: Integers
    """[channels]: ps in which the channel carries something."""
    die_busy: Integers
    """[channels, dies of a channel]: ps in which the array works."""
    counts: dict[Kind, int]
    """Operations by kind: page reads, page programs and block erases."""
    nbytes: int
    """Bytes moved on all channels."""
    suspensions: int
    """How often a program or an erase was suspended."""
    trace: list[list[Interval]] = field(default_factory=list)
    """For each channel what happened in the order of ends, where it was asked for."""

    @property
    def elapsed_ps(self) -> int:
        """Until the last end."""
        return int(self.end.max()) if self.end.size else 0

    @property
    def mb_per_s(self) -> float:
        """Bytes moved by the time until the last end, 10^6 B/s."""
        return self.nbytes * PS_PER_US / self.elapsed_ps if self.end.size else 0.0


def striped(index: Integers, part: NandPart) -> Place:
    """Places of consecutive pages: over channels first, then chips, dies, planes, pages of a block, blocks (MQSim's CWDP).

    Raises ValueError where an index lies outside of the part.
    """
    rest = np.asarray(index)
    whole_numbers("page", rest)
    pages = part.capacity // part.page_bytes
    if rest.size and not 0 <= rest.min() <= rest.max() < pages:
        raise ValueError(f"page: wanted 0 to {pages - 1}, the pages of {part}, got {rest.min()} to {rest.max()}")
    found = []
    for size in (part.channels, part.chips, part.dies, part.planes, part.pages, part.blocks):
        rest, digit = np.divmod(rest, size)
        found.append(digit.astype(np.int64))
    channel, chip, die, plane, page, block = found
    return Place(channel, chip, die, plane, block, page)


def run(part: NandPart, operations: Operations, *, overtakes: int = OVERTAKES, traced: bool = False) -> Run:
    """Serve ``operations`` on all channels of ``part``.

    ``overtakes``: jobs of reads that may go before a program or erase (S1, T4); 0 keeps all in order. Raises ValueError where an
    operation does not fit the part, the arrivals are not in order, or ``overtakes`` is negative; RuntimeError where a rule of
    conservation is broken: something not served, served too soon, or a channel or die busier than the time that there was.
    """
    # Numba takes a second to import, so only what simulates does.
    from memsys.nand_ops import engine

    if overtakes < 0:
        raise ValueError(f"overtakes: wanted 0 or more reads that go first, got {overtakes}")
    asked = _checked(part, operations)
    channel, transfer = channel_of(part, overtakes), bytes_to_ps(asked["nbytes"], part.channel_mb_per_s)
    kind, arrival = asked["kind"], asked["arrival"]
    start, end = np.zeros(kind.size, np.int64), np.zeros(kind.size, np.int64)
    channel_busy = np.zeros(part.channels, np.int64)
    die_busy = np.zeros((part.channels, part.dies_per_channel), np.int64)
    suspensions, traces = 0, []
    die = asked["chip"] * part.dies + asked["die"]
    columns = (kind, die, asked["plane"], asked["block"], asked["page"], transfer, arrival)
    for number in range(part.channels):
        chosen = np.flatnonzero(asked["channel"] == number)
        own = engine.Operations(*(column[chosen] for column in columns))

        def once(log: int, own: engine.Operations = own) -> tuple[tuple[int, int, int, int], engine.Outcome]:
            filled = engine.Outcome(
                np.zeros(own.kind.size, np.int64),
                np.zeros(own.kind.size, np.int64),
                np.zeros(part.dies_per_channel, np.int64),
                np.zeros((log, 5), np.int64),
            )
            return engine.simulate(channel, own, filled), filled

        (served, carried, suspended, logged), outcome = once(0)
        _conserved(part, channel, own, outcome, served, carried, suspended)
        if traced:
            rows = once(logged)[1].log.tolist()
            traces.append([Interval(USES[use], d, int(chosen[op]) if op >= 0 else -1, *at) for use, d, op, *at in rows])
        start[chosen], end[chosen] = outcome.start, outcome.end
        channel_busy[number], die_busy[number] = carried, outcome.busy
        suspensions += suspended
    counts = {each: int(np.count_nonzero(kind == each)) for each in Kind}
    return Run(part, start, end, channel_busy, die_busy, counts, int(asked["nbytes"].sum()), suspensions, traces)


def channel_of(part: NandPart, overtakes: int) -> Channel:
    """A channel of the part as numbers; ``overtakes`` is 0 where the part can suspend nothing (S1)."""
    from memsys.nand_ops.engine import Channel

    suspend = (0, part.suspend_program_ps or 0, part.suspend_erase_ps or 0)
    return Channel(
        dies=part.dies_per_channel,
        planes=part.planes,
        blocks=part.blocks,
        types=part.page_types,
        at_work=part.planes_at_work,
        cache_read=part.cache_read,
        command=part.command_ps,
        array=np.array([part.read_ps, part.program_ps, (part.erase_ps,) * part.page_types], np.int64),
        suspend=np.array(suspend, np.int64),
        overtakes=overtakes if any(suspend) else 0,
    )


def _checked(part: NandPart, operations: Operations) -> dict[str, Integers]:
    """The columns as int64, with their defaults. Raises ValueError in words of the operation that is wrong."""
    kind = np.asarray(operations.kind)
    erases = kind == Kind.ERASE
    nbytes = np.full(kind.size, part.page_bytes) if operations.nbytes is None else np.asarray(operations.nbytes)
    columns = {"kind": kind, **operations.place._asdict(), "nbytes": nbytes, "arrival": operations.arrival}
    if operations.arrival is None:
        columns["arrival"] = np.zeros(kind.size, np.int64)
    for name, values in columns.items():
        if np.size(values) != kind.size:
            raise ValueError(f"{name}: wanted one for each of the {kind.size} operations, got {np.size(values)}")
        whole_numbers(name, values)
    columns["nbytes"] = np.where(erases, 0, columns["nbytes"])
    columns["page"] = np.where(erases, 0, columns["page"])
    limits = {"kind": len(Kind), "channel": part.channels, "chip": part.chips, "die": part.dies, "plane": part.planes}
    limits |= {"block": part.blocks, "page": part.pages}
    for name, size in limits.items():
        _within(name, columns[name], 0, size - 1, f"the {size} of {part}")
    most = part.page_bytes + part.spare_bytes
    _within("nbytes", columns["nbytes"][~erases], 1, most, f"a page of {part} with its spare")
    arrival = columns["arrival"]
    if kind.size and (arrival[0] < 0 or np.any(np.diff(arrival) < 0)):
        at = int(np.argmax(np.diff(arrival, prepend=0) < 0))
        raise ValueError(f"arrival: wanted ps from 0 on, in order, got {arrival[at]} (operation {at})")
    return {name: values.astype(np.int64) for name, values in columns.items()}


def _within(name: str, values: Integers, least: int, most: int, what: str) -> None:
    outside = np.flatnonzero((values < least) | (values > most))
    if outside.size:
        at = int(outside[0])
        raise ValueError(f"{name}: wanted {least} to {most}, {what}, got {values[at]} (the {at + 1}. of {values.size})")


def _conserved(
    part: NandPart, channel: Channel, own: Compiled, outcome: Outcome, served: int, carried: int, suspended: int
) -> None:
    """Raises RuntimeError where a channel's run breaks a rule that holds whatever is scheduled."""
    size = own.kind.size
    if served != size:
        raise RuntimeError(f"{part}: {size - served} of {size} operations can never be served")
    if not size:
        return
    elapsed = int(outcome.end.max())
    array = channel.array[own.kind, own.page % channel.types]
    wanted = size * channel.command + int(own.transfer.sum()) + 2 * suspended * channel.command
    faults = [
        (carried != wanted, f"the channel carried for {carried} ps, its operations take {wanted} ps"),
        (carried > elapsed, f"the channel carried for {carried} ps of {elapsed} ps"),
        (outcome.busy.max() > elapsed, f"a die worked for {outcome.busy.max()} ps of {elapsed} ps"),
        (int(outcome.busy.sum()) * channel.at_work < int(array.sum()), "the arrays worked for less than their operations take"),
        (np.any(outcome.start < own.arrival), "an operation started before it came"),
        (
            np.any(outcome.end - outcome.start < channel.command + own.transfer + array),
            "an operation took less than its command, its array and its transfer",
        ),
    ]
    broken = [message for fault, message in faults if fault]
    if broken:
        raise RuntimeError(f"{part}: " + "; ".join(broken))
