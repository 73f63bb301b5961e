"""Do the parts of MixPE compute what they say, does the unit refuse what it cannot, and cost what its docstring says?

Values, cycles and events of the whole at the corners of its parameters are shown by the conformance bench.
"""

import re

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.base import simulation
from accel.base.script import Pass, Run
from accel.gpu_tensor_core import GpuTensorCore
from accel.lut_tensor_core import LutTensorCore
from accel.mixpe import MixPe
from accel.mixpe.dequantizer import FP16, FP32, Dequantizer
from accel.mixpe.operands import BEFORE_SUM, NOT_FINITE, OPERANDS
from accel.mixpe.pe import activation_sum, shift_add
from accel.systolic_array import SystolicArray
from kernels_ref.floats import decode, encode
from kernels_ref.inputs import inputs
from kernels_ref.mixpe import mixpe_linear
from workloads.formats import FORMATS, parse_format
from workloads.ops import Linear

KINDS = ["int8", "fp16"]


def linear(m, n, k, weights="uint4:32", activations="int8", dequantized=True):
    formats = {"weights": parse_format(weights), "activations": FORMATS[activations], "output": FP32}
    return Linear(m=m, n=n, k=k, **formats, dequantized=dequantized)


def signed(value, bits):
    return value - (value >> (bits - 1) << bits)


def travelling(significand, shift=0):
    """An activation as it travels through an array of FP16: significand 2^(shift - 24)."""
    return significand & 0xFFF | shift << 12


def sums(kind, steps):
    """What a PE of ``kind`` says after each of the (activation, weight, first) in ``steps``, which follow one another."""
    pe, said = kind.make(kind), []

    async def drive(ctx):
        ctx.set(pe.advance, 1)
        for at in range(len(steps) + kind.delay):
            ctx.set(pe.step, at < len(steps))
            if at < len(steps):
                activation, weight, first = steps[at]
                ctx.set(pe.activation, activation)
                ctx.set(pe.first, first)
                if kind.weight_bits:
                    ctx.set(pe.weight, weight)
            if at >= kind.delay:
                said.append(ctx.get(pe.result))
            await ctx.tick()

    simulator = Simulator(pe)
    simulator.add_clock(1e-9)
    simulator.add_testbench(drive)
    simulator.run()
    return said


# The processing elements


def test_every_int8_activation_times_every_weight():
    pairs = [(a, u) for a in range(-128, 128) for u in range(16)]
    got = sums(shift_add(OPERANDS["int8"]), [(a & 0xFF, u, 1) for a, u in pairs])
    assert [signed(total, 20) for total in got] == [a * u for a, u in pairs]


def test_fp16_significands_and_shifts_times_every_weight():
    triples = [(s, e, u) for s in (-2047, -1365, -1024, -1, 0, 1, 1024, 2047) for e in range(30) for u in range(16)]
    got = sums(shift_add(OPERANDS["fp16"]), [(travelling(s, e), u, 1) for s, e, u in triples])
    assert [signed(total, 53) for total in got] == [s * u << e for s, e, u in triples]


@pytest.mark.parametrize(("kind", "extreme", "value"), [("int8", 0x80, -128), ("fp16", travelling(-2047, 29), -2047 << 29)])
def test_the_longest_group_of_the_largest_operands_fits(kind, extreme, value):
    steps = [(extreme, 15, at == 0) for at in range(256)]
    operands = OPERANDS[kind]
    assert signed(sums(shift_add(operands), steps)[-1], operands.sum_bits) == 256 * 15 * value
    assert (
        signed(sums(activation_sum(operands), steps)[-1] & (1 << operands.row_sum_bits) - 1, operands.row_sum_bits) == 256 * value
    )


def test_the_row_sum_remembers_what_is_not_finite_until_the_next_group():
    one, bad = travelling(1024, 15), travelling(1024, NOT_FINITE)
    steps = [(one, 0, 1), (bad, 0, 0), (one, 0, 0), (one, 0, 1), (bad, 0, 1), (one, 0, 1)]
    assert [total >> 49 for total in sums(activation_sum(OPERANDS["fp16"]), steps)] == [0, 1, 1, 0, 1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_no_pe_multiplies(kind):
    pe = shift_add(OPERANDS[kind])
    assert not re.search(r"cell \$(mul|macc)", rtlil.convert(pe.make(pe), name="pe"))


# The dequantiser


@settings(max_examples=12)
@given(st.sampled_from(KINDS), st.integers(0, 5), st.integers(0, 2**32))
def test_a_dequantizer_is_a_product_and_a_fused_addition(kind, depth, seed):
    rng = np.random.default_rng(seed)
    operands = OPERANDS[kind]
    column = Dequantizer(operands, 2, depth)
    row_sum = int(rng.integers(-(2 ** (operands.row_sum_bits - 1)), 2 ** (operands.row_sum_bits - 1)))
    zero, scale = int(rng.integers(16)), int(rng.integers(0x7BFF))
    difference = int(rng.integers(-(15 << (operands.row_sum_bits - 1)), 15 << (operands.row_sum_bits - 1)))

    async def drive(ctx):
        ctx.set(column.sum, difference + zero * row_sum & (1 << operands.sum_bits) - 1)
        ctx.set(column.row_sum, row_sum & (1 << operands.row_sum_bits) - 1)
        ctx.set(column.parameters, {"scale": scale, "zero": zero})
        for port, value in (("advance", 1), ("load", 1), ("loads_scale", 15), ("first", 1)):
            ctx.set(getattr(column, port), value)
        await ctx.tick().repeat(BEFORE_SUM + depth)
        got.append(ctx.get(column.result))

    got: list[int] = []
    simulator = Simulator(column)
    simulator.add_clock(1e-9)
    simulator.add_testbench(drive)
    simulator.run()
    rounded = decode(encode(np.array(difference * 2.0**-operands.places), FP32), FP32)
    assert got == [int(encode(rounded * decode(np.array(scale), FP16), FP32))]


# The whole


def test_infinities_nans_and_subnormals_come_out_as_the_kernel_says():
    """Which the inputs of the bench leave out."""
    unit, tile = MixPe(rows=4, columns=4, activations="fp16"), linear(4, 4, 96, "int4:32", "fp16")
    rng = np.random.default_rng(7)
    activations, codes, scale, zero = inputs(tile, rng)
    scale[2, 1] = FP16.fields.nan
    tame = rng.integers(0, 1 << 12, activations.shape) | rng.integers(0, 2, activations.shape) << 15  # mostly subnormal
    wild = [tame, activations.copy(), activations.copy()]
    wild[1][2, 40], wild[2][0, 95] = 0x7C00, FP16.fields.nan
    runs = [(a, codes, scale, zero) for a in wild]
    script = Pass("odd", "free", [Run(tile, runs)], 0).script(unit, ["config", "activations", "weights", "scales"], ["results"])
    [[seen]] = simulation.run(unit, [[script]], simulator="icarus", timeout_s=120)
    text, digits = seen["words"][0], seen["digits"][0]
    words = [int(text[i : i + digits], 16) for i in range(0, len(text), digits)]
    for i, arrays in enumerate(runs):
        (got,) = unit.decode(tile, {"results": words[4 * i : 4 * i + 4]})
        assert np.array_equal(got, mixpe_linear(tile, *arrays))
    assert not seen["fault"]


def test_codes_are_sent_without_their_sign():
    unit, tile = MixPe(rows=2, columns=2), linear(1, 2, 16, "int4:16")
    codes = np.array([[-8, *[0] * 15], [7, *[-1] * 15]])
    words = unit.encode(tile, np.full((1, 16), -1), codes, np.array([[0x3C00], [0x4000]]), np.array([[-8], [3]]))
    assert (words["activations"][0], words["weights"][:2]) == (0xFF, [0xF0, 0x78])
    assert words["scales"] == [0x3C00 | 0xB4000 << 20]


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (linear(2, 2, 64, "uint3:32"), "takes int4 or uint4 weights, not uint3:32"),
        (linear(2, 2, 64, "uint4:8"), "takes groups of 16 to 256 weights, such as uint4:128, not uint4:8"),
        (linear(2, 2, 512, "int4:512"), "takes groups of 16 to 256 weights, such as int4:128, not int4:512"),
        (linear(2, 2, 64, "int4"), "takes groups of 16 to 256 weights, such as int4:128, not int4"),
        (linear(2, 2, 70, "uint4:32"), "takes whole groups of 32 weights, not k = 70"),
        (linear(2, 2, 64, "uint4:32", "fp16"), "at these parameters takes int8 activations, not fp16"),
        (linear(2, 2, 16 << 17, "uint4:16"), "takes at most 2\\^16 groups of weights, not 131072"),
        (Linear(m=1, n=1, k=32, weights=parse_format("int4:32"), accumulate=True), "takes no partial sums"),
    ],
)
def test_what_it_cannot_execute_is_refused(tile, message):
    with pytest.raises(ValueError, match=f"mixpe.* {message}"):
        MixPe().cost(tile)


@pytest.mark.parametrize("unit", [LutTensorCore(weight_bits=4), SystolicArray(), GpuTensorCore(calibration="ideal")])
def test_other_units_refuse_to_apply_scales(unit):
    with pytest.raises(ValueError, match="applies no scales; wanted an op that is not dequantized"):
        unit.check(linear(2, 2, 64))


# The price


@pytest.mark.parametrize(
    ("unit", "tile", "latency", "interval"),
    [
        (MixPe(rows=4, columns=4, depth=3), linear(3, 2, 128, "uint4:128"), 128 + 3 + 2 + 4 + 1 + 3 + 8, 128),
        (
            MixPe(rows=4, columns=4, activations="fp16", depth=0),
            linear(4, 4, 128, "int4:32", "fp16"),
            32 + 4 + 4 + 4 + 2 + 8 + 96,
            128,
        ),
        (MixPe(rows=20, columns=9, depth=1), linear(20, 9, 48, "uint4:16"), 16 + 29 + 20 + 1 + 1 + 8 + 2 * 29, 3 * 29),
    ],
)
def test_cycles_by_hand(unit, tile, latency, interval):
    """A group takes its steps, or what its rows and columns take to drain, where that is more."""
    cost = unit.tile_cost(tile)
    assert (cost.latency, cost.interval) == (latency, interval)


def test_events_by_hand():
    events = MixPe(rows=4, columns=4).tile_cost(linear(3, 2, 64, "uint4:32")).events
    assert (events["mac"], events["row_sum"]) == (3 * 2 * 64, 3 * 64)
    assert (events["activation_load"], events["weight_load"]) == (3 * 64, 2 * 64)
    assert (events["scale_load"], events["dequantize"], events["output"]) == (2 * 2, 2 * 3 * 2, 3 * 2)
    assert events["group_output"] == 2 * 3 * (2 + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_scales_as_operands_costs_the_same(kind):
    unit = MixPe(activations=kind)
    with_scales, without = (unit.cost(linear(20, 30, 256, "int4:128", kind, dequantized=d)) for d in (True, False))
    assert (with_scales.cycles, with_scales.events) == (without.cycles, without.events)
    assert unit.companions(linear(20, 30, 256, "int4:128", kind, dequantized=False)) == ([], [])


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=6), st.integers(16, 256)
)
def test_arrays_price_as_each_alone(shapes, group):
    m, n, groups = np.array(shapes, dtype=np.int64).T
    together = MixPe().cost(linear(m, n, group * groups, f"uint4:{group}"))
    apart = [MixPe().cost(linear(a, b, group * c, f"uint4:{group}")) for a, b, c in shapes]
    assert together.cycles.tolist() == [cost.cycles for cost in apart]
    assert together.events["dequantize"].tolist() == [cost.events["dequantize"] for cost in apart]


# The op


def test_a_dequantized_layer_reads_a_scale_and_a_zero_point_per_group():
    op = linear(3, 5, 96, "int4:32")
    assert [(o.name, str(o.format), op.shape(o)) for o in op.operands()] == [
        ("activations", "int8", (3, 96)),
        ("weights", "int4:32", (5, 96)),
        ("scale", "fp16", (5, 3)),
        ("zero", "int4", (5, 3)),
    ]
    arrays = inputs(op, np.random.default_rng(0))
    tile = op.take({"m": slice(1), "n": slice(2, 4)}, *arrays)
    assert [a.shape for a in tile] == [(1, 96), (2, 96), (2, 3), (2, 3)]
    assert op.accumulator == FP32
