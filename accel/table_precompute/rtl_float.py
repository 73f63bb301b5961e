"""The RTL of the table precompute for FP16 activations: a pipeline that moves as a whole, a register behind every level."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from accel.base.fp import Add
from accel.base.fp_round import shift_right
from accel.base.half_table import CODE_BITS, NOT_FINITE
from accel.table_precompute import LEVEL_STAGES
from accel.table_precompute.rtl import FP16, RUN_BITS, Precompute

MANTISSA = FP16.fields.mantissa
SPARE = 1 + MANTISSA + 1 - CODE_BITS
"""Bits of a shifted significand below the code and its guard bit, the sticky bit included."""


class FloatPrecompute(Precompute):
    """The streams of `Precompute`; the tables leave as many cycles later as there are stages."""

    def elaborate(self, platform):
        m = Module()
        left = Signal(RUN_BITS)  # input words of the run that are still to come
        load, moves = Signal(), Signal()
        held = Signal(self.unit.stages)  # which stages hold a word; the last one is the output register
        m.d.comb += [
            self.tables.valid.eq(held[-1]),
            moves.eq(~held[-1] | self.tables.ready),
            self.config.ready.eq((left == 0) & (held == 0)),
            self.activations.ready.eq((left != 0) & moves),
            load.eq(self.activations.valid & self.activations.ready),
            self.events.table_write.eq(Mux(moves & Cat(load, held)[-2], self.writes, 0)),
        ]
        with m.If(self.config.valid & self.config.ready):
            m.d.sync += left.eq(self.config.payload)
        with m.If(load):
            m.d.sync += left.eq(left - 1)
        with m.If(moves):
            m.d.sync += held.eq(Cat(load, held))
        levels = (self.unit.group - 1).bit_length()
        for row in range(self.unit.rows):
            activations = [self.activations.payload[row][j] for j in range(self.unit.group)]
            fields = self._signed_sums(m, moves, f"sum_{row}", activations, levels)
            if self.unit.table == "int8":
                fields = self._codes(m, moves, f"code_{row}", fields)
            m.d.comb += [self.tables.payload[row][i].eq(field) for i, field in enumerate(fields)]
        return m

    def _signed_sums(self, m: Module, moves: Value, name: str, terms: list[Value], levels: int) -> list[Value]:
        """-T of ``terms``, ``levels`` levels later: a first half, plus or minus the rest, both of a level less."""
        if len(terms) == 1:
            value = terms[0]
            for level in range(levels * LEVEL_STAGES):
                value = _register(m, moves, f"{name}_{level}", value)
            return [value]
        half = -(-len(terms) // 2)
        first = self._signed_sums(m, moves, f"{name}a", terms[:half], levels - 1)
        rest = self._signed_sums(m, moves, f"{name}b", terms[half:], levels - 1)
        sums: list[Value] = []
        for i in range(len(rest)):
            for other in (rest[i], Cat(rest[-1 - i][:-1], ~rest[-1 - i][-1])):
                for one in first:
                    label = f"{name}_{len(sums)}"
                    m.submodules[f"add_{label}"] = adder = Add(FP16, LEVEL_STAGES - 1)
                    m.d.comb += [adder.a.eq(one), adder.b.eq(other), adder.enable.eq(moves)]
                    sums.append(_register(m, moves, label, adder.result))
        return sums

    def _codes(self, m: Module, moves: Value, name: str, sums: list[Value]) -> list[Value]:
        """INT8 codes of ``sums``, and their exponent: see `half_table.shared_exponent_codes`."""
        fields = [s[MANTISSA:-1] for s in sums]
        shared = Signal(len(fields[0]), name=f"{name}_exponent")
        m.d.comb += shared.eq(_largest([Cat(f[0] | (f == 0), f[1:]) for f in fields]))
        codes = []
        for i, (s, field) in enumerate(zip(sums, fields, strict=True)):
            normal = field.any()
            distance = (shared - Cat(field[0] | ~normal, field[1:]))[: len(field)]
            word = shift_right(m, Cat(s[:MANTISSA], normal), distance)
            kept, guard, sticky = word[SPARE + 1 :], word[SPARE], word[:SPARE].any()
            rounded = Signal(CODE_BITS, name=f"{name}_{i}_rounded")
            m.d.comb += rounded.eq(kept + (guard & (sticky | kept[0])))
            magnitude = Mux(shared == NOT_FINITE, 0, rounded[:-1] | rounded[-1].replicate(CODE_BITS - 1))
            codes.append(_register(m, moves, f"{name}_{i}", Mux(s[-1], -magnitude, magnitude)[:CODE_BITS]))
        return [*codes, _register(m, moves, f"{name}_shared", shared)]


def _register(m: Module, moves: Value, name: str, value: Value) -> Signal:
    """``value`` one stage later."""
    register = Signal(len(value), name=name, reset_less=True)
    with m.If(moves):
        m.d.sync += register.eq(value)
    return register


def _largest(values: list[Value]) -> Value:
    """The largest of ``values``, by a tree."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    one, other = _largest(values[:half]), _largest(values[half:])
    return Mux(one > other, one, other)
