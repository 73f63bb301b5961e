"""The bank machines: each bank's row, and the request for which it was opened and which it holds (S2, S3, T3, T4).

A bank holds one request at most, so that the list H needs no places of its own: its requests stand with their banks, their rows
are the open ones, and an `Order` over the banks says which was opened first.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from memsys.controller.order import Order, chosen, number, saturating
from memsys.controller.ports import entry_layout
from memsys.part import Part
from memsys.reference.controller import Controller


class Banks(wiring.Component):
    """All banks of a channel. Ports, where [banks] has one bit for each bank:

    - ``request``, ``request_writes``: one that would enter the controller; ``request_hits``: its bank is open at its row;
      ``conflict``: its address is that of a request of the other kind that is held.
    - ``open`` [banks]; ``held`` [banks], ``empty``, ``room`` (for one more), ``urgent``, ``first_writes`` (0 where none is held).
    - ``read_ok``, ``write_ok`` [banks]: the column command of that kind is ready.
    - ``column``: the first of the held of the kind of the first of all that may be served. It is: nothing goes before it (T8).
    - ``opens`` [banks], ``opened``, ``opened_writes``: the ACT of this cycle and its request; ``closing`` [banks].
    """

    def __init__(self, part: Part, id_bits: int, controller: Controller):
        self.most, self.patience = controller.held, controller.patience
        entry, banks = entry_layout(part, id_bits), part.banks_per_channel
        super().__init__(
            {
                "request": In(entry),
                "request_writes": In(1),
                "request_hits": Out(1),
                "conflict": Out(1),
                "open": Out(banks),
                "held": Out(banks),
                "empty": Out(1),
                "room": Out(1),
                "urgent": Out(1),
                "first_writes": Out(1),
                "read_ok": In(banks),
                "write_ok": In(banks),
                "column": Out(data.StructLayout({"valid": 1, "write": 1, "entry": entry})),
                "opens": In(banks),
                "opened": In(entry),
                "opened_writes": In(1),
                "closing": In(banks),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks = len(self.open)
        rows = [Signal(len(self.request.row), name=f"row_{bank}", reset_less=True) for bank in range(banks)]
        columns = [Signal(len(self.request.column), name=f"column_{bank}", reset_less=True) for bank in range(banks)]
        ids = [Signal(len(self.request.id), name=f"id_{bank}", reset_less=True) for bank in range(banks)]
        writes, serve, offers = Signal(banks), Signal(banks), Signal(banks)

        m.d.sync += [
            self.open.eq((self.open & ~self.closing) | self.opens),
            self.held.eq((self.held & ~serve) | self.opens),
            writes.eq(Mux(self.opened_writes, writes | self.opens, writes & ~self.opens)),
        ]
        for bank, opens in enumerate(self.opens):
            with m.If(opens):
                m.d.sync += [
                    rows[bank].eq(self.opened.row),
                    columns[bank].eq(self.opened.column),
                    ids[bank].eq(self.opened.id),
                ]

        asked = Signal(banks)
        m.d.comb += [
            asked.eq(1 << self.request.bank),
            self.request_hits.eq((asked & self.open).any() & (chosen(asked, rows) == self.request.row)),
            self.conflict.eq(
                self.request_hits
                & (asked & self.held & (writes ^ self.request_writes.replicate(banks))).any()
                & (chosen(asked, columns) == self.request.column)
            ),
        ]

        order = Order(m, self.opens, "order")
        first = order.first(self.held, "of_all")
        m.d.comb += [
            self.empty.eq(~self.held.any()),
            self.urgent.eq(saturating(m, self.patience, self.empty | (first & serve).any(), "age")),
            self.first_writes.eq((first & writes).any()),
            offers.eq(
                Mux(self.urgent, first, self.held) & Mux(self.first_writes, writes & self.write_ok, ~writes & self.read_ok)
            ),
            serve.eq(order.first(offers, "to_serve")),
            self.column.valid.eq(serve.any()),
            self.column.write.eq(self.first_writes),
            self.column.entry.bank.eq(number(serve)),
            self.column.entry.column.eq(chosen(serve, columns)),
            self.column.entry.id.eq(chosen(serve, ids)),
        ]

        if self.most < banks:
            count = Signal(range(self.most + 1))
            m.d.sync += count.eq(count + self.opens.any() - self.column.valid)
            m.d.comb += self.room.eq(count != self.most)
        else:
            m.d.comb += self.room.eq(1)
        return m
