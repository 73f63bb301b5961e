"""The RTL of the ablation: one control and one accumulator array, in which steps differ by what stands in front of the adders."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.half_table import ACTIVATION_BITS, entries, entry_bits
from accel.base.streams import event_layout
from accel.lut_ablation.timing import RUN_BITS


def config_layout(unit) -> data.StructLayout:
    """The config word; its fields hold one less than what they count."""
    return data.StructLayout({"invocations": RUN_BITS, "planes": range(max(unit.planes, 2))})


class Tile(wiring.Component):
    """Streams: ``config``, ``activations`` or ``tables``, ``weights`` and ``partial`` in, ``sums`` out; see the unit."""

    def __init__(self, unit):
        self.unit = unit
        bits, number = (entry_bits(unit.group), entries(unit.group)) if unit.step == "fused" else (ACTIVATION_BITS, unit.group)
        words = data.ArrayLayout(data.ArrayLayout(signed(bits), number), unit.rows)
        weights = data.ArrayLayout(data.ArrayLayout(unit.weight_bits, unit.group), unit.columns)
        sums = data.ArrayLayout(data.ArrayLayout(signed(unit.accumulator_bits), unit.columns), unit.rows)
        super().__init__(
            {
                "config": In(stream.Signature(config_layout(unit))),
                unit.source: In(stream.Signature(words)),
                "weights": In(stream.Signature(weights)),
                "partial": In(stream.Signature(sums)),
                "sums": Out(stream.Signature(sums)),
                "events": Out(event_layout(load=1, accumulate=1, output=1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        unit, words = self.unit, getattr(self, self.unit.source)
        running, left = Signal(), Signal(RUN_BITS)  # planes of the run are still to come, in how many more invocations
        planes = Signal.like(self.config.payload.planes)
        plane = Signal.like(planes)
        ready, load = Signal(), Signal()  # what is looked up is there; a word of it is taken
        first, last, fire = Signal(), Signal(), Signal()
        sums_free = ~self.sums.valid | self.sums.ready
        m.d.comb += [
            first.eq(plane == 0),
            last.eq(plane == planes),
            fire.eq(running & ready & self.weights.valid & (self.partial.valid | ~first) & sums_free),
            self.config.ready.eq(~running & ~self.sums.valid),
            self.partial.ready.eq(fire & first),
            self.weights.ready.eq(fire & last),
            load.eq(words.valid & words.ready),
        ]
        with m.If(self.config.valid & self.config.ready):
            m.d.sync += [running.eq(1), left.eq(self.config.payload.invocations), planes.eq(self.config.payload.planes)]
        with m.If(self.sums.ready):
            m.d.sync += self.sums.valid.eq(0)
        with m.If(fire):
            m.d.sync += [plane.eq(Mux(last, 0, plane + 1)), self.sums.valid.eq(last)]
            with m.If(last):
                m.d.sync += [left.eq(left - 1), running.eq(left != 0)]
        if unit.builds:
            held = Signal()
            m.d.comb += [ready.eq(held), words.ready.eq(running & (~held | (fire & last & (left != 0))))]
            m.d.sync += held.eq(load | (held & ~(fire & last)))
        else:
            m.d.comb += [ready.eq(words.valid), words.ready.eq(fire & last)]

        rows = [self._row(m, r, words.payload[r], load) for r in range(unit.rows)]
        for c in range(unit.columns):
            codes = self.weights.payload[c]
            bits = Cat(Array(codes[k])[plane] for k in range(unit.group))
            for r, row in enumerate(rows):
                cell = m.submodules[f"cell_{r}_{c}"] = Cell(unit)
                m.d.comb += [
                    cell.row.eq(Cat(row)),
                    cell.weights.eq(codes if unit.step == "mac" else bits),
                    cell.plane.eq(plane),
                    cell.last.eq(last),
                    cell.first.eq(first),
                    cell.enable.eq(fire),
                    cell.partial.eq(self.partial.payload[r][c]),
                    self.sums.payload[r][c].eq(cell.total),
                ]
        m.d.comb += [
            self.events.load.eq(load),
            self.events.accumulate.eq(fire),
            self.events.output.eq(self.sums.valid & self.sums.ready),
        ]
        return m

    def _row(self, m, r, activations, load) -> list[Value]:
        """What the columns of row ``r`` look up or multiply: table registers where the unit builds them, else its input word."""
        if not self.unit.builds:
            return list(activations)
        first, *others = activations
        sums: list[Value] = [Value.cast(0), first] if self.unit.step == "unpu" else [first]
        for level, activation in enumerate(others):
            added = [s + activation for s in sums]
            terms = sums + added if self.unit.step == "unpu" else added + [s - activation for s in sums]
            sums = [Signal(signed(entry_bits(self.unit.group)), name=f"sum_{r}_{level}_{i}") for i in range(len(terms))]
            m.d.comb += [s.eq(term) for s, term in zip(sums, terms, strict=True)]
        table = [Signal.like(s, name=f"table_{r}_{i}", reset_less=True) for i, s in enumerate(sums)]
        with m.If(load):
            m.d.sync += [entry.eq(s) for entry, s in zip(table, sums, strict=True)]
        return list(table)


class Cell(wiring.Component):
    """One accumulator: total = (C in the first plane, else total) +- 2^plane times what a plane of weights finds in the row."""

    def __init__(self, unit):
        self.unit = unit
        size = ACTIVATION_BITS if unit.source == "activations" and not unit.builds else entry_bits(unit.group)
        number = {"unpu": 1 << unit.group, "add": unit.group, "mac": unit.group}.get(unit.step, entries(unit.group))
        width = signed(unit.accumulator_bits)
        super().__init__(
            {
                "row": In(data.ArrayLayout(signed(size), number)),
                "weights": In(data.ArrayLayout(unit.weight_bits if unit.step == "mac" else 1, unit.group)),
                "plane": In(range(max(unit.planes, 2))),
                "last": In(1),
                "first": In(1),
                "enable": In(1),
                "partial": In(width),
                "total": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        step, width = self.unit.step, self.unit.accumulator_bits
        added, before = Signal(signed(width)), Signal(signed(width))
        following = Signal(signed(width + 1))
        m.d.comb += before.eq(Mux(self.first, self.partial, self.total))
        if step == "mac":
            products = (a * w.as_signed() for a, w in zip(self.row, self.weights, strict=True))
            m.d.comb += [added.eq(sum(products)), following[1:].eq(before + added)]
        elif step == "add":
            m.d.comb += [added.eq(_signed_sum(self.row, self.weights) << self.plane), following[1:].eq(before + added)]
        else:
            index, negate = self._look_up()
            # One adder: its carry-in completes the two's complement.
            m.d.comb += [
                added.eq(Array(self.row)[index] << self.plane),
                following.eq(Cat(1, before) + Cat(negate, added ^ negate.replicate(width))),
            ]
        with m.If(self.enable):
            m.d.sync += self.total.eq(following[1:])
        return m

    def _look_up(self):
        """The index into the row's table, and whether what is found there is subtracted."""
        weights = self.weights.as_value()
        if self.unit.step == "unpu":
            return weights, self.last  # the last plane is that of the sign
        top, others = weights[0], weights[1:]
        if self.unit.step == "reinterpreted":
            others = others ^ top.replicate(len(others))
        return others, ~top


def _signed_sum(activations, bits) -> Value:
    """sum_k +-A_k, plus where the bit is set: complements, and the ones that make them negations."""
    flipped = [a ^ (~bit).replicate(ACTIVATION_BITS).as_signed() for a, bit in zip(activations, bits, strict=True)]
    return sum(flipped) + sum(~bit for bit in bits)
