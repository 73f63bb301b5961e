"""Do the GPU's energy figures cover every event, and do they explain measured board power that no figure was fitted to?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accel.base.half_table import entries
from accel.base.tech import Tech
from accel.gpu_tensor_core import GpuTensorCore
from accel.gpu_vector_unit import OPERATIONS, GpuVectorUnit
from accel.lut_tensor_core import LutTensorCore
from accel.lut_tensor_core.timing import INTEGER_BITS
from accel.table_precompute import TablePrecomputeUnit
from memsys.dram import Dram
from memsys.standard import standards
from workloads.formats import parse_format
from workloads.ops import Linear, Pointwise, TablePrecompute

TDP_W = 400  # A100-SXM, NVIDIA data sheet
TECH = Tech.load("gpu_n7")


def joules(component: str, event: str, **parameters: str) -> float:
    (entry,) = [e for e in TECH.entry if e.event == event and e.matches(component, parameters)]
    return entry.energy


def test_every_event_of_the_units_has_exactly_one_entry():
    unit = GpuTensorCore(calibration="ideal", int8_macs=2048, fp8_macs=2048, int4_macs=4096)
    for text in ("fp16", "bf16", "int8", "int4", "fp8_e4m3"):
        operand = parse_format(text)
        for event in unit.cost(Linear(m=1, n=1, k=1, weights=operand, activations=operand)).events:
            assert joules("gpu_tensor_core", event) > 0
    vector = GpuVectorUnit(calibration="ideal")
    ops = [Pointwise(function=name, rows=1, row=1, read_bytes=2, write_bytes=2) for name in OPERATIONS]
    for op in [*ops, TablePrecompute(m=1, k=4)]:
        for event in vector.cost(op).events:
            assert joules("gpu_vector_unit", event) > 0


@pytest.mark.parametrize("standard", standards())
def test_every_dram_standard_has_both_events(standard):
    for event in Dram.events:
        assert 100e-12 < joules("dram", event, standard=standard) < 400e-12


def static_w() -> float:
    (entry,) = [e for e in TECH.entry if e.component == "device"]
    return entry.power


# Parameters, layers and KV bytes per token of the two models (config.json of each; FP16).
MODELS = {"llama2-70b": (68.98e9, 80 * 2 * 8 * 128 * 2), "bloom-176b": (176.2e9, 70 * 2 * 14336 * 2)}


def test_board_power_of_decode_is_explained(shared_file, capsys):
    """Average power over prompt and 127 tokens, as a fraction of TDP, on 2, 4 and 8 GPUs; nothing is fitted to it.

    Work and traffic are counted from the model, times are the measured ones. All rows with a power reading but those of
    8192-token prompts on Llama-2-70B, whose readings (0.17 to 0.18) lie below what the same rows show at any other prompt size.
    """
    import pandas as pd

    table = pd.read_csv(Path(shared_file("measured/a100_llama2_70b_bloom_latency_power.csv")))
    table = table[(table.average_power > 0.2) & (table.token_size == 128)]
    table = table.groupby(["model", "tensor_parallel", "prompt_size", "batch_size"]).median(numeric_only=True).reset_index()
    parameters = table.model.map(lambda m: MODELS[m][0]) / table.tensor_parallel
    cached = table.model.map(lambda m: MODELS[m][1]) / table.tensor_parallel
    prompt, batch, steps = table.prompt_size, table.batch_size, table.token_size - 1
    macs = parameters * batch * (prompt + steps)
    nbytes = 2 * parameters * (1 + steps) + steps * batch * (prompt + table.token_size / 2) * cached
    seconds = (table.prompt_time + steps * table.token_time) / 1e3
    dynamic = macs * joules("gpu_tensor_core", "mac_fp16") + nbytes * joules("dram", "read_byte", standard="hbm2e")
    fraction = (static_w() + dynamic / seconds) / TDP_W
    error = (fraction / table.average_power - 1).to_numpy()
    with capsys.disabled():
        for degree in sorted(table.tensor_parallel.unique()):
            chosen = (table.tensor_parallel == degree).to_numpy()
            print(f"\naverage power on {degree} GPUs: {chosen.sum()} rows, median error {np.median(error[chosen]):+.1%}", end="")
    assert len(error) >= 30
    # More GPUs spend more of the time in exchanges, whose energy is not counted here: their rows come out low.
    assert abs(np.median(error[(table.tensor_parallel == 2).to_numpy()])) < 0.06
    assert -0.15 < np.median(error) < 0.02
    assert np.abs(error).max() < 0.25


def test_large_gemms_run_at_the_power_limit():
    """The derivation of mac_fp16: 217 TFLOPS and 176 GB/s draw the TDP."""
    mac, read = joules("gpu_tensor_core", "mac_fp16"), joules("dram", "read_byte", standard="hbm2e")
    assert static_w() + 108.3e12 * mac + 176e9 * read == pytest.approx(TDP_W, rel=0.01)


def test_operands_of_the_lut_core_are_delivered_bit_by_bit_at_the_tables_they_are_stated_for():
    per_bit, delivery = 0.16e-12, Tech.load("gpu_operands").entry
    core, rounded = LutTensorCore(), LutTensorCore(table_bits=8)
    found = {e.event: e.energy for e in delivery if e.matches("lut_tensor_core", dict(core))}
    bits = {"table_load": entries(core.group) * core.entry_bits, "weight_load": core.group, "drain": INTEGER_BITS}
    assert found == pytest.approx({event: n * per_bit for event, n in bits.items()})
    assert {e.event for e in delivery if e.matches("lut_tensor_core", dict(rounded))} == {"weight_load", "drain"}
    unit = TablePrecomputeUnit()
    (write,) = [e.energy for e in delivery if e.matches("table_precompute", dict(unit))]
    assert write == pytest.approx((unit.entry_bits + 8 * unit.group / entries(unit.group)) * per_bit)
    assert not [e for e in delivery if e.matches("table_precompute", dict(TablePrecomputeUnit(table_bits=8)))]
    for unit in (LutTensorCore(activations="fp16"), TablePrecomputeUnit(activations="fp16")):
        assert not [e for e in delivery if e.matches(unit.kind(), dict(unit)) and e.event != "weight_load"]
