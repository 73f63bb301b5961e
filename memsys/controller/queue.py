"""The queue of waiting reads, or of waiting writes: what each could do in this cycle, and the oldest that may (T2, T6, T7).

A request keeps its place until it leaves. Beside it stands whether it is a *hit*, that is whether its bank is open at its row: a
flag that is corrected whenever a bank opens or closes, so that no row is compared before the decision.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from memsys.controller.order import Order, at_least_two, chosen, saturating
from memsys.controller.ports import entry_layout
from memsys.part import Part
from memsys.reference.controller import Controller


class RequestQueue(wiring.Component):
    """Requests of one kind, ``depth`` at most. Ports, where [banks] has one bit for each bank:

    - ``enters``, ``entry``, ``entry_hits``: a request enters at the end of this cycle, and whether it is a hit by the registers;
      ``conflict``: a request of the address of ``entry`` waits here.
    - ``full``, ``empty``, ``count``, ``urgent``, and ``wanted`` [banks]: the row that is open is wanted by a request.
    - ``column_ok``, ``act_ok``, ``pre_ok`` [banks]: the command may go to this bank if a request wants it, ``pre_ok`` apart from
      ``wanted``; ``columns_allowed``: column commands may be offered at all. For the closed page ``auto_ok``: the column command
      that closes its bank may go there, and ``held``: a held request wants the row.
    - ``column`` and ``row``: the oldest offer of each kind, or with one command bus the oldest of both as one of them.
    - ``column_taken``, ``act_taken``: it is issued at the end of this cycle, and leaves.
    - ``opens``, ``opened`` (bank and row), ``closing`` [banks]: what banks do at the end of this cycle.
    """

    def __init__(self, part: Part, id_bits: int, controller: Controller):
        self.depth, self.patience, self.closed_page = controller.depth, controller.patience, controller.page == "closed"
        self.split_bus = part.organisation.split_command_bus
        entry, banks = entry_layout(part, id_bits), part.banks_per_channel
        signature = {
            "enters": In(1),
            "entry": In(entry),
            "entry_hits": In(1),
            "conflict": Out(1),
            "full": Out(1),
            "empty": Out(1),
            "count": Out(range(self.depth + 1)),
            "urgent": Out(1),
            "wanted": Out(banks),
            "column_ok": In(banks),
            "act_ok": In(banks),
            "pre_ok": In(banks),
            "columns_allowed": In(1),
            "column": Out(data.StructLayout({"valid": 1, "auto": 1, "entry": entry})),
            "row": Out(data.StructLayout({"valid": 1, "act": 1, "entry": entry})),
            "column_taken": In(1),
            "act_taken": In(1),
            "opens": In(1),
            "opened": In(entry),
            "closing": In(banks),
        }
        if self.closed_page:
            signature |= {"auto_ok": In(banks), "held": In(banks)}
        super().__init__(signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth, banks = self.depth, len(self.closing)
        entries = [Signal(self.entry.shape(), name=f"entry_{i}", reset_less=True) for i in range(depth)]
        of_bank = [Signal(banks, name=f"of_bank_{i}") for i in range(depth)]  # the entry's bank, one-hot
        m.d.comb += [one.eq(1 << entry.bank) for one, entry in zip(of_bank, entries, strict=True)]
        valid, hit, enters, taken = (Signal(depth, name=name) for name in ("valid", "hit", "entering", "taken"))
        column, row = Signal(depth), Signal(depth)

        m.d.comb += [
            enters.eq(Mux(self.enters, ~valid & (valid + 1), 0)),  # the lowest place that is free
            taken.eq(Mux(self.column_taken, column, 0) | Mux(self.act_taken, row, 0)),
            self.full.eq(valid.all()),
            self.empty.eq(~valid.any()),
            self.conflict.eq((Cat(_address(entry) == _address(self.entry) for entry in entries) & valid).any()),
        ]
        m.d.sync += [
            valid.eq((valid & ~taken) | enters),
            self.count.eq(self.count + self.enters - self.column_taken - self.act_taken),
        ]
        for i, entry in enumerate(entries):
            stays = hit[i] & ~(of_bank[i] & self.closing).any()
            m.d.sync += hit[i].eq(stays | (self.opens & _same_row(entry, self.opened)))
            with m.If(enters[i]):
                m.d.sync += entry.eq(self.entry)
                stays = self.entry_hits & ~self.closing.bit_select(self.entry.bank, 1)
                m.d.sync += hit[i].eq(stays | (self.opens & _same_row(self.entry, self.opened)))

        order = Order(m, enters, "order")
        oldest = order.first(valid, "of_all")
        m.d.comb += self.urgent.eq(saturating(m, self.patience, self.empty | (oldest & taken).any(), "age"))

        wants = [Signal(depth, name=f"wants_{bank}") for bank in range(banks)]  # the hits of a bank
        m.d.comb += [w.eq(Cat(one[bank] for one in of_bank) & hit & valid) for bank, w in enumerate(wants)]
        m.d.comb += self.wanted.eq(Cat(w.any() for w in wants))
        column_ok, pre_ok, last = Signal(banks), Signal(banks), Signal(banks)
        m.d.comb += [column_ok.eq(self.column_ok), pre_ok.eq(self.pre_ok & (~self.wanted | self.urgent.replicate(banks)))]
        if self.closed_page:
            m.d.comb += last.eq(Cat(~at_least_two(w) for w in wants) & ~self.held)
            m.d.comb += column_ok.eq((last & self.auto_ok) | (~last & self.column_ok))

        served, acts, columns, rows = (Signal(depth, name=name) for name in ("served", "acts", "columns", "rows"))
        m.d.comb += [
            served.eq(Mux(self.urgent, oldest, valid)),
            acts.eq(Cat((one & self.act_ok).any() for one in of_bank)),
            columns.eq(Mux(self.columns_allowed, served & hit & Cat((one & column_ok).any() for one in of_bank), 0)),
            rows.eq(served & ~hit & (acts | Cat((one & pre_ok).any() for one in of_bank))),
        ]
        if self.split_bus:
            m.d.comb += [column.eq(order.first(columns, "column")), row.eq(order.first(rows, "row"))]
        else:
            either = order.first(columns | rows, "of_both")
            m.d.comb += [column.eq(either & columns), row.eq(either & rows)]
        m.d.comb += [
            self.column.valid.eq(column.any()),
            self.column.entry.eq(chosen(column, entries)),
            self.column.auto.eq(last.bit_select(self.column.entry.bank, 1)),
            self.row.valid.eq(row.any()),
            self.row.act.eq((row & acts).any()),
            self.row.entry.eq(chosen(row, entries)),
        ]
        return m


def _address(entry: data.View) -> Cat:
    return Cat(entry.column, entry.row, entry.bank)


def _same_row(entry: data.View, other: data.View) -> Cat:
    return Cat(entry.row, entry.bank) == Cat(other.row, other.bank)
