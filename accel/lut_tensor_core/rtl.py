"""The RTL of the LUT tensor core: two pipeline stages, a drain buffer, and three down-counters.

Stage 1 registers a plane word and, before plane 0, the tables of the group. Stage 2 looks up, negates, adds. The table
registers double (shift left by one) from plane to plane, so the plane's weight 2^b costs rows x 2^(K-1) shifts by one instead
of a shifter behind each of the rows x columns multiplexers. The adder of the last plane of a segment writes the drain buffer
too, which is sent row by row while the next segment computes.

Stalls are decided by registers alone. Stage 2 fires when both of its operands are there, except that the last plane of a
segment waits while the drain buffer is not yet empty; an input is ready when its register is empty or is used up in this
cycle. No `ready` of an input depends on the `ready` of an output or on any `valid` of its own cycle. The price: a refill of the
drain buffer starts one cycle after its last row has left (`timing.DRAIN_TURNAROUND`).
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.half_table import entries, entry_bits
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
        table = data.ArrayLayout(entry_bits(unit.group), entries(unit.group))
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

        # Control: what the next plane is, in counters that run down to zero.
        idle = Signal(init=1)
        running = Signal()  # planes of the run are still to come
        new = self.config.payload
        row_used = Signal(unit.rows)
        column_used = Signal(unit.columns)
        last_row_number = Signal(range(max(unit.rows, 2)))
        planes, plane = Signal.like(new.planes), Signal.like(new.planes)
        groups, group = Signal.like(new.groups), Signal.like(new.groups)
        segment = Signal.like(new.segments)
        first_plane = Signal()
        first_group = Signal()
        last_plane = plane == 0
        last_of_segment = Signal()
        last_of_run = Signal()
        m.d.comb += last_of_segment.eq(last_plane & (group == 0))
        m.d.comb += last_of_run.eq(last_of_segment & (segment == 0))

        table_full, weight_full, drain_full = Signal(), Signal(), Signal()
        fire = Signal()
        m.d.comb += fire.eq(table_full & weight_full & ~(last_of_segment & drain_full))

        m.d.comb += self.config.ready.eq(idle)
        with m.If(self.config.valid & idle):
            m.d.sync += [
                idle.eq(0),
                running.eq(1),
                row_used.eq(Cat(r < new.rows for r in rows)),
                column_used.eq(Cat(c < new.columns for c in columns)),
                last_row_number.eq(new.rows - 1),
                Cat(planes, groups).eq(Cat(new.planes, new.groups)),
                Cat(plane, group, segment).eq(Cat(new.planes, new.groups, new.segments)),
                first_plane.eq(1),
                first_group.eq(1),
            ]
        with m.If(fire):
            m.d.sync += [plane.eq(plane - 1), first_plane.eq(last_plane)]
            with m.If(last_plane):
                m.d.sync += [plane.eq(planes), group.eq(group - 1), first_group.eq(last_of_segment)]
            with m.If(last_of_segment):
                m.d.sync += [group.eq(groups), segment.eq(segment - 1)]
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

        # Stage 2: table row r feeds the multiplexers of all columns, plane word c those of all rows.
        load_row, shift_row, fire_row, sum_row, drain_row = (Signal(unit.rows) for _ in range(5))
        m.d.comb += [
            load_row.eq(Mux(load_table, row_used, 0)),
            shift_row.eq(Mux(fire & ~last_plane, row_used, 0)),
            fire_row.eq(Mux(fire, row_used, 0)),
            sum_row.eq(Mux(fire & first_plane, row_used, 0)),
            drain_row.eq(Mux(fire & last_of_segment, row_used, 0)),
        ]
        first = Signal()
        m.d.comb += first.eq(first_plane & first_group)
        drain = []
        for r in rows:
            table = self._table(m, r, load_row[r], shift_row[r])
            total = Signal(ACCUMULATOR_BITS, name=f"total_{r}", reset_less=True)
            total_next = Mux(first_group, 0, total) + table[0]  # -T[0] is the sum of the group's activations
            total_drain = Signal(ACCUMULATOR_BITS, name=f"total_drain_{r}")
            # The sum is final after plane 0 of the last group, which with one plane is the plane that drains.
            m.d.comb += total_drain.eq(Mux(first_plane, total_next, total))
            sum_drain = Signal(ACCUMULATOR_BITS, name=f"sum_drain_{r}", reset_less=True)
            row_drain = [Signal(ACCUMULATOR_BITS, name=f"drain_{r}_{c}", reset_less=True) for c in columns]
            drain.append(Cat(*row_drain, sum_drain))
            with m.If(sum_row[r]):
                m.d.sync += total.eq(total_next)
            with m.If(drain_row[r]):
                m.d.sync += sum_drain.eq(total_drain)
            for c in columns:
                accumulator = Signal(ACCUMULATOR_BITS, name=f"accumulator_{r}_{c}", reset_less=True)
                result = Signal(ACCUMULATOR_BITS, name=f"result_{r}_{c}")
                entry = Array(table)[weight[c].index]
                m.d.comb += result.eq(_add_or_subtract(Mux(first, 0, accumulator), entry, weight[c].negate))
                with m.If(fire_row[r] & column_used[c]):
                    m.d.sync += accumulator.eq(result)
                with m.If(drain_row[r] & column_used[c]):
                    m.d.sync += row_drain[c].eq(result)

        # Drain: one row per word.
        row = Signal(range(max(unit.rows, 2)))
        last_drain = Signal()
        m.d.comb += [
            self.results.valid.eq(drain_full),
            self.results.payload.eq(Array(drain)[row]),
        ]
        with m.If(fire & last_of_segment):
            m.d.sync += [drain_full.eq(1), row.eq(0), last_drain.eq(last_of_run)]
        with m.If(drain_full & self.results.ready):
            m.d.sync += row.eq(row + 1)
            with m.If(row == last_row_number):
                m.d.sync += [drain_full.eq(0), idle.eq(last_drain)]

        columns_used = _ones(column_used)
        m.d.comb += [
            self.events.table_load.eq(_ones(load_row)),
            self.events.table_shift.eq(_ones(shift_row)),
            self.events.weight_load.eq(_ones(load_column)),
            self.events.accumulate.eq(_ones(fire_row) * columns_used),
            self.events.sum_accumulate.eq(_ones(sum_row)),
            self.events.drain.eq(_ones(drain_row) * (columns_used + 1)),
            self.events.output.eq(drain_full & self.results.ready),
        ]
        return m

    def _table(self, m, r, load, shift):
        """Table registers of row ``r``: loaded for plane 0, doubled for each further plane."""
        bits = entry_bits(self.unit.group) + self.unit.weight_bits - 1
        table = [Signal(signed(bits), name=f"table_{r}_{i}", reset_less=True) for i in range(entries(self.unit.group))]
        for i, entry in enumerate(table):
            with m.If(load):
                m.d.sync += entry.eq(self.tables.payload[r][i].as_signed())
            with m.Elif(shift):
                m.d.sync += entry.eq(entry << 1)
        return table


def _add_or_subtract(value, entry, negate):
    """value + entry, or value - entry: one adder whose carry-in completes the two's complement."""
    inverted = entry ^ negate.replicate(len(entry)).as_signed()
    return (Cat(1, value).as_signed() + Cat(negate, inverted).as_signed())[1:]


def _ones(bits):
    return sum((bits[i] for i in range(1, len(bits))), start=bits[0])
