"""Amaranth of the PIM controller: states of the banks, what PIM wants next, what reads and writes may do, and one bus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from memsys.part import Command
from pim.commands import AnyCommand, PimCommand
from pim.mixed import alone
from pim.pim_controller.counters import SENT, Counters
from pim.rules import GEMV, GWRITE, HEADER, PACT, PPRE
from pim.schedule import fixed_of_gwrite, fixed_of_tile, per_result

if TYPE_CHECKING:
    from pim.pim_controller import PimController

MOST_RESULTS = 16
ACT, PRE, RD, WR, REFAB = Command.ACT, Command.PRE, Command.RD, Command.WR, Command.REFAB


def operation_layout(spec: PimController) -> data.StructLayout:
    """A tile, or a GWRITE of ``row`` of ``bank``."""
    part = spec.part
    return data.StructLayout(
        {
            "tile": 1,
            "bank": range(part.banks_per_channel),
            "row": range(part.organisation.rows),
            "bursts": range(spec.most_bursts + 1),
            "results": range(MOST_RESULTS + 1),
        }
    )


def request_layout(spec: PimController) -> data.StructLayout:
    """A burst to read or write."""
    part = spec.part
    return data.StructLayout(
        {"write": 1, "bank": range(part.banks_per_channel), "row": range(part.organisation.rows), "id": spec.id_bits}
    )


def command_layout(spec: PimController) -> data.StructLayout:
    """A cycle of the command bus."""
    part = spec.part
    return data.StructLayout(
        {
            "valid": 1,
            "command": range(len(Command) + len(PimCommand)),
            "bank": range(part.banks_per_channel),
            "row": range(part.organisation.rows),
            "bursts": range((spec.most_bursts + 1) * MOST_RESULTS),
            "id": spec.id_bits,
        }
    )


class ControllerRtl(wiring.Component):
    """See `pim.pim_controller`."""

    def __init__(self, spec: PimController):
        self.spec = spec
        super().__init__(
            {
                "operations": In(stream.Signature(operation_layout(spec))),
                "requests": In(stream.Signature(request_layout(spec))),
                "command": Out(command_layout(spec)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec, part = self.spec, self.spec.part
        self.banks = part.banks_per_channel
        m.submodules.counters = self.counters = Counters(part, spec.dual, spec.most_bursts)
        self.chosen = {command: Signal(name=f"chosen_{command.name}") for command in SENT}
        self.busy = Signal()  # the bus is taken by PIM or a refresh
        self.row = Array(Signal(range(part.organisation.rows), name=f"row_{i}") for i in range(self.banks))
        self.open = Signal(self.banks)  # memory row buffers
        self.pim_open, self.pim_row = Signal(self.banks), Signal(range(part.organisation.rows))
        self.started, self.announced, self.yields = Signal(), Signal(), Signal()
        self.given = Signal(range(MOST_RESULTS + 1))  # GEMVs of the tile that have gone out
        self._refresh_timer(m)
        self._start(m)
        self._pim(m)
        self._requests(m)
        self._send(m)
        return m

    def _ready(self, command: AnyCommand) -> Signal:
        found: Signal = getattr(self.counters, f"ready_{command.name}")
        return found

    def _choose(self, m: Module, command: AnyCommand, bank: Value | int = 0, row: Value | int = 0) -> None:
        m.d.comb += [self.chosen[command].eq(1), self.command.bank.eq(bank), self.command.row.eq(row)]

    def _first(self, m: Module, able: Value, name: str) -> tuple[Signal, Signal]:
        """Whether any bit stands, and the lowest."""
        index, found = Signal(range(len(able)), name=f"{name}_first"), Signal(name=f"{name}_any")
        m.d.comb += found.eq(able.any())
        for i in reversed(range(len(able))):
            with m.If(able[i]):
                m.d.comb += index.eq(i)
        return found, index

    def _refresh_timer(self, m: Module) -> None:
        """``left``: cycles until the next refresh is due; ``owed`` by ``rank`` from then on until its REFAB."""
        spec = self.spec
        ranks = spec.part.organisation.ranks
        self.left = Signal(range(spec.interval + 1), init=spec.interval)
        self.due_rank, self.rank = Signal(range(max(ranks, 2))), Signal(range(max(ranks, 2)))
        self.waiting, self.owed = Signal(), Signal()
        m.d.sync += self.left.eq(Mux(self.left == 1, spec.interval, self.left - 1))
        with m.If(self.left == 1):
            m.d.sync += [self.waiting.eq(1), self.rank.eq(self.due_rank)]
            m.d.sync += self.due_rank.eq(Mux(self.due_rank == ranks - 1, 0, self.due_rank + 1))
        m.d.comb += self.owed.eq(self.waiting)
        with m.If(self.chosen[REFAB]):
            m.d.sync += self.waiting.eq(0)

    def _start(self, m: Module) -> None:
        """``runs``: the operation is under way, from the cycle on in which it starts."""
        part, op = self.spec.part, self.operations
        self.runs, self.refreshes = Signal(), Signal()
        tile = (
            fixed_of_tile(part, self.spec.dual)
            + Array(per_result(part, n) for n in range(self.spec.most_bursts + 1))[op.payload.bursts] * op.payload.results
        )
        needed = Signal(range(1 << 14))
        m.d.comb += needed.eq(self.counters.left + Mux(op.payload.tile, tile, fixed_of_gwrite(part)))
        fits = op.valid & ~self.owed & (self.left > needed)
        m.d.comb += [
            self.runs.eq(self.started | (fits & ~self.yields)),
            self.refreshes.eq(self.owed & ~self.started & ~self.yields),
        ]
        with m.If(self.runs):
            m.d.sync += self.started.eq(~self.operations.ready)

    def _pim(self, m: Module) -> None:
        """The next command of a refresh, of an operation, or to free the bank of the request that is served alone."""
        part, op = self.spec.part, self.operations.payload
        size, group = part.banks_per_rank, part.organisation.banks
        of_rank = Cat(self.rank == bank // size for bank in range(self.banks))
        same = Cat(row == op.row for row in self.row)
        shared = ~0 if not self.spec.dual else same
        to_pre = Mux(self.refreshes, self.open & of_rank, self.open & shared)[: self.banks]
        to_ppre = Mux(self.refreshes, self.pim_open & of_rank, self.pim_open)[: self.banks]
        closing = self.refreshes | (self.runs & op.tile & ~self.announced)
        pre, ppre = Signal(self.banks), Signal(self.banks)
        m.d.comb += [pre.eq(to_pre & self._ready(PRE)), ppre.eq(to_ppre & self._ready(PPRE))]
        able, first = self._first(m, pre | ppre, "closing")
        groups = Signal(self.banks // group)
        m.d.comb += groups.eq(Cat(~self.pim_open[g * group] for g in range(len(groups))))
        opens, which = self._first(m, groups & self._ready(PACT), "opening")
        m.d.comb += self.busy.eq(1)
        with m.If(closing & able):
            with m.If(pre.bit_select(first, 1)):
                self._choose(m, PRE, first)
            with m.Else():
                self._choose(m, PPRE, first)
        with m.Elif(closing & (to_pre.any() | to_ppre.any())):
            m.d.comb += self.busy.eq(0)
        with m.Elif(self.refreshes):
            with m.If(self._ready(REFAB).bit_select(self.rank, 1)):
                self._choose(m, REFAB, self.rank * size)
            with m.Else():
                m.d.comb += self.busy.eq(0)
        with m.Elif(self.runs & ~op.tile):
            self._gwrite(m)
        with m.Elif(self.runs & ~self.announced & self._ready(HEADER)[0]):
            self._choose(m, HEADER, 0, op.row)
            m.d.comb += self.command.bursts.eq(op.bursts * op.results)
            m.d.sync += self.announced.eq(1)
        with m.Elif(self.runs & self.announced & groups.any() & opens):
            self._choose(m, PACT, which * group, op.row)
        with m.Elif(self.runs & self.announced & ~groups.any() & self._ready(GEMV)[0]):
            self._choose(m, GEMV, 0, op.row)
            m.d.comb += self.command.bursts.eq(op.bursts)
            m.d.sync += self.given.eq(self.given + 1)
            with m.If(self.given + 1 == op.results):
                m.d.comb += self.operations.ready.eq(1)
                m.d.sync += [self.given.eq(0), self.announced.eq(0)]
        with m.Else():
            m.d.comb += self.busy.eq(0)

    def _gwrite(self, m: Module) -> None:
        op = self.operations.payload
        is_open, right = self.open.bit_select(op.bank, 1), self.row[op.bank] == op.row
        pim = self.pim_open.bit_select(op.bank, 1) & ((self.pim_row == op.row) | (not self.spec.dual))
        able = {command: self._ready(command).bit_select(op.bank, 1) for command in (PRE, PPRE, ACT, GWRITE)}
        with m.If(is_open & ~right & able[PRE]):
            self._choose(m, PRE, op.bank)
        with m.Elif(~is_open & pim & able[PPRE]):
            self._choose(m, PPRE, op.bank)
        with m.Elif(~is_open & ~pim & able[ACT]):
            self._choose(m, ACT, op.bank, op.row)
        with m.Elif(is_open & right & able[GWRITE]):
            self._choose(m, GWRITE, op.bank, op.row)
            m.d.comb += self.operations.ready.eq(1)
        with m.Else():
            m.d.comb += self.busy.eq(0)

    def _requests(self, m: Module) -> None:
        """The requests that wait, the oldest first, and the command that one of them sends in a free cycle."""
        spec, part, op = self.spec, self.spec.part, self.operations.payload
        layout = request_layout(spec)
        entries = [Signal(layout, name=f"entry_{i}") for i in range(spec.depth)]
        filled = Signal(spec.depth)
        m.d.comb += self.requests.ready.eq(~filled[-1])
        offers = Signal(spec.depth)
        kinds = []
        for i, entry in enumerate(entries):
            bank, row = entry.bank, entry.row
            is_open, right = self.open.bit_select(bank, 1), self.row[bank] == row
            taken = self.pim_open.bit_select(bank, 1) & ((self.pim_row == row) | (not spec.dual))
            kind = {
                RD: is_open & right & ~entry.write,
                WR: is_open & right & entry.write,
                PRE: is_open & ~right,
                ACT: ~is_open & ~taken,
            }
            able = Signal(name=f"able_{i}")
            m.d.comb += able.eq(Cat(kind[c] & self._ready(c).bit_select(bank, 1) for c in kind).any())
            older = Cat(filled[j] & (entries[j].bank == bank) for j in range(i)).any() if i else 0
            rank_of = bank // part.banks_per_rank
            kept = Signal(name=f"kept_{i}")  # away from what PIM is about to do
            tile = self.runs & op.tile & ((kind[ACT] & (self.announced | (row == op.row))) | (not spec.dual))
            gwrite = self.runs & ~op.tile & (rank_of == op.bank // part.banks_per_rank)
            m.d.comb += kept.eq(tile | gwrite | (self.refreshes & (rank_of == self.rank)) | (self.yields & bool(i)))
            m.d.comb += offers[i].eq(filled[i] & able & ~older & ~kept & ~self.busy)
            kinds.append(kind)
        self._patience(m, entries[0], filled[0])
        sends, which = self._first(m, offers, "request")
        served = Signal()
        with m.If(sends), m.Switch(which):
            for i, (entry, kind) in enumerate(zip(entries, kinds, strict=True)):
                with m.Case(i):
                    m.d.comb += [
                        self.command.bank.eq(entry.bank),
                        self.command.row.eq(entry.row),
                        self.command.id.eq(entry.id),
                    ]
                    m.d.comb += [self.chosen[command].eq(kind[command]) for command in kind]
                    m.d.comb += served.eq(kind[RD] | kind[WR])
        after = [Signal(layout, name=f"after_{i}") for i in range(spec.depth)]
        left = Signal(spec.depth)
        for i in range(spec.depth):
            moves = served & (which <= i)
            following = entries[i + 1] if i + 1 < spec.depth else entries[i]
            m.d.comb += after[i].eq(Mux(moves, following.as_value(), entries[i].as_value()))
            m.d.comb += left[i].eq(Mux(moves, filled[i + 1] if i + 1 < spec.depth else 0, filled[i]))
        enters = self.requests.valid & self.requests.ready
        for i in range(spec.depth):
            here = enters & ~left[i] & (left[i - 1] if i else 1)
            m.d.sync += entries[i].eq(Mux(here, self.requests.payload.as_value(), after[i].as_value()))
            m.d.sync += filled[i].eq(left[i] | here)
        self.served_first = served & (which == 0)
        with m.If(self.served_first):
            m.d.sync += [self.age.eq(0), self.yielding.eq(0)]

    def _patience(self, m: Module, entry: Signal, waits: Value) -> None:
        """Between operations the oldest request is served alone once it has been so for long enough, or where nothing else would
        close the PIM row in its way."""
        spec = self.spec
        self.age, self.yielding = Signal(range(spec.patience + 1)), Signal()
        with m.If(waits & (self.age != spec.patience)):
            m.d.sync += self.age.eq(self.age + 1)
        bank = entry.bank
        taken = self.pim_open.bit_select(bank, 1) & ((self.pim_row == entry.row) | (not spec.dual))
        closed = ~self.open.bit_select(bank, 1)
        lost = (self.age == spec.patience) | (closed & taken & ~self.operations.valid)
        in_time = ~self.owed & (self.left > alone(spec.part) + self.counters.left)
        m.d.comb += self.yields.eq(self.yielding | (waits & lost & ~self.started & in_time))
        with m.If(self.yields):
            m.d.sync += self.yielding.eq(1)
        with m.If(self.yields & closed & taken & self._ready(PPRE).bit_select(bank, 1)):
            self._choose(m, PPRE, bank)
            m.d.comb += self.busy.eq(1)

    def _send(self, m: Module) -> None:
        """What is chosen goes out, and the states of the banks follow."""
        part = self.spec.part
        group = part.organisation.banks
        counters, bank = self.counters, self.command.bank
        m.d.comb += [getattr(counters, f"sent_{command.name}").eq(chosen) for command, chosen in self.chosen.items()]
        m.d.comb += [counters.bank.eq(bank), counters.bursts.eq(self.operations.payload.bursts)]
        for command, chosen in self.chosen.items():
            with m.If(chosen):
                m.d.comb += [self.command.valid.eq(1), self.command.command.eq(int(command))]
        with m.If(self.chosen[PACT]):
            m.d.sync += self.pim_row.eq(self.command.row)
        for i in range(self.banks):
            here = bank == i
            with m.If(self.chosen[ACT] & here):
                m.d.sync += [self.open[i].eq(1), self.row[i].eq(self.command.row)]
            with m.If(self.chosen[PRE] & here):
                m.d.sync += self.open[i].eq(0)
            with m.If(self.chosen[PACT] & (bank == i - i % group)):
                m.d.sync += self.pim_open[i].eq(1)
            with m.If(self.chosen[PPRE] & here):
                m.d.sync += self.pim_open[i].eq(0)
