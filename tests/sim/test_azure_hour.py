"""The real thing: one hour of Azure's conversation service on four replicas, compared and reported."""

from __future__ import annotations

import json

REQUESTS = 19_366


def test_the_azure_conversation_hour_is_compared(rtloom, folder, shared_file) -> None:
    trace = shared_file("traces/AzureLLMInferenceTrace_conv.csv")
    words = ("a100_80gb", "h100", "--model", "llama-2-7b", "--trace", trace, "--replicas", "4", "--overlong", "clip")
    done = rtloom("compare", *words, "--json").json()
    assert done["report"] == "out/report.html"
    a100, h100 = done["results"]
    for result in (a100, h100):
        metrics = result["metrics"]
        assert metrics["completed"] == REQUESTS
        assert metrics["rejected_context"] == metrics["rejected_kv_cache"] == 0
        assert 3500 < metrics["duration_s"] < 3700, "the trace lasts an hour, and four replicas keep up with it"
        assert abs(metrics["request_throughput"] * metrics["duration_s"] - REQUESTS) < 1e-6
        assert len(result["replicas"]) == 4
        assert metrics["p99_ttft_ms"] > metrics["median_ttft_ms"] > 0
        assert 0 < metrics["busy_fraction"] <= 1
        assert 0 < metrics["hbm_bandwidth_utilization"] <= 1
    assert a100["metrics"]["total_output_tokens"] == h100["metrics"]["total_output_tokens"]
    assert h100["metrics"]["mean_tpot_ms"] < a100["metrics"]["mean_tpot_ms"]
    page = (folder / "out" / "report.html").read_text()
    assert len(page.encode()) < 2_500_000
    assert "4 x A100 80GB" in page
    assert json.loads((folder / "out" / "report.json").read_text())
    again = rtloom("compare", *words)
    assert again.stdout.splitlines()[-1] == "out/report.html"
    assert again.stderr.count("taken from runs/") == 2
