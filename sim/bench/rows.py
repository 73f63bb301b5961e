"""The rows of `rtloom bench`: names, units and goals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure. ``job`` is measured ``repeats`` times, and the median of its ``field`` is taken."""

    name: str
    job: str
    field: str
    unit: str
    goal: float
    about: str
    better: str = "lower"

    def met(self, value: float) -> bool:
        """Whether ``value`` is as good as the goal."""
        return value >= self.goal if self.better == "higher" else value <= self.goal


SERVE_5K = "5,000 requests, Azure conversation lengths, Poisson 4/s, Llama-2-7B on one A100, chunked prefill 512"
AZURE = "the whole Azure conversation trace (one hour) on 4 replicas"
DRAM = "reads per CPU-second on the DRAM reference, 1,000,000 of 64 B, HBM2 of 8 channels; without compiling"
NAND = "NAND page operations per CPU-second, 1,000,000 random ones (70 % reads) on the part of MQSim; without compiling"
INSTINFER = "64 offline requests of 1024/1024, OPT-13B on an A6000 with SparF attention in 20 drives"
SERVE_1M = "1,000,000 requests generated as those of serve_5k"

ROWS = (
    Row("serve_5k_cpu_s", "serve_5k", "cpu_s", "s", 0.4, SERVE_5K),
    Row("serve_5k_peak_mb", "serve_5k", "peak_mb", "MB", 250, SERVE_5K),
    Row("azure_4rep_cpu_s", "azure_4rep", "cpu_s", "s", 2.5, AZURE),
    Row("instinfer_64_cpu_s", "instinfer_64", "cpu_s", "s", 5, INSTINFER),
    Row("serve_1m_cpu_s", "serve_1m", "cpu_s", "s", 90, SERVE_1M),
    Row("serve_1m_peak_mb", "serve_1m", "peak_mb", "MB", 1000, SERVE_1M),
    Row("growth_10k_to_1m", "growth", "ratio", "", 1.2, "CPU time per request at 1,000,000 requests over that at 10,000"),
    Row("cost_1m_shapes_s", "cost_1m_shapes", "cpu_s", "s", 1, "cost of 1,000,000 shapes on the LUT tensor core"),
    Row("help_cpu_s", "help", "cpu_s", "s", 0.5, "rtloom --help, imports included"),
    Row("conformance_cpu_s", "conformance", "cpu_s", "s", 5, "one parameter set of the LUT core on Icarus, many cases"),
    Row("characterize_array_s", "characterize_array", "wall_s", "s", 60, "systolic array of 8 x 8 on ASAP7, by the clock"),
    Row("characterize_vector_s", "characterize_vector", "wall_s", "s", 60, "vector unit of 4 lanes on ASAP7, by the clock"),
    Row("dram_seq_req_per_cpu_s", "dram_seq", "per_cpu_s", "1/s", 1_000_000, f"sequential {DRAM}", better="higher"),
    Row("dram_rand_req_per_cpu_s", "dram_rand", "per_cpu_s", "1/s", 200_000, f"random {DRAM}", better="higher"),
    Row("nand_page_ops_per_cpu_s", "nand_page_ops", "per_cpu_s", "1/s", 500_000, NAND, better="higher"),
)
REPEATS = {
    "serve_5k": 5,
    "serve_10k": 3,
    "azure_4rep": 3,
    "instinfer_64": 3,
    "serve_1m": 1,
    "cost_1m_shapes": 5,
    "help": 7,
    "conformance": 3,
    "characterize_array": 1,
    "characterize_vector": 1,
    "dram_seq": 3,
    "dram_rand": 3,
    "nand_page_ops": 3,
}
