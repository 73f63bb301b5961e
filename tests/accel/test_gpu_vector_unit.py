"""Is a pointwise pass priced by launch, row and traffic, the same for ints and arrays, and counted in lane operations?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.base.calibration import Calibration
from accel.base.clock import bytes_to_ps
from accel.gpu_vector_unit import OPERATIONS, GpuVectorUnit
from accel.table_precompute import TablePrecomputeUnit
from workloads.formats import FORMATS
from workloads.ops import Linear, Pointwise, TablePrecompute

MACHINE = {"copies": 108, "clock": 1_410_000_000, "bandwidth": 2_039_000, "buffer": 40_000_000}
UNIT = GpuVectorUnit(calibration="a100")
functions = st.sampled_from(sorted(OPERATIONS))


def norm(tokens, hidden: int = 4096) -> Pointwise:
    elements = tokens * hidden
    return Pointwise(function="rms_norm", rows=elements // hidden, row=hidden, read_bytes=2 * elements, write_bytes=2 * elements)


def test_one_token_takes_the_time_of_its_row_and_many_that_of_their_bytes():
    figures = Calibration.load("a100").pointwise["rms_norm"]
    row = figures.launch_ps + 4096 * figures.row_ps_per_1000 / 1000
    assert UNIT.time_ps(norm(1), **MACHINE) == UNIT.time_ps(norm(2), **MACHINE) == pytest.approx(row, rel=1e-6)
    per_token = 4 * 4096 / 2.039e12 * 1e12 * 1000 / figures.bandwidth_permille
    grown = UNIT.time_ps(norm(8192), **MACHINE) - UNIT.time_ps(norm(4096), **MACHINE)
    assert grown == pytest.approx(4096 * per_token, rel=1e-6)


@given(functions, st.lists(st.integers(0, 10**9), min_size=1, max_size=6), st.integers(1, 20_000))
def test_arrays_price_as_scalars_do_and_no_pass_beats_the_memory(function, sizes, row):
    def op(elements):
        return Pointwise(function=function, rows=elements // row, row=row, read_bytes=4 * elements, write_bytes=2 * elements)

    alone = [UNIT.time_ps(op(n), **MACHINE) for n in sizes]
    assert all(type(ps) is int for ps in alone)
    assert UNIT.time_ps(op(np.array(sizes, dtype=np.int64)), **MACHINE).tolist() == alone
    for n, ps in zip(sizes, alone, strict=True):
        assert ps >= bytes_to_ps(6 * n, MACHINE["bandwidth"])
        assert (ps == 0) == (n == 0)


@pytest.mark.parametrize("function", sorted(OPERATIONS))
def test_events_count_lane_operations(function):
    cost = UNIT.cost(Pointwise(function=function, rows=1, row=128, read_bytes=1, write_bytes=1))
    assert cost.events == {"lane_op": 128 * OPERATIONS[function]}
    assert cost.cycles == 2 * OPERATIONS[function]


def test_table_precompute_is_a_pass_over_what_the_proved_unit_would_write():
    op = TablePrecompute(m=1024, k=3200)
    assert UNIT.table_bytes(op) == next(iter(TablePrecomputeUnit.examples()))[0].table_bytes(op)
    assert UNIT.cost(op).events == {"lane_op": 1024 * 800 * 8 * 3}
    moved = op.activations.nbytes(1024 * 3200) + UNIT.table_bytes(op)
    ideal = GpuVectorUnit(calibration="ideal")
    assert ideal.time_ps(op, **MACHINE) == bytes_to_ps(moved, MACHINE["bandwidth"])


@pytest.mark.parametrize(("table", "bits"), [("fp16", None), ("int8", 8)])
def test_tables_of_floating_point_activations_take_what_the_proved_unit_would_write(table, bits):
    op = TablePrecompute(m=8, k=64, activations=FORMATS["fp16"], entry_bits=bits)
    assert UNIT.table_bytes(op) == TablePrecomputeUnit(activations="fp16", table=table).table_bytes(op)


def test_what_it_cannot_execute_is_refused():
    with pytest.raises(ValueError, match="executes pointwise or table_precompute, not linear"):
        UNIT.check(Linear(m=1, n=1, k=1))
    with pytest.raises(ValueError, match=r"executes the functions embedding, .*, not 'softmax'"):
        UNIT.check(Pointwise(function="softmax", rows=1, row=1, read_bytes=1, write_bytes=1))
