"""The scalar pipe: y = f((a + n) b) in FP32, one result per cycle; f is exp2, 1 / x, x^-1/2, or nothing.

It takes the softmax apart: exponentials of scores less their maximum, and the few scalars around them. All registers move
while ``go`` is high; a result follows its operands by `timing.SCALAR` of these cycles.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from accel.base.fp import Add, Multiply
from accel.vector_unit.special import Function, Special
from pim.storage_attention.timing import SCALAR, SCALAR_ADD, SCALAR_MULTIPLY, SPECIAL
from workloads.formats import FORMATS

FP32 = FORMATS["fp32"]


class ScalarPipe(wiring.Component):
    """``valid`` accompanies the operands, ``done`` their result ``y``."""

    def __init__(self):
        super().__init__(
            {
                "go": In(1),
                "valid": In(1),
                "a": In(32),
                "n": In(32),
                "b": In(32),
                "function": In(Function),
                "done": Out(1),
                "y": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        go = self.go
        passed = Signal(SCALAR)
        m.submodules.add = add = Add(FP32, SCALAR_ADD)
        m.submodules.multiply = multiply = Multiply(FP32, FP32, FP32, SCALAR_MULTIPLY)
        m.submodules.special = special = Special([Function.EXPONENTIAL, Function.RECIPROCAL, Function.ROOT])

        def delayed(name, value, cycles):
            for i in range(cycles):
                register = Signal(value.shape(), name=f"{name}_{i}", reset_less=True)
                with m.If(go):
                    m.d.sync += register.eq(value)
                value = register
            return value

        a, n = delayed("a", self.a, 1), delayed("n", self.n, 1)
        b = delayed("b", self.b, 1 + SCALAR_ADD + 1)
        function = delayed("function", self.function, 1 + SCALAR_ADD + 1 + SCALAR_MULTIPLY)
        looked_up = delayed("looked_up", function != Function.BYPASS, SPECIAL)
        m.d.comb += [
            *(part.enable.eq(go) for part in (add, multiply, special)),
            add.a.eq(a),
            add.b.eq(n),
            multiply.a.eq(delayed("sum", add.result, 1)),
            multiply.b.eq(b),
            special.x.eq(multiply.result),
            special.function.eq(function),
            special.load.eq(go),
            self.done.eq(passed[-1]),
            self.y.eq(delayed("y", Mux(looked_up, special.result, delayed("bypassed", multiply.result, SPECIAL)), 1)),
        ]
        with m.If(go):
            m.d.sync += passed.eq(Cat(self.valid, passed))
        return m
