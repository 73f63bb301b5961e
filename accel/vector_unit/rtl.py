"""The RTL of the vector unit: words on their way through the front, the lanes' loop, the reduction and the output register.

Everything moves together, unless the output word waits, or a trip waits for its word of y or z (``go``). A word's tag says
whether there is one, whether it is the last of its phase, and which trip it is on; it moves beside the word, once for all lanes.
"""

from __future__ import annotations

import itertools

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.fp import Convert
from accel.base.streams import event_layout
from accel.vector_unit.lane import Lane, Source
from accel.vector_unit.maximum import OFFSET_BITS, Maximum
from accel.vector_unit.program import LONGEST
from accel.vector_unit.sequencer import SHARED, TRIP_LAYOUT, Sequencer, Sink, Words, config_layout
from accel.vector_unit.special import Function
from accel.vector_unit.timing import ADD, LOOP, MULTIPLY, TREE_LEVEL, key_stages, levels, online_delay
from accel.vector_unit.total import Total
from workloads.formats import FORMATS

FP16, FP32, INT8 = FORMATS["fp16"], FORMATS["fp32"], FORMATS["int8"]
NONE, ONE = 1 << 31, 0x3F800000  # FP32: -0, which changes no sum, and 1
TAG = data.StructLayout({"valid": 1, "last": 1, "trip": range(LONGEST), "offset": signed(OFFSET_BITS), "function": Function})


class VectorRtl(wiring.Component):
    """Streams: ``config``, ``x``, ``y`` and ``z`` in, ``results`` out; see `accel.vector_unit` for their words."""

    def __init__(self, lanes: int):
        self.lanes = lanes
        half = data.ArrayLayout(16, lanes)
        super().__init__(
            {
                "config": In(stream.Signature(config_layout(lanes))),
                "x": In(stream.Signature(data.ArrayLayout(32, lanes))),
                "y": In(stream.Signature(half)),
                "z": In(stream.Signature(half)),
                "results": Out(stream.Signature(half)),
                "events": Out(
                    event_layout(
                        word_in=3,
                        multiply_add=lanes,
                        exponential=lanes,
                        reciprocal=lanes,
                        root=1,
                        maximum=lanes,
                        reduce=lanes,
                        word_out=1,
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = self.sequencer = Sequencer(self.lanes)
        self.phase, self.go = self.sequencer.phase, Signal()
        wiring.connect(m, wiring.flipped(self.config), self.sequencer.config)
        self.tail = Signal(self.lanes)  # lanes in use in the last word of a row
        self.k1, self.k2, self.s0, self.s1 = (Signal(32, name=n, reset_less=True) for n in ("k1", "k2", "s0", "s1"))
        with m.If(self.config.valid & self.config.ready):
            new = self.config.payload
            m.d.sync += [self.tail.eq(Cat(i < new.tail for i in range(self.lanes))), self.k1.eq(new.k1), self.k2.eq(new.k2)]

        m.submodules.total = self.total = Total(self.lanes)
        elements, entered = self._front(m)
        lanes, leaving = self._loop(m, elements, entered)
        self._sinks(m, lanes, leaving)
        return m

    def _next(self, m: Module, tag: Value, name: str) -> data.View:
        """The register that ``tag`` moves on to."""
        register = Signal(TAG, name=name)
        with m.If(self.go):
            m.d.sync += register.eq(tag)
        return register

    def _front(self, m: Module) -> tuple[list[Value], data.View]:
        """The word of x that goes into the lanes now, and its tag; in an online phase it has waited for its maximum."""
        sequencer, phase = self.sequencer, self.phase
        reads = phase.words != Words.NONE
        taken, entering = Signal(), Signal(TAG)
        m.d.comb += [
            self.x.ready.eq(self.go & sequencer.enter & reads),
            taken.eq(self.x.valid & self.x.ready),
            sequencer.go.eq(self.go),
            sequencer.entered.eq(Mux(reads, taken, self.go & sequencer.enter)),
            entering.valid.eq(sequencer.entered),
            entering.last.eq(sequencer.last_word),
        ]
        word = [Signal(32, name=f"word_{i}", reset_less=True) for i in range(self.lanes)]
        with m.If(taken):
            m.d.sync += [register.eq(self.x.payload[i]) for i, register in enumerate(word)]
        tag = first_tag = self._next(m, entering, "tag_word")

        m.submodules.maximum = self.maximum = Maximum(self.lanes)
        line, compare = [element[:16] for element in word], Signal()
        m.d.comb += [
            compare.eq(first_tag.valid & phase.online),
            self.maximum.go.eq(self.go),
            self.maximum.clear.eq(sequencer.begin & phase.online),
            self.maximum.magnitude.eq(phase.sink == Sink.MAXIMUM),
            self.maximum.valid.eq(compare),
            *(self.maximum.elements[i].eq(half) for i, half in enumerate(line)),
            self.maximum.used.eq(self.tail | (~first_tag.last).replicate(self.lanes)),
            self.events.maximum.eq(Mux(compare & self.go, self.lanes, 0)),
            self.events.word_in.eq(taken + (self.y.valid & self.y.ready) + (self.z.valid & self.z.ready)),
        ]
        for stage in range(online_delay(self.lanes)):
            following = [Signal(16, name=f"line_{stage}_{i}", reset_less=True) for i in range(self.lanes)]
            with m.If(self.go & tag.valid & phase.online):
                m.d.sync += [register.eq(half) for register, half in zip(following, line, strict=True)]
            line, tag = following, self._next(m, tag, f"tag_line_{stage}")
            if stage + 1 == key_stages(self.lanes):
                self.found = tag
        entered = Signal(TAG)
        m.d.comb += entered.eq(Mux(phase.online, tag, first_tag))
        with m.If(phase.sink == Sink.MAXIMUM):
            m.d.comb += entered.valid.eq(0)
        return [Mux(phase.online, half, element) for half, element in zip(line, word, strict=True)], entered

    def _loop(self, m: Module, elements: list[Value], entered: data.View) -> tuple[list[Lane], data.View]:
        """The lanes, and the tag of what has left them."""
        phase, sequencer = self.phase, self.sequencer
        scalar = phase.words != Words.ROW
        tags = [Signal(TAG, name=f"tag_{i}") for i in range(LOOP)]
        before, end = tags[-2], tags[-1]

        # What the next cycle's trip is, is decided in this one.
        trip, tag, again, repeats = Signal(TRIP_LAYOUT), Signal(TAG), Signal(), Signal()
        m.d.comb += [
            repeats.eq(before.valid & (before.trip != phase.final)),
            sequencer.next_trip.eq(Mux(repeats, before.trip + 1, 0)),
        ]
        with m.If(self.go):
            m.d.sync += [trip.eq(sequencer.trip), again.eq(repeats), tag.eq(entered)]
            m.d.sync += [tag.trip.eq(sequencer.next_trip), tag.function.eq(sequencer.trip.function)]
            with m.If(repeats):
                m.d.sync += [tag.valid.eq(1), tag.last.eq(before.last)]
            m.d.sync += [tags[0].eq(tag), tags[0].offset.eq(self.maximum.offset)]
            m.d.sync += [after.eq(earlier) for earlier, after in itertools.pairwise(tags)]
        uses_y = tag.valid & (trip.b == Source.Y)
        uses_z = tag.valid & ((trip.b == Source.Z) | (trip.c == Source.Z))
        y_waits, z_waits, blocked = (Signal(name=n) for n in ("y_waits", "z_waits", "blocked"))
        m.d.comb += [
            y_waits.eq(uses_y & ~self.y.valid),
            z_waits.eq(uses_z & ~self.z.valid),
            blocked.eq(self.results.valid & ~self.results.ready),
            self.go.eq(~(y_waits | z_waits | blocked)),
            self.y.ready.eq(uses_y & ~z_waits & ~blocked),
            self.z.ready.eq(uses_z & ~y_waits & ~blocked),
        ]

        values = {
            "total": self.total.total,
            "maximum": self.maximum.highest,
            "s0": self.s0,
            "s1": self.s1,
            "k1": self.k1,
            "k2": self.k2,
            "one": Const(ONE, 32),
            "none": Const(NONE, 32),
            "offset": self.maximum.minus_offset,
        }
        summed = tags[MULTIPLY + ADD]
        special = summed.valid & (summed.function != Function.BYPASS)
        leaves = end.valid & (end.trip == phase.final)
        leaving = self._next(m, Cat(leaves, end.as_value()[1:]), "tag_leaving")
        lanes = [Lane(root=i == 0) for i in range(self.lanes)]
        for i, lane in enumerate(lanes):
            m.submodules[f"lane_{i}"] = lane
            works = Const(1) if i == 0 else ~scalar
            control = lane.control
            m.d.comb += [
                control.go.eq(self.go),
                control.kind.eq(phase.kind),
                control.again.eq(again),
                control.function.eq(summed.function),
                *(getattr(control, operand).eq(getattr(trip, operand)) for operand in "abc"),
                lane.element.eq(elements[i]),
                lane.take.eq(entered.valid & works),
                lane.load.eq(tag.valid & works),
                lane.special.eq(special & works),
                lane.leave.eq(leaves & works),
                lane.clear.eq((phase.sink == Sink.TOTAL) & end.last & ~self.tail[i]),
                lane.y.eq(self.y.payload[i]),
                lane.z.eq(self.z.payload[i]),
                lane.partner.eq(lanes[(i + self.lanes // 2) % self.lanes].x),
            ]
            for operand, names in SHARED.items():
                with m.Switch(getattr(trip, f"shared_{operand}")):
                    for code, name in enumerate(names):
                        with m.Case(code):
                            m.d.comb += getattr(control, f"shared_{operand}").eq(values[name])

        busy = Mux(self.go, Mux(scalar, 1, self.lanes), 0)
        functions = ((self.events.exponential, Function.EXPONENTIAL), (self.events.reciprocal, Function.RECIPROCAL))
        m.d.comb += [
            self.events.multiply_add.eq(Mux(tag.valid, busy, 0)),
            *(event.eq(Mux(summed.valid & (summed.function == function), busy, 0)) for event, function in functions),
            self.events.root.eq(self.go & summed.valid & (summed.function == Function.ROOT)),
        ]
        return lanes, leaving

    def _sinks(self, m: Module, lanes: list[Lane], leaving: data.View) -> None:
        """Where what has left the lanes ends, and when the phase is done with it."""
        phase, sequencer, total, go = self.phase, self.sequencer, self.total, self.go
        summing, first = phase.sink == Sink.TOTAL, lanes[0].result
        tag = Signal(TAG)
        m.d.comb += [tag.eq(leaving), tag.valid.eq(leaving.valid & summing)]
        for stage in range(levels(self.lanes) * TREE_LEVEL):
            tag = self._next(m, tag, f"tag_tree_{stage}")
        arrived = go & leaving.valid
        m.d.comb += [
            total.go.eq(go),
            total.clear.eq(sequencer.begin & summing),
            *(total.terms[i].eq(lane.result) for i, lane in enumerate(lanes)),
            total.end.eq(tag.valid),
            total.rescale.eq(phase.online),
            total.last.eq(tag.last),
            total.offset.eq(tag.offset),
            self.events.reduce.eq(Mux(go & total.load, self.lanes, 0)),
        ]
        with m.If(arrived), m.Switch(phase.sink):
            with m.Case(Sink.S0, Sink.SCALE):
                m.d.sync += self.s0.eq(first)
            with m.Case(Sink.MINUS_S0):
                m.d.sync += self.s0.eq(Cat(first[:-1], ~first[-1]))
            with m.Case(Sink.S1):
                m.d.sync += self.s1.eq(first)

        sends, send, done, last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            sends.eq(Cat(sink == phase.sink for sink in (Sink.OUT, Sink.INTEGERS, Sink.RECTIFIED, Sink.SCALE)).any()),
            send.eq(arrived & sends),
            done.eq(Mux(phase.sink == Sink.MAXIMUM, self.found.valid & self.found.last & go, arrived & leaving.last)),
            sequencer.done.eq(Mux(summing, total.done, done)),
            sequencer.finished.eq(self.results.valid & self.results.ready & last),
            self.events.word_out.eq(send),
        ]
        with m.If(go | self.results.ready):
            m.d.sync += self.results.valid.eq(send)
        results = [self._result(m, i, lanes) for i in range(len(lanes))]  # outside of the `If`, which would gate the conversions
        with m.If(send):
            m.d.sync += last.eq(leaving.last & sequencer.last_phase)
            m.d.sync += [word.eq(result) for word, result in zip(self.results.payload, results, strict=True)]

    def _result(self, m: Module, i: int, lanes: list[Lane]) -> Value:
        """Field ``i`` of an output word."""
        value = lanes[i].result
        m.submodules[f"half_{i}"] = half = Convert(FP32, FP16)
        m.submodules[f"integer_{i}"] = integer = Convert(FP32, INT8)
        m.d.comb += [half.a.eq(value), integer.a.eq(value)]
        field = Signal(16, name=f"field_{i}")
        with m.Switch(self.phase.sink):
            with m.Case(Sink.INTEGERS):
                m.d.comb += field.eq(integer.result.as_signed())
            with m.Case(Sink.RECTIFIED):
                m.d.comb += field.eq(Mux(value[-1], 0, half.result))
            with m.Case(Sink.SCALE):
                m.d.comb += field.eq(lanes[0].result.word_select(i, 16) if i < 2 else 0)
            with m.Default():
                m.d.comb += field.eq(half.result)
        return field
