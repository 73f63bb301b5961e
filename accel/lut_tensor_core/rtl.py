"""The RTL of the LUT tensor core: its streams, its control, the registers of stage 1, and the drain buffer.

Stage 1 registers a plane word and, before plane 0, the tables of the group. Stage 2 looks up. What the accumulators are, and what
stage 2 and those after it do to them, is the cells' business: `cells_int` for INT8 activations, `cells_float` for FP16 ones. The
last of these stages also writes the drain buffer for a segment's last plane, which leaves row by row while the next segment
computes. The table registers double from plane to plane: the plane's weight 2^b costs rows x 2^(K-1) doublings instead of a
shifter behind each of the rows x columns multiplexers.

Stalls are decided by registers alone. Stage 2 fires when both of its operands are there, except that the last plane of a
segment waits while the drain buffer is in use. An input is ready when its register is empty or is used up in this cycle. No
`ready` of an input depends on the `ready` of an output, nor on a `valid` of its own cycle. The price: the drain buffer is
refilled two cycles after its last row has left, or three (`timing.BUFFER_FREE` and `timing.finish`).
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.streams import count_ones, event_layout
from accel.lut_tensor_core.cells_float import CodeTableCells, HalfTableCells
from accel.lut_tensor_core.cells_int import IntegerCells
from accel.lut_tensor_core.stages import Plane, follow
from accel.lut_tensor_core.timing import RUN_BITS, finish, group_counter_bits

CELLS: dict[str | None, type[IntegerCells] | type[HalfTableCells] | type[CodeTableCells]] = {
    None: IntegerCells,
    "fp16": HalfTableCells,
    "int8": CodeTableCells,
}
"""What the tables of a unit with the field ``table`` feed."""


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
        fields, width = unit.table_fields
        table = data.ArrayLayout(width, fields)
        column = data.StructLayout({"index": unit.group - 1, "negate": 1})
        width = unit.accumulator_bits
        row = data.StructLayout({"cells": data.ArrayLayout(width, unit.columns), "sum": width})
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
            **({"group_accumulate": rows * columns} if self.unit.table == "int8" else {}),
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

        # Stage 2 and after: table row r feeds the multiplexers of all columns, plane word c those of all rows.
        first, last_high, run_ends = (Signal() for _ in range(3))
        load_row, shift_row, fire_row, sum_row, drain_row = (Signal(unit.rows) for _ in range(5))
        m.d.comb += [
            first.eq(first_plane & first_group),
            load_row.eq(Mux(load_table, row_used, 0)),
            shift_row.eq(Mux(fire & ~last_plane, row_used, 0)),
            fire_row.eq(Mux(fire, row_used, 0)),
            sum_row.eq(Mux(fire & first_plane, row_used, 0)),
            drain_row.eq(Mux(last_high, row_used, 0)),
        ]
        plane = Plane(fire, first, first_plane, last_plane, first_group, row_used, fire_row, sum_row, last_high)
        cells = CELLS[unit.table](m, unit, plane)
        follow(m, last_high, fire & last_of_segment, finish(unit.table))
        follow(m, run_ends, last_of_run, finish(unit.table))
        drain, accumulates, highs, drains = [], [], [], []
        for r in rows:
            table = cells.table(r, self.tables.payload[r], load_row[r], shift_row[r])
            total = cells.total(r, table)
            total_drain = Signal(unit.accumulator_bits, name=f"sum_drain_{r}", reset_less=True)
            with m.If(drain_row[r]):
                m.d.sync += total_drain.eq(total)
            fire_cell, high_cell, drain_cell = (
                Signal(unit.columns, name=f"{name}_cell_{r}") for name in ("fire", "high", "drain")
            )
            m.d.comb += [
                fire_cell.eq(Mux(fire_row[r], column_used, 0)),
                high_cell.eq(Mux(cells.high_row[r], column_used, 0)),
                drain_cell.eq(Mux(drain_row[r], column_used, 0)),
            ]
            accumulates.append(count_ones(fire_cell))
            highs.append(count_ones(high_cell))
            drains.append(count_ones(drain_cell))
            row_drain = []
            for c in columns:
                entry, negate = Array(table)[weight[c].index], weight[c].negate
                result = cells.cell(r, c, fire_cell[c], high_cell[c], entry, negate)
                cell = Signal(unit.accumulator_bits, name=f"drain_{r}_{c}", reset_less=True)
                with m.If(drain_cell[c]):
                    m.d.sync += cell.eq(result)
                row_drain.append(cell)
            drain.append(Cat(*row_drain, total_drain))

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
            self.events.table_load.eq(count_ones(load_row)),
            self.events.table_shift.eq(count_ones(shift_row)),
            self.events.weight_load.eq(count_ones(load_column)),
            self.events.accumulate.eq(sum(accumulates)),
            self.events.sum_accumulate.eq(count_ones(sum_row)),
            self.events.drain.eq(sum(drains) + count_ones(drain_row)),
            self.events.output.eq(drain_full & self.results.ready),
        ]
        if unit.table == "int8":
            m.d.comb += self.events.group_accumulate.eq(sum(highs))
        return m
