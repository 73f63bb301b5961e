"""Do the largest LUT core, the largest systolic arrays and long multi-tile GEMMs agree with their price?

A case takes a minute or more. Long runs go to Verilator; an array of 32 x 32 to Icarus, as its runs are short and Verilator would
compile it for half an hour.
"""

import sys

import numpy as np
import pytest

from accel.base.conformance import conform, random_cases
from accel.lut_tensor_core import LutTensorCore
from accel.systolic_array import SystolicArray
from workloads.formats import FORMATS
from workloads.ops import Linear

pytestmark = pytest.mark.long


def linear(m, n, k, weights):
    return Linear(m=m, n=n, k=k, weights=FORMATS[weights], activations=FORMATS["int8"], output=FORMATS["int32"])


@pytest.mark.parametrize(
    ("unit", "op"),
    [
        (LutTensorCore(rows=8, columns=128, group=5, weight_bits=4), linear(9, 130, 23, "uint4")),
        (LutTensorCore(), linear(8, 128, 3200, "ternary")),
        (LutTensorCore(table_bits=8), linear(8, 192, 1600, "ternary")),
    ],
    ids=["largest", "gemm", "rounded"],
)
def test_large_cases_on_verilator(unit, op):
    report = conform([(unit, op)], seed=11, simulator="verilator")
    report.assert_passed()
    assert report.rows[0].simulator == ("icarus" if " " in sys.prefix else "verilator")


@pytest.mark.parametrize(
    ("unit", "op"),
    [
        (SystolicArray(rows=32, columns=32), linear(40, 70, 100, "int8")),
        (SystolicArray(rows=32, columns=32, dataflow="weight_stationary"), linear(100, 70, 40, "int8")),
    ],
    ids=["output_stationary", "weight_stationary"],
)
def test_the_largest_arrays_of_the_stated_range(unit, op):
    conform([(unit, op)], seed=11, simulator="icarus").assert_passed()


def test_forty_draws():
    drawn = random_cases(LutTensorCore, np.random.default_rng(20261120), 40)
    conform(drawn.cases, seed=20261120).assert_passed()
