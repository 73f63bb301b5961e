"""Does looking up take less area than multiplying?"""

from amaranth.back import rtlil
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from accel.base.rtl import elaborate
from accel.base.synthesis import synthesize
from accel.lut_tensor_core import LutTensorCore


class MacArray(wiring.Component):
    """The multiply-accumulate twin of a LUT core: the same tile and drain, INT8 x ``bits`` products instead of look-ups.

    rows x columns INT32 accumulators each take ``depth`` products a cycle, so that with depth = group / planes both do the same
    number of multiply-accumulates per cycle.
    """

    def __init__(self, rows, columns, depth, bits):
        self.shape = (rows, columns, depth, bits)
        activations = data.ArrayLayout(data.ArrayLayout(signed(8), depth), rows)
        weights = data.ArrayLayout(data.ArrayLayout(signed(bits), depth), columns)
        super().__init__(
            {
                "a": In(activations),
                "w": In(weights),
                "load_a": In(1),
                "load_w": In(1),
                "add": In(1),
                "first": In(1),
                "last": In(1),
                "row": In(range(max(rows, 2))),
                "o": Out(32 * columns),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rows, columns, depth, _ = self.shape
        a, w = Signal.like(self.a), Signal.like(self.w)
        with m.If(self.load_a):
            m.d.sync += a.eq(self.a)
        with m.If(self.load_w):
            m.d.sync += w.eq(self.w)
        results = []
        for r in range(rows):
            results.append([Signal(32, name=f"result_{r}_{c}") for c in range(columns)])
            for c in range(columns):
                total, after = Signal(signed(32), name=f"total_{r}_{c}"), Signal(signed(32), name=f"after_{r}_{c}")
                m.d.comb += after.eq(Mux(self.first, 0, total) + sum(a[r][k] * w[c][k] for k in range(depth)))
                with m.If(self.add):
                    m.d.sync += total.eq(after)
                with m.If(self.add & self.last):
                    m.d.sync += results[r][c].eq(after)
        with m.Switch(self.row):
            for r in range(rows):
                with m.Case(r):
                    for c in range(columns):
                        m.d.comb += self.o[32 * c : 32 * c + 32].eq(results[r][c])
        return m


def test_looking_up_takes_less_area_than_multiplying(asap7):
    """LUT core against INT8 x INT8 products at the same tile and rate, W2: the direction of the paper's figure 13."""
    lut = LutTensorCore(rows=2, columns=8, group=4, weight_bits=2)
    looking_up = synthesize(elaborate(lut)[1], asap7, period_ps=709).area_um2
    twin = MacArray(rows=2, columns=8, depth=2, bits=8)  # 4 products per 2 planes
    multiplying = synthesize(rtlil.convert(twin, name="top", emit_src=False), asap7, period_ps=709).area_um2
    assert multiplying > 1.5 * looking_up
