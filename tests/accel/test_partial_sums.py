"""Is a cut reduction priced and proved as its parts, and is a unit found out that loses its partial sums?"""

from typing import ClassVar

import numpy as np
import pytest

from accel.base.cost import Cost
from accel.base.script import whole_op
from accel.base.unit import Unit
from workloads.formats import FORMATS
from workloads.ops import Linear

INT8, INT32 = FORMATS["int8"], FORMATS["int32"]


class Cut(Unit):
    """A unit that takes 2 x 3 x 4 at a time, and partial sums."""

    executes = (Linear,)
    partial_sums = True
    golden: ClassVar[str] = "product"

    def limits(self, op):
        return {"m": 2, "n": 3, "k": 4}

    def tile_cost(self, tile):
        words = tile.m if tile.accumulate else 0 * tile.m
        return Cost(tile.k, tile.k, {"mac": tile.m * tile.n * tile.k, "partial": words})


def product(op, activations, weights, partial=0):
    return (activations @ weights.T + partial,)


def linear(m, n, k, **kwargs):
    return Linear(m=m, n=n, k=k, weights=INT8, activations=INT8, output=INT32, **kwargs)


def test_the_first_part_takes_no_partial_sums_and_all_others_do():
    runs = [((t.k, t.accumulate), n) for t, n in Cut().runs(linear(2, 3, 11))]
    assert runs == [((4, False), 1), ((4, True), 1), ((3, True), 1)]
    assert [(t.k, t.accumulate, n) for t, n in Cut().runs(linear(2, 3, 3))] == [(3, False, 1)]


def test_an_op_that_accumulates_passes_its_own_partial_sums_to_the_first_part():
    assert [(t.k, t.accumulate, n) for t, n in Cut().runs(linear(2, 3, 9, accumulate=True))] == [
        (4, True, 1),
        (4, True, 1),
        (1, True, 1),
    ]


@pytest.mark.parametrize("accumulate", [False, True])
def test_arrays_of_ops_price_as_each_alone(accumulate):
    depths = np.array([1, 3, 4, 5, 8, 11, 400])
    together = Cut().cost(linear(5, 7, depths, accumulate=accumulate))
    for i, k in enumerate(depths.tolist()):
        alone = Cut().cost(linear(5, 7, k, accumulate=accumulate))
        assert together.cycles[i] == alone.cycles
        assert {name: np.broadcast_to(count, 7)[i] for name, count in together.events.items()} == dict(alone.events)


def test_partial_sums_of_a_cut_reduction_are_counted():
    assert Cut().cost(linear(2, 3, 12)).events["partial"] == 2 * 2
    assert Cut().cost(linear(2, 3, 12, accumulate=True)).events["partial"] == 3 * 2


def test_the_bench_chains_the_parts_through_the_golden_kernel():
    rng = np.random.default_rng(0)
    op = linear(3, 4, 10)
    arrays = rng.integers(-9, 9, (3, 10)), rng.integers(-9, 9, (4, 10))
    runs = whole_op(Cut(), op, arrays, product)
    assert sum(len(run.arrays) for run in runs) == 2 * 2 * 3
    whole = arrays[0] @ arrays[1].T
    results = sorted(
        product(run.tile, *operands)[0].ravel().tolist() for run in runs if run.tile.k == 2 for operands in run.arrays
    )
    blocks = (whole[:2, :3], whole[:2, 3:], whole[2:, :3], whole[2:, 3:])
    assert results == sorted(block.ravel().tolist() for block in blocks)


def test_a_golden_kernel_whose_parts_do_not_compose_is_found_out():
    arrays = np.ones((1, 8), np.int64), np.ones((1, 8), np.int64)
    with pytest.raises(AssertionError, match=r"parts of linear m=1 n=1 k=8 .* not that of the whole"):
        whole_op(Cut(), linear(1, 1, 8), arrays, lambda op, a, w, partial=0: (a @ w.T,))


def test_a_unit_without_partial_sums_refuses_an_op_that_accumulates():
    class Whole(Cut):
        partial_sums = False

    with pytest.raises(ValueError, match="takes no partial sums; wanted an op that does not accumulate"):
        Whole().check(linear(1, 1, 1, accumulate=True))
