"""The RTL around one operator: an operand register before it, and registers inside that all move together."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.arithmetic import RUN_BITS
from accel.base.streams import event_layout


class Operator(wiring.Component):
    """Streams: ``config`` and ``operands`` in, ``results`` out; see `accel.arithmetic` for their words."""

    def __init__(self, unit):
        self.unit = unit
        names = [operand.name for operand in unit.op(1, 1).operands()]
        super().__init__(
            {
                "config": In(stream.Signature(RUN_BITS)),
                "operands": In(stream.Signature(data.StructLayout(dict.fromkeys(names, unit.operand.bits)))),
                "results": Out(stream.Signature(unit.output.bits)),
                "events": Out(event_layout(operation=1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        left = Signal(RUN_BITS)  # operands of the run that are still to come
        held = Signal.like(self.operands.payload, reset_less=True)
        full = Signal(self.unit.depth + 1)  # which stages hold a word, the operand register lowest
        move, load = Signal(), Signal()
        m.d.comb += [
            move.eq(~self.results.valid | self.results.ready),
            self.config.ready.eq((left == 0) & ~full.any()),
            self.operands.ready.eq((left != 0) & move),
            load.eq(self.operands.valid & self.operands.ready),
            self.events.operation.eq(load),  # the enable of the operand register
            self.results.valid.eq(full[-1]),
            self.results.payload.eq(self._operator(m, held, move)),
        ]
        with m.If(self.config.valid & self.config.ready):
            m.d.sync += left.eq(self.config.payload)
        with m.If(load):
            m.d.sync += [left.eq(left - 1), held.eq(self.operands.payload)]
        with m.If(move):
            m.d.sync += full.eq(Cat(load, full))
        return m

    def _operator(self, m, held, move):
        operands = [held[name] for name, _ in held.shape()]
        part = self.unit.operator()
        if part is None:
            x, y = (operand.as_signed() for operand in operands)
            return x * y if self.unit.function == "multiply" else x + y
        m.submodules.operator = part
        m.d.comb += part.enable.eq(move)
        m.d.comb += [getattr(part, port).eq(operand) for port, operand in zip("abc", operands, strict=False)]
        return part.result
