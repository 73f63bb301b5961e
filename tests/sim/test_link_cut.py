"""What happens to a run whose link is cut: it ends, says so, and leaves nothing behind."""

import pytest

from accel.base.clock import PS_PER_S
from sim import Plan, System, load_device, load_model, simulate
from sim.errors import BadInput, Infeasible
from sim.experiment import TraceSource, load_trace
from sim.policies.chunked_prefill import ChunkedPrefill
from sim.policies.fcfs import Fcfs
from workloads.trace import Trace

MODEL = load_model("opt-13b")
DEVICE = load_device("instinfer_dense")


def staggered():
    """Requests that end one after the other."""
    alike = load_trace(TraceSource(prompt=200, output=100, requests=8), seed=0)
    return Trace(
        arrival_ps=alike.arrival_ps, prompt=alike.prompt, output=alike.output - 10 * (alike.arrival_ps.cumsum() + range(8))
    )


def served(cuts=None, run_ahead=True, replicas=1, policy=None):
    system = System(device=DEVICE, plan=Plan(replicas=replicas))
    return simulate(system, MODEL, staggered(), policy or Fcfs(), cuts=cuts, run_ahead=run_ahead)


def lost_and_completed(error):
    """(completed, lost) as the message says."""
    words = str(error.value).replace(",", "").split()
    return int(words[words.index("of", words.index("s:")) - 1]), int(words[words.index("lost") - 1])


def test_a_run_ends_with_what_was_completed_and_lost():
    ends = sorted(served().served.finish_ps.tolist())
    for completed, cut in ((0, 1), (0, ends[0]), (1, ends[0] + 1), (5, ends[4] + 1), (7, ends[-1])):
        with pytest.raises(Infeasible) as error:
            served({"csd": cut})
        assert lost_and_completed(error) == (completed, 8 - completed)
        assert f"the link of memory 'csd' was cut at {cut / PS_PER_S:g} s" in str(error.value)


def test_the_counts_do_not_depend_on_how_the_engine_steps():
    cut = {"csd": sorted(served().served.finish_ps.tolist())[3] + 10**9}
    messages = set()
    for run_ahead in (True, False):
        with pytest.raises(Infeasible) as error:
            served(cut, run_ahead)
        messages.add(str(error.value))
    assert len(messages) == 1


def test_a_cut_after_the_end_changes_nothing():
    whole = served()
    late = served({"csd": whole.served.makespan_ps + 1})
    assert late.metrics == whole.metrics


@pytest.mark.parametrize("policy", [Fcfs(), ChunkedPrefill()])
def test_every_replica_loses_its_link(policy):
    with pytest.raises(Infeasible, match="0 of 8 requests completed, 8 lost"):
        served({"csd": 1}, replicas=3, policy=policy)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cds", "cuts: unknown memory behind a link 'cds'; did you mean 'csd'?"),
        ("hbm", "cuts: unknown memory behind a link 'hbm'"),
    ],
)
def test_a_link_that_is_not_there(name, message):
    with pytest.raises(BadInput) as error:
        served({name: 1})
    assert message in str(error.value)


EXPERIMENT = """
name = "cut"
model = "opt-13b"
[trace]
prompt = 100
output = 20
requests = 3
[policy]
kind = "fcfs"
[[systems]]
design = "instinfer_dense"
cuts = { csd = "500 ms" }
"""


def test_the_command_ends_with_a_reason_and_stores_nothing(rtloom, folder):
    (folder / "cut.toml").write_text(EXPERIMENT)
    done = rtloom("run", "cut.toml", "--out", "report", code=3)
    assert "drives, dense: the link of memory 'csd' was cut at 0.5 s: 0 of 3 requests completed, 3 lost" in done.stderr
    assert not done.stdout
    assert not [path for path in (folder / "runs").rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert not (folder / "report").exists()


def test_the_command_refuses_a_link_that_is_not_there_before_it_serves(rtloom, folder):
    (folder / "cut.toml").write_text(EXPERIMENT.replace("csd =", "ssd ="))
    done = rtloom("run", "cut.toml", code=2)
    assert "cuts: unknown memory behind a link 'ssd'; did you mean 'csd'?" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("output = 20\n", "", "output: missing; wanted the tokens of every request beside 'prompt'"),
        ("prompt = 100\n", 'prompt = 100\nprofile = "azure_code"\n', "wanted one of 'file' (a trace), 'profile' (statistics)"),
        ("prompt = 100\n", "prompt = 100\nrate = 2\n", "got them with requests that are there from the start"),
        ('"500 ms"', "2", "cuts.csd: wanted a time with its unit"),
    ],
)
def test_requests_alike_and_cuts_are_refused_by_their_key(rtloom, folder, old, new, message):
    (folder / "cut.toml").write_text(EXPERIMENT.replace(old, new))
    assert message in rtloom("run", "cut.toml", code=2).stderr
