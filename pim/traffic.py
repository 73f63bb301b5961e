"""Reads and writes that share a PIM channel with its tiles: which of their commands may go out in a cycle that PIM leaves free.

Requests to one bank are served in their order; the next command of each bank's first request (PRE, ACT, RD or WR) may go out, the
oldest request first. Rows stay open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from memsys.part import Command
from pim.channel import CLOSED, Channel
from pim.commands import Issued


class Access(NamedTuple):
    """A burst to read or write, from cycle ``arrival`` on."""

    arrival: int
    bank: int
    row: int
    write: bool = False


@dataclass
class Traffic:
    """``waiting`` accesses in the order of their arrival; ``latencies`` from arrival to column command of those served."""

    waiting: list[Access]
    latencies: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, accesses: Iterable[Access]) -> Traffic:
        """The accesses in the order of their arrival."""
        return cls(sorted(accesses, key=lambda access: access.arrival))

    def oldest(self, now: int) -> Access | None:
        """The access that has waited longest."""
        return self.waiting[0] if self.waiting and self.waiting[0].arrival <= now else None

    def offers(self, channel: Channel, now: int, blocked: Collection[int] = ()) -> Iterator[tuple[Access, Issued]]:
        """Commands that break no rule in cycle ``now`` and go to none of the ``blocked`` banks, the oldest access first."""
        seen = set(blocked)
        for access in self.waiting:
            if access.arrival > now:
                return
            if access.bank in seen:
                continue
            seen.add(access.bank)
            issued = self.wanted(channel, access, now)
            if issued is not None and channel.earliest(issued.command, issued.bank, since=now) == now:
                yield access, issued

    def wanted(self, channel: Channel, access: Access, now: int) -> Issued | None:
        """The next command of ``access``; None while PIM has its row, or with a single row buffer any row of its bank."""
        taken = channel.pim_row[access.bank]
        row = channel.row[access.bank]
        if row == access.row:
            return Issued(now, Command.WR if access.write else Command.RD, access.bank, row)
        if row != CLOSED:
            return Issued(now, Command.PRE, access.bank)
        if taken == access.row or (taken != CLOSED and not channel.dual):
            return None
        return Issued(now, Command.ACT, access.bank, access.row)

    def issue(self, channel: Channel, access: Access, issued: Issued) -> None:
        """Send ``issued`` for ``access``, which is served if that is its column command."""
        channel.issue(issued)
        if issued.command in (Command.RD, Command.WR):
            self.waiting.remove(access)
            self.latencies.append(issued.cycle - access.arrival)
