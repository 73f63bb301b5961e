"""The highest element so far, and the integer offset M of a softmax that follows it.

Keys are FP16 patterns put in the order of their numbers (or their magnitudes alone). A tree over the lanes finds the highest of a
word, which the maximum so far then takes in. From there, in three more registers,

    M = floor(trunc(x) 5909 / 4096) + 1        within 7 of x log2 e, infinities counting as 65536

Being an integer, a new M rescales the sum so far by its exponent alone: exactly, without a multiplier (Softermax, DAC'21).
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from accel.base.fp import Convert
from accel.vector_unit.timing import KEY_LEVELS
from workloads.formats import FORMATS

FP16, FP32, INT32 = FORMATS["fp16"], FORMATS["fp32"], FORMATS["int32"]
KEY_BITS = 16
LOG2E = 5909  # log2 e in units of 2^-12
OFFSET_BITS = 18


class Maximum(wiring.Component):
    """The maximum over words of ``lanes`` elements since ``clear``; ``valid`` accompanies the word in ``elements``."""

    def __init__(self, lanes: int):
        self.lanes = lanes
        super().__init__(
            {
                "go": In(1),
                "clear": In(1),
                "magnitude": In(1),  # of absolute values
                "valid": In(1),
                "elements": In(16).array(lanes),
                "used": In(lanes),  # elements that count
                "highest": Out(32),  # FP32
                "minus_offset": Out(32),  # -M in FP32, of the word that passes by
                "offset": Out(signed(OFFSET_BITS)),  # M
            }
        )

    def elaborate(self, platform):
        m = Module()
        keys: list[Value] = []
        for i in range(self.lanes):
            bits, key = self.elements[i], Signal(KEY_BITS, name=f"key_{i}")
            negative = bits[-1] & ~self.magnitude
            m.d.comb += key.eq(Mux(self.used[i], Cat(bits[:-1] ^ negative.replicate(KEY_BITS - 1), ~negative), 0))
            keys.append(key)
        valid, level = self.valid, 0
        while len(keys) > 1:
            keys = [self._higher(m, f"{level}_{i}", a, b) for i, (a, b) in enumerate(zip(keys[::2], keys[1::2], strict=True))]
            level += 1
            if level % KEY_LEVELS == 0 or len(keys) == 1:
                keys, valid = self._registers(m, level, keys, valid)
        (found,) = keys
        highest = Signal(KEY_BITS)
        with m.If(self.clear):
            m.d.sync += highest.eq(0)
        with m.Elif(self.go & valid & (found > highest)):
            m.d.sync += highest.eq(found)

        bits = Cat(highest[:-1] ^ (~highest[-1]).replicate(KEY_BITS - 1), ~highest[-1])
        m.submodules.to_float = to_float = Convert(FP16, FP32)
        m.submodules.offset_to_float = offset_to_float = Convert(INT32, FP32)
        whole, offset = (Signal(signed(OFFSET_BITS), name=name, reset_less=True) for name in ("whole", "offset"))
        passed = Signal(3)
        m.d.comb += [
            to_float.a.eq(bits),
            self.highest.eq(to_float.result),
            offset_to_float.a.eq(-offset),
        ]
        with m.If(self.go):
            m.d.sync += passed.eq(Cat(valid, passed))
            with m.If(passed[0]):
                m.d.sync += whole.eq(self._whole(bits))
            with m.If(passed[1]):
                m.d.sync += offset.eq(((whole * LOG2E) >> 12) + 1)
            with m.If(passed[2]):
                m.d.sync += [self.minus_offset.eq(offset_to_float.result), self.offset.eq(offset)]
        return m

    def _higher(self, m: Module, name: str, a: Value, b: Value) -> Value:
        higher = Signal(KEY_BITS, name=f"higher_{name}")
        m.d.comb += higher.eq(Mux(a > b, a, b))
        return higher

    def _registers(self, m: Module, level: int, keys: list[Value], valid: Value) -> tuple[list[Value], Value]:
        held = [Signal(KEY_BITS, name=f"held_{level}_{i}", reset_less=True) for i in range(len(keys))]
        held_valid = Signal(name=f"valid_{level}")
        with m.If(self.go):
            m.d.sync += held_valid.eq(valid)
            with m.If(valid):
                m.d.sync += [register.eq(key) for register, key in zip(held, keys, strict=True)]
        return held, held_valid

    def _whole(self, bits: Value) -> Value:
        """trunc of an FP16 number, 18 bits signed; infinities and NaNs as 65536."""
        exponent, top = bits[10:15], bits[10:15].all()
        significand = Cat(Const(0, 6), Mux(top, 0, bits[:10]), Const(1, 1))
        magnitude = significand >> (31 - exponent)[:5]
        return Mux(bits[-1], -magnitude, magnitude).as_signed()
