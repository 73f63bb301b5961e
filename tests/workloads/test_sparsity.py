"""Does the closed form of windows say what a cache of neurons does, token by token, and are wrong profiles refused in words?"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import sparsity
from workloads.model import Transformer
from workloads.sparsity import LONGEST, WHOLE, Sparsity, SparsityError, from_data

OPT = sparsity.load("opt-6.7b")
DATA = {
    "about": "test",
    "models": ["m"],
    "gated": False,
    "used_ppm": 100_000,
    "window_tokens": 5,
    "window_ppm": 240_000,
    "predictor_ranks": [[2, 8]],
    "source": "test",
}


def profile(**changes) -> Sparsity:
    return from_data("test", DATA | changes)


@st.composite
def profiles(draw) -> Sparsity:
    used, tokens = draw(st.integers(1, WHOLE)), draw(st.integers(2, 64))
    return profile(used_ppm=used, window_tokens=tokens, window_ppm=draw(st.integers(used, min(WHOLE, used * tokens))))


# what the published points say


def test_both_published_points_are_met_and_the_published_increment_is_predicted():
    assert (OPT.used(1), OPT.used(5)) == (100_000, 240_000)
    assert OPT.fresh(5, 1) == pytest.approx(24_000, rel=0.05)  # 2.4 %, which the profile does not hold
    assert OPT.mean_rank == 240


@settings(max_examples=60, deadline=None)
@given(profiles(), st.integers(0, 200), st.integers(1, 50))
def test_unions_grow_and_larger_windows_miss_less(made, window, tokens):
    assert made.used(0) == 0
    assert made.used(window) <= made.used(window + tokens) <= WHOLE
    assert made.used(window + tokens) <= made.used(window) + made.used(tokens)
    assert made.fresh(window + 1, tokens) <= made.fresh(window, tokens) + 2  # both are rounded to the ppm
    assert made.used(LONGEST + 5) == made.used(LONGEST)


@pytest.mark.parametrize(("used", "window"), [(500_000, 500_001), (1, 1), (1, 2), (999_999, 1_000_000)])
def test_unions_that_hardly_grow_have_a_table_too(used, window):
    made = profile(used_ppm=used, window_ppm=window, window_tokens=64)
    assert (made.used(1), made.used(64)) == (used, window)
    assert made.used(LONGEST) <= WHOLE


@settings(max_examples=30, deadline=None)
@given(profiles(), st.integers(1, 100))
def test_arrays_are_priced_as_ints_are(made, window):
    tokens = np.arange(0, 300, dtype=np.int64)
    assert made.fresh(window, tokens).tolist() == [made.fresh(window, int(t)) for t in tokens]
    assert isinstance(made.fresh(window, 1), int)


@settings(max_examples=60, deadline=None)
@given(profiles(), st.integers(0, WHOLE))
def test_the_window_of_a_cache_is_the_longest_that_fits(made, share):
    window = made.window_of(share)
    assert made.used(window) <= share
    assert made.used(window + 1) > share or made.used(window) == made.used(window + 1)


# the closed form against a cache played token by token

NEURONS = 4000


def activity(seed: int, exponent: float, stay: float, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """(active neurons [tokens, NEURONS], how often each is active) of two-state Markov chains: Zipf's law over the neurons, and
    chains that stay active with a probability of at least ``stay``."""
    rng = np.random.default_rng(seed)
    often = np.minimum(0.9, 4 * np.arange(1, NEURONS + 1) ** -exponent)
    wakes = (1 - np.maximum(stay, often)) * often / (1 - often)
    active = np.empty((tokens, NEURONS), bool)
    active[0] = rng.random(NEURONS) < often
    for t in range(1, tokens):
        draw = rng.random(NEURONS)
        active[t] = np.where(active[t - 1], draw < np.maximum(stay, often), draw < wakes)
    return active, often


def union(active: np.ndarray, tokens: int) -> np.ndarray:
    """Neurons that each run of ``tokens`` tokens uses in all."""
    return np.array([active[t : t + tokens].any(axis=0).sum() for t in range(len(active) - tokens + 1)])


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.5, 1.2), st.floats(0.0, 0.9), st.integers(1, 8))
def test_a_window_loads_what_the_union_grows_by(seed, exponent, stay, window):
    """Exactly so on any trace: over all tokens, loads = sum of unions of k + 1 tokens less those of the k before."""
    active, _ = activity(seed, exponent, stay, 60)
    loads = sum(int((active[t] & ~active[t - window : t].any(axis=0)).sum()) for t in range(window, len(active)))
    assert loads == union(active, window + 1).sum() - union(active, window)[:-1].sum()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.6, 1.0), st.floats(0.0, 0.7))
def test_chains_use_what_their_law_says(seed, exponent, stay):
    """used(t) of two-state chains in closed form, 1 - (1 - p)(1 - a)^(t - 1) each, against the mean of the trace."""
    active, often = activity(seed, exponent, stay, 400)
    wakes = (1 - np.maximum(stay, often)) * often / (1 - often)
    for tokens in (1, 2, 5, 10):
        expected = (1 - (1 - often) * (1 - wakes) ** (tokens - 1)).sum()
        assert union(active, tokens).mean() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("exponent", "stay"), [(0.7, 0.0), (0.7, 0.5), (0.9, 0.3)])
def test_two_points_of_a_zipf_trace_give_the_others(exponent, stay):
    active, _ = activity(7, exponent, stay, 500)
    shares = {t: round(union(active, t).mean() / NEURONS * WHOLE) for t in range(1, 9)}
    made = profile(used_ppm=shares[1], window_ppm=shares[5])
    for tokens, share in shares.items():
        assert made.used(tokens) == pytest.approx(share, rel=0.05)
    for window in (1, 3, 5, 7):
        assert made.fresh(window, 1) == pytest.approx(shares[window + 1] - shares[window], rel=0.25)


@pytest.mark.parametrize("window", [3, 10])
def test_an_lru_cache_misses_as_the_window_of_its_size_does(window):
    """Che's approximation, on independent references by Zipf's law."""
    active, _ = activity(3, 0.8, 0.0, 300)
    capacity = round(union(active, window).mean())
    cache: OrderedDict[int, None] = OrderedDict()
    misses = seen = 0
    for t, row in enumerate(active):
        for neuron in np.flatnonzero(row).tolist():
            missed = neuron not in cache
            cache[neuron] = None
            cache.move_to_end(neuron)
            if len(cache) > capacity:
                cache.popitem(last=False)
            misses, seen = misses + (missed and t >= 50), seen + (t >= 50)
    fresh = union(active, window + 1).mean() - union(active, window).mean()
    assert misses / seen == pytest.approx(fresh / union(active, 1).mean(), rel=0.1)


# wrong profiles


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"used_ppm": 0}, "wanted 0 < used_ppm <= window_ppm <= 1000000"),
        ({"window_ppm": 90_000}, "wanted 0 < used_ppm <= window_ppm <= 1000000"),
        ({"window_ppm": 600_000}, "wanted window_ppm of at most window_tokens x used_ppm"),
        ({"window_tokens": 1}, "window_tokens above 1"),
        ({"predictor_ranks": []}, "predictor_ranks: wanted positive"),
        ({"windows": 3}, "unknown entry 'windows'; did you mean 'window_ppm'?"),
        ({"used_ppm": 0.1}, "test: used_ppm: wanted a whole number, got 0.1"),
        ({"gated": "no"}, "test: gated: wanted true or false, got 'no'"),
        ({"models": "opt-6.7b"}, "test: models: wanted a list of names, got 'opt-6.7b'"),
        ({"predictor_ranks": [[32]]}, r"test: predictor_ranks: wanted a list of \[blocks, rank\], got"),
        ({"hot_ppm": True}, "test: hot_ppm: wanted a whole number, got True"),
    ],
)
def test_a_wrong_profile_is_refused_in_words(changes, message):
    with pytest.raises(SparsityError, match=message.replace("?", r"\?")):
        profile(**changes)


def test_what_is_missing_or_unknown_is_named():
    with pytest.raises(SparsityError, match="test: wanted source, which is missing"):
        from_data("test", {key: value for key, value in DATA.items() if key != "source"})
    with pytest.raises(SparsityError, match=r"unknown sparsity profile 'opt-67b'; did you mean 'opt-6.7b'\?"):
        sparsity.load("opt-67b")


def test_a_profile_of_another_model_is_refused():
    with pytest.raises(SparsityError, match=r"profile 'opt-6.7b' is of opt-6.7b, not of opt-13b"):
        OPT.check(Transformer.load("opt-13b"))
    with pytest.raises(SparsityError, match=r"profile 'test' is of m, not of opt-6.7b; use opt-6.7b"):
        profile().check(Transformer.load("opt-6.7b"))
