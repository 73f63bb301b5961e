"""Table precompute beyond conformance: all pairs through the RTL, the codec, what is refused, costs by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from accel.base import simulation
from accel.base.script import Pass, Run
from accel.table_precompute import TablePrecomputeUnit
from kernels_ref.inputs import inputs
from kernels_ref.tables import half_table
from workloads.formats import FORMATS
from workloads.ops import Linear, TablePrecompute


def test_all_pairs_at_group_two_through_the_rtl():
    """All 65,536 pairs of INT8 activations, eight rows at a time."""
    unit = TablePrecomputeUnit(rows=8, group=2)
    values = np.arange(-128, 128)
    pairs = np.stack(np.meshgrid(values, values, indexing="ij"), axis=-1).reshape(8, -1)
    tile = TablePrecompute(m=8, k=pairs.shape[1], group=2)
    play = Pass("all pairs", "free", [Run(tile, [(pairs,)])], 0)
    script = play.script(unit, ["config", "activations"], ["tables"])
    ((seen,),) = simulation.run(unit, [[script]], simulator="icarus", timeout_s=300)
    assert seen["fault"] is None
    text, digits = seen["words"][0], seen["digits"][0]
    words = [int(text[i : i + digits], 16) for i in range(0, len(text), digits)]
    (tables,) = unit.decode(tile, {"tables": words})
    assert tables.size == 2 * 65536
    assert (tables == half_table(tile, pairs)).all()


@given(st.integers(1, 8), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_words_carry_what_was_encoded(rows, group, seed):
    rng = np.random.default_rng(seed)
    unit = TablePrecomputeUnit(rows=rows, group=group)
    tile = TablePrecompute(m=int(rng.integers(1, rows + 1)), k=int(rng.integers(1, 30)), group=group)
    (activations,) = inputs(tile, rng)
    (words,) = unit.encode(tile, activations).values()
    assert len(words) == unit.output_words(tile)["tables"] == -(-tile.k // group)
    for g, word in enumerate(words):
        for row in range(rows):
            for j in range(group):
                byte = word >> 8 * (row * group + j) & 0xFF
                inside = row < tile.m and g * group + j < tile.k
                assert byte == (int(activations[row, g * group + j]) & 0xFF if inside else 0)


def test_cost_by_hand():
    unit = TablePrecomputeUnit(rows=2, group=4)
    # 3 rows of 10: a run of full rows, and one of the rest; each 3 groups, 1 cycle for the config word and 1 for the register.
    cost = unit.cost(TablePrecompute(m=3, k=10, group=4))
    assert cost.cycles == 2 * (1 + 3 + 1)
    assert cost.events == {"table_write": 2 * 3 * 2 * 8}
    assert unit.cost(TablePrecompute(m=8, k=10, group=4)).cycles == 1 + 4 * 3 + 1


def test_cost_of_arrays_is_the_cost_of_each():
    unit = TablePrecomputeUnit()
    m, k = np.array([1, 2, 5, 64]), np.array([1, 300, 4096, 1 << 20])
    together = unit.cost(TablePrecompute(m=m, k=k))
    for i in range(4):
        alone = unit.cost(TablePrecompute(m=int(m[i]), k=int(k[i])))
        assert together.cycles[i] == alone.cycles
        assert together.events["table_write"][i] == alone.events["table_write"]


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (TablePrecompute(m=1, k=8, group=3), "takes int8 activations in groups of 4, got int8 in groups of 3"),
        (TablePrecompute(m=1, k=8, activations=FORMATS["fp16"]), "takes int8 activations in groups of 4, got fp16"),
        (Linear(m=1, n=1, k=8), "table_precompute executes table_precompute, not linear"),
    ],
)
def test_what_it_cannot_execute_is_refused(op, message):
    with pytest.raises(ValueError, match=message):
        TablePrecomputeUnit().check(op)


def test_parameters_out_of_range_are_refused():
    for wrong in ({"rows": 0}, {"rows": 9}, {"group": 1}, {"group": 6}):
        with pytest.raises(ValidationError):
            TablePrecomputeUnit(**wrong)


def test_a_run_too_long_for_the_config_word_is_refused():
    with pytest.raises(ValueError, match=r"takes less than 2\^48 words, got"):
        TablePrecomputeUnit().encode_config(TablePrecompute(m=2, k=4 * 65535), 1 << 33)


def test_garbage_in_padding_rows_is_refused():
    with pytest.raises(ValueError, match="wanted zeros in the tables of the 1 padding rows"):
        TablePrecomputeUnit().decode(TablePrecompute(m=1, k=4), {"tables": [1 << 80]})
