"""What tests of hardware share: the standard-cell library, and whether there is an OpenSTA."""

from pathlib import Path

import pytest

from accel.base import power
from accel.base.synthesis import LibertyFiles


@pytest.fixture(scope="session")
def liberty(shared: Path) -> list[Path]:
    """The Liberty files of ASAP7."""
    return sorted((shared / "pdk/asap7").glob("*.lib.gz"))


@pytest.fixture(scope="session")
def asap7(liberty: list[Path]) -> LibertyFiles:
    return LibertyFiles.read(liberty)


@pytest.fixture(scope="session")
def opensta() -> None:
    """Skips where OpenSTA is not installed."""
    if power.opensta_version() is None:
        pytest.skip("OpenSTA is not installed (Debian: apt-get install opensta)")
