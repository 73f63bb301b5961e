"""The cells of both dataflows: a PE, the registers between it and its neighbours, and what it holds for longer."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from accel.systolic_array.pe import SUM_BITS, PassingPe, Pe

CONTROL = data.StructLayout({"step": 1, "first": 1, "last": 1})
"""What travels with the operands: there is a step, it is the segment's first, its last."""


class OutputStationaryCell(wiring.Component):
    """Operands and control enter from the left and from above, and leave to the right and below one cycle later.

    ``used``: the column is in use; without it no register moves. ``shift`` copies ``above`` into the drain register.
    ``mac`` and ``drain`` are the enables of the PE and of the drain register, for counting.
    """

    def __init__(self, pe: Pe):
        self.pe = pe
        super().__init__(
            {
                "advance": In(1),
                "used": In(1),
                "control": In(CONTROL),
                "activation": In(pe.activation_bits),
                "weight": In(pe.weight_bits),
                "control_right": Out(CONTROL),
                "activation_right": Out(pe.activation_bits),
                "weight_below": Out(pe.weight_bits),
                "accumulate": In(1),
                "shift": In(1),
                "above": In(pe.result_bits),
                "below": Out(pe.result_bits),
                "mac": Out(1),
                "drain": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        kind = self.pe
        m.submodules.pe = pe = kind.make(kind)
        control = Signal(CONTROL)
        activation = Signal(kind.activation_bits, reset_less=True)
        weight = Signal(kind.weight_bits, reset_less=True)
        entering = Signal()
        accumulates = Signal()  # a copy, so that one bit does not drive the adders of all cells
        m.d.comb += entering.eq(self.control.step & self.used)
        with m.If(self.advance):
            m.d.sync += control.step.eq(entering)
        with m.If(self.advance & entering):
            m.d.sync += [activation.eq(self.activation), weight.eq(self.weight)]
            m.d.sync += [control.first.eq(self.control.first), control.last.eq(self.control.last)]
            m.d.sync += accumulates.eq(self.accumulate)
        m.d.comb += [self.control_right.eq(control), self.activation_right.eq(activation), self.weight_below.eq(weight)]

        drain = Signal(kind.result_bits, reset_less=True)
        summed = control.step & control.last
        for stage in range(kind.delay):
            later = Signal(name=f"summed_{stage}")
            with m.If(self.advance):
                m.d.sync += later.eq(summed)
            summed = later
        m.d.comb += [
            pe.advance.eq(self.advance),
            pe.activation.eq(activation),
            pe.weight.eq(weight),
            pe.step.eq(control.step),
            pe.first.eq(control.first),
            pe.start.eq(drain & accumulates.replicate(kind.result_bits)),
            self.below.eq(drain),
            self.mac.eq(control.step & self.advance),
            self.drain.eq((summed | (self.shift & self.used)) & self.advance),
        ]
        with m.If(self.drain):
            with m.If(summed):
                m.d.sync += drain.eq(pe.result)
            with m.Else():
                m.d.sync += drain.eq(self.above)
        return m


PASSING_CONTROL = data.StructLayout({"step": 1, "first": 1, "load": 1})
"""What travels to the right: there is an activation, it is the first of its tile, the next tile's weight moves in."""


class WeightStationaryCell(wiring.Component):
    """Activations and control enter from the left, weights and partial sums from above; they leave to the right and below.

    ``used``: the column is in use; without it no register moves. ``row_used``: the row is, else partial sums pass as they are.
    ``mac`` and ``padding`` are the enable of the PE with and without a product, ``weight_shift`` and ``weight_swap`` those of the
    two weight registers, for counting.
    """

    def __init__(self, pe: PassingPe):
        self.pe = pe
        bits = pe.operand_bits
        super().__init__(
            {
                "advance": In(1),
                "used": In(1),
                "row_used": In(1),
                "control": In(PASSING_CONTROL),
                "activation": In(bits),
                "weight": In(bits),
                "partial": In(SUM_BITS),
                "control_right": Out(PASSING_CONTROL),
                "activation_right": Out(bits),
                "weight_below": Out(bits),
                "sum": Out(SUM_BITS),
                "mac": Out(1),
                "padding": Out(1),
                "weight_shift": Out(1),
                "weight_swap": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        kind = self.pe
        m.submodules.pe = pe = kind.make(kind)
        control = Signal(PASSING_CONTROL)
        activation, weight, following = (
            Signal(kind.operand_bits, name=name, reset_less=True) for name in ("activation", "weight", "following")
        )
        entering, shift = Signal(), Signal()
        m.d.comb += [entering.eq(self.control.step & self.used), shift.eq(self.control.load & self.used)]
        with m.If(self.advance):
            m.d.sync += [control.step.eq(entering), control.load.eq(shift)]
        with m.If(self.advance & entering):
            m.d.sync += control.first.eq(self.control.first)
            with m.If(self.row_used):
                m.d.sync += activation.eq(self.activation)
        with m.If(self.weight_swap):
            m.d.sync += weight.eq(following)
        with m.If(self.weight_shift):
            m.d.sync += following.eq(self.weight)
        m.d.comb += [
            self.weight_swap.eq(entering & self.control.first & self.row_used & self.advance),
            self.weight_shift.eq(shift & self.advance),
            self.control_right.eq(control),
            self.activation_right.eq(activation),
            self.weight_below.eq(following),
            pe.activation.eq(activation),
            pe.weight.eq(weight),
            pe.used.eq(self.row_used),
            pe.step.eq(control.step),
            pe.partial.eq(self.partial),
            pe.advance.eq(self.advance),
            self.sum.eq(pe.sum),
            self.mac.eq(control.step & self.row_used & self.advance),
            self.padding.eq(control.step & ~self.row_used & self.advance),
        ]
        return m
