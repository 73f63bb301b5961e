"""Are companions inserted once, fused as placed, and refused with a message where a unit cannot execute an op?"""

import numpy as np
import pytest

from sim.errors import BadInput
from sim.experiment import load_model
from sim.lowering import lower
from sim.pricing import StepPricer
from sim.system import load_device
from workloads.model import Precision
from workloads.ops import Linear, Pointwise, TablePrecompute

W2A8 = Precision.from_data({"weights": "ternary", "activations": "int8"})
APART = ["placement.fuse=[]"]


def block(settings=(), precision=W2A8, tokens=48, design="lut_paper_a100_lut_4x"):
    pricer = StepPricer(load_device(design, settings), load_model("bitnet-b1.58-3b"), precision)
    before, attention, after = pricer.block_stages(tokens)
    return [*before, attention, *after]


def test_projections_of_one_input_share_its_tables():
    tables = [stage.op for stage in block(APART) if isinstance(stage.op, TablePrecompute)]
    assert [op.k for op in tables] == [3200, 3200, 3200, 8640]  # before Q, K, V; before O; before gate, up; before down


def test_fused_ops_leave_their_bytes_with_the_producer():
    stages = block()
    assert not any(isinstance(stage.op, TablePrecompute) for stage in stages)
    norm = stages[0]
    assert [op.kind for op, _ in norm.fused] == ["pointwise", "table_precompute"]
    assert norm.op.write_bytes == 48 * 3200 * 16 // 8  # eight entries of eight bits per four activations
    attention = next(s for s in stages if s.op.kind == "attention")
    assert attention.op.output.bits == 16


def test_an_unfused_dequantisation_makes_the_core_write_its_accumulators():
    linear = next(stage for stage in block(APART) if isinstance(stage.op, Linear))
    assert (linear.op.output.bits, linear.fused) == (32, ())
    fused = next(stage for stage in block() if isinstance(stage.op, Linear))
    assert (fused.op.output.bits, [op.function for op, _ in fused.fused]) == (16, ["dequantize"])


def test_arrays_lower_to_the_same_stages_as_ints():
    many = block(tokens=np.array([1, 48, 700]))
    for i, tokens in enumerate((1, 48, 700)):
        for one, together in zip(block(tokens=tokens), many, strict=True):
            assert (one.unit, len(one.fused)) == (together.unit, len(together.fused))
            if isinstance(one.op, Pointwise):
                assert one.op.write_bytes == together.op.write_bytes[i]
            elif not isinstance(one.op, TablePrecompute):
                assert one.op.output == together.op.output


def test_a_model_that_the_unit_cannot_execute_is_refused_by_key():
    with pytest.raises(BadInput, match=r"units.lut cannot execute linear.q: lut_tensor_core takes integer or ternary weights"):
        block(precision=Precision())


def test_a_unit_that_nobody_placed_is_named():
    device = load_device("a100_lut_4x", ['placement.linear="lut"'])
    placement = device.placement.model_copy(update={"table_precompute": None})
    model = load_model("bitnet-b1.58-3b")
    before, _ = model.block(4, W2A8)
    with pytest.raises(BadInput, match=r"placement\.table_precompute: missing"):
        lower(before, device.model_copy(update={"placement": placement}))
