"""The sequencer: goes through rows, phases and words of a run, and says when a word may enter and what a trip's operands are."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.enumeration import Enum
from accel.vector_unit.lane import Kind, Source
from accel.vector_unit.program import LONGEST, PHASES, Trip
from accel.vector_unit.special import Function
from accel.vector_unit.timing import RUN_BITS

PHASE = range(len(PHASES))
SHARED = {
    "a": ("total", "maximum", "s0"),
    "b": ("one", "k1", "s0", "s1"),
    "c": ("none", "one", "k2", "s0", "offset"),
}
"""The values that all lanes may have as operands."""


class Sink(Enum, shape=4):
    """Where the words of a phase end; see `program.Phase`."""

    OUT = 0
    INTEGERS = 1
    RECTIFIED = 2
    SCALE = 3
    TOTAL = 4
    MAXIMUM = 5
    S0 = 6
    MINUS_S0 = 7
    S1 = 8


class Words(Enum, shape=2):
    """What a phase reads of x; see `program.Phase`."""

    ROW = 0
    ONE = 1
    NONE = 2


PHASE_LAYOUT = data.StructLayout({"final": range(LONGEST), "sink": Sink, "words": Words, "online": 1, "kind": Kind})
TRIP_LAYOUT = data.StructLayout(
    {"a": Source, "b": Source, "c": Source, "shared_a": 2, "shared_b": 2, "shared_c": 3, "function": Function}
)


def config_layout(lanes: int) -> data.StructLayout:
    """A run: its first and last phase, rows and words of a row less one, elements of a row's last word, and two constants."""
    return data.StructLayout(
        {"first": PHASE, "last": PHASE, "rows": RUN_BITS, "words": RUN_BITS, "tail": range(lanes + 1), "k1": 32, "k2": 32}
    )


def trip_word(trip: Trip) -> data.Const:
    """The operands of a trip as the lanes take them."""
    word: dict[str, object] = {"function": Function[trip.special.upper()]}
    for operand, shared in SHARED.items():
        source = getattr(trip, operand)
        word[operand] = Source.SHARED if source in shared else Source[source.upper()]
        word[f"shared_{operand}"] = shared.index(source) if source in shared else 0
    return TRIP_LAYOUT.const(word)


class Sequencer(wiring.Component):
    """``enter`` says that a word may enter, ``entered`` that it has; ``done`` that the phase's last word is where it ends."""

    def __init__(self, lanes: int):
        super().__init__(
            {
                "config": In(stream.Signature(config_layout(lanes))),
                "go": In(1),
                "entered": In(1),
                "done": In(1),
                "finished": In(1),  # the run's last output word has been taken
                "phase": Out(PHASE_LAYOUT),
                "begin": Out(1),  # this is the first cycle of a phase
                "enter": Out(1),
                "last_word": Out(1),  # what enters is the last of its phase
                "last_phase": Out(1),  # of the run
                "next_trip": In(range(LONGEST)),
                "trip": Out(TRIP_LAYOUT),  # of the phase, number `next_trip`
            }
        )

    def elaborate(self, platform):
        m = Module()
        new = self.config.payload
        idle, begins, entering = Signal(init=1), Signal(), Signal()
        number, first, last = Signal(PHASE), Signal(PHASE), Signal(PHASE)
        rows, words, left = (Signal(RUN_BITS, name=name) for name in ("rows", "words", "left"))
        slot = Signal(range(LONGEST))
        phase = Signal(PHASE_LAYOUT)  # number `number`
        single = self.phase.words != Words.ROW
        m.d.comb += [
            self.config.ready.eq(idle),
            self.enter.eq(entering & (slot == 0)),
            self.last_word.eq(single | (left == 0)),
            self.last_phase.eq((number == last) & (rows == 0)),
        ]
        m.d.sync += [begins.eq(0), self.begin.eq(begins)]
        with m.If(begins):
            m.d.sync += [entering.eq(1), slot.eq(0), self.phase.eq(phase)]
        with m.If(self.go & entering):
            m.d.sync += slot.eq(slot + 1)
            with m.If(slot == self.phase.final):
                m.d.sync += slot.eq(0)
        with m.If(self.entered):
            m.d.sync += left.eq(left - 1)
            with m.If(self.last_word):
                m.d.sync += entering.eq(0)
        with m.If(self.done & ~self.last_phase):
            m.d.sync += [begins.eq(1), left.eq(words), number.eq(number + 1)]
            with m.If(number == last):
                m.d.sync += [number.eq(first), rows.eq(rows - 1)]
        with m.If(self.config.valid & idle):
            m.d.sync += [idle.eq(0), begins.eq(1), left.eq(new.words)]
            m.d.sync += [number.eq(new.first), first.eq(new.first), last.eq(new.last), rows.eq(new.rows), words.eq(new.words)]
        with m.If(self.finished):
            m.d.sync += idle.eq(1)

        # A phase has a cycle before its first one, in which it is looked up.
        with m.Switch(number):
            for i, entry in enumerate(PHASES):
                with m.Case(i):
                    word = {
                        "final": entry.period - 1,
                        "sink": Sink[entry.sink.upper()],
                        "words": Words[entry.words.upper()],
                        "online": entry.online,
                        "kind": Kind[entry.x.upper()],
                    }
                    m.d.comb += phase.eq(PHASE_LAYOUT.const(word))
                    with m.Switch(self.next_trip):
                        for t, trip in enumerate(entry.trips):
                            with m.Case(t):
                                m.d.comb += self.trip.eq(trip_word(trip))
        return m
