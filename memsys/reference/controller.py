"""Run the reference: requests in, cycles and counts out. Its rules are in `memsys.reference`, their code in `engine`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from accel.base.spec import Spec
from memsys.address_map import AddressMap, Location, whole_numbers, within
from memsys.constraints import Scope, table
from memsys.dram_energy import Activity
from memsys.part import Command, Part

if TYPE_CHECKING:
    from memsys.reference.engine import Channel, Outcome

Integers = NDArray[np.int64]


class Controller(Spec):
    """Parameters of the controller of a channel. The defaults of queues and write drain are those of Ramulator 2.1."""

    page: Literal["open", "closed"] = "open"
    """Open page: a row stays open until another is wanted. Closed page: closed with the last access that is waiting (T7)."""
    refresh: Literal["all_bank", "per_bank", "none"] = "all_bank"
    depth: int = Field(default=32, ge=1, le=256)
    """Requests that each of the queues R and W holds."""
    held: int = Field(default=16, ge=1, le=256)
    """Requests whose row has been opened for them, at most."""
    drain_start: int = Field(default=26, ge=1)
    """Writes waiting from which on they are served."""
    drain_stop: int = Field(default=6, ge=0)
    """Writes waiting at which reads are served again."""
    patience: int = Field(default=2048, ge=1)
    """Cycles at the head of a list after which a request is served alone; `least_patience` at least."""

    @model_validator(mode="before")
    @classmethod
    def _drain_of_depth(cls, data: dict[str, object]) -> dict[str, object]:
        """Drain from above four fifths of the queue to below one fifth, where the file does not say."""
        depth = data.get("depth", 32)
        if not isinstance(depth, int) or depth < 1:
            return data
        return {"drain_start": 4 * depth // 5 + 1, "drain_stop": (depth - 1) // 5, **data}

    @model_validator(mode="after")
    def _drain_within_depth(self) -> Controller:
        if not self.drain_stop < self.drain_start <= self.depth:
            raise ValueError(
                f"wanted drain_stop < drain_start <= depth, got {self.drain_stop}, {self.drain_start} and {self.depth}"
            )
        return self

    def least_patience(self, part: Part) -> int:
        """Cycles of ``patience`` from which on nobody starves on ``part``: from ACT to the next ACT of a bank.

        That is max(tRC, tRCD_RD + tRTP + tRP, tRCD_WR + CWL + burst + tWR + tRP).
        """
        t = part.timing
        return max(t.trc, t.trcd_rd + t.trtp + t.trp, t.trcd_wr + part.write_recovery + t.trp)

    def check(self, part: Part) -> None:
        """Raises ValueError where ``part`` does not know the refresh, or requests could starve on it."""
        if self.refresh == "per_bank" and not part.per_bank_refresh:
            raise ValueError(f"refresh: wanted all_bank or none, as {part} has no per-bank refresh, got per_bank")
        least = self.least_patience(part)
        if self.patience < least:
            raise ValueError(
                f"patience: wanted at least the {least} cycles between rows of a bank of {part}, or writes starve, "
                f"got {self.patience}"
            )


@dataclass(frozen=True)
class Requests:
    """Bursts to read or write, in the order in which they are offered to each channel; arrays of one length.

    ``arrival``: the first cycle in which a request is offered, in order; all are offered from cycle 0 on where it is None.
    """

    location: Location
    write: NDArray[np.bool_]
    arrival: Integers | None = None

    @staticmethod
    def at(
        addresses: Integers,
        part: Part,
        mapping: AddressMap,
        channels: int | None = None,
        write: NDArray[np.bool_] | None = None,
        arrival: Integers | None = None,
    ) -> Requests:
        """Requests for the bursts at byte ``addresses``; reads where ``write`` is None. Raises ValueError as `decode`."""
        addresses = np.asarray(addresses)
        location = mapping.decode(addresses, part, channels)
        return Requests(location, np.zeros(addresses.size, dtype=np.bool_) if write is None else write, arrival)


class Issued(NamedTuple):
    """One command of a trace. ``bank`` is the rank's first for PREA and REFAB; ``row`` and ``request`` are -1 where none is."""

    cycle: int
    command: Command
    bank: int
    row: int
    request: int


def issued_of(log: Integers) -> list[Issued]:
    """The commands of a log [commands, 5]."""
    return [Issued(cycle, Command(command), *rest) for cycle, command, *rest in log.tolist()]


@dataclass(frozen=True)
class Run:
    """What became of the requests of one or more channels of ``part``."""

    part: Part
    cycles: int
    """Until the last data of the last channel."""
    entered: Integers
    """[requests]: the cycle of acceptance."""
    done: Integers
    """[requests]: the cycle after the last data."""
    counts: Integers
    """[channels, ranks, commands]; ranks over pseudo channels."""
    active: Integers
    """[channels, ranks]: cycles in which a bank of the rank is open."""
    row_hits: int
    """Requests that found their row open, opened by another."""
    trace: list[list[Issued]] = field(default_factory=list)
    """For each channel, its commands in order, where they were asked for."""

    @property
    def gb_per_s(self) -> float:
        """Bytes moved per nanosecond: 10^9 B/s. 0 without requests, as are the hit rate and the latency."""
        if not self.done.size:
            return 0.0
        return self.done.size * self.part.burst_bytes / float(self.cycles * self.part.timing.tck / 1000)

    @property
    def activity(self) -> Activity:
        """What `memsys.dram_energy` prices: commands, and cycles with a bank open and with none, over all ranks."""
        active, ranks = int(self.active.sum()), self.active.size
        commands = dict(zip(Command, self.counts.sum(axis=(0, 1)).tolist(), strict=True))
        return Activity(commands, {"active": active, "precharged": ranks * self.cycles - active})

    @property
    def hit_rate(self) -> float:
        """Share of the requests that found their row open."""
        return self.row_hits / self.done.size if self.done.size else 0.0

    @property
    def latency(self) -> float:
        """Mean cycles from acceptance to the last data."""
        return float((self.done - self.entered).mean()) if self.done.size else 0.0


def run(part: Part, requests: Requests, controller: Controller | None = None, *, until: int = 0, traced: bool = False) -> Run:
    """Serve ``requests`` by one ``controller`` for each channel, for ``until`` cycles at least.

    Raises ValueError where the controller does not fit the part (`Controller.check`), a request lies outside of it, or the
    arrivals are not in order.
    """
    # Numba takes a second to import, so only what simulates does.
    from memsys.reference.engine import Outcome, simulate
    from memsys.reference.engine import Requests as Compiled

    controller = controller or Controller()
    channel = channel_of(part, controller)
    _check(part, requests)
    size, ranks = requests.write.size, channel.ranks
    channels = int(requests.location.channel.max()) + 1 if size else 1
    entered, done = np.zeros(size, np.int64), np.zeros(size, np.int64)
    counts = np.zeros((channels, ranks, len(Command)), np.int64)
    active = np.zeros((channels, ranks), np.int64)
    arrival = np.zeros(size, np.int64) if requests.arrival is None else requests.arrival
    cycles, row_hits, traces = 0, 0, []
    for number in range(channels):
        chosen = np.flatnonzero(requests.location.channel == number) if channels > 1 else np.arange(size)
        columns = (requests.write, requests.location.bank, requests.location.row, requests.location.column, arrival)
        own = Compiled(*(column[chosen].astype(np.int64) for column in columns))

        def once(log: int, own: Compiled = own) -> tuple[int, int, int, Outcome]:
            filled = Outcome(
                np.zeros(own.bank.size, np.int64),
                np.zeros(own.bank.size, np.int64),
                np.zeros((ranks, len(Command)), np.int64),
                np.zeros(ranks, np.int64),
                np.zeros((log, 5), np.int64),
            )
            return *simulate(channel, own, filled, until), filled

        end, hits, commands, outcome = once(0)
        if end < 0:
            raise RuntimeError(f"{part}: no command of channel {number} can ever be issued again")
        if traced:
            log = once(commands)[-1].log
            traces.append([Issued(t, Command(c), b, row, int(chosen[q]) if q >= 0 else -1) for t, c, b, row, q in log.tolist()])
        entered[chosen], done[chosen] = outcome.entered, outcome.done
        counts[number], active[number] = outcome.counts, outcome.active
        cycles, row_hits = max(cycles, end), row_hits + hits
    return Run(part, cycles, entered, done, counts, active, row_hits, traces)


def trace(part: Part, requests: Requests, controller: Controller | None = None, *, until: int = 0) -> list[list[Issued]]:
    """For each channel its commands with their cycles, in order; of one cycle, the column command first."""
    return run(part, requests, controller, until=until, traced=True).trace


def _check(part: Part, requests: Requests) -> None:
    size, arrival = requests.write.size, requests.arrival
    columns = requests.location._asdict() | ({} if arrival is None else {"arrival": arrival})
    for name, values in columns.items():
        if values.size != size:
            raise ValueError(
                f"wanted {'an' if name == 'arrival' else 'a'} {name} for each of the {size} requests, got {values.size}"
            )
    within(requests.location, part)
    if arrival is not None and size:
        whole_numbers("arrival", arrival)
        if arrival.min() < 0:
            raise ValueError(f"arrival: wanted cycles from 0 on, got {arrival.min()}")
        earlier = np.flatnonzero(np.diff(arrival) < 0)
        if earlier.size:
            at = int(earlier[0]) + 1
            raise ValueError(f"arrival: wanted cycles in order, got {arrival[at]} after {arrival[at - 1]} (request {at})")


def channel_of(part: Part, controller: Controller) -> Channel:
    """The part, its rules and the controller as numbers. Raises ValueError as `Controller.check`."""
    controller.check(part)
    from memsys.reference.engine import Channel

    o, t = part.organisation, part.timing
    per_bank = controller.refresh == "per_bank"
    interval = {"none": 0, "all_bank": t.trefi, "per_bank": t.trefi_pb or 0}[controller.refresh]
    rules, first = rules_by_command(table(part))
    return Channel(
        nodes=nodes(part),
        rank_of=np.arange(part.banks_per_channel, dtype=np.int64) // part.banks_per_rank,
        rules=rules,
        first=first,
        ranks=o.pseudo_channels * o.ranks,
        ranks_per_pseudo_channel=o.ranks,
        banks_per_rank=part.banks_per_rank,
        split_bus=o.split_command_bus,
        read_delay=t.cl + part.burst_cycles,
        write_delay=t.cwl + part.burst_cycles,
        interval=interval,
        per_bank=per_bank,
        closed_page=controller.page == "closed",
        depth=controller.depth,
        held=controller.held,
        drain_start=controller.drain_start,
        drain_stop=controller.drain_stop,
        patience=controller.patience,
    )


def rules_by_command(rows: Integers) -> tuple[Integers, Integers]:
    """`memsys.constraints.table` in the order of the command issued, as `Channel.rules` and `Channel.first` want it."""
    rows = rows[np.argsort(rows[:, 1], kind="stable")]
    windowed = rows[:, 4] > 1
    number = np.where(windowed, np.cumsum(windowed) - 1, 0)
    rules = np.column_stack((rows[:, 0], rows[:, 2], rows[:, 3], rows[:, 4], number))
    return rules, np.searchsorted(rows[:, 1], np.arange(len(Command) + 1)).astype(np.int64)


def nodes(part: Part) -> Integers:
    """[banks, 5]: for each bank the number of its channel, pseudo channel, rank, bank group and itself, counted through."""
    o = part.organisation
    bank = np.arange(part.banks_per_channel)
    sizes = {Scope.BANK: 1, Scope.BANK_GROUP: o.banks, Scope.RANK: part.banks_per_rank}
    sizes[Scope.PSEUDO_CHANNEL] = o.ranks * part.banks_per_rank
    sizes[Scope.CHANNEL] = part.banks_per_channel
    levels, start = [], 0
    for scope in (Scope.CHANNEL, Scope.PSEUDO_CHANNEL, Scope.RANK, Scope.BANK_GROUP, Scope.BANK):
        levels.append(start + bank // sizes[scope])
        start += part.banks_per_channel // sizes[scope]
    return np.column_stack(levels).astype(np.int64)
