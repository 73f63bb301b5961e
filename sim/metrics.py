"""Serving metrics under the names of vLLM's serving benchmark.

For a completed request with arrival a, first token f, last token l and n output tokens (all times in ps of simulated time):

    TTFT = f - a          time to first token, queueing included
    E2EL = l - a          end-to-end latency
    TPOT = (l - f) / (n - 1)      time per output token after the first; requests with n = 1 have none
    ITL                   every single gap between tokens of one request: n - 1 samples per request

Rates are over the duration from the first arrival of the trace to the last token. Percentiles interpolate linearly between
requests (`numpy.percentile`), as vLLM's do; those of ITL, of which there are too many to keep, are nearest-rank within 0.013 %
(`sim.gaps`). A metric without samples is None. Rejected requests count in ``rejected_*`` and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from accel.base.clock import PS_PER_MS, PS_PER_S
from sim.engine import COMPLETED, REJECTED_CONTEXT, REJECTED_KV_CACHE

if TYPE_CHECKING:
    from sim.engine import Served

PERCENTILES = {"median": 50.0, "p90": 90.0, "p99": 99.0}
UNITS = {
    "request_throughput": "requests/s",
    "output_throughput": "tokens/s",
    "total_token_throughput": "tokens/s",
    "total_input_tokens": "tokens",
    "total_output_tokens": "tokens",
    "mean_decode_batch": "requests",
    "mean_waiting": "requests",
    "max_waiting": "requests",
}
STORED = {
    "pages_read": "pages",
    "pages_programmed": "pages",
    "write_amplification": "",
    "endurance_share": "",
    "endurance_tokens": "tokens",
    "outliers_read": "values",
    "outliers_uncorrectable": "values",
}
"""Units of what offloads report of a memory or unit, by the end of the metric's name (`sim.offloads.base.Offload.account`)."""

Metrics = dict[str, float | int | None]


def unit_of(metric: str) -> str:
    """The unit of a metric: of its suffix, of `UNITS`, or "" where it is a plain count or ratio."""
    for suffix in ("ms", "s", "j", "w"):
        if metric.endswith(f"_{suffix}"):
            return suffix.upper() if suffix in "jw" else suffix
    stored = next((unit for suffix, unit in STORED.items() if metric.endswith(f"_{suffix}")), "")
    return UNITS.get(metric, stored)


def serving_metrics(served: Served) -> Metrics:
    """All metrics of a run that follow from time alone.

    - Counts: ``completed``, ``rejected_context``, ``rejected_kv_cache``, ``preemptions`` (evictions in all), ``preempted``
      (requests evicted at least once), ``iterations``.
    - Volume and rate: ``duration_s``, ``total_input_tokens``, ``total_output_tokens``, ``request_throughput``,
      ``output_throughput``, ``total_token_throughput`` (input and output).
    - Latency: mean, std, median, p90 and p99 of ``ttft_ms``, ``tpot_ms``, ``e2el_ms`` and ``queue_ms`` (arrival to first
      admission), and all but std of ``itl_ms``.
    - Load: ``mean_waiting`` (requests of all replicas that were not admitted yet, averaged over the duration), ``max_waiting``
      (longest queue of a replica), ``mean_decode_batch`` (decodes per iteration that has any), ``busy_fraction`` (of
      the replicas' time in the duration), ``kv_cache_peak_fraction`` (blocks in use, of the replica that used most).
    """
    done = served.status == COMPLETED
    arrival, prompt, output = served.arrival_ps[done], served.prompt[done], served.output[done]
    first, finish, queued = served.first_token_ps[done], served.finish_ps[done], served.admitted_ps[done] - arrival
    seconds = served.makespan_ps / PS_PER_S
    several = output > 1
    decoding = finish[several] - first[several]
    input_tokens, output_tokens = int(prompt.sum()), int(output.sum())
    decode_iterations = sum(tally.decode_iterations for tally in served.tallies)
    metrics: Metrics = {
        "completed": int(done.sum()),
        "rejected_context": int((served.status == REJECTED_CONTEXT).sum()),
        "rejected_kv_cache": int((served.status == REJECTED_KV_CACHE).sum()),
        "preemptions": int(served.preemptions.sum()),
        "preempted": int((served.preemptions > 0).sum()),
        "iterations": served.iterations,
        "duration_s": seconds,
        "total_input_tokens": input_tokens,
        "total_output_tokens": output_tokens,
        "request_throughput": _ratio(int(done.sum()), seconds),
        "output_throughput": _ratio(output_tokens, seconds),
        "total_token_throughput": _ratio(input_tokens + output_tokens, seconds),
    }
    metrics |= _latency("ttft", first - arrival)
    metrics |= _latency("tpot", decoding / (output[several] - 1))
    middle = served.gaps.percentiles(list(PERCENTILES.values()))
    metrics["mean_itl_ms"] = _ratio(float(decoding.sum(dtype=np.float64)), PS_PER_MS * int((output - 1).sum()))
    metrics |= {f"{name}_itl_ms": None if v is None else v / PS_PER_MS for name, v in zip(PERCENTILES, middle, strict=True)}
    metrics |= _latency("e2el", finish - arrival)
    metrics |= _latency("queue", queued)
    return metrics | {
        "mean_waiting": _ratio(float(queued.sum(dtype=np.float64)), served.makespan_ps),
        "max_waiting": max(served.most_waiting),
        "mean_decode_batch": _ratio(sum(tally.decode_tokens for tally in served.tallies), decode_iterations),
        "busy_fraction": _ratio(sum(tally.busy_ps for tally in served.tallies), served.makespan_ps * len(served.tallies)),
        "kv_cache_peak_fraction": max(served.most_kv_blocks) / served.kv_blocks,
    }


def _ratio(value: float, by: float) -> float | None:
    return value / by if by else None


def _latency(name: str, values_ps: np.ndarray) -> Metrics:
    keys = ["mean", "std", *PERCENTILES]
    if not len(values_ps):
        return {f"{key}_{name}_ms": None for key in keys}
    values = values_ps / PS_PER_MS
    found = [values.mean(), values.std(), *np.percentile(values, list(PERCENTILES.values()))]
    return {f"{key}_{name}_ms": float(value) for key, value in zip(keys, found, strict=True)}
