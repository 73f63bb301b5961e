"""Does the final `cost` cut an op into exactly the tiles that make it up, for ints and arrays alike?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.base.cost import Cost
from accel.base.unit import RtlUnit, Unit
from workloads.ops import Attention, Linear


class Toy(Unit):
    executes = (Linear,)
    m: int = 2
    n: int = 64

    def limits(self, op):
        return {"m": self.m, "n": self.n}

    def tile_cost(self, tile):
        return Cost(tile.k + 3, tile.k + tile.m - tile.m, {"mac": tile.m * tile.n * tile.k})


EXTENTS = st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(1, 50))


@given(EXTENTS, st.integers(1, 9), st.integers(1, 70))
def test_tiles_cover_the_op(extents, rows, columns):
    m, n, k = extents
    op, unit = Linear(m=m, n=n, k=k), Toy(m=rows, n=columns)
    runs = list(unit.runs(op))
    assert 1 <= len(runs) <= 4
    assert sum(tile.m * tile.n * count for tile, count in runs) == m * n
    assert all(1 <= tile.m <= rows and 1 <= tile.n <= columns and tile.k == k for tile, _ in runs)
    assert unit.cost(op).events["mac"] == op.macs
    tiles = -(-m // rows) * -(-n // columns)
    assert unit.cost(op).cycles == tiles * k + 3 * len(runs)


@given(st.lists(EXTENTS, min_size=1, max_size=8))
def test_array_costs_equal_scalar_costs(shapes):
    m, n, k = np.array(shapes, dtype=np.int64).T
    together = Toy().cost(Linear(m=m, n=n, k=k))
    apart = [Toy().cost(Linear(m=a, n=b, k=c)) for a, b, c in shapes]
    assert together.cycles.tolist() == [cost.cycles for cost in apart]
    assert together.events["mac"].tolist() == [cost.events["mac"] for cost in apart]


def test_cost_is_final():
    with pytest.raises(TypeError, match=r"Cheat must not define cost\(\)"):

        class Cheat(Toy):
            def cost(self, op):
                return Cost(1, 1, {})


def test_a_foreign_op_is_refused_by_name():
    op = Attention.decode(1, 10, heads=1, kv_heads=1, head_dim=64)
    with pytest.raises(ValueError, match="executes linear, not attention"):
        Toy().cost(op)


def test_an_empty_run_costs_nothing():
    assert Cost(7, 3, {"x": 2}).run(0).cycles == 0
    assert Cost(7, 3, {"x": 2}).run(3).cycles == 13


class Gate(RtlUnit):
    """Takes products of one k; its class draws any, and refuses some."""

    executes = (Linear,)
    golden = "none.none"
    k: int = 1

    def check(self, op):
        super().check(op)
        if op.k != self.k:
            raise ValueError(f"wanted k = {self.k}, got {op.k}")

    def limits(self, op):
        return {}

    def tile_cost(self, tile):
        return Cost(1, 1, {})

    def component(self): ...

    def encode_config(self, tile, n): ...

    def encode(self, tile, *arrays): ...

    def output_words(self, tile): ...

    def decode(self, tile, words): ...

    @classmethod
    def examples(cls):
        yield cls(), Linear(m=1, n=1, k=1)

    @classmethod
    def draw(cls, rng):
        k = int(rng.integers(1, 9))
        if k == 1:
            raise ValueError("refused")
        return cls(k=k), Linear(m=1, n=1, k=k)


@given(st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_a_drawn_op_suits_the_unit_that_draws_it(k, seed):
    unit = Gate(k=k)
    assert unit.takes(unit.draw_op(np.random.default_rng(seed)))
    assert not unit.takes(Linear(m=1, n=1, k=k + 1))


@pytest.mark.parametrize("k", [1, 9])
def test_a_unit_that_no_draw_suits_says_so(k):
    with pytest.raises(ValueError, match=rf"none of \d+ draws of test_unit fits these parameters: {{'k': {k}}}"):
        Gate(k=k).draw_op(np.random.default_rng(0))
