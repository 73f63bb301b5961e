"""The RTL of the LUT tensor core: three pipeline stages, a drain buffer, and three down-counters.

Stage 1 registers a plane word and, before plane 0, the tables of the group. Stage 2 looks up, and adds to or subtracts from the
low bits of the accumulators, as many as an entry has. Stage 3 steps their high bits up or down by the carry, so that no carry
crosses INT32 in one cycle; for a segment's last plane it also writes the drain buffer, which leaves row by row while the next
segment computes. The table registers double (shift left by one) from plane to plane: the plane's weight 2^b costs
rows x 2^(K-1) shifts by one instead of a shifter behind each of the rows x columns multiplexers.

Stalls are decided by registers alone. Stage 2 fires when both of its operands are there, except that the last plane of a
segment waits while the drain buffer is in use. An input is ready when its register is empty or is used up in this cycle. No
`ready` of an input depends on the `ready` of an output, nor on a `valid` of its own cycle. The price: the drain buffer is
refilled two cycles after its last row has left (`timing.DRAIN_TURNAROUND`).
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.half_table import entries
from accel.base.streams import event_layout
from accel.lut_tensor_core.timing import ACCUMULATOR_BITS, RUN_BITS, group_counter_bits


def config_layout(unit) -> data.StructLayout:
    """Shape of a run: rows and columns in use, planes and K-groups per segment less one, segments in the run less one."""
    return data.StructLayout(
        {
            "rows": range(unit.rows + 1),
            "columns": range(unit.columns + 1),
            "planes": range(max(unit.weight_bits, 2)),
            "groups": group_counter_bits(unit.group),
            "segments": RUN_BITS,
        }
    )


class Core(wiring.Component):
    """Streams: ``config``, ``tables`` and ``weights`` in, ``results`` out; see `accel.lut_tensor_core` for their words."""

    def __init__(self, unit):
        self.unit = unit
        table = data.ArrayLayout(unit.entry_bits, entries(unit.group))
        column = data.StructLayout({"index": unit.group - 1, "negate": 1})
        row = data.StructLayout({"cells": data.ArrayLayout(ACCUMULATOR_BITS, unit.columns), "sum": ACCUMULATOR_BITS})
        super().__init__(
            {
                "config": In(stream.Signature(config_layout(unit))),
                "tables": In(stream.Signature(data.ArrayLayout(table, unit.rows))),
                "weights": In(stream.Signature(data.ArrayLayout(column, unit.columns))),
                "results": Out(stream.Signature(row)),
                "events": Out(self._event_layout()),
            }
        )

    def _event_layout(self) -> data.StructLayout:
        rows, columns = self.unit.rows, self.unit.columns
        return event_layout(
            table_load=rows,
            table_shift=rows,
            weight_load=columns,
            accumulate=rows * columns,
            sum_accumulate=rows,
            drain=rows * (columns + 1),
            output=1,
        )

    def elaborate(self, platform):
        m = Module()
        unit = self.unit
        rows, columns = range(unit.rows), range(unit.columns)

        # Control: what the plane in stage 2 is. Counters run down to zero; that they are there is a register, not a comparison,
        # because everything waits for `fire`.
        idle = Signal(init=1)
        running = Signal()  # planes of the run are still to come
        new = self.config.payload
        row_used = Signal(unit.rows)
        column_used = Signal(unit.columns)
        last_row_number = Signal(range(max(unit.rows, 2)))
        planes, plane = Signal.like(new.planes), Signal.like(new.planes)
        groups, group = Signal.like(new.groups), Signal.like(new.groups)
        segment = Signal.like(new.segments)
        one_group, last_group, last_segment = Signal(), Signal(), Signal()
        first_plane, first_group = Signal(), Signal()
        last_plane, last_of_segment, last_of_run = Signal(), Signal(), Signal()
        table_full, weight_full, drain_used, fire = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            last_plane.eq(plane == 0),
            last_of_segment.eq(last_plane & last_group),
            last_of_run.eq(last_of_segment & last_segment),
            fire.eq(table_full & weight_full & ~(last_of_segment & drain_used)),
            self.config.ready.eq(idle),
        ]
        with m.If(self.config.valid & idle):
            m.d.sync += [
                idle.eq(0),
                running.eq(1),
                row_used.eq(Cat(r < new.rows for r in rows)),
                column_used.eq(Cat(c < new.columns for c in columns)),
                last_row_number.eq(new.rows - 1),
                Cat(planes, groups).eq(Cat(new.planes, new.groups)),
                Cat(plane, group, segment).eq(Cat(new.planes, new.groups, new.segments)),
                Cat(one_group, last_group).eq((new.groups == 0).replicate(2)),
                last_segment.eq(new.segments == 0),
                Cat(first_plane, first_group).eq(0b11),
            ]
        with m.If(fire):
            m.d.sync += [plane.eq(plane - 1), first_plane.eq(last_plane)]
            with m.If(last_plane):
                m.d.sync += [plane.eq(planes), group.eq(group - 1), last_group.eq(group == 1), first_group.eq(last_group)]
            with m.If(last_of_segment):
                m.d.sync += [drain_used.eq(1), group.eq(groups), last_group.eq(one_group)]
                m.d.sync += [segment.eq(segment - 1), last_segment.eq(segment == 1)]
            with m.If(last_of_run):
                m.d.sync += running.eq(0)

        # Stage 1: one plane word, and the tables of one group. Nothing beyond the run is taken.
        load_table, load_weight = Signal(), Signal()
        table_used_up = fire & last_plane
        m.d.comb += [
            self.tables.ready.eq(running & (~table_full | (table_used_up & ~last_of_run))),
            self.weights.ready.eq(running & (~weight_full | (fire & ~last_of_run))),
            load_table.eq(self.tables.valid & self.tables.ready),
            load_weight.eq(self.weights.valid & self.weights.ready),
        ]
        m.d.sync += [
            table_full.eq(load_table | (table_full & ~table_used_up)),
            weight_full.eq(load_weight | (weight_full & ~fire)),
        ]
        weight = [Signal(self.weights.payload[c].shape(), name=f"weight_{c}", reset_less=True) for c in columns]
        load_column = Signal(unit.columns)
        m.d.comb += load_column.eq(Mux(load_weight, column_used, 0))
        for c in columns:
            with m.If(load_column[c]):
                m.d.sync += weight[c].eq(self.weights.payload[c])

        # Stages 2 and 3: table row r feeds the multiplexers of all columns, plane word c those of all rows.
        first, first_high, last_high, run_ends = Signal(), Signal(), Signal(), Signal()
        load_row, shift_row, fire_row, sum_row, high_row, drain_row = (Signal(unit.rows) for _ in range(6))
        m.d.comb += [
            first.eq(first_plane & first_group),
            load_row.eq(Mux(load_table, row_used, 0)),
            shift_row.eq(Mux(fire & ~last_plane, row_used, 0)),
            fire_row.eq(Mux(fire, row_used, 0)),
            sum_row.eq(Mux(fire & first_plane, row_used, 0)),
            drain_row.eq(Mux(last_high, row_used, 0)),
        ]
        m.d.sync += [
            high_row.eq(fire_row),
            first_high.eq(first),
            last_high.eq(fire & last_of_segment),
            run_ends.eq(last_of_run),
        ]
        drain, accumulates, drains = [], [], []
        for r in rows:
            table = self._table(m, r, load_row[r], shift_row[r])
            total, total_drain = (Signal(ACCUMULATOR_BITS, name=f"{name}_{r}", reset_less=True) for name in ("sum", "sum_drain"))
            with m.If(sum_row[r]):
                m.d.sync += total.eq(Mux(first_group, 0, total) + table[0])  # -T[0] is the sum of the group's activations
            with m.If(drain_row[r]):
                m.d.sync += total_drain.eq(total)
            fire_cell, high_cell, drain_cell = (
                Signal(unit.columns, name=f"{name}_cell_{r}") for name in ("fire", "high", "drain")
            )
            m.d.comb += [
                fire_cell.eq(Mux(fire_row[r], column_used, 0)),
                high_cell.eq(Mux(high_row[r], column_used, 0)),
                drain_cell.eq(Mux(drain_row[r], column_used, 0)),
            ]
            accumulates.append(_ones(fire_cell))
            drains.append(_ones(drain_cell))
            cells = []
            for c in columns:
                entry, negate = Array(table)[weight[c].index], weight[c].negate
                low = self._low_half(m, f"{r}_{c}", fire_cell[c], first, entry, negate)
                high = self._high_half(m, f"{r}_{c}", high_cell[c], first_high, low)
                cell = Signal(ACCUMULATOR_BITS, name=f"drain_{r}_{c}", reset_less=True)
                with m.If(drain_cell[c]):
                    m.d.sync += cell.eq(Cat(low[: self._low_bits], high))
                cells.append(cell)
            drain.append(Cat(*cells, total_drain))

        # Drain: one row per word.
        drain_full, ends = Signal(), Signal()
        row = Signal(range(max(unit.rows, 2)))
        m.d.comb += [self.results.valid.eq(drain_full), self.results.payload.eq(Array(drain)[row])]
        with m.If(last_high):
            m.d.sync += [drain_full.eq(1), row.eq(0), ends.eq(run_ends)]
        with m.If(drain_full & self.results.ready):
            m.d.sync += row.eq(row + 1)
            with m.If(row == last_row_number):
                m.d.sync += [drain_full.eq(0), drain_used.eq(0), idle.eq(ends)]

        m.d.comb += [
            self.events.table_load.eq(_ones(load_row)),
            self.events.table_shift.eq(_ones(shift_row)),
            self.events.weight_load.eq(_ones(load_column)),
            self.events.accumulate.eq(sum(accumulates)),
            self.events.sum_accumulate.eq(_ones(sum_row)),
            self.events.drain.eq(sum(drains) + _ones(drain_row)),
            self.events.output.eq(drain_full & self.results.ready),
        ]
        return m

    def _table(self, m, r, load, shift):
        """Table registers of row ``r``: loaded for plane 0, doubled for each further plane."""
        table = [
            Signal(signed(self._low_bits + 1), name=f"table_{r}_{i}", reset_less=True) for i in range(entries(self.unit.group))
        ]
        for i, entry in enumerate(table):
            with m.If(load):
                m.d.sync += entry.eq(self.tables.payload[r][i].as_signed())
            with m.Elif(shift):
                m.d.sync += entry.eq(entry << 1)
        return table

    @property
    def _low_bits(self) -> int:
        """Bits of a table register but for its sign: what stage 2 adds."""
        return self.unit.entry_bits + self.unit.weight_bits - 2

    def _low_half(self, m, name, enable, first, entry, negate):
        """Stage 2 of one cell: low + entry or low - entry by one adder, whose carry-in completes the two's complement.

        Returns a register: the sum, its carry, and the sign of what was added. high + carry - sign is left to stage 3.
        """
        low = Signal(self._low_bits + 2, name=f"low_{name}", reset_less=True)
        added = Signal(self._low_bits + 1, name=f"added_{name}")
        m.d.comb += added.eq(entry ^ negate.replicate(len(added)))
        with m.If(enable):
            following = Cat(1, Mux(first, 0, low[: self._low_bits])) + Cat(negate, added[:-1])
            m.d.sync += low.eq(Cat(following[1:], added[-1]))
        return low

    def _high_half(self, m, name, enable, first, low):
        """Stage 3 of one cell: the high bits step up, down or not at all. Returns what the register will hold."""
        high = Signal(ACCUMULATOR_BITS - self._low_bits, name=f"high_{name}", reset_less=True)
        following = Signal.like(high, name=f"high_following_{name}")
        carry, sign = low[-2], low[-1]
        step = Cat(carry ^ sign, sign & ~carry).as_signed()  # carry - sign
        m.d.comb += following.eq(Mux(first, 0, high) + step)
        with m.If(enable):
            m.d.sync += high.eq(following)
        return following


def _ones(bits):
    """How many of ``bits`` are set, by a tree of adders."""
    half = len(bits) // 2
    return bits if half == 0 else _ones(bits[:half]) + _ones(bits[half:])
