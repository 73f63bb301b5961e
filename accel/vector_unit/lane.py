"""A lane: one multiplier, one adder and one interpolator in a loop that a word passes once per trip.

    operands -> a b -> + c -> special or not -> operands of the next trip, or out of the loop

What all lanes share is on `control_layout`: where a, b and c come from, and the values that are the same for all. With a word
travels its element of x, because later trips may want it again.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from accel.base.enumeration import Enum
from accel.base.fp import Add, Convert, Multiply
from accel.vector_unit.special import Function, Special
from accel.vector_unit.timing import ADD, LOOP, MULTIPLY, SPECIAL
from workloads.formats import FORMATS, Format

FP16, FP32, INT32 = FORMATS["fp16"], FORMATS["fp32"], FORMATS["int32"]


class Source(Enum, shape=3):
    """Where an operand comes from."""

    SHARED = 0
    X = 1
    PARTNER = 2
    V = 3
    Y = 4
    Z = 5


OPERAND_SOURCES = {
    "a": (Source.X, Source.PARTNER, Source.V),
    "b": (Source.X, Source.V, Source.Y, Source.Z),
    "c": (Source.X, Source.V, Source.Z),
}
"""Where each operand may come from, besides the shared values."""


class Kind(Enum, shape=2):
    """What an element of x is."""

    FP16 = 0
    INT32 = 1
    FP32 = 2


def control_layout() -> data.StructLayout:
    """What all lanes are told in a cycle."""
    return data.StructLayout(
        {
            "go": 1,  # everything moves
            "kind": Kind,
            "again": 1,  # the next trip is of the word that ends one, not of the one in front
            "a": Source,
            "b": Source,
            "c": Source,
            "shared_a": 32,
            "shared_b": 32,
            "shared_c": 32,
            "function": Function,  # of the sum that is in front of the special part
        }
    )


class Lane(wiring.Component):
    """``element`` enters two cycles before its first trip; ``result`` is what left the loop, FP32."""

    def __init__(self, root: bool):
        self.functions = [Function.EXPONENTIAL, Function.RECIPROCAL] + [Function.ROOT] * root
        super().__init__(
            {
                "control": In(control_layout()),
                "element": In(32),
                "take": In(1),  # load the element's value in FP32
                "load": In(1),  # load the operands of a trip
                "special": In(1),  # the sum in front of the special part goes through it
                "leave": In(1),  # what ends its last trip is loaded into `result`
                "clear": In(1),  # and is a zero
                "y": In(16),
                "z": In(16),
                "partner": In(32),  # x of the lane half a word away
                "x": Out(32),
                "result": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        control, go = self.control, self.control.go
        front = Signal(32, reset_less=True)
        half, integer = self._float(m, "half", FP16, self.element[:16]), self._float(m, "integer", INT32, self.element)
        with m.If(self.take & go), m.Switch(control.kind):
            for kind, value in ((Kind.FP16, half), (Kind.INT32, integer), (Kind.FP32, self.element)):
                with m.Case(kind):
                    m.d.sync += front.eq(value)

        end, x_end = Signal(32), Signal(32)
        y, z = self._float(m, "y", FP16, self.y), self._float(m, "z", FP16, self.z)
        m.d.comb += self.x.eq(Mux(control.again, x_end, front))
        sources = {Source.X: self.x, Source.PARTNER: self.partner, Source.V: end, Source.Y: y, Source.Z: z}
        a, b, c = (
            self._operand(
                m, name, {Source.SHARED: getattr(control, f"shared_{name}")} | {s: sources[s] for s in OPERAND_SOURCES[name]}
            )
            for name in "abc"
        )
        x = Signal(32, name="x_0", reset_less=True)
        with m.If(self.load & go):
            m.d.sync += x.eq(self.x)

        m.submodules.multiply = multiply = Multiply(FP32, FP32, FP32, MULTIPLY)
        m.submodules.add = add = Add(FP32, ADD)
        m.submodules.special_part = special = Special(self.functions)
        bypassed, sum_special = self._delay(m, "bypassed", add.result, SPECIAL, go), Signal()
        m.d.comb += [
            *(part.enable.eq(go) for part in (multiply, add, special)),
            multiply.a.eq(a),
            multiply.b.eq(b),
            add.a.eq(multiply.result),
            add.b.eq(self._delay(m, "c", c, MULTIPLY, go)),
            special.x.eq(add.result),
            special.function.eq(control.function),
            special.load.eq(self.special & go),
            sum_special.eq(self._delay(m, "special", self.special, SPECIAL, go)),
            end.eq(Mux(sum_special, special.result, bypassed)),
            x_end.eq(self._delay(m, "x", x, LOOP - 1, go)),
        ]
        result = Signal(32, reset_less=True)
        m.d.comb += self.result.eq(result)
        with m.If(self.leave & go):
            m.d.sync += result.eq(Mux(self.clear, 0, end))
        return m

    def _operand(self, m: Module, name: str, sources: dict[Source, Value]) -> Signal:
        """The register of operand ``name``, loaded from where the control says."""
        register = Signal(32, name=f"operand_{name}", reset_less=True)
        with m.If(self.load & self.control.go), m.Switch(getattr(self.control, name)):
            for source, value in sources.items():
                with m.Case(source):
                    m.d.sync += register.eq(value)
        return register

    def _float(self, m: Module, name: str, fmt: Format, bits: Value) -> Value:
        """``bits`` of a number of ``fmt`` in FP32."""
        m.submodules[f"{name}_to_float"] = convert = Convert(fmt, FP32)
        m.d.comb += convert.a.eq(bits)
        return convert.result

    def _delay(self, m: Module, name: str, value: Value, cycles: int, go: Value) -> Value:
        """``value`` of ``cycles`` moves ago."""
        for i in range(cycles):
            register = Signal(len(value), name=f"{name}_{i + 1}", reset_less=True)
            with m.If(go):
                m.d.sync += register.eq(value)
            value = register
        return value
