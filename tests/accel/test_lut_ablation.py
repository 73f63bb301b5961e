"""Do all steps from UNPU to the LUT tensor core compute one layer, and are their committed areas those of their RTL?"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.base.figures import stale, units_of
from accel.base.rtl import digest
from accel.base.spec import discover
from accel.base.synthesis import LibertyFiles
from accel.base.tech import Tech
from accel.base.unit import RtlUnit
from accel.lut_ablation import RIVALS, STEPS, LutAblation
from accel.lut_ablation.areas import CELL, CELL_FILE, FILE, area, cell_rtlil, measure, smallest, units
from accel.lut_ablation.fp16 import OPERANDS
from kernels_ref.integer import integer_linear
from kernels_ref.quantize import reinterpret_scale
from workloads.formats import FORMATS
from workloads.ops import Linear

INT8, INT32 = FORMATS["int8"], FORMATS["int32"]


@pytest.fixture(scope="module")
def tech():
    return Tech.load(FILE.stem)


def linear(m, n, k, bits, **kwargs):
    return Linear(m=m, n=n, k=k, weights=FORMATS[f"int{bits}"], activations=INT8, output=INT32, **kwargs)


def taken(unit, op):
    try:
        unit.check(op)
    except ValueError:
        return False
    return True


layers = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 12), st.integers(1, 8), st.integers(0, 1 << 30))


@given(layers)
def test_codes_and_reinterpreted_codes_are_one_layer(layer):
    m, n, k, bits, seed = layer
    op, rng = linear(m, n, k, bits), np.random.default_rng(seed)
    a = rng.integers(-128, 128, (m, k))
    q = rng.integers(op.weights.lowest, op.weights.highest, (n, k), endpoint=True)
    (plain,) = integer_linear(op, a, q)
    (odd,) = integer_linear(op, a, q, reinterpreted=True)
    assert np.array_equal(plain, a @ q.T)
    scale, zero = (x.numpy() for x in reinterpret_scale(torch.ones(1), torch.zeros(1), op.weights))  # s = 1, z = 0
    assert np.array_equal(plain, scale * (odd - zero * a.sum(axis=1, keepdims=True)))


@given(layers, st.integers(8, 32))
def test_parts_of_a_sum_compose_in_accumulators_of_any_width(layer, width):
    m, n, k, bits, seed = layer
    rng = np.random.default_rng(seed)
    op = linear(m, n, k, bits)
    a = rng.integers(-128, 128, (m, k))
    q = rng.integers(op.weights.lowest, op.weights.highest, (n, k), endpoint=True)
    half = k // 2
    partial = None
    for part in (slice(0, half), slice(half, k)):
        (partial,) = integer_linear(op, a[:, part], q[:, part], partial, accumulator_bits=width)
    (whole,) = integer_linear(op, a, q, accumulator_bits=width)
    assert np.array_equal(partial, whole)
    assert ((whole - a @ q.T) % (1 << width) == 0).all()


@settings(deadline=None)
@given(st.sampled_from([*STEPS, *RIVALS]), st.integers(1, 8), st.integers(12, 32))
def test_a_reduction_that_could_overflow_is_refused_and_the_longest_is_exact(step, bits, width):
    unit = LutAblation(step=step, weight_bits=bits, accumulator_bits=width)
    longest = sum(taken(unit, linear(1, 1, k, bits)) for k in range(1, 200))
    if not longest:
        return
    op = linear(1, 1, longest, bits)
    a = np.full((1, longest), -128)
    for code in (op.weights.lowest, op.weights.highest):
        q = np.full((1, longest), code)
        (got,) = integer_linear(op, a, q, **unit.numerics())
        assert got == integer_linear(op, a, q, reinterpreted=unit.reinterpreted, accumulator_bits=63)[0]


def test_a_product_takes_one_cycle_and_a_look_up_one_per_plane():
    tile = linear(2, 64, 4, 2)
    assert {step: int(LutAblation(step=step).tile_cost(tile).interval) for step in (*STEPS, *RIVALS)} == {
        "unpu": 2,
        "reinterpreted": 2,
        "negated_offline": 2,
        "fused": 2,
        "add": 2,
        "mac": 1,
    }


@pytest.mark.parametrize("weights", ["uint2", "int4", "int2:32", "fp16"])
def test_weights_that_it_does_not_take_are_named(weights):
    name, _, group = weights.partition(":")
    op = Linear(m=1, n=1, k=32, weights=FORMATS[name].grouped(int(group) if group else None), activations=INT8)
    with pytest.raises(ValueError, match=f"takes int weights of 1 to 2 bits, one scale per output channel, not {weights}"):
        LutAblation().check(op)


def test_committed_areas_are_of_the_rtl_as_it_is(tech):
    """Where this fails: python -m accel.lut_ablation.areas LIBERTY... writes them again."""
    assert set(units_of(tech, discover("accel", RtlUnit))) == set(units())
    assert stale(tech, discover("accel", RtlUnit)) == []
    assert all(entry.source_class == "synthesized" for entry in tech.entry)


def test_committed_areas_of_fp16_cells_are_of_the_rtl_as_it_is():
    """Where this fails: python -m accel.lut_ablation.areas LIBERTY... writes them again."""
    found = {entry.parameters["kind"]: entry.rtlil for entry in Tech.load(CELL_FILE.stem).entry if entry.component == CELL}
    assert found == {kind: digest(cell_rtlil(kind)) for kind in OPERANDS}


def test_a_stale_area_is_found(tech):
    changed = tech.entry[0].model_copy(update={"rtlil": "0" * 64})
    found = stale(tech.model_copy(update={"entry": (changed, *tech.entry[1:])}), discover("accel", RtlUnit))
    assert found == [smallest()]


def test_an_area_that_is_not_committed_is_named(tech):
    with pytest.raises(ValueError, match=r"ablation_asap7 has no area of LutAblation\(.*columns=5"):
        area(tech, LutAblation(columns=5))


def test_a_small_netlist_maps_to_its_committed_area(shared, tech):
    files = LibertyFiles.read(sorted((shared / "pdk/asap7").glob("*.lib.gz")))
    assert measure(smallest(), files).area_um2 == pytest.approx(area(tech, smallest()), rel=0.02)
