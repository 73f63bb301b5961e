"""The output: out = sum * gain + mean * (1 - alpha), one element per cycle, in FP16."""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Signal

from accel.base.fp import Add, Convert, Multiply
from pim.storage_attention.shared import FP16, FP32
from pim.storage_attention.timing import OUTPUT_ADD, OUTPUT_MULTIPLY, SCALAR


def output(m, s):
    """out = sum * gain + mean * (1 - alpha), one element per cycle, in FP16."""
    phase, pipe, go = s.phase, s.pipe, s.go
    head_dim = s.layout.head_dim
    more = Signal(name="more_output")
    issue = Signal(name="issue_output")
    m.d.comb += [
        more.eq(phase["output"] & (s.n != head_dim)),
        issue.eq(more & go & (s.dense | s.ports.mean.valid)),
        s.ports.mean.ready.eq(more & go & ~s.dense),
    ]
    s.issue_output = issue
    mean = Mux(s.dense, 0, s.ports.mean.payload)
    for i in range(SCALAR - OUTPUT_MULTIPLY):
        register = Signal(16, name=f"mean_{i}", reset_less=True)
        with m.If(go):
            m.d.sync += register.eq(mean)
        mean = register
    m.submodules.multiply_mean = multiply = Multiply(FP16, FP32, FP32, OUTPUT_MULTIPLY)
    m.submodules.add_mean = add = Add(FP32, OUTPUT_ADD)
    m.submodules.to_output = convert = Convert(FP32, FP16)
    product, total, result = (
        Signal(bits, name=name, reset_less=True) for name, bits in (("mean_part", 32), ("output_sum", 32), ("result", 16))
    )
    passed = Signal(OUTPUT_ADD + 2, name="output_passed")
    m.d.comb += [
        multiply.enable.eq(go),
        multiply.a.eq(mean),
        multiply.b.eq(s.rest),
        add.enable.eq(go),
        add.a.eq(pipe.y),
        add.b.eq(product),
        convert.a.eq(total),
        s.ports.out.valid.eq(passed[-1]),
        s.ports.out.payload.eq(result),
        go.eq(~passed[-1] | s.ports.out.ready),
    ]
    with m.If(go):
        m.d.sync += [product.eq(multiply.result), total.eq(add.result), result.eq(convert.result)]
        m.d.sync += passed.eq(Cat(phase["output"] & pipe.done, passed))
