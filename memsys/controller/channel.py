"""The controller of a channel: queues, bank machines, refresh and timing, and the choice between their offers (T2, T8 to T10)."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from memsys.controller.banks import Banks
from memsys.controller.data_bus import DataBus
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
        buses = 2 if part.organisation.split_command_bus else 1
        super().__init__(
            {
                "requests": In(stream.Signature(request_layout(part, id_bits))),
                "commands": Out(command_layout(part, id_bits)).array(buses),
                "data": Out(data_layout(id_bits)).array(part.organisation.pseudo_channels),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, part, banks = self.controller, self.part, self.part.banks_per_channel
        closed_page, per_bank = c.page == "closed", c.refresh == "per_bank"
        known = [Command.ACT, Command.PRE, Command.RD, Command.WR, *([Command.RDA, Command.WRA] if closed_page else [])]
        if c.refresh != "none":
            known += [Command.REFPB] if per_bank else [Command.PREA, Command.REFAB]
        entry = entry_layout(part, self.id_bits)

        m.submodules.timing = timing = Timing(part, known)
        m.submodules.banks = held = Banks(part, self.id_bits, c)
        m.submodules.reads = reads = RequestQueue(part, self.id_bits, c)
        m.submodules.writes = writes = RequestQueue(part, self.id_bits, c)
        ready = {command: getattr(timing, f"ready_{command.name}") for command in known}
        column, row = Signal(_issue_layout(entry)), Signal(_issue_layout(entry))

        self._accept(m, reads, writes, held)
        serves_writes = self._served(m, reads, writes)

        refresh_closed, refresh_late, refreshes = Signal(banks), Signal(banks), Signal()
        offer = Signal(data.StructLayout({"valid": 1, "command": Command, "bank": range(banks)}))
        if c.refresh != "none":
            m.submodules.refresh = refresh = Refresh(part, per_bank=per_bank)
            close, renew = (Command.PRE, Command.REFPB) if per_bank else (Command.PREA, Command.REFAB)
            m.d.comb += [
                refresh.open.eq(held.open),
                refresh.held.eq(held.held),
                refresh.ready_close.eq(ready[close]),
                refresh.ready_refresh.eq(ready[renew]),
                refresh.taken.eq(refreshes),
                refresh_closed.eq(refresh.closed),
                refresh_late.eq(refresh.late),
                offer.eq(refresh.offer),
            ]

        # What each bank allows (T4, T6, T7).
        act_ok, pre_ok, auto = Signal(banks), Signal(banks), Signal(banks)
        m.d.comb += [
            act_ok.eq(Mux(held.room, ready[Command.ACT] & ~held.open & ~refresh_closed & ~refresh_late, 0)),
            pre_ok.eq(ready[Command.PRE] & held.open & ~held.held & ~refresh_closed),
            held.serves_writes.eq(serves_writes),
        ]
        if closed_page:
            m.d.comb += auto.eq(~Mux(serves_writes, writes.wanted, reads.wanted))
        kinds = ((reads, 0, Command.RD, Command.RDA, held.read_ok), (writes, 1, Command.WR, Command.WRA, held.write_ok))
        for queue, kind, command, closing, held_ok in kinds:
            m.d.comb += [
                held_ok.eq(ready[command]),
                queue.column_ok.eq(ready[command] & ~refresh_closed),
                queue.act_ok.eq(act_ok),
                queue.pre_ok.eq(pre_ok),
                queue.columns_allowed.eq(~held.urgent & (held.empty | (held.first_writes == kind))),
            ]
            if closed_page:
                m.d.comb += [
                    held_ok.eq((auto & ready[closing]) | (~auto & ready[command])),
                    queue.auto_ok.eq(ready[closing] & ~refresh_closed),
                    queue.held.eq(held.held),
                ]

        self._choose(m, reads, writes, held, serves_writes, offer, auto, column, row)
        m.d.comb += refreshes.eq(row.valid & offer.valid)
        self._issue(m, timing, known, (reads, writes, held), column, row)
        self._outputs(m, column, row)
        return m

    def _accept(self, m: Module, reads: RequestQueue, writes: RequestQueue, held: Banks) -> None:
        """T10."""
        request = Signal(held.request.shape())
        kind, enters = self.requests.payload.write, Signal()
        m.d.comb += [
            request.eq(self.requests.payload.as_value()[:-1]),
            held.request.eq(request),
            held.request_writes.eq(kind),
            self.requests.ready.eq(
                ~Mux(kind, writes.full | reads.conflict, reads.full | writes.conflict) & ~held.conflict,
            ),
            enters.eq(self.requests.valid & self.requests.ready),
            reads.enters.eq(enters & ~kind),
            writes.enters.eq(enters & kind),
        ]
        for queue in (reads, writes):
            m.d.comb += [queue.entry.eq(request), queue.entry_hits.eq(held.request_hits)]

    def _served(self, m: Module, reads: RequestQueue, writes: RequestQueue) -> Signal:
        """T2: M, 1 for writes."""
        before, now = Signal(), Signal()
        with m.If(reads.urgent):
            m.d.comb += now.eq(0)
        with m.Elif(writes.urgent):
            m.d.comb += now.eq(1)
        with m.Elif(before):
            m.d.comb += now.eq((writes.count > self.controller.drain_stop) | reads.empty)
        with m.Else():
            m.d.comb += now.eq((writes.count >= self.controller.drain_start) | reads.empty)
        m.d.sync += before.eq(now)
        return now

    def _choose(
        self,
        m: Module,
        reads: RequestQueue,
        writes: RequestQueue,
        held: Banks,
        serves_writes: Value,
        offer: data.View,
        auto: Value,
        column: data.View,
        row: data.View,
    ) -> None:
        """T8: what is issued on the column and the row bus, or on the one bus as one of both."""
        queued_column, queued_row = (Signal(getattr(reads, name).shape(), name=f"queued_{name}") for name in ("column", "row"))
        split, serve_column, serve_row = self.part.organisation.split_command_bus, Signal(), Signal()
        m.d.comb += [
            queued_column.eq(Mux(serves_writes, writes.column, reads.column)),
            queued_row.eq(Mux(serves_writes, writes.row, reads.row)),
            held.taken.eq(held.column.valid),
            serve_column.eq(queued_column.valid & ~held.column.valid & (split | ~offer.valid)),
            serve_row.eq(queued_row.valid & ~offer.valid & (split | ~held.column.valid)),
            column.valid.eq(held.column.valid | serve_column),
            row.valid.eq((offer.valid & (split | ~held.column.valid)) | serve_row),
            column.entry.eq(Mux(held.column.valid, held.column.entry, queued_column.entry)),
            row.entry.eq(queued_row.entry),
        ]
        for queue, kind in ((reads, 0), (writes, 1)):
            served = serves_writes == kind
            m.d.comb += [
                queue.column_taken.eq(serve_column & served),
                queue.act_taken.eq(serve_row & served & queued_row.act),
            ]
        write, closes = Signal(), Signal()
        m.d.comb += [
            write.eq(Mux(held.column.valid, held.column.write, serves_writes)),
            closes.eq(Mux(held.column.valid, auto.bit_select(held.column.entry.bank, 1), queued_column.auto)),
            column.command.eq(Mux(write, Mux(closes, Command.WRA, Command.WR), Mux(closes, Command.RDA, Command.RD))),
            column.writes.eq(write),
            row.writes.eq(serves_writes),
        ]
        with m.If(offer.valid):
            m.d.comb += [row.command.eq(offer.command), row.entry.bank.eq(offer.bank)]
        with m.Else():
            m.d.comb += row.command.eq(Mux(queued_row.act, Command.ACT, Command.PRE))

    def _issue(
        self,
        m: Module,
        timing: Timing,
        known: list[Command],
        lists: tuple[RequestQueue, RequestQueue, Banks],
        column: data.View,
        row: data.View,
    ) -> None:
        """T9: who learns of the commands of this cycle."""
        banks, size = self.part.banks_per_channel, self.part.banks_per_rank
        target = {bus: Signal(banks, name=f"{bus}_target") for bus in ("column", "row")}  # the bank, one-hot
        m.d.comb += [
            target["column"].eq(Mux(column.valid, 1 << column.entry.bank, 0)),
            target["row"].eq(Mux(row.valid, 1 << row.entry.bank, 0)),
        ]
        issued = {}
        for command in known:
            bus, choice = ("row", row) if command in ROW_COMMANDS else ("column", column)
            where: Value = target[bus]
            if command in RANK_COMMANDS:
                where = Cat(where[start] for start in range(0, banks, size))  # a rank's first bank stands for it
            issued[command] = Mux(choice.command == command, where, 0)
            m.d.comb += getattr(timing, f"issued_{command.name}").eq(issued[command])
        closing = Signal(banks)
        closed = [issued[command] for command in (Command.PRE, Command.RDA, Command.WRA) if command in issued]
        if Command.PREA in issued:
            closed.append(Cat(bit.replicate(size) for bit in getattr(timing, f"issued_{Command.PREA.name}")))
        opens = Signal()
        m.d.comb += [closing.eq(reduce(or_, closed)), opens.eq(row.valid & (row.command == Command.ACT))]
        for queue in lists:
            m.d.comb += [queue.closing.eq(closing), queue.opened.eq(row.entry)]
        reads, writes, held = lists
        m.d.comb += [
            reads.opens.eq(opens),
            writes.opens.eq(opens),
            held.opens.eq(issued[Command.ACT]),
            held.opened_writes.eq(row.writes),
        ]

    def _outputs(self, m: Module, column: data.View, row: data.View) -> None:
        """The command buses, from registers, and the data that follow from the column commands on them."""
        at_columns = Signal(column.shape(), name="at_columns")
        m.d.sync += at_columns.eq(column)
        choices = [column, row] if len(self.commands) == 2 else [Mux(column.valid, column, row)]
        for bus, choice in zip(self.commands, choices, strict=True):
            choice = data.View(column.shape(), choice)
            m.d.sync += [
                bus.valid.eq(choice.valid),
                bus.command.eq(choice.command),
                bus.place.eq(choice.entry.bank),
                bus.row.eq(choice.entry.row),
                bus.column.eq(choice.entry.column),
                bus.id.eq(choice.entry.id),
            ]
        per_bus = self.part.banks_per_channel // len(self.data)
        for i, bus in enumerate(self.data):
            m.submodules[f"data_bus_{i}"] = line = DataBus(self.part, self.id_bits)
            m.d.comb += [
                line.issued.eq(at_columns.valid & (at_columns.entry.bank // per_bus == i)),
                line.write.eq(at_columns.writes),
                line.id.eq(at_columns.entry.id),
                bus.eq(line.bus),
            ]


def _issue_layout(entry: data.StructLayout) -> data.StructLayout:
    """A command that is issued, its bank and what of its request is needed, and whether that writes."""
    return data.StructLayout({"valid": 1, "command": Command, "writes": 1, "entry": entry})
