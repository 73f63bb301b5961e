"""Does a run account for every token, second and joule, and notice when something is lost?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.energy import Work, tally_work
from sim.engine import STATUS
from sim.errors import CheckFailed, Infeasible
from sim.experiment import load_experiment, load_model, load_trace, resolve
from sim.policies.chunked_prefill import ChunkedPrefill
from sim.policies.fcfs import Fcfs
from sim.pricing import StepPricer
from sim.simulation import check_conservation, simulate
from sim.system import Plan, System, load_device
from workloads.generator import generate
from workloads.model import Precision
from workloads.trace import Trace

A100 = System(device=load_device("a100_80gb"))
LLAMA = load_model("llama-2-7b")


def trace(prompts, outputs, gap_ps=10**11):
    arrival = np.arange(len(prompts)) * gap_ps
    return Trace(arrival_ps=arrival, prompt=np.array(prompts), output=np.array(outputs))


def test_one_request_takes_its_prefill_and_its_decodes():
    pricer = StepPricer(A100.device, LLAMA, Precision())
    result = simulate(A100, LLAMA, trace([1000], [5]), Fcfs())
    first = pricer.step_ps(1000, 1, [(1000, 0)], 0, 0)
    rest = sum(pricer.step_ps(1, 1, (), 1, 1001 + i) for i in range(4))
    assert result.served.first_token_ps[0] == first
    assert result.served.finish_ps[0] == first + rest
    assert result.metrics["mean_ttft_ms"] == pytest.approx(first / 1e9)


def test_energy_is_that_of_the_steps_and_of_the_idle_device():
    result = simulate(A100, LLAMA, trace([1000], [1]), Fcfs())
    rows = {(row["component"], row["event"]): row for row in result.energy}
    linear = sum(n * k for n, k in LLAMA.projections().values()) * LLAMA.layers
    attention = 2 * (1000 * 1001 // 2) * LLAMA.heads * LLAMA.head_dim * LLAMA.layers
    assert rows["tensor", "mac_fp16"]["count"] == 1000 * linear + attention + LLAMA.vocab * LLAMA.hidden
    assert rows["device", "static"]["joules"] == pytest.approx(80 * result.metrics["duration_s"])
    assert result.metrics["total_energy_j"] == pytest.approx(sum(row["joules"] for row in result.energy))


@given(
    prompts=st.lists(st.integers(1, 900), min_size=1, max_size=12),
    outputs=st.lists(st.integers(1, 60), min_size=12, max_size=12),
    gap=st.integers(0, 10**12),
    replicas=st.integers(1, 3),
    policy=st.sampled_from([Fcfs(), ChunkedPrefill()]),
)
@settings(max_examples=20)
def test_running_ahead_changes_nothing(prompts, outputs, gap, replicas, policy):
    system = System(device=A100.device, plan=Plan(replicas=replicas))
    requests = trace(prompts, outputs[: len(prompts)], gap)
    ahead, stepped = (simulate(system, LLAMA, requests, policy, run_ahead=mode) for mode in (True, False))
    for name in ("first_token_ps", "finish_ps", "replica"):
        assert (getattr(ahead.served, name) == getattr(stepped.served, name)).all()
    assert ahead.metrics == stepped.metrics
    assert ahead.energy == stepped.energy


def served_and_work():
    requests = trace([300, 500], [20, 30])
    result = simulate(A100, LLAMA, requests, ChunkedPrefill())
    pricer = StepPricer(A100.device, LLAMA, Precision())
    work = Work()
    work.add(tally_work(pricer, result.served.tallies[0]))
    return pricer, result.served, work


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("lost tokens", "tokens executed"),
        ("a busy unit", "unit tensor works"),
        ("a busy memory", "above its peak bandwidth"),
        ("weights unread", "the weights of"),
    ],
)
def test_each_conservation_law_bites(fault, message):
    pricer, served, work = served_and_work()
    check_conservation(pricer, served, work)
    if fault == "lost tokens":
        served.tallies[0].linear.clear()
    elif fault == "a busy unit":
        work.cycles["tensor"] *= 1000
    elif fault == "a busy memory":
        work.events["hbm", "write_byte"] += 10**15
    else:
        work.events["hbm", "read_byte"] //= 100
    with pytest.raises(CheckFailed, match=message):
        check_conservation(pricer, served, work)


def test_a_trace_of_requests_beyond_the_context_is_infeasible():
    with pytest.raises(Infeasible, match="exceed the context of llama-2-7b, 4096 tokens"):
        simulate(A100, LLAMA, trace([5000], [5]), Fcfs())


def test_overlong_requests_are_counted():
    requests = trace([5000, 100], [5, 5])
    assert simulate(A100, LLAMA, requests, Fcfs()).metrics["rejected_context"] == 1
    clipped = simulate(A100, LLAMA, requests, Fcfs(), overlong="clip").metrics
    assert (clipped["clipped"], clipped["completed"]) == (1, 2)


def test_a_rejected_request_keeps_its_place():
    """Rows of `Result.requests` are those of the trace, so that a reader can join them; the duration starts with the first."""
    requests = trace([5000, 100, 6000, 200], [5, 5, 5, 5])
    result = simulate(A100, LLAMA, requests, Fcfs())
    columns = result.requests()
    assert [STATUS[status] for status in columns["status"]] == ["rejected_context", "completed", "rejected_context", "completed"]
    assert list(columns["prompt_tokens"]) == list(requests.prompt)
    assert list(columns["finish_ps"] < 0) == [True, False, True, False]
    assert result.metrics["duration_s"] == columns["finish_ps"].max() / 1e12


def test_more_hardware_is_not_slower():
    requests = generate("azure_conversation", 200, rate=20, seed=3)
    systems = (System(device=A100.device, plan=Plan(replicas=n)) for n in (1, 2))
    one, two = (simulate(system, LLAMA, requests, ChunkedPrefill(), overlong="clip") for system in systems)
    assert two.metrics["mean_e2el_ms"] < one.metrics["mean_e2el_ms"]
    assert two.metrics["energy_per_output_token_j"] > one.metrics["energy_per_output_token_j"]  # weights are read more often


def test_the_shipped_experiments_run():
    for name in ("bitnet_lut", "azure_llama2_7b"):
        experiment, base = load_experiment(name, ["trace.requests=60"])
        requests = load_trace(experiment.trace, experiment.seed, base)
        for case in resolve(experiment, base):
            given = {"precision": case.precision, "overlong": experiment.trace.overlong}
            result = simulate(case.system, case.model, requests, experiment.policy, **given)
            assert result.metrics["completed"] == 60
            assert result.metrics["total_energy_j"] > 0


def test_the_same_seed_gives_the_same_result():
    requests = generate("azure_conversation", 100, seed=5)
    first, second = (simulate(A100, LLAMA, requests, ChunkedPrefill(), seed=5, overlong="clip") for _ in range(2))
    assert first.as_dict() == second.as_dict()


def test_a_result_is_plain_data():
    result = simulate(A100, LLAMA, trace([10], [2]), Fcfs())
    assert replace(result, name="x").as_dict()["name"] == "x"
    assert '"total_energy_j"' in result.to_json()
