"""`rtloom cost`: which formats stand in for those that are not given, and what the runs and the refusals tell."""

from __future__ import annotations

import pytest

MIXPE = ("cost", "mixpe", "--op", "linear", "--shape", "m=8,n=64,k=256", "--weights", "int4:128")
LINEAR = ("--op", "linear", "--shape", "m=4,n=8,k=16")


@pytest.mark.parametrize(
    ("words", "op"),
    [
        ([*MIXPE], "activations=int8"),
        ([*MIXPE, "--set", "activations=fp16"], "activations=fp16"),
        (["cost", "lut_tensor_core", *LINEAR, "--set", "activations=fp16"], "activations=fp16"),
        (["cost", "systolic_array", *LINEAR, "--set", "operands=fp16"], "weights=fp16 activations=fp16 output=fp32"),
        (["cost", "systolic_array", *LINEAR, "--set", "operands=bf16"], "weights=bf16 activations=bf16 output=fp32"),
    ],
)
def test_formats_that_are_not_given_are_those_of_the_unit(rtloom, words, op: str) -> None:
    assert op in rtloom(*words, "--json").json()["op"]


@pytest.mark.parametrize(
    ("unit", "function", "settings", "op"),
    [
        ("arithmetic", "multiply", ["format=int8"], "activations=int8 output=int16"),
        ("arithmetic", "add", ["function=add", "format=int8"], "activations=int8 output=int8"),
        ("arithmetic", "multiply", ["result=fp32"], "activations=fp16 output=fp32"),
        ("vector_unit", "quantize", ["lanes=4"], "activations=fp16 output=int8"),
        ("vector_unit", "dequantize", [], "activations=int32 output=fp16"),
        ("vector_unit", "softmax", [], "activations=fp16 output=fp16"),
    ],
)
def test_formats_that_are_not_given_follow_the_function(rtloom, unit: str, function: str, settings: list[str], op: str) -> None:
    words = [word for setting in settings for word in ("--set", setting)]
    shape = f"function={function},rows=2,row=8"
    assert op in rtloom("cost", unit, "--op", "pointwise", "--shape", shape, *words, "--json").json()["op"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*MIXPE, "--activations", "fp16"], "mixpe at these parameters takes int8 activations, not fp16"),
        (["cost", "arithmetic", "--op", "pointwise", "--shape", "function=add,rows=1,row=1"], "this arithmetic unit executes"),
    ],
)
def test_a_refusal_names_the_unit_once(rtloom, words, message: str) -> None:
    said = rtloom(*words, code=2).stderr
    assert said.startswith(f"rtloom: {message}")


def test_parts_of_a_cut_reduction_are_told_apart(rtloom) -> None:
    words = ("cost", "systolic_array", "--op", "linear", "--shape", "m=8,n=8,k=24", "--set", "dataflow=weight_stationary")
    cost = rtloom(*words, "--json").json()
    assert [run["tile"]["accumulate"] for run in cost["runs"]] == [False, True]
    tiles = [line for line in rtloom(*words).stdout.splitlines() if line.startswith("m=")]
    assert [" accumulate " in line for line in tiles] == [False, True]
