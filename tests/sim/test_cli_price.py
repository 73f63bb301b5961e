"""`rtloom price` and `rtloom cost`: do the parts add up, and do the figures move as they must?"""

from __future__ import annotations

import math

import pytest

PREFILL = ("price", "a100_80gb", "--model", "llama-2-7b", "--prefill", "2048", "--json")
DECODE = ("price", "a100_80gb", "--model", "llama-2-7b", "--decode", "1x2048", "--json")


@pytest.mark.parametrize("command", [PREFILL, DECODE, (*DECODE, "--prefill", "512+1024")])
def test_the_parts_add_up(rtloom, command) -> None:
    price = rtloom(*command).json()
    ops = price["ops"]
    assert math.isclose(price["latency_ms"], price["host_ms"] + sum(op["latency_ms"] for op in ops))
    assert math.isclose(price["energy_j"], price["static_energy_j"] + sum(op["energy_j"] for op in ops))
    breakdown = price["energy_breakdown_j"]
    assert math.isclose(price["energy_j"], math.fsum(j for events in breakdown.values() for j in events.values()))
    assert math.isclose(price["latency_ms"], sum(price["bound_ms"].values()))
    assert price["bound"] == max(price["bound_ms"], key=price["bound_ms"].get)
    assert sum(moved["read"] for moved in price["bytes"].values()) == sum(op["read_bytes"] for op in ops)
    assert sum(moved["written"] for moved in price["bytes"].values()) == sum(op["write_bytes"] for op in ops)
    assert math.isclose(sum(op["share"] for op in ops), 1 - price["host_ms"] / price["latency_ms"])
    for op in ops:
        assert {"op", "role", "unit", "class", "times", "latency_ms", "bound", "energy_j", "mapping"} <= set(op)
        assert op["bound"] in ("compute", "memory", "link", "latency")
    assert {unit["name"]: unit["proof"] for unit in price["units"]} == {"tensor": "analytical", "vector": "analytical"}


def test_prefill_computes_and_decode_moves_weights(rtloom) -> None:
    prefill, decode = rtloom(*PREFILL).json(), rtloom(*DECODE).json()
    assert prefill["bound"] == "compute"
    assert decode["bound"] == "memory"
    assert decode["bytes"]["hbm"]["read"] > decode["weight_bytes"] - 2 * 32000 * 4096
    assert prefill["latency_ms"] > 10 * decode["latency_ms"]


def test_half_the_bandwidth_nearly_doubles_a_decode(rtloom) -> None:
    whole = rtloom("price", "small.toml", "--model", "llama-2-7b", "--decode", "1x2048", "--json").json()
    half = rtloom(
        "price",
        "small.toml",
        "--model",
        "llama-2-7b",
        "--decode",
        "1x2048",
        "--json",
        "--set",
        'memories.hbm.bandwidth="1019500 MB/s"',
    ).json()
    assert half["latency_ms"] - half["host_ms"] == pytest.approx(2 * (whole["latency_ms"] - whole["host_ms"]), rel=1e-6)
    assert half["bytes"] == whole["bytes"]


def test_formats_change_the_bytes(rtloom) -> None:
    command = ("price", "small.toml", "--model", "llama-2-7b", "--decode", "1x128", "--json")
    fp16 = rtloom(*command).json()
    kv8 = rtloom(*command, "--kv", "int8").json()
    assert kv8["precision"]["kv"] == "int8"
    assert kv8["kv_cache_tokens"] == pytest.approx(2 * fp16["kv_cache_tokens"], rel=1e-3)
    assert rtloom(*command, "--precision", "kv=int8").json() == kv8


def test_the_text_has_a_line_per_op(rtloom) -> None:
    text = rtloom(*PREFILL[:-1]).stdout
    for op in rtloom(*PREFILL).json()["ops"]:
        assert f"{op['op']} {op['role']}" in text


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "wanted --prefill TOKENS, --decode BATCHxCONTEXT, or both, got neither"),
        (["--prefill", "2k"], 2, "--prefill: wanted [BATCHx]TOKENS[+PAST], such as 2048 or 4x512, got '2k'"),
        (["--decode", "32"], 2, "--decode: wanted BATCHxCONTEXT, both at least 1, such as 32x2048, got '32'"),
        (["--decode", "0x5"], 2, "--decode: wanted BATCHxCONTEXT, both at least 1"),
        (["--prefill", "99999x1"], 2, "wanted at most 4096 prompts in a step, got 99999"),
        (["--prefill", "5000"], 2, "llama-2-7b: wanted a context of at most 4096 tokens, got 5000"),
        (["--decode", "500x4000"], 3, "the step attends 2,000,000 tokens; the KV cache beside llama-2-7b holds"),
        (["--prefill", "8", "--weights", "int44"], 2, "unknown number format 'int44'; did you mean 'int4'?"),
        (["--prefill", "8", "--precision", "weihgts=int4"], 2, "unknown key; did you mean 'weights'?"),
        (["--prefill", "8", "--precision", "weights"], 2, "--precision: wanted NAME=VALUE,..., got 'weights'"),
        (["--prefill", "8", "--set", "cores"], 2, "--set: wanted key.path=value, got 'cores'"),
        (["--prefill", "8", "--set", "corse=3"], 2, "corse: unknown key; did you mean 'cores'?"),
        (["--prefill", "8", "--precision", "weights=int8,activations=int8"], 2, "tensor"),
    ],
)
def test_what_cannot_be_priced_is_said(rtloom, options, code: int, message: str) -> None:
    assert message in rtloom("price", "small.toml", "--model", "llama-2-7b", *options, code=code).stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a100_80bg", "--model", "llama-2-7b"], "unknown design 'a100_80bg'; did you mean 'a100_80gb'?"),
        (["a100_80gb", "--model", "lama-2-7b"], "unknown model 'lama-2-7b'; did you mean 'llama-2-7b'?"),
        (["a100_80gb", "--model", "no/config.json"], "No such file or directory"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(rtloom, words, message: str) -> None:
    assert message in rtloom("price", *words, "--prefill", "8", code=2).stderr


def test_a_model_that_does_not_fit_is_infeasible(rtloom) -> None:
    done = rtloom("price", "a100_80gb", "--model", "llama-2-70b", "--prefill", "8", code=3)
    assert "llama-2-70b does not fit: weights take 137.95 GB" in done.stderr
    assert done.stdout == ""


LINEAR = ("cost", "lut_tensor_core", "--op", "linear", "--weights", "uint2", "--activations", "int8")


def test_the_runs_of_a_cost_add_up(rtloom) -> None:
    cost = rtloom(*LINEAR, "--shape", "m=3,n=100,k=4096", "--json").json()
    assert cost["cycles"] == sum(run["cycles"] for run in cost["runs"])
    for run in cost["runs"]:
        assert run["cycles"] == run["latency"] + (run["invocations"] - 1) * run["interval"]
    covered = sum(run["invocations"] * run["tile"]["m"] * run["tile"]["n"] for run in cost["runs"])
    assert covered == 3 * 100
    assert cost["events"]
    assert cost["proof"] in ("proved", "other", "none")


def test_parameters_of_a_unit_are_set(rtloom) -> None:
    one = rtloom(*LINEAR, "--shape", "m=1,n=4096,k=4096", "--json").json()
    wide = rtloom(*LINEAR, "--shape", "m=1,n=4096,k=4096", "--json", "--set", "columns=128").json()
    assert wide["parameters"]["columns"] == 128
    assert wide["cycles"] < 0.6 * one["cycles"]
    text = rtloom(*LINEAR, "--shape", "m=1,n=4096,k=4096").stdout
    assert f"{one['cycles']:,} cycles" in text


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (
            [*LINEAR, "--shape", "m=1,n=0,q=3", "--kv", "int8"],
            ["n: wanted an integer from 1", "linear has no 'q'; it has m, n, k", "linear needs k", "--kv: linear has no format"],
        ),
        ([*LINEAR, "--shape", "m=1,m=2,n=1,k=1"], ["--shape: m is given twice"]),
        ([*LINEAR, "--shape", "m=1,n=1,k=1", "--set", "columns=1000"], ["columns", "got 1000"]),
        ([*LINEAR, "--shape", "m=1,n=1,k=1", "--set", "colums=8"], ["colums: unknown key; did you mean 'columns'?"]),
        (["cost", "lut_tensor_core", "--op", "linear", "--shape", "m=1,n=1,k=1", "--weights", "fp16"], ["not fp16"]),
        (["cost", "lut_tensor_cor", "--op", "linear", "--shape", "m=1"], ["did you mean 'lut_tensor_core'?"]),
        (["cost", "lut_tensor_core", "--op", "linaer", "--shape", "m=1"], ["unknown op 'linaer'; did you mean 'linear'?"]),
        (
            ["cost", "gpu_tensor_core", "--op", "linear", "--shape", "m=1,n=1,k=1"],
            ["calibration has no default; give it by --set"],
        ),
        (["cost", "lut_tensor_core", "--op", "attention", "--shape", "requests=1,tokens=1"], ["attention needs context"]),
    ],
)
def test_what_cannot_be_costed_is_said(rtloom, words, messages) -> None:
    said = rtloom(*words, code=2).stderr
    for message in messages:
        assert message in said
