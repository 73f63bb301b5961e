"""A unit small enough to be characterised in seconds, which discovery does not find."""

import numpy as np
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.cost import Cost
from accel.base.streams import event_layout
from accel.base.unit import RtlUnit
from workloads.formats import FORMATS
from workloads.ops import Linear


class DotProduct(RtlUnit):
    """One INT8 dot product of any length: a word of an activation and a 2-bit code per cycle."""

    executes = (Linear,)
    golden = "none"
    lanes: int = 1
    hangs: bool = False

    def limits(self, op):
        return {"m": 1, "n": 1}

    def check(self, op):
        super().check(op)
        if (op.activations.name, op.weights.name) != ("int8", "uint2"):
            raise ValueError("wanted int8 by uint2")

    def tile_cost(self, tile):
        return Cost(latency=tile.k + 2, interval=tile.k + 1, events={"mac": tile.k, "result": 1})

    def component(self):
        return _DotRtl(self.hangs)

    def encode_config(self, tile, n):
        return n * (tile.k + 1) << 8 | tile.k

    def encode(self, tile, *arrays):
        activations, codes = (np.asarray(a).reshape(-1).tolist() for a in arrays)
        return {"operands": [(a & 255) | c << 8 for a, c in zip(activations, codes, strict=True)]}

    def output_words(self, tile):
        return {"results": 1}

    def decode(self, tile, words):
        return (np.array([[(w ^ 1 << 23) - (1 << 23) for w in words["results"]]]),)

    @classmethod
    def examples(cls):
        yield cls(), Linear(m=1, n=1, k=5, weights=FORMATS["uint2"], activations=FORMATS["int8"])

    @classmethod
    def draw(cls, rng):
        return next(iter(cls.examples()))


class _DotRtl(wiring.Component):
    def __init__(self, hangs):
        self.hangs = hangs
        super().__init__(
            {
                "config": In(stream.Signature(40)),
                "operands": In(stream.Signature(data.StructLayout({"a": signed(8), "w": 2}))),
                "results": Out(stream.Signature(24)),
                "events": Out(event_layout(mac=1, result=1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        left, length, position, total = Signal(32), Signal(8), Signal(8), Signal(signed(24))
        take = Signal()
        m.d.comb += [
            self.config.ready.eq(left == 0),
            self.operands.ready.eq((left != 0) & ~self.results.valid & (not self.hangs)),
            take.eq(self.operands.ready & self.operands.valid),
            self.results.valid.eq((left != 0) & (position == length)),
            self.results.payload.eq(total),
            self.events.mac.eq(take),
            self.events.result.eq(self.results.valid & self.results.ready),
        ]
        with m.If(self.config.ready & self.config.valid):
            m.d.sync += [left.eq(self.config.payload[8:]), length.eq(self.config.payload[:8]), position.eq(0), total.eq(0)]
        with m.If(take):
            m.d.sync += [left.eq(left - 1), position.eq(position + 1)]
            m.d.sync += total.eq(total + self.operands.payload.a * self.operands.payload.w)
        with m.If(self.results.valid & self.results.ready):
            m.d.sync += [left.eq(left - 1), position.eq(0), total.eq(0)]
        return m
