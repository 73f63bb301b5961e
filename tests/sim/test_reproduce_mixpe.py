"""Does MixPE's table follow from shapes and array sizes alone, and move as its mechanisms say?"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.base.figures import stale
from accel.base.spec import discover
from accel.base.tech import Entry, Tech
from accel.base.unit import RtlUnit
from sim.reproduce import reproduce
from sim.reproductions import mixpe
from sim.reproductions.mixpe import BATCH, OPT, PATCH, PUBLISHED, REFERENCE, SCHEMES, VIT, Workload, cycles, gemm_cycles
from workloads.ops import Linear

EXTENT = st.integers(1, 20_000)


@pytest.mark.parametrize("row", list(mixpe.time_rows()), ids=lambda row: row.setup)
def test_the_published_time_table_is_met_without_a_fitted_constant(row):
    assert abs(row.error) <= (0.05 if "OPT" in row.setup else 0.10)
    assert row.constants == []


def test_every_published_scheme_of_both_models_is_compared():
    setups = [row.setup for row in mixpe.time_rows()]
    assert len(setups) == len(set(setups)) == sum(len(column) for _, _, column in PUBLISHED.values()) == 10


@pytest.mark.parametrize(
    ("scheme", "published"), [("MixPE-W4A8", 0.12), ("BitFusion", 0.67), ("INT8", 0.82), ("MixPE-W4A16", 0.32)]
)
def test_a_third_model_of_the_same_file_is_predicted(scheme, published):
    """ViT-Huge of the same results file, with the 14 x 14 patches of 16 x 16 that the authors give it."""
    huge = Workload(mixpe.vision_transformer("ViT-Huge", 1280, 32, 16), **PATCH)
    assert mixpe.relative_time(SCHEMES[scheme], huge) == pytest.approx(published, rel=0.05)


def test_a_row_against_the_abstract_is_kept_apart_and_says_why_it_is_missed():
    (row,) = [row for row in reproduce("mixpe") if "speed-up" in row.metric]
    assert row.status == "explained"
    assert "takes 0.19 and the quantised baseline 0.50" in row.note


def test_cycles_are_those_in_the_results_of_the_authors():
    """results/float.csv, a 32 x 32 array of 16 bits: cycles less memory stalls of three layers of ViT."""
    array = replace(REFERENCE, columns=32)
    assert gemm_cycles(array, Linear(m=64, n=2304, k=768), 16, 16) == 110_688 - 96
    assert gemm_cycles(array, Linear(m=64, n=768, k=3072), 16, 16) == 147_504 - 48
    assert gemm_cycles(array, Linear(m=64 * 196, n=768, k=768), 16, 16, kernel=256) == 7_225_600 - 256


@pytest.mark.parametrize(
    ("scheme", "per_pe"), [("MixPE-W4A8", 2), ("ANT", 4), ("BitFusion", 1), ("INT8", 1), ("MixPE-W4A16", 4), ("FP16", 1)]
)
def test_operations_per_pe_and_cycle_follow_the_fusion_formula(scheme, per_pe):
    array = SCHEMES[scheme]
    assert array.factor(array.activations) * array.factor(array.weights) == per_pe
    assert array.factor(array.highest) == 1


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.name)
@given(m=EXTENT, n=EXTENT, k=st.integers(1, 5000))
def test_no_array_is_faster_than_its_operations_per_cycle(scheme, m, n, k):
    rate = scheme.rows * scheme.columns * scheme.factor(scheme.activations) * scheme.factor(scheme.weights)
    assert gemm_cycles(scheme, Linear(m=m, n=n, k=k), scheme.activations, scheme.weights) * rate >= m * n * k


def test_the_patch_embedding_is_the_work_of_vit_that_narrow_weights_do_not_speed_up():
    embedding = 196 * 768 * 768
    blocks = sum(n * k for n, k in VIT.model.projections().values()) * VIT.model.layers
    assert embedding / (embedding + blocks) == pytest.approx(0.576, abs=0.001)
    without = replace(VIT, patches=0)
    gain = {w: cycles(SCHEMES["INT8"], w) / cycles(SCHEMES["MixPE-W4A8"], w) for w in (VIT, without)}
    assert gain[without] / gain[VIT] > 1.5


def test_blocks_kept_at_eight_bits_cost_ant_what_they_are_worth():
    ant = SCHEMES["ANT"]
    free = cycles(ant, replace(OPT, kept=()))
    assert cycles(ant, OPT) / free == pytest.approx((0.25 + 0.75 * 6 / 32 + 0.125) / 0.375, rel=0.01)


def test_dequantisation_costs_the_baselines_an_eighth_and_mixpe_next_to_nothing():
    for name, least, most in (("INT8", 1.12, 1.13), ("MixPE-W4A8", 1.0, 1.005)):
        scheme = SCHEMES[name]
        layers = [Linear(m=BATCH, n=n, k=k) for n, k in OPT.model.projections().values()]
        alone = sum(gemm_cycles(scheme, op, scheme.activations, scheme.weights) for op in layers) * OPT.model.layers
        assert least < cycles(scheme, OPT) / alone < most


def test_twice_the_batch_takes_twice_the_time():
    for scheme in SCHEMES.values():
        assert cycles(scheme, OPT, 2 * BATCH) == 2 * cycles(scheme, OPT)


def entry(component, rows, columns, area, **parameters):
    return Entry.from_data(
        {"component": component, "parameters": {"rows": rows, "columns": columns, **parameters}}
        | {"area": f"{area} um2", "class": "synthesized", "source": "test"}
    )


OURS = [
    entry("systolic_array", 32, 32, 9, operands="int8", dataflow="weight_stationary"),
    entry("systolic_array", 32, 32, 1000, operands="int8", dataflow="output_stationary"),
    entry("mixpe", 16, 16, 100, activations="int8"),
    entry("mixpe", 64, 64, 1600, activations="int8", depth=3),
    entry("mixpe", 32, 32, 1040, activations="fp16", depth=3),
]


def test_areas_are_compared_at_the_published_sizes():
    w4a8, w4a16 = mixpe.iso_area_rows(OURS)
    assert (w4a8.published, w4a8.simulated) == (1, pytest.approx(1.6))
    assert w4a8.status == "explained"
    assert "2560 such PEs would fit in place of 4096" in w4a8.note
    assert "the source counts 2; per operation and cycle it takes 0.40 of INT8's area" in w4a8.note
    assert (w4a16.simulated, w4a16.status) == (pytest.approx(1.04), "reproduced")


def test_an_array_of_another_size_does_not_stand_for_the_published_one():
    smaller = [e for e in OURS if e.parameters["rows"] < 64]
    assert [row.setup for row in mixpe.iso_area_rows(smaller)] == ["MixPE-W4A16 32x32 by INT8 32x32"]


@pytest.mark.parametrize("missing", ["systolic_array", "mixpe"])
def test_no_area_is_compared_with_none(missing):
    assert list(mixpe.iso_area_rows([e for e in OURS if e.component != missing])) == []


@pytest.mark.long
def test_the_areas_of_large_arrays_are_of_the_rtl_as_it_is():
    assert stale(Tech.load(mixpe.LARGE_ARRAYS), discover("accel", RtlUnit)) == []
