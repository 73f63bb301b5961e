"""The jobs that `rtloom bench` measures, each played in a process of its own: ``python -m sim.bench.jobs JOB [FILE...]``.

A job is a function that imports what it needs, and returns the work to be timed. It prints its CPU-seconds (children included)
and its peak memory as JSON; and where the work returns how many things it has done, that many per CPU-second.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memsys.reference.streams import Pattern

Work = Callable[[], object]
CONVERSATION = "azure_conversation"
RATE = 4.0  # requests per second


def serve(requests: int) -> Work:
    """Generate a trace and serve it on one A100."""
    import simpy  # noqa: F401 - its import is not part of the work

    import sim.simulation
    import workloads.generator  # noqa: F401 - loaded by load_trace
    from sim.experiment import TraceSource, load_model, load_trace
    from sim.policies.chunked_prefill import ChunkedPrefill
    from sim.system import System, load_device

    def work() -> object:
        system = System(device=load_device("a100_80gb"))
        source = TraceSource(profile=CONVERSATION, requests=requests, rate=RATE, arrivals="poisson")
        trace = load_trace(source, seed=0)
        policy = ChunkedPrefill(max_batched_tokens=512)
        return sim.simulation.simulate(system, load_model("llama-2-7b"), trace, policy, overlong="clip")

    return work


def azure(path: str) -> Work:
    """Read the Azure conversation trace and serve it on four A100s."""
    import simpy  # noqa: F401 - its import is not part of the work

    import sim.simulation
    from sim.experiment import load_model
    from sim.policies.chunked_prefill import ChunkedPrefill
    from sim.system import Plan, System, load_device
    from workloads.readers import read_trace

    def work() -> object:
        system = System(device=load_device("a100_80gb"), plan=Plan(replicas=4))
        return sim.simulation.simulate(
            system, load_model("llama-2-7b"), read_trace(path), ChunkedPrefill(max_batched_tokens=512), overlong="clip"
        )

    return work


def instinfer() -> Work:
    """Serve 64 offline requests of 1024 and 1024 tokens with attention in 20 drives."""
    import simpy  # noqa: F401 - its import is not part of the work

    import sim.simulation
    from sim.experiment import TraceSource, load_model, load_trace
    from sim.policies.fcfs import Fcfs
    from sim.system import System, load_device

    def work() -> object:
        device = load_device("instinfer_sparf", ["memories.csd.drives=20", "units.engine.count=80"])
        trace = load_trace(TraceSource(prompt=1024, output=1024, requests=64), seed=0)
        return sim.simulation.simulate(System(device=device), load_model("opt-13b"), trace, Fcfs(max_num_seqs=64))

    return work


def cost() -> Work:
    """Price random GEMM shapes in one array call."""
    import numpy as np

    from accel.base.spec import discover
    from accel.base.unit import Unit
    from workloads.formats import FORMATS
    from workloads.ops import Linear

    unit = discover("accel", Unit)["lut_tensor_core"]()
    rng = np.random.default_rng(0)
    m, n, k = (rng.integers(1, 1 << 14, 1_000_000) for _ in range(3))

    def work() -> object:
        return unit.cost(Linear(m=m, n=n, k=k, weights=FORMATS["uint2"], activations=FORMATS["int8"]))

    return work


def dram(pattern: Pattern) -> Work:
    """Read single bursts of the 8 channels of an HBM2 stack; compiled before, or read from the cache of an earlier run."""
    from memsys.address_map import address_map
    from memsys.reference.controller import Requests, run
    from memsys.reference.streams import addresses
    from memsys.standard import load_part

    part, count = load_part("hbm2/dramsim3_8gb_2000"), 1_000_000
    requests = Requests.at(addresses(pattern, count, part.burst_bytes, 1 << 30), part, address_map("rorabgbachco", part))
    run(part, Requests.at(addresses(pattern, 8, part.burst_bytes, 1 << 30), part, address_map("rorabgbachco", part)))

    def work() -> object:
        run(part, requests)
        return count

    return work


def nand() -> Work:
    """Random page operations on the part of MQSim, 70 % reads, at half of what its channels carry; compiled before."""
    import numpy as np

    from memsys.nand_ops.operations import Kind, Operations, run, striped
    from memsys.nand_part import load_nand

    part, count = load_nand("mqsim"), 1_000_000
    rng = np.random.default_rng(0)
    kinds = np.where(rng.random(count) < 0.7, Kind.READ, Kind.PROGRAM)
    places = striped(rng.integers(0, part.capacity // part.page_bytes, count), part)
    span = 2 * count * part.page_bytes * 10**6 // part.channels_mb_per_s  # ps
    operations = Operations(kinds, places, arrival=np.sort(rng.integers(0, span, count)))
    run(part, Operations(kinds[:8], striped(np.arange(8), part)))

    def work() -> object:
        run(part, operations)
        return count

    return work


def conformance() -> Work:
    """Export the default LUT core from an empty cache, build it for Icarus, and prove its examples: hundreds of invocations."""
    import os

    from accel.base import conformance
    from accel.base.spec import discover
    from accel.base.unit import RtlUnit

    cls = discover("accel", RtlUnit)["lut_tensor_core"]
    cases = [(unit, op) for unit, op in cls.examples() if unit == cls()]
    conformance.golden_kernel(cls())  # imports torch, which is not part of the work

    def work() -> object:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["RTLOOM_CACHE"] = cache
            report = conformance.conform(cases, simulator="icarus", artifacts=None)
        report.assert_passed()
        return report

    return work


def characterization(kind: str, *liberty: str) -> Work:
    """Area, clock and joules per event of the default unit of ``kind``, as ``rtloom characterize``."""
    from accel.base.characterize import characterize
    from accel.base.spec import discover
    from accel.base.unit import RtlUnit

    unit = discover("accel", RtlUnit)[kind]()
    return lambda: characterize(unit, [Path(file) for file in liberty])


JOBS: dict[str, Callable[..., Work]] = {
    "serve_5k": lambda: serve(5_000),
    "serve_10k": lambda: serve(10_000),
    "serve_1m": lambda: serve(1_000_000),
    "azure_4rep": azure,
    "instinfer_64": instinfer,
    "cost_1m_shapes": cost,
    "conformance": conformance,
    "dram_seq": lambda: dram("sequential"),
    "dram_rand": lambda: dram("random"),
    "nand_page_ops": nand,
    "characterize_array": partial(characterization, "systolic_array"),
    "characterize_vector": partial(characterization, "vector_unit"),
}


def cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_mb() -> float:
    """Most resident memory of this process in MB.

    Linux counts a parent's memory in a child's ``ru_maxrss``, but not in its VmHWM.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if line is not None:
            return int(line.split()[1]) * 1024 / 1e6
    kilo = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo / 1e6


def main(name: str, *arguments: str) -> None:
    """Play one job and print what it took."""
    work = JOBS[name](*arguments)
    before, start = cpu_seconds(), time.perf_counter()
    done = work()
    measured = {"cpu_s": cpu_seconds() - before, "wall_s": time.perf_counter() - start, "peak_mb": peak_mb()}
    if isinstance(done, int):
        measured["per_cpu_s"] = done / measured["cpu_s"]
    print(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
