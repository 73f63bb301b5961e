"""Are generated traces like the real ones, the same for the same seed, and fast?"""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.generator import generate
from workloads.profile import Profile, Quantiles, available, count_variance, fit
from workloads.trace import Trace, TraceError

REAL = {"azure_conversation": "AzureLLMInferenceTrace_conv.csv", "azure_code": "AzureLLMInferenceTrace_code.csv"}


@pytest.fixture(scope="module")
def generated():
    return {name: generate(name, 400_000, seed=7) for name in REAL}


def dispersion(trace, window):
    """Index of dispersion of counts: variance over mean of the arrivals in windows of ``window`` seconds."""
    seconds = (trace.arrival_ps - trace.arrival_ps[0]) / 1e12
    return 1 + len(seconds) / seconds[-1] * window * count_variance(seconds, window)


@pytest.mark.parametrize("name", REAL)
def test_lengths_have_the_real_marginals(name, shared, generated):
    real, made = Trace.read(shared / "traces" / REAL[name]), generated[name]
    for column in ("prompt", "output"):
        there, here = getattr(real, column), getattr(made, column)
        assert np.median(here) == pytest.approx(np.median(there), rel=0.01)
        assert np.mean(here) == pytest.approx(np.mean(there), rel=0.03)
        assert np.percentile(here, 90) == pytest.approx(np.percentile(there, 90), rel=0.02)
        assert np.percentile(here, 99) == pytest.approx(np.percentile(there, 99), rel=0.05)
        assert there.min() <= here.min()
        assert here.max() <= there.max()


@pytest.mark.parametrize("name", REAL)
def test_prompt_and_output_lengths_are_as_correlated_as_the_real_ones(name, shared, generated):
    real, made = Trace.read(shared / "traces" / REAL[name]), generated[name]
    there, here = (np.corrcoef(t.prompt, t.output)[0, 1] for t in (real, made))
    assert here == pytest.approx(there, abs=0.02)
    # and, beyond correlation: the mean output within quarters of the prompt
    for low, high in ((0, 25), (25, 50), (50, 75), (75, 100)):
        means = []
        for trace in (real, made):
            edges = np.percentile(trace.prompt, [low, high])
            means.append(trace.output[(trace.prompt > edges[0]) & (trace.prompt <= edges[1])].mean())
        assert means[1] == pytest.approx(means[0], rel=0.08)


@pytest.mark.parametrize(
    ("name", "windows", "tolerance"),
    [("azure_conversation", (0.25, 1, 4, 16, 64), 0.12), ("azure_code", (0.25, 1, 4, 16, 64), 0.30)],
)
def test_arrivals_are_as_bursty_as_the_real_ones(name, windows, tolerance, shared, generated):
    real, made = Trace.read(shared / "traces" / REAL[name]), generated[name]
    there, here = np.diff(real.arrival_ps), np.diff(made.arrival_ps)
    assert here.mean() == pytest.approx(there.mean(), rel=0.001)
    assert here.std() / here.mean() == pytest.approx(there.std() / there.mean(), rel=0.08)
    for window in windows:
        assert dispersion(made, window) == pytest.approx(dispersion(real, window), rel=tolerance)


@pytest.mark.parametrize("name", REAL)
def test_the_committed_profile_is_the_fit_of_the_real_trace(name, shared):
    committed = Profile.load(name)
    assert "CC-BY-4.0" in committed.source
    assert fit(Trace.read(shared / "traces" / REAL[name]), name, committed.source).to_toml() == committed.to_toml()


def test_a_profile_fitted_to_a_generated_trace_gives_the_profile_back():
    committed = Profile.load("azure_code")
    again = fit(generate(committed, 100_000, seed=3), "again", "test")
    assert again.rate == pytest.approx(committed.rate, rel=0.001)
    assert again.prompt(np.array([0.5])) == pytest.approx(committed.prompt(np.array([0.5])), rel=0.02)
    assert dict(again.clustering)[64] == pytest.approx(dict(committed.clustering)[64], abs=0.02)


def test_poisson_arrivals_are_poisson_at_the_given_rate():
    trace = generate("azure_conversation", 200_000, rate=4.0, seed=1, arrivals="poisson")
    intervals = np.diff(trace.arrival_ps) / 1e12
    assert trace.arrival_ps[-1] == pytest.approx((200_000 - 1) / 4 * 1e12, rel=1e-9)
    assert intervals.std() / intervals.mean() == pytest.approx(1.0, abs=0.01)
    for window in (1, 8, 64):
        assert dispersion(trace, window) == pytest.approx(1.0, abs=0.15)


def test_equal_seeds_give_equal_traces_and_others_others():
    first, again, other = (generate("azure_conversation", 1000, seed=seed) for seed in (5, 5, 6))
    assert first.digest() == again.digest() != other.digest()
    assert "seed 5" in first.source


def test_another_rate_changes_times_alone():
    slow, fast = (generate("azure_code", 5000, rate=rate, seed=2) for rate in (1.0, 10.0))
    assert np.array_equal(slow.prompt, fast.prompt)
    assert np.array_equal(slow.output, fast.output)
    assert slow.arrival_ps[-1] == pytest.approx(10 * fast.arrival_ps[-1], rel=1e-6)


def test_a_million_requests_take_about_a_second():
    generate("azure_conversation", 10)
    started = time.process_time()
    assert len(generate("azure_conversation", 1_000_000)) == 1_000_000
    assert time.process_time() - started < 3  # some 0.3 on a quiet machine


@settings(max_examples=30)
@given(st.sampled_from(["azure_conversation", "azure_code"]), st.integers(1, 300), st.floats(1e-3, 1e6), st.integers(0, 2**40))
def test_any_number_at_any_rate_is_a_valid_trace(name, requests, rate, seed):
    trace = generate(name, requests, rate=rate, seed=seed)
    assert len(trace) == requests
    assert trace.arrival_ps[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("azure_conv", 10), "unknown profile 'azure_conv'; did you mean 'azure_conversation'"),
        (("azure_code", 0), "requests: wanted 1 to"),
        (("azure_code", 10, 0.0), "rate: wanted requests per second above 0, got 0.0"),
        (("azure_code", 10, float("nan")), "rate: wanted requests per second above 0, got nan"),
        (("azure_code", 10, 1e-7), "rate: wanted 10 requests within 9000000 s"),
        (("azure_code", 10, 1.0, -1), "seed: wanted a whole number from 0, got -1"),
    ],
)
def test_arguments_without_sense_are_refused(arguments, message):
    with pytest.raises(TraceError, match=message):
        generate(*arguments)


def test_unknown_arrivals_are_refused():
    with pytest.raises(TraceError, match="wanted profile or poisson, got 'uniform'"):
        generate("azure_code", 10, arrivals="uniform")


# --- profiles -------------------------------------------------------------------------------------------------------------


def test_moments_of_quantiles_are_those_of_what_they_yield():
    law = Quantiles(at=np.array([0, 0.5, 0.9, 1.0]), values=np.array([1.0, 3.0, 3.0, 80.0]))
    drawn = law((np.arange(1_000_000) + 0.5) / 1_000_000)
    assert law.moment(1) == pytest.approx(drawn.mean(), rel=1e-4)
    assert law.moment(2) == pytest.approx((drawn**2).mean(), rel=1e-4)
    assert law.power(0.5).moment(1) == pytest.approx(1.0)


@pytest.mark.parametrize("name", REAL)
def test_a_profile_file_is_read_back(name, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(Profile.load(name).to_toml())
    assert generate(path, 100).digest() == generate(name, 100).digest()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rate = 5.53014", "rate = -1", "p.toml: rate: wanted requests per second above 0, got -1"),
        ("rate = 5.53014", "", "p.toml: wanted the key 'rate', got none"),
        ("rate = 5.53014", "rate = 'fast'", "p.toml: could not convert string to float"),
        ("rate = 5.53014", "rate = = 1", "p.toml: "),
        ("values = [2, 10,", "values = [10, 2,", "p.toml: quantiles: wanted rising probabilities"),
        ("values = [2, 10,", "values = [nan, 10,", "p.toml: quantiles: wanted rising probabilities"),
        ("values = [2, 10,", "values = [0.5, 10,", "p.toml: prompt: wanted 1 to 10000000 tokens, got 0.5"),
        ("values = [2, 10,", "values = [10,", "p.toml: quantiles: wanted as many values as probabilities"),
        ("sigma = ", "sigma = 9", "p.toml: modulation: wanted blocks"),
    ],
)
def test_a_corrupt_profile_is_refused(old, new, message):
    text = Profile.load("azure_conversation").to_toml()
    assert old in text
    with pytest.raises(TraceError, match=message):
        Profile.parse(text.replace(old, new, 1).encode(), "p.toml")


def test_a_short_trace_has_no_profile():
    with pytest.raises(TraceError, match="at least 1000 requests"):
        fit(generate("azure_code", 999), "short", "test")


def test_the_committed_profiles_are_listed():
    assert available() == ["azure_code", "azure_conversation"]
