"""Measure the rows of `rtloom bench`, and say on which machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import sim
from sim.bench.jobs import cpu_seconds
from sim.bench.rows import REPEATS, ROWS, Row
from sim.errors import ToolFailed

TIMEOUT_S = 1800
AZURE_FILE = Path("traces") / "AzureLLMInferenceTrace_conv.csv"
LIBERTY_FOLDER = Path("pdk") / "asap7"


class NotMeasurable(Exception):
    """A row lacks what it needs on this machine; the message says what."""


class Meter:
    """Measures jobs, each once however many rows read it."""

    def __init__(self, trace: Path | None = None) -> None:
        self.trace = trace
        self.job = cache(self._job)

    def value(self, row: Row) -> float:
        """The row's figure. Raises NotMeasurable, or ToolFailed where a job fails."""
        return self.job(row.job)[row.field]

    def _job(self, job: str) -> dict[str, float]:
        if job == "growth":
            per_request = {n: self.job(name)["cpu_s"] / n for name, n in (("serve_10k", 10_000), ("serve_1m", 1_000_000))}
            return {"ratio": per_request[1_000_000] / per_request[10_000]}
        if job == "help":
            return _median(_help() for _ in range(REPEATS[job]))
        arguments = [self._azure()] if job == "azure_4rep" else _liberty() if job.startswith("characterize") else []
        return _median(_play(job, *map(str, arguments)) for _ in range(REPEATS[job]))

    def _azure(self) -> Path:
        shared = os.environ.get("RTLOOM_SHARED")
        path = self.trace or (Path(shared) / AZURE_FILE if shared else None)
        if path is None:
            raise NotMeasurable(
                f"wanted the Azure conversation trace: give it by --trace, or RTLOOM_SHARED with {AZURE_FILE} in it"
            )
        if not path.is_file():
            raise NotMeasurable(f"wanted the Azure conversation trace, got no file {path}")
        return path


def _liberty() -> list[Path]:
    """The Liberty files of ASAP7."""
    shared = os.environ.get("RTLOOM_SHARED")
    found = sorted((Path(shared) / LIBERTY_FOLDER).glob("*.lib.gz")) if shared else []
    if not found:
        raise NotMeasurable(f"wanted the Liberty files of ASAP7: RTLOOM_SHARED with {LIBERTY_FOLDER}/*.lib.gz in it")
    return found


def _median(measured: Iterable[dict[str, float]]) -> dict[str, float]:
    several = list(measured)
    return {field: statistics.median(one[field] for one in several) for field in several[0]}


def _play(job: str, *arguments: str) -> dict[str, float]:
    return json.loads(_spawn("-m", "sim.bench.jobs", job, *arguments).splitlines()[-1])


def _help() -> dict[str, float]:
    before = cpu_seconds()
    _spawn("-m", "sim.cli", "--help")
    return {"cpu_s": cpu_seconds() - before}


def _spawn(*arguments: str) -> str:
    paths = [
        str(Path(sim.__file__).parent.parent),
        os.environ.get("PYTHONPATH", ""),
    ]  # the code that runs here, wherever one stands
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, env=environment)
    except subprocess.TimeoutExpired:
        raise ToolFailed(f"bench: {' '.join(arguments)} took more than {TIMEOUT_S} s") from None
    if done.returncode:
        raise ToolFailed(f"bench: {' '.join(arguments)} failed with exit status {done.returncode}:", done.stderr.strip())
    return done.stdout


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system and Python."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measure(
    rows: Iterable[Row] = ROWS,
    trace: Path | None = None,
    progress: Callable[[str], None] = lambda name: None,
    missing: Callable[[str], None] = lambda message: None,
) -> list[dict[str, Any]]:
    """``{name, value, unit, goal, better}`` of each row; a row that cannot be measured here is left out, and ``missing`` told."""
    meter = Meter(trace)
    results = []
    for row in rows:
        progress(row.name)
        try:
            value = meter.value(row)
        except NotMeasurable as reason:
            missing(f"{row.name}: left out: {reason}")
            continue
        results.append({"name": row.name, "value": round(value, 4), "unit": row.unit, "goal": row.goal, "better": row.better})
    return results
