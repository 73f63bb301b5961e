"""A small device, trace and experiment, as files that a user would write."""

from __future__ import annotations

DESIGN = """
name = "Small GPU"
cores = 108
buffer = "40 MB"
host_overhead = "0.2 ms"

[units.tensor]
kind = "gpu_tensor_core"
calibration = "ideal"
clock = "1.41 GHz"
count = 108

[units.vector]
kind = "gpu_vector_unit"
calibration = "ideal"
clock = "1.41 GHz"
count = 108

[memories.hbm]
kind = "dram"
standard = "hbm2e"
capacity = "80 GB"
bandwidth = "2039 GB/s"

[placement]
linear = "tensor"
attention = "tensor"
pointwise = "vector"
memory = "hbm"
"""
ENERGIES = (
    ("dram", "read_byte", "30 pJ"),
    ("dram", "write_byte", "30 pJ"),
    ("gpu_tensor_core", "mac_fp16", "0.5 pJ"),
    ("gpu_vector_unit", "lane_op", "1 pJ"),
)
TRACE = "arrival_s,prompt_tokens,output_tokens\n" + "".join(
    f"{i * 0.25},{100 + 37 * i % 400},{1 + 13 * i % 60}\n" for i in range(40)
)
EXPERIMENT = """
name = "small"
model = "llama-2-7b"

[trace]
file = "trace.csv"

[policy]
kind = "chunked_prefill"

[[systems]]
design = "small.toml"
"""


def entry(component: str, event: str, energy: str) -> str:
    """One [[tech]] table of a design."""
    return f'[[tech]]\ncomponent = "{component}"\nevent = "{event}"\nenergy = "{energy}"\nclass = "assumed"\nsource = "test"\n'
