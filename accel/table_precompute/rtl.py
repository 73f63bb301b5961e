"""The RTL of the table precompute for INT8 activations: a tree of adders in front of one output register."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.half_table import ACTIVATION_BITS, entries, entry_bits, rounding_shift
from accel.base.streams import event_layout
from workloads.formats import FORMATS

FP16 = FORMATS["fp16"]
RUN_BITS = 48  # words of a run: 2^16 groups times 2^32 invocations


def word_layout(unit) -> data.ArrayLayout:
    """The output word, and the table input word of the LUT core: -T[row][entry], row 0 and entry 0 lowest."""
    fields, bits = unit.table_fields
    return data.ArrayLayout(data.ArrayLayout(signed(bits), fields), unit.rows)


class Precompute(wiring.Component):
    """Streams: ``config`` and ``activations`` in, ``tables`` out; see `accel.table_precompute` for their words."""

    def __init__(self, unit):
        self.unit = unit
        self.writes = unit.rows * entries(unit.group)  # entries that one load of the output register writes
        activation = signed(ACTIVATION_BITS) if unit.activations == "int8" else FP16.bits
        activations = data.ArrayLayout(data.ArrayLayout(activation, unit.group), unit.rows)
        super().__init__(
            {
                "config": In(stream.Signature(RUN_BITS)),
                "activations": In(stream.Signature(activations)),
                "tables": Out(stream.Signature(word_layout(unit))),
                "events": Out(event_layout(table_write=self.writes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        left = Signal(RUN_BITS)  # input words of the run that are still to come
        load = Signal()  # enable of the output register
        m.d.comb += [
            self.config.ready.eq((left == 0) & ~self.tables.valid),
            self.activations.ready.eq((left != 0) & (~self.tables.valid | self.tables.ready)),
            load.eq(self.activations.valid & self.activations.ready),
            self.events.table_write.eq(Mux(load, self.writes, 0)),
        ]
        with m.If(self.config.valid & self.config.ready):
            m.d.sync += left.eq(self.config.payload)
        rows = [self._negated_table(m, row) for row in range(self.unit.rows)]  # outside of the `If`, which would gate the adders
        with m.If(load):
            m.d.sync += left.eq(left - 1)
            for row, negated in enumerate(rows):
                m.d.sync += [self.tables.payload[row][i].eq(entry) for i, entry in enumerate(negated)]
        with m.If(load | self.tables.ready):
            m.d.sync += self.tables.valid.eq(load)
        return m

    def _negated_table(self, m: Module, row: int) -> list[Value]:
        """-T of one row: each level adds one activation to, and subtracts it from, every sum of the level before."""
        first, *others = (self.activations.payload[row][j] for j in range(self.unit.group))
        sums: list[Value] = [first]
        for level, activation in enumerate(others, start=1):
            terms = [s + activation for s in sums] + [s - activation for s in sums]
            sums = [Signal(signed(entry_bits(level + 1)), name=f"sum_{row}_{level}_{i}") for i in range(len(terms))]
            m.d.comb += [s.eq(term) for s, term in zip(sums, terms, strict=True)]
        return [self._rounded(s) for s in sums]

    def _rounded(self, value: Value) -> Value:
        """`half_table.round_entries`: half a step up, and down to the largest code where that leaves the range."""
        shift = rounding_shift(self.unit.group, self.unit.table_bits)
        if not shift:
            return value
        largest = (1 << (self.unit.entry_bits - 1)) - 1
        steps = (value + (1 << (shift - 1))) >> shift
        return Mux(steps > largest, largest, steps)
