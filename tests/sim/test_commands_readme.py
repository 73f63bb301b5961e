"""Do the commands that the README shows run as written?"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import sim.commands

TEXT = (Path(sim.commands.__file__).parent / "README.md").read_text()
SHOWN = re.findall(r"^\$ rtloom (.*)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("words", SHOWN)
def test_what_is_shown_runs(rtloom, words: str) -> None:
    assert rtloom(*shlex.split(words)).stdout


def test_the_files_of_a_run_are_those_listed(rtloom, folder) -> None:
    rtloom(*shlex.split(SHOWN[-1]))
    (run,) = (folder / "runs").iterdir()
    listed = set(re.findall(r"`([a-z]+\.(?:toml|json|parquet|json\.gz))`", TEXT.partition("| file |")[2]))
    assert {path.name for path in run.iterdir()} == listed
