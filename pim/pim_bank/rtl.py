"""The RTL of the bank: a memory side and a PIM side, each with its stream of commands, over two row buffers or one."""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.enumeration import Enum
from accel.base.streams import event_layout
from accel.systolic_array.edges import OutputBuffer
from pim.pim_bank.dot_product import SUM_BITS, DotProduct
from pim.pim_bank.row_buffer import RowBuffer
from workloads.formats import Format

RUN_BITS = 32
"""Width of the counters of invocations, and of the commands of one."""


class MemoryCode(Enum):
    """Commands of the memory side, by their JEDEC names."""

    ACT = 0
    RD = 1
    WR = 2
    PRE = 3


class PimCode(Enum):
    """Commands of the PIM side, by the names of NeuPIMs."""

    ACT = 0
    COMP = 1
    READRES = 2
    PRE = 3


def config_layout() -> data.StructLayout:
    """A run: its invocations less one, and the commands that each side takes in one."""
    return data.StructLayout({"invocations": RUN_BITS, "memory": RUN_BITS, "pim": RUN_BITS})


def memory_layout(columns: int) -> data.StructLayout:
    """A command of the memory side, with the column of RD and WR."""
    return data.StructLayout({"code": MemoryCode, "column": range(columns)})


def pim_layout(columns: int, multipliers: int) -> data.StructLayout:
    """A command of the PIM side, with the column of COMP and the lanes that it uses, less one."""
    return data.StructLayout({"code": PimCode, "column": range(columns), "lanes": range(multipliers)})


class BankRtl(wiring.Component):
    """The streams of `pim.pim_bank`, for rows of ``columns`` bursts; ``dual``: two row buffers.

    A command waits until it can be executed: ACT until the row buffer is free, RD, WR and PRE until a row is in it, COMP for its
    burst of the vector, WR for its data. One that is not allowed, as RD without a row, waits for ever.
    """

    def __init__(self, fmt: Format, multipliers: int, columns: int, dual: bool):
        self.format, self.multipliers, self.columns, self.dual = fmt, multipliers, columns, dual
        burst = data.ArrayLayout(fmt.bits, multipliers)
        super().__init__(
            {
                "config": In(stream.Signature(config_layout())),
                "memory": In(stream.Signature(memory_layout(columns))),
                "written": In(stream.Signature(burst)),
                "cells": In(stream.Signature(burst)),
                "pim": In(stream.Signature(pim_layout(columns, multipliers))),
                "vector": In(stream.Signature(burst)),
                **({"pim_cells": In(stream.Signature(burst))} if dual else {}),
                "reads": Out(stream.Signature(burst)),
                "restored": Out(stream.Signature(burst)),
                "results": Out(stream.Signature(SUM_BITS)),
                "done": Out(stream.Signature(data.StructLayout({"memory_open": 1, "pim_open": 1}))),
                "events": Out(
                    event_layout(memory_fill=1, read=1, write=1, restore=1, pim_fill=1, comp=1, mac=multipliers, read_result=1)
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        memory, pim = (_side(name, self.columns, self.multipliers * self.format.bits) for name in ("memory", "pim"))
        self._run(m, memory, pim)
        self._row_buffers(m, memory, pim)
        self._memory_side(m, memory)
        self._pim_side(m, pim)
        return m

    def _run(self, m, memory, pim):
        """Counts commands and invocations. An invocation is done when all its commands are, and all their words are gone."""
        idle, left = Signal(init=1), Signal(RUN_BITS)  # invocations after this one
        new, done = self.config.payload, self.done
        m.d.comb += [
            self.config.ready.eq(idle),
            done.valid.eq(~idle & memory.finished & pim.finished),
            done.payload.memory_open.eq(memory.open),
            done.payload.pim_open.eq(pim.open),
        ]
        with m.If(done.valid & done.ready):
            m.d.sync += [left.eq(left - 1), idle.eq(left == 0)]
        with m.If(self.config.valid & idle):
            m.d.sync += [idle.eq(0), left.eq(new.invocations)]
        for side, count in ((memory, new.memory), (pim, new.pim)):
            each = Signal(RUN_BITS, name=f"{side.name}_each")
            with m.If(side.take):
                m.d.sync += side.left.eq(side.left - 1)
            with m.If(done.valid & done.ready & (left != 0)):
                m.d.sync += side.left.eq(each)
            with m.If(self.config.valid & idle):
                m.d.sync += [side.left.eq(count), each.eq(count)]
        # With one row buffer the bank computes first, and then is a memory until the invocation is done.
        m.d.comb += memory.turn.eq((memory.left != 0) & (Const(1) if self.dual else (pim.left == 0) & ~pim.open & ~pim.filling))
        m.d.comb += pim.turn.eq((pim.left != 0) & (Const(1) if self.dual else ~memory.open))

    def _row_buffers(self, m, memory, pim):
        """A row buffer for each side, or one for both, and the cells that fill it."""
        memory.cells = self.cells
        pim.cells = self.pim_cells if self.dual else self.cells
        sides = (memory, pim)
        for side in sides:
            m.d.comb += side.fill.eq(side.filling & side.cells.valid)
            with m.If(side.fill):
                m.d.sync += side.counter.eq(side.counter + 1)
                with m.If(side.counter == self.columns - 1):
                    m.d.sync += [side.counter.eq(0), side.filling.eq(0), side.open.eq(1)]
        if self.dual:
            for side in sides:
                m.submodules[f"{side.name}_row_buffer"] = buffer = self._row_buffer()
                m.d.comb += [side.cells.ready.eq(side.filling), side.found.eq(buffer.found)]
                m.d.comb += [buffer.column.eq(side.column), buffer.load.eq(side.load), buffer.burst.eq(side.burst)]
        else:
            m.submodules.row_buffer = buffer = self._row_buffer()
            m.d.comb += [
                self.cells.ready.eq(memory.filling | pim.filling),
                buffer.column.eq(Mux(pim.turn | pim.filling, pim.column, memory.column)),
                buffer.load.eq(memory.load | pim.load),
                buffer.burst.eq(memory.burst),
                *(side.found.eq(buffer.found) for side in sides),
            ]

    def _row_buffer(self):
        return RowBuffer(self.columns, self.multipliers * self.format.bits)

    def _memory_side(self, m, side):
        """ACT, RD, WR and PRE; between a PRE and the next ACT the row goes back to its cells."""
        command, code = self.memory.payload, self.memory.payload.code
        m.submodules.reads = reads = OutputBuffer(self.reads.payload.shape())
        m.submodules.restored = restored = OutputBuffer(self.restored.payload.shape())
        restoring, restore = Signal(), Signal()
        writes = Signal()
        can = Signal()
        with m.Switch(code):
            with m.Case(MemoryCode.ACT):
                m.d.comb += can.eq(~side.open & ~side.filling & ~restoring)
            with m.Case(MemoryCode.RD):
                m.d.comb += can.eq(side.open & reads.room)
            with m.Case(MemoryCode.WR):
                m.d.comb += can.eq(side.open & self.written.valid)
            with m.Case(MemoryCode.PRE):
                m.d.comb += can.eq(side.open)
        m.d.comb += [
            self.memory.ready.eq(side.turn & can),
            side.take.eq(self.memory.valid & self.memory.ready),
            self.written.ready.eq(self.memory.valid & side.turn & side.open & (code == MemoryCode.WR)),
            writes.eq(side.take & (code == MemoryCode.WR)),
            restore.eq(restoring & restored.room),
            side.column.eq(Mux(side.filling | restoring, side.counter, command.column)),
            side.load.eq(side.fill | writes),
            side.burst.eq(Mux(writes, self.written.payload, self.cells.payload)),
            reads.word.eq(side.found),
            reads.push.eq(side.take & (code == MemoryCode.RD)),
            restored.word.eq(side.found),
            restored.push.eq(restore),
        ]
        with m.If(side.take & (code == MemoryCode.ACT)):
            m.d.sync += side.filling.eq(1)
        with m.If(side.take & (code == MemoryCode.PRE)):
            m.d.sync += [side.open.eq(0), restoring.eq(1)]
        with m.If(restore):
            m.d.sync += side.counter.eq(side.counter + 1)
            with m.If(side.counter == self.columns - 1):
                m.d.sync += [side.counter.eq(0), restoring.eq(0)]
        _send(m, reads, self.reads)
        _send(m, restored, self.restored)
        waiting = side.filling | restoring | reads.words.valid | restored.words.valid
        m.d.comb += [
            side.finished.eq((side.left == 0) & ~waiting),
            self.events.memory_fill.eq(side.fill),
            self.events.read.eq(reads.push),
            self.events.write.eq(writes),
            self.events.restore.eq(restore),
        ]

    def _pim_side(self, m, side):
        """ACT, COMP, READRES and PRE; what they start in the pipeline goes on when the row is closed."""
        command, code = self.pim.payload, self.pim.payload.code
        m.submodules.dot_product = dot = DotProduct(self.format, self.multipliers)
        m.submodules.results = results = OutputBuffer(SUM_BITS)
        comp, first = Signal(), Signal(init=1)
        soon = Signal(range(dot.depth.accumulate + 1))  # cycles until the accumulator takes another burst
        can = Signal()
        with m.Switch(code):
            with m.Case(PimCode.ACT):
                m.d.comb += can.eq(~side.open & ~side.filling)
            with m.Case(PimCode.COMP):
                m.d.comb += can.eq(side.open & (soon == 0) & dot.advance & self.vector.valid)
            with m.Case(PimCode.READRES):
                m.d.comb += can.eq(side.open & dot.advance)
            with m.Case(PimCode.PRE):
                m.d.comb += can.eq(side.open)
        m.d.comb += [
            self.pim.ready.eq(side.turn & can),
            side.take.eq(self.pim.valid & self.pim.ready),
            comp.eq(side.take & (code == PimCode.COMP)),
            self.vector.ready.eq(self.pim.valid & side.turn & side.open & (soon == 0) & dot.advance & (code == PimCode.COMP)),
            side.column.eq(Mux(side.filling, side.counter, command.column)),
            side.load.eq(side.fill),
            side.burst.eq(side.cells.payload),
            dot.advance.eq(~dot.ends | results.room),
            dot.comp.eq(comp),
            dot.first.eq(first),
            dot.read.eq(side.take & (code == PimCode.READRES)),
            dot.row.eq(side.found),
            dot.vector.eq(self.vector.payload),
            dot.lanes.eq(command.lanes + 1),
            results.push.eq(dot.ends & dot.advance),
            results.word.eq(dot.result),
        ]
        with m.If(dot.advance & (soon != 0)):
            m.d.sync += soon.eq(soon - 1)
        with m.If(comp):
            m.d.sync += [first.eq(0), soon.eq(dot.depth.accumulate - 1)]
        with m.If(dot.read):
            m.d.sync += first.eq(1)
        with m.If(side.take & (code == PimCode.ACT)):
            m.d.sync += side.filling.eq(1)
        with m.If(side.take & (code == PimCode.PRE)):
            m.d.sync += side.open.eq(0)
        _send(m, results, self.results)
        m.d.comb += [
            side.finished.eq((side.left == 0) & ~(side.filling | dot.busy | results.words.valid)),
            self.events.pim_fill.eq(side.fill),
            self.events.comp.eq(comp),
            self.events.mac.eq(Mux(comp, dot.lanes, 0)),
            self.events.read_result.eq(dot.read),
        ]


def _side(name, columns, bits):
    """What both sides have. ``turn``: it may take a command; ``open``: its row is in the buffer; ``filling``: it is coming."""
    side = SimpleNamespace(name=name, found=Signal(bits, name=f"{name}_found"), burst=Signal(bits, name=f"{name}_burst"))
    for flag in ("turn", "take", "open", "filling", "fill", "load", "finished"):
        setattr(side, flag, Signal(name=f"{name}_{flag}"))
    side.left = Signal(RUN_BITS, name=f"{name}_left")  # commands of this invocation
    side.column = Signal(range(columns), name=f"{name}_column")
    side.counter = Signal(range(columns), name=f"{name}_counter")  # the burst of a row that is on its way
    return side


def _send(m, buffer, words):
    """The words of ``buffer`` leave on the stream ``words``."""
    m.d.comb += [
        words.valid.eq(buffer.words.valid),
        words.payload.eq(buffer.words.payload),
        buffer.words.ready.eq(words.ready),
    ]
