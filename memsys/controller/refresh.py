"""The refresh timer, what each rank owes, and what it offers to pay it (T1, T5)."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from memsys.controller.order import any_of, number
from memsys.part import Command, Part

OWED_BITS = 4
"""Refreshes that a rank can owe: 15. JEDEC lets it put off 8, and a rank that owes two opens no row until it has refreshed."""


class Refresh(wiring.Component):
    """Refreshes every tREFI of each rank, or every tREFI_PB of one bank of each. Ports, where [banks] has one bit for each bank:

    - ``open``, ``held``, ``ready_close``, ``ready_refresh``: the banks, and where PREA and REFAB (one bit for each rank) or PRE
      and REFPB (one for each bank) are ready.
    - ``closed`` [banks]: to requests that wait; ``late`` [banks]: its rank owes two or more.
    - ``offer``: the command of the first rank that has one which is ready, to the rank's first bank or to one bank; ``taken``.
    """

    def __init__(self, part: Part, *, per_bank: bool):
        self.per_bank = per_bank
        self.interval = (part.timing.trefi_pb if per_bank else None) or part.timing.trefi
        banks = part.banks_per_channel
        self.ranks, self.banks_per_rank = banks // part.banks_per_rank, part.banks_per_rank
        targets = banks if per_bank else self.ranks
        super().__init__(
            {
                "open": In(banks),
                "held": In(banks),
                "ready_close": In(targets),
                "ready_refresh": In(targets),
                "closed": Out(banks),
                "late": Out(banks),
                "offer": Out(data.StructLayout({"valid": 1, "command": Command, "bank": range(banks)})),
                "taken": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size, ranks = self.banks_per_rank, self.ranks
        since, due = Signal(range(self.interval)), Signal()  # cycles since the last was due; one is due in the next cycle
        m.d.comb += due.eq(since == self.interval - 1)
        m.d.sync += since.eq(Mux(due, 0, since + 1))

        owed = [Signal(OWED_BITS, name=f"owed_{rank}") for rank in range(ranks)]
        offers, closes, first, targets = Signal(ranks), Signal(ranks), Signal(ranks), []
        for rank in range(ranks):
            banks = slice(rank * size, (rank + 1) * size)
            done = self.taken & first[rank] & ~closes[rank]
            m.d.sync += owed[rank].eq(owed[rank] + due - done)
            owes = owed[rank] != 0
            turn = self._turn(m, rank, done)
            opened, held = (self.open[banks] & turn).any(), (self.held[banks] & turn).any()
            where = banks if self.per_bank else slice(rank, rank + 1)
            of_target = turn if self.per_bank else Const(1, 1)
            ready = [(bits[where] & of_target).any() for bits in (self.ready_close, self.ready_refresh)]
            m.d.comb += [
                self.closed[banks].eq(Mux(owes, turn, 0)),
                self.late[banks].eq((owed[rank] > 1).replicate(size)),
                closes[rank].eq(opened),
                offers[rank].eq(owes & Mux(opened, ready[0] & ~held, ready[1])),
            ]
            targets.append(Mux(first[rank], Const(rank * size, len(self.offer.bank)) | (number(turn) if self.per_bank else 0), 0))
        closing, refreshing = (Command.PRE, Command.REFPB) if self.per_bank else (Command.PREA, Command.REFAB)
        m.d.comb += [
            first.eq(offers & -offers),
            self.offer.valid.eq(offers.any()),
            self.offer.command.eq(Mux((first & closes).any(), closing, refreshing)),
            self.offer.bank.eq(any_of(targets)),
        ]
        return m

    def _turn(self, m: Module, rank: int, done: Value) -> Value:
        """The banks of a rank that its next refresh is for: one, in a ring, or all of them."""
        if not self.per_bank:
            return Const(-1, self.banks_per_rank)
        turn = Signal(self.banks_per_rank, init=1, name=f"turn_{rank}")
        with m.If(done):
            m.d.sync += turn.eq(Cat(turn[-1], turn[:-1]))
        return turn
