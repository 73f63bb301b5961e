"""The controller of a channel: queues, bank machines, refresh and timing, and the choice between their offers (T2, T8 to T10)."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from memsys.controller.banks import Banks
from memsys.controller.data_bus import DataBus
from memsys.controller.order import any_of
from memsys.controller.ports import command_layout, data_layout, entry_layout, request_layout
from memsys.controller.queue import RequestQueue
from memsys.controller.refresh import Refresh
from memsys.controller.timing import RANK_COMMANDS, Timing
from memsys.part import ROW_COMMANDS, Command, Part
from memsys.reference.controller import Controller


class ChannelRtl(wiring.Component):
    """Ports: ``requests``, ``commands`` and ``data``; see `memsys.controller`."""

    def __init__(self, part: Part, controller: Controller, id_bits: int):
        self.part, self.controller, self.id_bits = part, controller, id_bits
        self.split_bus = part.organisation.split_command_bus
        self.closed_page, self.per_bank = controller.page == "closed", controller.refresh == "per_bank"
        super().__init__(
            {
                "requests": In(stream.Signature(request_layout(part, id_bits))),
                "commands": Out(command_layout(part, id_bits)).array(2 if self.split_bus else 1),
                "data": Out(data_layout(id_bits)).array(part.organisation.pseudo_channels),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        part, controller, banks = self.part, self.controller, self.part.banks_per_channel
        self.known = [Command.ACT, Command.PRE, Command.RD, Command.WR]
        self.known += [Command.RDA, Command.WRA] if self.closed_page else []
        if controller.refresh != "none":
            self.known += [Command.REFPB] if self.per_bank else [Command.PREA, Command.REFAB]
        m.submodules.timing = self.timing = Timing(part, self.known)
        m.submodules.banks = self.banks = Banks(part, self.id_bits, controller)
        m.submodules.reads = self.reads = RequestQueue(part, self.id_bits, controller)
        m.submodules.writes = self.writes = RequestQueue(part, self.id_bits, controller)
        # A command that is chosen: its bank, what of its request is needed, and whether that writes.
        entry = entry_layout(part, self.id_bits)
        chosen = data.StructLayout({"valid": 1, "command": Command, "writes": 1, "entry": entry})
        self.column, self.row = Signal(chosen), Signal(chosen)
        self.offer = Signal(data.StructLayout({"valid": 1, "command": Command, "bank": range(banks)}))
        self.closed, self.late = Signal(banks), Signal(banks)  # to requests that wait, by refresh; its rank owes two
        self.auto = Signal(banks)  # a column command for the request that is held closes the bank

        self._accept(m)
        self._serve(m)
        if controller.refresh != "none":
            self._refresh(m)
        self._allow(m)
        self._choose(m)
        self._issue(m)
        self._put_out(m)
        return m

    def _ready(self, command: Command) -> Value:
        return getattr(self.timing, f"ready_{command.name}")

    def _accept(self, m: Module) -> None:
        """T10."""
        reads, writes, banks = self.reads, self.writes, self.banks
        kind, enters = self.requests.payload.write, Signal()
        refused = Mux(kind, writes.full | reads.conflict, reads.full | writes.conflict)
        m.d.comb += [
            banks.request.eq(self.requests.payload.as_value()[:-1]),
            banks.request_writes.eq(kind),
            self.requests.ready.eq(~refused & ~banks.conflict),
            enters.eq(self.requests.valid & self.requests.ready),
            reads.enters.eq(enters & ~kind),
            writes.enters.eq(enters & kind),
        ]
        for queue in (reads, writes):
            m.d.comb += [queue.entry.eq(banks.request), queue.entry_hits.eq(banks.request_hits)]

    def _serve(self, m: Module) -> None:
        """T2: M, 1 for writes."""
        before, now, reads, writes = Signal(), Signal(), self.reads, self.writes
        with m.If(reads.urgent):
            m.d.comb += now.eq(0)
        with m.Elif(writes.urgent):
            m.d.comb += now.eq(1)
        with m.Elif(before):
            m.d.comb += now.eq((writes.count > self.controller.drain_stop) | reads.empty)
        with m.Else():
            m.d.comb += now.eq((writes.count >= self.controller.drain_start) | reads.empty)
        m.d.sync += before.eq(now)
        self.serves_writes = now

    def _refresh(self, m: Module) -> None:
        """T1 and T5."""
        m.submodules.refresh = refresh = Refresh(self.part, per_bank=self.per_bank)
        close, renew = (Command.PRE, Command.REFPB) if self.per_bank else (Command.PREA, Command.REFAB)
        m.d.comb += [
            refresh.open.eq(self.banks.open),
            refresh.held.eq(self.banks.held),
            refresh.ready_close.eq(self._ready(close)),
            refresh.ready_refresh.eq(self._ready(renew)),
            refresh.taken.eq(self.row.valid & self.offer.valid),
            self.closed.eq(refresh.closed),
            self.late.eq(refresh.late),
            self.offer.eq(refresh.offer),
        ]

    def _allow(self, m: Module) -> None:
        """What may go to each bank if a request wants it (T4, T6, T7)."""
        banks = self.banks
        act_ok, pre_ok = Signal(len(self.closed)), Signal(len(self.closed))
        m.d.comb += [
            act_ok.eq(Mux(banks.room, self._ready(Command.ACT) & ~banks.open & ~self.closed & ~self.late, 0)),
            pre_ok.eq(self._ready(Command.PRE) & banks.open & ~banks.held & ~self.closed),
        ]
        if self.closed_page:
            m.d.comb += self.auto.eq(~Mux(self.serves_writes, self.writes.wanted, self.reads.wanted))
        for queue, kind, plain, closing, held_ok in (
            (self.reads, 0, Command.RD, Command.RDA, banks.read_ok),
            (self.writes, 1, Command.WR, Command.WRA, banks.write_ok),
        ):
            m.d.comb += [
                held_ok.eq(self._ready(plain)),
                queue.column_ok.eq(self._ready(plain) & ~self.closed),
                queue.act_ok.eq(act_ok),
                queue.pre_ok.eq(pre_ok),
                queue.columns_allowed.eq(~banks.urgent & (banks.empty | (banks.first_writes == kind))),
            ]
            if self.closed_page:
                m.d.comb += [
                    held_ok.eq((self.auto & self._ready(closing)) | (~self.auto & self._ready(plain))),
                    queue.auto_ok.eq(self._ready(closing) & ~self.closed),
                    queue.held.eq(banks.held),
                ]

    def _choose(self, m: Module) -> None:
        """T8: what is issued on the column bus and on the row bus, or on the one bus as either."""
        held, offer, column, row = self.banks.column, self.offer, self.column, self.row
        queued_column, queued_row = (
            Signal(getattr(self.reads, name).shape(), name=f"queued_{name}") for name in ("column", "row")
        )
        serves_column, serves_row = Signal(), Signal()
        not_column, not_row = (held.valid, offer.valid) if self.split_bus else (held.valid | offer.valid,) * 2
        offered = offer.valid if self.split_bus else offer.valid & ~held.valid
        m.d.comb += [
            queued_column.eq(Mux(self.serves_writes, self.writes.column, self.reads.column)),
            queued_row.eq(Mux(self.serves_writes, self.writes.row, self.reads.row)),
            serves_column.eq(queued_column.valid & ~not_column),
            serves_row.eq(queued_row.valid & ~not_row),
            column.valid.eq(held.valid | serves_column),
            column.writes.eq(Mux(held.valid, held.write, self.serves_writes)),
            column.entry.eq(Mux(held.valid, held.entry, queued_column.entry)),
            row.valid.eq(offered | serves_row),
            row.writes.eq(self.serves_writes),
            row.entry.eq(queued_row.entry),
        ]
        for queue, kind in ((self.reads, 0), (self.writes, 1)):
            served = self.serves_writes == kind
            m.d.comb += [
                queue.column_taken.eq(serves_column & served),
                queue.act_taken.eq(serves_row & served & queued_row.act),
            ]
        closes = Mux(held.valid, self.auto.bit_select(held.entry.bank, 1), queued_column.auto)
        with m.If(closes):
            m.d.comb += column.command.eq(Mux(column.writes, Command.WRA, Command.RDA))
        with m.Else():
            m.d.comb += column.command.eq(Mux(column.writes, Command.WR, Command.RD))
        with m.If(offer.valid):
            m.d.comb += [row.command.eq(offer.command), row.entry.bank.eq(offer.bank)]
        with m.Else():
            m.d.comb += row.command.eq(Mux(queued_row.act, Command.ACT, Command.PRE))

    def _issue(self, m: Module) -> None:
        """T9: who learns of the commands of this cycle."""
        banks, size = self.part.banks_per_channel, self.part.banks_per_rank
        at_column, at_row = Signal(banks), Signal(banks)  # the banks of the commands, one-hot
        m.d.comb += [
            at_column.eq(Mux(self.column.valid, 1 << self.column.entry.bank, 0)),
            at_row.eq(Mux(self.row.valid, 1 << self.row.entry.bank, 0)),
        ]
        for command in self.known:
            chosen, where = (self.row, at_row) if command in ROW_COMMANDS else (self.column, at_column)
            # A rank's first bank stands for it.
            target = Cat(where[bank] for bank in range(0, banks, size)) if command in RANK_COMMANDS else where
            m.d.comb += self._issued(command).eq(Mux(chosen.command == command, target, 0))
        closing, opens = Signal(banks), Signal()
        closed = [self._issued(command) for command in (Command.PRE, Command.RDA, Command.WRA) if command in self.known]
        if Command.PREA in self.known:
            closed.append(Cat(rank.replicate(size) for rank in self._issued(Command.PREA)))
        m.d.comb += [closing.eq(any_of(closed)), opens.eq(self.row.valid & (self.row.command == Command.ACT))]
        for queue in (self.reads, self.writes):
            m.d.comb += [queue.closing.eq(closing), queue.opens.eq(opens), queue.opened.eq(self.row.entry)]
        m.d.comb += [
            self.banks.closing.eq(closing),
            self.banks.opens.eq(self._issued(Command.ACT)),
            self.banks.opened.eq(self.row.entry),
            self.banks.opened_writes.eq(self.row.writes),
        ]

    def _issued(self, command: Command) -> Signal:
        return getattr(self.timing, f"issued_{command.name}")

    def _put_out(self, m: Module) -> None:
        """The command buses, from registers, and the data buses that follow the column commands on them."""
        column = Signal(self.column.shape(), name="column_on_bus")
        m.d.sync += column.eq(self.column)
        either = data.View(column.shape(), Mux(self.column.valid, self.column, self.row))
        for bus, chosen in zip(self.commands, (self.column, self.row) if self.split_bus else (either,), strict=True):
            m.d.sync += [
                bus.valid.eq(chosen.valid),
                bus.command.eq(chosen.command),
                bus.place.eq(chosen.entry.bank),
                bus.row.eq(chosen.entry.row),
                bus.column.eq(chosen.entry.column),
                bus.id.eq(chosen.entry.id),
            ]
        for number, bus in enumerate(self.data):
            m.submodules[f"data_bus_{number}"] = line = DataBus(self.part, self.id_bits)
            m.d.comb += [
                line.issued.eq(column.valid & (column.entry.bank // (self.part.banks_per_channel // len(self.data)) == number)),
                line.write.eq(column.writes),
                line.id.eq(column.entry.id),
                bus.eq(line.bus),
            ]
