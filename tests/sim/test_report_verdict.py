"""Does the verdict rank by what the run shows, and by nothing that it does not?"""

from __future__ import annotations

import numpy as np
import pytest
from report_systems import data, energy_row, system, unit

from sim import System, load_device, load_model, simulate
from sim.policies.fcfs import Fcfs
from sim.report.capacity import at_capacity
from sim.report.comparison import comparison
from sim.report.figures import MISSING
from sim.report.verdict import verdict
from workloads.trace import Trace


def test_under_a_load_that_all_keep_up_with_throughput_does_not_rank() -> None:
    fast = system("fast", p99_ttft_ms=100.0, mean_tpot_ms=10.0, output_throughput=1005.0)
    thrifty = system("thrifty", energy_per_output_token_j=1.0)
    found = verdict([system("base"), fast, thrifty])
    assert found.headline == (
        "fast has the lowest P99 TTFT (100 ms, 2.00x lower than base) and lowest mean TPOT (10.0 ms, 2.00x lower than base). "
        "thrifty has the least energy per output token (1.00 J, 2.00x less than base)."
    )
    assert found.points[0].startswith(
        "Load, not capacity, limits throughput: every system keeps up with the 1,005 output tokens/s"
    )


def test_a_system_at_capacity_is_told_from_those_that_keep_up() -> None:
    base = system("base", mean_queue_ms=9000.0, mean_e2el_ms=12_000.0, output_throughput=600.0)
    found = verdict([base, system("big", p99_ttft_ms=50.0, mean_tpot_ms=25.0)])
    assert found.headline == (
        "base (600.0 of 1,000 output tokens/s) cannot keep up with the load. "
        "big has the lowest P99 TTFT (50.0 ms, 4.00x lower than base). "
        "base has the lowest mean TPOT (20.0 ms; next is big, 1.25x higher). "
        "Both have the same energy per output token (2.00 J)."
    )
    assert found.points[0].startswith("base is at capacity: requests wait 9,000 ms on average")
    assert found.points[0].endswith("big keeps up with the load.")


def test_throughput_ranks_systems_that_are_all_at_capacity() -> None:
    full = {"mean_queue_ms": 9000.0, "mean_e2el_ms": 12_000.0}
    found = verdict([system("base", output_throughput=500.0, **full), system("big", **full)])
    assert found.headline.startswith("big has the most output tokens per second (1,000 tokens/s, 2.00x more than base).")
    assert found.points[0].startswith("base and big are at capacity: requests wait 9,000 ms and 9,000 ms on average")


def test_requests_that_are_there_from_the_start_are_no_load_to_keep_up_with() -> None:
    slow, fast = system("slow", output_throughput=6.0), system("fast", mean_queue_ms=3000.0)
    for one in (slow, fast):
        one["trace"]["offline"] = True
    found = verdict([slow, fast])
    assert found.headline.startswith("fast has the most output tokens per second (1,000 tokens/s, 167x more than slow).")
    assert found.points[0].startswith("All requests were there from the start: throughput is the most")
    assert not any("keep" in point for point in (found.headline, *found.points))


@pytest.mark.parametrize(
    ("rate", "waiting", "full"),
    [(1000.0, 100.0, False), (1000.0, 2100.0, True), (900.0, 300.0, False), (900.0, 500.0, True), (990.0, 500.0, False)],
)
def test_capacity_shows_in_the_wait_and_in_the_rate(rate: float, waiting: float, full: bool) -> None:
    slow = system("slow", output_throughput=rate, mean_queue_ms=waiting)
    assert at_capacity([system("base"), slow]) == (["slow"] if full else [])


@pytest.mark.parametrize(("waiting", "tone"), [(500.0, "good"), (5.0, "")])
def test_throughput_is_good_news_only_where_a_system_is_at_capacity(waiting: float, tone: str) -> None:
    systems = [system("slow", output_throughput=900.0, mean_queue_ms=waiting), system("fast")]
    rows = {row[0].text: row for group in comparison(systems).groups for row in group.rows}
    assert (rows["Output"][3].note, rows["Output"][3].tone) == ("+11.1 %", tone)


def test_rates_that_differ_without_a_backlog_are_not_called_capacity() -> None:
    found = verdict([system("base"), system("short", output_throughput=800.0)])
    assert "tokens per second" not in found.headline
    assert found.points[0].startswith("No system is at capacity")


def test_a_tie_is_a_tie() -> None:
    found = verdict([system("base"), system("a", p99_ttft_ms=100.0), system("b", p99_ttft_ms=100.2)])
    assert found.headline.startswith("a and b have the lowest P99 TTFT (100 ms, 2.00x lower than base).")
    assert "All systems have the same mean TPOT (20.0 ms) and energy per output token (2.00 J)." in found.headline


def test_the_first_system_can_be_best() -> None:
    found = verdict([system("base"), system("slow", p99_ttft_ms=260.0, mean_tpot_ms=50.0, energy_per_output_token_j=2.5)])
    assert found.headline == (
        "base has the lowest P99 TTFT (200 ms; next is slow, 1.30x higher), "
        "lowest mean TPOT (20.0 ms; next is slow, 2.50x higher) "
        "and least energy per output token (2.00 J; next is slow, 1.25x more)."
    )


def test_one_system_is_described_not_ranked() -> None:
    found = verdict([system("alone")])
    assert found.headline == (
        "alone serves 1,000 output tokens per second with a P99 TTFT of 200 ms and 2.00 J per output token."
    )
    assert found.points[0].startswith("Load, not capacity, limits throughput")


def test_metrics_without_samples_do_not_rank() -> None:
    found = verdict([system("base", mean_tpot_ms=None), system("other", mean_tpot_ms=None, p99_ttft_ms=100.0)])
    assert "TPOT" not in found.headline


def test_the_busiest_resource_is_named() -> None:
    used = {"tensor_utilization": 0.2, "hbm_bandwidth_utilization": 0.61}
    found = verdict([system("base", **used), system("other", tensor_utilization=0.9, hbm_bandwidth_utilization=0.3)])
    assert (
        found.points[1] == "Busiest resource: hbm bandwidth, at 61.0 % (base) of its peak; tensor, at 90.0 % (other) of its peak."
    )


def test_cautions_name_what_a_reader_may_overlook() -> None:
    base, other = system("base", clipped=3), system("other", rejected_kv_cache=2, rejected_context=1, preempted=4, clipped=5)
    other["trace"]["digest"] = "another"
    other["system"]["precision"]["weights"] = "ternary"
    other["system"]["model"] = "n"
    other["serving"]["policy"] = {"kind": "chunked_prefill", "max_batched_tokens": 512}
    other["system"]["units"] = [unit("lut", "none"), unit("pre", "other"), unit("tensor", "none", "analytical (a100)")]
    other["energy"] = [energy_row(joules=1.0), energy_row("lut", "lookup", 3.0, source_class="assumed")]
    assert verdict([base, other]).cautions == [
        "The systems served different traces: their differences are also those of the load.",
        "Models differ: m (base); n (other).",
        "Number formats differ, so the quality of the answers may too: fp16 weights, fp16 activations, fp16 KV cache (base); "
        "ternary weights, fp16 activations, fp16 KV cache (other).",
        "Scheduling differs: fcfs, routed round_robin (base); "
        "chunked_prefill (max_batched_tokens = 512), routed round_robin (other).",
        "other rejected 3 of 100 requests; latencies and rates are those of the others.",
        "other preempted 4 requests for lack of KV cache and computed them again.",
        "up to 5 requests were clipped to the context of the model.",
        "Assumed figures make up 75.0 % of the energy of other.",
        "Not proved against the RTL at these parameters: lut (other); pre (other).",
    ]


def test_power_beyond_what_the_boards_may_draw_is_said() -> None:
    hot, cool = system("hot", average_power_w=820.0), system("cool", average_power_w=650.0)
    for one in (hot, cool):
        one["system"]["power_limit_w"] = 700.0
    (said,) = [c for c in verdict([hot, cool]).cautions if "draws" in c]
    assert said.startswith("hot draws 820 W on average, above the 700 W its boards may")


def test_what_a_code_cannot_mend_is_said() -> None:
    counts = {"core_bit_error_rate": 8e-4, "core_outliers_read": 1_000_000, "core_outliers_uncorrectable": 2000.0}
    (said,) = verdict([system("noisy", **counts)]).cautions
    assert said == (
        "noisy: 0.2 % of the outliers that core works with (2,000) are beyond its code, with 0.0008 of the bits wrong; smaller "
        "values have none."
    )
    assert verdict([system("clean", **counts | {"core_outliers_uncorrectable": 0.0})]).cautions == []


def test_drives_draw_no_power_from_the_board() -> None:
    hot = system("hot", average_power_w=400.0, total_energy_j=20_000.0)
    hot["system"]["power_limit_w"] = 300.0
    assert verdict([hot]).cautions[0].startswith("hot draws 400 W on average, above the 300 W its boards may")
    hot["energy"] = [energy_row(joules=8_000.0), energy_row("csd", "page_read", joules=12_000.0, kind="ssd")]
    assert verdict([hot]).cautions == []


def test_a_clock_beyond_the_netlist_s_is_said() -> None:
    fast = system("fast")
    fast["system"]["units"] = [unit("lut", "proved", clock_hz=1_410_000_000, synthesized_clock_hz=1_293_000_000)]
    assert "lut is clocked at 1.41 GHz, and its netlist meets 1.29 GHz before layout." in verdict([fast]).cautions


def test_nothing_to_beware_of_is_said_as_nothing() -> None:
    assert verdict([system("base"), system("other", mean_tpot_ms=10.0)]).cautions == []


def test_the_verdict_of_real_results_ranks_what_the_metrics_rank() -> None:
    systems = data()["systems"]
    best = min(systems, key=lambda s: s["metrics"]["p99_ttft_ms"])
    assert verdict(systems).headline.startswith(f"{best['name']} has the lowest P99 TTFT")


def test_what_storage_reports_has_rows_and_units_of_its_own() -> None:
    systems = [system("gpu"), system("csd", csd_pages_read=12_000, csd_endurance_share=0.25, core_outliers_uncorrectable=1.5)]
    rows = {row[0].text: [cell.text for cell in row[1:]] for group in comparison(systems).groups for row in group.rows}
    assert rows["csd: pages read"] == ["pages", MISSING, "12,000"]
    assert rows["csd: endurance share"] == ["%", MISSING, "25.0"]
    assert rows["core: outliers uncorrectable"] == ["values", MISSING, "1.500"]
    assert not any("pages" in label for label in (row[0].text for g in comparison(systems[:1]).groups for row in g.rows))


@pytest.mark.parametrize(("arrivals", "offline"), [([0, 0, 0], True), ([7, 7], True), ([0, 1], False), ([0], False)])
def test_a_result_says_whether_its_requests_were_there_from_the_start(arrivals: list[int], offline: bool) -> None:
    lengths = np.full(len(arrivals), 8)
    trace = Trace(arrival_ps=np.array(arrivals, np.int64), prompt=lengths, output=lengths, name="few", source="test")
    served = simulate(System(device=load_device("a100_80gb")), load_model("opt-6.7b"), trace, Fcfs())
    assert served.about["trace"]["offline"] is offline
