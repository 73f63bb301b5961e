"""Are the metrics what their definitions say, and do the files of a result hold them?"""

from __future__ import annotations

import gzip
import json
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
import reference_serving
from hypothesis import given
from hypothesis import strategies as st
from test_engine import Affine, Requests

from sim.engine import COMPLETED, serve
from sim.gaps import RELATIVE_ERROR
from sim.metrics import serving_metrics, unit_of
from sim.policies.chunked_prefill import ChunkedPrefill
from sim.policies.fcfs import Fcfs
from sim.result import Result
from sim.timeline import Timeline

MS = 10**9


class Steady:
    """Every iteration takes ``ms`` milliseconds."""

    def __init__(self, ms):
        self.ps = ms * MS

    def step_ps(self, tokens, sequences, chunks, decodes, context):
        return self.ps

    def decode_run_ps(self, decodes, context, iterations):
        return np.full(iterations, self.ps, np.int64)


def busy(seed=0, **keywords):
    rng = np.random.default_rng(seed)
    n = 200
    trace = Requests(np.cumsum(rng.exponential(1e4, n)).astype(np.int64), rng.integers(1, 300, n), rng.geometric(1 / 60, n))
    return trace, serve([Affine()] * 2, trace, Fcfs(), kv_tokens=2000, **keywords)


def test_by_hand():
    # one prompt at a time: A prefills 0-10 ms, decodes to 20 ms, B (arrived at 15 ms) prefills 20-30 ms, then both decode
    trace = Requests.of((0, 100, 4), (15 * MS, 50, 1), (16 * MS, 5000, 1))
    metrics = serving_metrics(serve([Steady(10)], trace, Fcfs(max_batched_tokens=100), kv_tokens=1600, max_context=1000))
    assert metrics["completed"] == 2
    assert (metrics["rejected_context"], metrics["rejected_kv_cache"]) == (1, 0)
    assert metrics["duration_s"] == 0.05
    assert (metrics["total_input_tokens"], metrics["total_output_tokens"]) == (150, 5)
    assert metrics["request_throughput"] == 2 / 0.05
    assert metrics["output_throughput"] == 5 / 0.05
    assert metrics["total_token_throughput"] == 155 / 0.05
    assert metrics["mean_ttft_ms"] == metrics["median_ttft_ms"] == 12.5  # 10 and 15
    assert metrics["p90_ttft_ms"] == 14.5
    assert metrics["mean_tpot_ms"] == metrics["p99_tpot_ms"] == 40 / 3  # the second request has one token, and none
    assert metrics["mean_itl_ms"] == 40 / 3  # 10, 20, 10
    assert metrics["median_itl_ms"] == pytest.approx(10, rel=RELATIVE_ERROR)
    assert metrics["p99_itl_ms"] == pytest.approx(20, rel=RELATIVE_ERROR)
    assert metrics["mean_e2el_ms"] == (50 + 15) / 2
    assert metrics["mean_queue_ms"] == 2.5
    assert metrics["mean_waiting"] == 5 / 50
    assert metrics["max_waiting"] == 1
    assert metrics["iterations"] == 5
    assert metrics["mean_decode_batch"] == 1
    assert metrics["busy_fraction"] == 1
    assert metrics["kv_cache_peak_fraction"] == (7 + 4) / 100


def test_against_the_naive_reference():
    trace, served = busy()
    metrics = serving_metrics(served)
    items, nodes, _ = reference_serving.serve_naively([Affine()] * 2, trace, Fcfs(), kv_tokens=2000)
    assert metrics["preemptions"] == sum(item.evictions for item in items) > 0
    assert metrics["preempted"] == sum(item.evictions > 0 for item in items) < metrics["preemptions"]
    done = [item for item in items if item.times]
    gaps = np.array([gap for node in nodes for gap in node.gaps])
    expected = {
        "ttft": [item.times[0] - item.arrival for item in done],
        "e2el": [item.times[-1] - item.arrival for item in done],
        "tpot": [(item.times[-1] - item.times[0]) / (item.output - 1) for item in done if item.output > 1],
        "queue": [item.admitted - item.arrival for item in done],
    }
    for name, values in expected.items():
        values = np.array(values) / MS
        assert metrics[f"mean_{name}_ms"] == pytest.approx(values.mean(), rel=1e-12)
        for key, q in (("median", 50), ("p90", 90), ("p99", 99)):
            assert metrics[f"{key}_{name}_ms"] == pytest.approx(np.percentile(values, q), rel=1e-12)
    assert metrics["mean_itl_ms"] == pytest.approx(gaps.mean() / MS, rel=1e-12)
    for key, q in (("median", 50), ("p90", 90), ("p99", 99)):
        exact = np.percentile(gaps, q, method="inverted_cdf") / MS
        assert metrics[f"{key}_itl_ms"] == pytest.approx(exact, rel=1.0001 * RELATIVE_ERROR)


def test_the_most_is_that_of_the_replica_that_had_most():
    # one at a time: prompts of 3 blocks, two of which wait for the first replica; prompts of 1 block, one of which waits
    trace = Requests.of((0, 48, 2), (1, 16, 1), (2, 48, 2), (3, 16, 1), (4, 48, 2))
    served = serve([Steady(1)] * 2, trace, Fcfs(max_num_seqs=1), kv_tokens=160)
    metrics = serving_metrics(served)
    assert (served.most_waiting, metrics["max_waiting"]) == ((2, 1), 2)
    assert (served.most_kv_blocks, metrics["kv_cache_peak_fraction"]) == ((4, 1), 4 / 10)
    rows = Result("two", served, metrics).replicas()
    assert [(row["max_waiting"], row["max_kv_blocks"], row["kv_blocks"]) for row in rows] == [(2, 4, 10), (1, 1, 10)]


def test_nothing_served_has_no_latency():
    metrics = serving_metrics(serve([Steady(1)], Requests.of((0, 100, 10)), Fcfs(), kv_tokens=16))
    assert (metrics["completed"], metrics["rejected_kv_cache"]) == (0, 1)
    assert metrics["p99_ttft_ms"] is metrics["median_itl_ms"] is metrics["request_throughput"] is None


def test_one_output_token_has_no_tpot():
    metrics = serving_metrics(serve([Steady(1)], Requests.of((0, 10, 1)), Fcfs(), kv_tokens=16))
    assert metrics["mean_ttft_ms"] == 1
    assert metrics["mean_tpot_ms"] is metrics["mean_itl_ms"] is metrics["p90_itl_ms"] is None


@given(st.integers(0, 2**31))
def test_means_obey_their_identities(seed):
    _, served = busy(seed % 50)
    metrics = serving_metrics(served)
    many = served.output - 1
    assert metrics["mean_e2el_ms"] >= metrics["mean_ttft_ms"] >= metrics["mean_queue_ms"] >= 0
    total = (metrics["mean_e2el_ms"] - metrics["mean_ttft_ms"]) * metrics["completed"]
    assert metrics["mean_itl_ms"] * many.sum() == pytest.approx(total, rel=1e-9)
    assert 0 < metrics["busy_fraction"] <= 1
    assert 0 < metrics["kv_cache_peak_fraction"] <= 1


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("p99_ttft_ms", "ms"),
        ("duration_s", "s"),
        ("total_energy_j", "J"),
        ("average_power_w", "W"),
        ("completed", ""),
        ("output_throughput", "tokens/s"),
        ("request_throughput", "requests/s"),
    ],
)
def test_units(metric, unit):
    assert unit_of(metric) == unit


class TestResult:
    @pytest.fixture
    def result(self):
        timeline = Timeline()
        trace = Requests.of((0, 100, 4), (15 * MS, 50, 1), (16 * MS, 5000, 1))
        policy = ChunkedPrefill(max_batched_tokens=64, max_num_seqs=8)
        served = serve([Steady(10)], trace, policy, kv_tokens=1600, timeline=timeline)
        rows = [{"component": "hbm", "joules": 1.5}]
        return Result("a </script> system", served, serving_metrics(served), rows, {"hash": "00"}, {"proofs": []}, timeline)

    def test_json_holds_everything_but_the_arrays(self, result):
        data = json.loads(result.to_json())
        assert list(data) == ["name", "metrics", "energy", "replicas", "proofs", "provenance"]
        assert data["metrics"] == result.metrics
        assert data["replicas"][0]["busy_ps"] == 50 * MS
        assert data["replicas"][0]["chunk_tokens"] == 150

    def test_json_refuses_what_it_cannot_hold(self, result):
        result.metrics["total_energy_j"] = float("nan")
        with pytest.raises(ValueError, match="not JSON compliant"):
            result.to_json()

    def test_parquet_holds_every_request_with_nulls_for_the_rejected(self, result, tmp_path):
        result.write(tmp_path)
        rows = pq.read_table(tmp_path / "requests.parquet").to_pylist()
        assert [row["status"] for row in rows] == ["completed", "completed", "rejected_kv_cache"]
        assert rows[0]["finish_ps"] == result.served.finish_ps[0]
        assert (rows[0]["prompt_tokens"], rows[0]["output_tokens"]) == (100, 4)
        assert rows[0]["ttft_ms"] == 20
        assert rows[0]["tpot_ms"] == pytest.approx((rows[0]["finish_ps"] - 20 * MS) / 3 / MS)
        assert rows[1]["tpot_ms"] is None
        empty = [name for name, value in rows[2].items() if value is None]
        times = ["admitted_ps", "first_token_ps", "finish_ps", "replica", "queue_ms", "ttft_ms", "tpot_ms", "e2el_ms"]
        assert empty == times

    def test_columns_name_their_units(self, result):
        plain = {"request", "preemptions", "replica", "status"}
        assert all(name in plain or name.rsplit("_", 1)[1] in ("ps", "ms", "tokens") for name in result.requests())

    def test_timeline_file(self, result, tmp_path):
        result.write(tmp_path)
        data = json.loads(gzip.decompress((tmp_path / "timeline.json.gz").read_bytes()))
        labels = [event["args"]["name"] for event in data["traceEvents"] if event["ph"] == "M"]
        assert labels == ["a </script> system", "replica 0"]
        slices = [event for event in data["traceEvents"] if event["ph"] == "X"]
        assert sum(event["args"]["iterations"] for event in slices) == result.served.iterations
        assert sum(event["dur"] for event in slices) * 10**6 == result.served.tallies[0].busy_ps
        first = slices[0]
        assert (first["name"], first["ts"], first["dur"]) == ("prefill", 0.0, 10_000.0)
        assert first["args"] == {"tokens": 64, "decodes": 0, "prefill_tokens": 64, "iterations": 1}
        assert [event["name"] for event in slices] == ["prefill", "prefill", "mixed", "decode"]


def test_timeline_slices_cover_the_busy_time_and_never_overlap():
    timeline = Timeline()
    _, served = busy(timeline=timeline)
    for replica, tally in enumerate(served.tallies):
        slices = [s for s in timeline.slices() if s[0] == replica]
        assert all(a[2] <= b[1] for a, b in pairwise(slices))
        assert sum(end - start for _, start, end, *_ in slices) == tally.busy_ps
        assert sum(tokens * n for *_, tokens, _, n in slices) == tally.decode_tokens + tally.chunk_tokens
        assert sum(decodes * n for *_, decodes, n in slices) == tally.decode_tokens


def test_timeline_is_bounded_and_says_so(tmp_path):
    timeline = Timeline(limit=3)
    for i in range(5):
        timeline.add(0, i * 10**12 + 1, (i + 1) * 10**12, 7, 7, 2)
    assert (len(timeline), timeline.dropped) == (3, 2)
    timeline.write(tmp_path / "t.json.gz", "x")
    text = gzip.decompress((tmp_path / "t.json.gz").read_bytes()).decode()
    assert "the first 3 slices; 2 later ones were left out" in json.loads(text)["otherData"]["note"]
    assert '"ts":2000000.000001' in text  # exact to the picosecond


def test_recording_changes_nothing():
    _, plain = busy()
    _, recorded = busy(timeline=Timeline(limit=1))
    np.testing.assert_array_equal(plain.finish_ps, recorded.finish_ps)
    assert (plain.status == COMPLETED).all()
