"""What every test may ask for: the shared input files, and property tests that repeat."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run: a red build means a change of ours. The time of a machine that is busy is no failure.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
# New examples in each run, and many: `make test ARGS=--hypothesis-profile=explore`.
settings.register_profile("explore", settings.get_profile("repeatable"), derandomize=False, max_examples=2000)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of traces, measurements and Liberty files that RTLOOM_SHARED names: skips where it is unset, fails where
    it names no folder."""
    named = os.environ.get("RTLOOM_SHARED")
    if not named:
        pytest.skip("RTLOOM_SHARED is not set: this test needs the shared traces, measurements and Liberty files")
    folder = Path(named).resolve()
    if not folder.is_dir():
        pytest.fail(f"RTLOOM_SHARED names {named}, which is not a folder")
    return folder


@pytest.fixture(scope="session")
def shared_file(shared: Path) -> Callable[[str], Path]:
    """A function from a path below RTLOOM_SHARED, such as "traces/x.csv", to the file, which must be there."""

    def find(path: str) -> Path:
        if not (shared / path).is_file():
            pytest.fail(f"RTLOOM_SHARED is set to {shared}, where {path} is missing")
        return shared / path

    return find
