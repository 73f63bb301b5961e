"""The dequantiser below one column: scale and zero point of a group, and the sum over groups. One row per cycle.

    cycle 0      d = sum A u - (z - lowest) sum A        by shift and add, exact
    cycle 1 - 3  d in FP32                               exact for INT8, rounded for FP16
    cycle 4      s d + the row's sum so far              fused, one rounding; `depth` more cycles

A row's sum lies here from group to group, so that the array holds sums of one group only.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from accel.base.fp import Convert, MultiplyAdd
from accel.mixpe.adders import total
from accel.mixpe.operands import BEFORE_SUM, CONVERT_DEPTH, WEIGHT_BITS, Operands
from workloads.formats import FORMATS, Format

FP16, FP32 = FORMATS["fp16"], FORMATS["fp32"]
PARAMETERS = data.StructLayout({"scale": FP16.bits, "zero": WEIGHT_BITS})


class Dequantizer(wiring.Component):
    """One column. All that moves shares ``advance``; ``load`` and ``loads_scale`` say in which stages there is something new.

    ``first``: the group is the first, its sum starts from zero. ``bad``: a NaN in place of d. ``reads`` and ``writes``: the row
    that enters and leaves the multiply-adder, one bit per row.
    """

    def __init__(self, operands: Operands, rows: int, depth: int):
        self.operands, self.rows, self.depth = operands, rows, depth
        super().__init__(
            {
                "sum": In(operands.sum_bits),
                "row_sum": In(operands.row_sum_bits),
                "parameters": In(PARAMETERS),
                "advance": In(1),
                "load": In(1),
                "loads_scale": In(BEFORE_SUM),
                "bad": In(1),
                "first": In(1),
                "reads": In(rows),
                "writes": In(rows),
                "result": Out(FP32.bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits, places = self.operands.sum_bits, self.operands.places

        difference = Signal(bits, reset_less=True)
        row_sum, zero = self.row_sum.as_signed(), self.parameters.zero
        shifted = [(row_sum << i & zero[i].replicate(bits))[:bits] for i in range(WEIGHT_BITS)]
        minus = [~term for term in shifted]  # -x = ~x + 1
        following = total(m, [self.sum, *minus, Const(len(minus))], bits)  # outside of the `If`, which would gate its adders
        with m.If(self.advance & self.load):
            m.d.sync += difference.eq(following)

        scale = self.parameters.scale
        for stage in range(BEFORE_SUM):
            held = Signal(FP16.bits, name=f"scale_{stage}", reset_less=True)
            with m.If(self.advance & self.loads_scale[stage]):
                m.d.sync += held.eq(scale)
            scale = held

        m.submodules.convert = convert = Convert(Format(f"int{bits}", bits, "int"), FP32, CONVERT_DEPTH)
        mantissa, exponent, sign = convert.result[:23], convert.result[23:31], convert.result[31]
        m.d.comb += [convert.a.eq(difference), convert.enable.eq(self.advance)]
        number = Signal(FP32.bits, reset_less=True)
        with m.If(self.advance):
            m.d.sync += number.eq(Cat(mantissa, Mux(exponent.any(), exponent - places, 0)[:8], sign))

        sums = [Signal(FP32.bits, name=f"sum_{row}", reset_less=True) for row in range(self.rows)]
        so_far = 0
        for row, held in enumerate(sums):
            with m.If(self.advance & self.writes[row]):
                m.d.sync += held.eq(self.result)
            so_far = so_far | held & (self.reads[row] & ~self.first).replicate(FP32.bits)
        m.submodules.multiply_add = multiply_add = MultiplyAdd(FP32, FP16, FP32, self.depth)
        m.d.comb += [
            multiply_add.a.eq(Mux(self.bad, FP32.fields.nan, number)),
            multiply_add.b.eq(scale),
            multiply_add.c.eq(so_far),
            multiply_add.enable.eq(self.advance),
            self.result.eq(multiply_add.result),
        ]
        return m
