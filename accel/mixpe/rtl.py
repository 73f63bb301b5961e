"""The RTL of MixPE: an output-stationary array of shift-and-add PEs, and below it a dequantiser per column.

The array sums the groups as segments of its own, one after the other, and hands over a row of all columns per cycle, the last row
first, with the row's sum of activations. The dequantisers work on such rows in step with one another, `BEFORE_SUM` + depth
cycles each, and stand still while a result has no room. A row waits above them in two cases: the scales of its group have not
come, or the same row of the group before is still among them (``spare``). Without stalls neither happens: a group takes 16 cycles
at least, and its scales are loaded meanwhile.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.streams import count_ones, event_layout
from accel.mixpe.dequantizer import FP32, PARAMETERS, Dequantizer
from accel.mixpe.operands import BEFORE_SUM, GROUP_BITS, OPERANDS, WEIGHT_BITS, event_of
from accel.mixpe.pe import activation_sum, shift_add
from accel.systolic_array import timing
from accel.systolic_array.edges import OutputBuffer, WordRegister
from accel.systolic_array.output_stationary import OutputStationary

RUN_BITS = 40
"""Width of the counter of invocations in a run."""


def config_layout(unit) -> data.StructLayout:
    """The array's config word, groups per invocation less one, invocations in the run less one."""
    array = timing.config_layout(unit.rows, unit.columns)
    return data.StructLayout({"array": array, "groups": GROUP_BITS, "invocations": RUN_BITS})


def _token_layout(rows: int) -> data.StructLayout:
    """A row among the dequantisers: which one; is it the first of its group, its group the first or last, the run at its end; and
    is an activation not finite?"""
    return data.StructLayout({"valid": 1, "row": range(rows), "first_row": 1, "first": 1, "last": 1, "ends": 1, "bad": 1})


class MixPeCore(wiring.Component):
    """Streams: ``config``, ``activations``, ``weights`` and ``scales`` in, ``results`` out; see `accel.mixpe` for their words."""

    def __init__(self, unit):
        self.unit, self.operands = unit, OPERANDS[unit.activations]
        rows, columns = unit.rows, unit.columns
        row_sum = activation_sum(self.operands)
        self.array = OutputStationary(rows, columns, shift_add(self.operands), row_sum=row_sum)
        inside = {event_of(name): field.shape for name, field in self.array.events.shape()}
        own = event_layout(scale_load=columns, dequantize=columns, output=columns)
        super().__init__(
            {
                "config": In(stream.Signature(config_layout(unit))),
                "activations": In(stream.Signature(data.ArrayLayout(self.operands.format.bits, rows))),
                "weights": In(stream.Signature(data.ArrayLayout(WEIGHT_BITS, columns))),
                "scales": In(stream.Signature(data.ArrayLayout(PARAMETERS, columns))),
                "results": Out(stream.Signature(data.ArrayLayout(FP32.bits, columns))),
                "events": Out(data.StructLayout(inside | {name: field.shape for name, field in own})),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = self.array
        rows, columns, new = self.unit.rows, self.unit.columns, self.config.payload
        self._feed(m, array)

        # The run, and the row that the array offers next. Counters run down to zero.
        idle = Signal(init=1)
        running = Signal()  # rows of the run are still to be taken
        columns_used = Signal(columns)
        top, row = Signal(range(rows)), Signal(range(rows))
        groups, group, invocation = Signal.like(new.groups), Signal.like(new.groups), Signal.like(new.invocations)
        first_row, first = Signal(), Signal()
        last_row, last, ends = Signal(), Signal(), Signal()
        opens, take, advance, write = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.config.ready.eq(idle & array.config.ready),
            array.config.valid.eq(idle & self.config.valid),
            array.config.payload.eq(new.array),
            opens.eq(self.config.valid & self.config.ready),
            last_row.eq(row == 0),
            last.eq(group == 0),
            ends.eq(last_row & last & (invocation == 0)),
        ]
        with m.If(take):
            m.d.sync += [row.eq(row - 1), first_row.eq(last_row)]
            with m.If(last_row):
                m.d.sync += [row.eq(top), group.eq(group - 1), first.eq(last)]
                with m.If(last):
                    m.d.sync += [group.eq(groups), invocation.eq(invocation - 1)]
            with m.If(ends):
                m.d.sync += running.eq(0)
        with m.If(opens):
            m.d.sync += [
                Cat(idle, running, first_row, first).eq(0b1110),
                columns_used.eq(Cat(c < new.array.columns for c in range(columns))),
                Cat(top, row).eq((new.array.rows - 1)[: len(top)].replicate(2)),
                Cat(groups, group).eq(new.groups.replicate(2)),
                invocation.eq(new.invocations),
            ]

        # A row is taken when its group's scales are there and the same row of the group before has left the multiply-adders.
        scales = WordRegister(m, self.scales, columns, PARAMETERS.size, "scale")
        loaded = scales.connect(wanted=running, used=take & last_row, last=ends, lanes_used=columns_used)
        spare = Signal(range(rows + 1))
        m.d.comb += [
            array.results.ready.eq(scales.full & (spare != 0) & advance),
            take.eq(array.results.valid & array.results.ready),
        ]
        m.d.sync += spare.eq(Mux(opens, new.array.rows, spare + write - take))

        bad = array.results.payload.row_sum[self.operands.row_sum_bits :].any()
        tokens = [Signal(_token_layout(rows), name="row_0")]
        m.d.comb += tokens[0].eq(Cat(take, row, first_row, first, last, ends, bad))
        for stage in range(1, BEFORE_SUM + self.unit.depth + 1):
            tokens.append(Signal(_token_layout(rows), name=f"row_{stage}"))
            with m.If(advance):
                m.d.sync += tokens[stage].eq(tokens[stage - 1])
        entering, leaving = tokens[BEFORE_SUM], tokens[BEFORE_SUM + self.unit.depth]
        m.submodules.buffer = buffer = OutputBuffer(data.StructLayout({"ends": 1, "results": self.results.payload.shape()}))
        busy = Cat(token.valid for token in tokens).any()
        m.d.comb += [
            advance.eq(~(leaving.valid & leaving.last) | buffer.room),
            write.eq(leaving.valid & advance),
            buffer.push.eq(write & leaving.last),
            buffer.word.ends.eq(leaving.ends),
            self.results.valid.eq(buffer.words.valid),
            buffer.words.ready.eq(self.results.ready),
            self.results.payload.eq(buffer.words.payload.results),
        ]
        with m.If(self.results.valid & self.results.ready & buffer.words.payload.ends):
            m.d.sync += idle.eq(1)

        one_hot = [Signal(rows, name=name) for name in ("reads", "writes")]
        for signal, token in zip(one_hot, (entering, leaving), strict=True):
            m.d.comb += signal.eq(Cat((token.row == r) & token.valid for r in range(rows)))
        for c in range(columns):
            m.submodules[f"dequantizer_{c}"] = column = Dequantizer(self.operands, rows, self.unit.depth)
            m.d.comb += [
                column.sum.eq(array.results.payload.columns[c]),
                column.row_sum.eq(array.results.payload.row_sum),
                column.parameters.eq(scales.lanes[c]),
                column.advance.eq(advance & busy & columns_used[c]),
                column.load.eq(take),
                column.loads_scale.eq(Cat(token.valid & token.first_row for token in tokens[:BEFORE_SUM])),
                column.bad.eq(entering.bad),
                column.first.eq(entering.first),
                column.reads.eq(one_hot[0]),
                column.writes.eq(one_hot[1]),
                buffer.word.results[c].eq(column.result),
            ]
        used = count_ones(columns_used)
        m.d.comb += [
            *(self.events[event_of(name)].eq(array.events[name]) for name, _ in array.events.shape()),
            self.events.scale_load.eq(loaded),
            self.events.dequantize.eq(Mux(take, used, 0)),
            self.events.output.eq(Mux(buffer.push, used, 0)),
        ]
        return m

    def _feed(self, m, array):
        """Activations are decoded on their way into the array; weights go in as they are."""
        for outside, inside in ((self.activations, array.activations), (self.weights, array.weights)):
            m.d.comb += [inside.valid.eq(outside.valid), outside.ready.eq(inside.ready)]
        m.d.comb += array.weights.payload.eq(self.weights.payload)
        m.d.comb += [
            array.activations.payload[r].eq(_decoded(self.activations.payload[r], self.operands)) for r in range(self.unit.rows)
        ]


def _decoded(bits, operands):
    """An activation as it travels through the array; see `accel.mixpe.operands`."""
    if not operands.shift:
        return bits
    mantissa, exponent, sign = bits[:10], bits[10:15], bits[15]
    normal = exponent.any()
    magnitude = Cat(mantissa, normal)
    return Cat(Mux(sign, -magnitude, magnitude)[: operands.significand], exponent - normal)[: operands.bits]
