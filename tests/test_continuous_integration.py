"""Does `.ci/run` test, then run the example, with the shared folder beside the checkout, from wherever it is called?"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def checkout(root, tmp_path) -> Path:
    folder = tmp_path / "in a path" / "rtloom"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(root / ".ci/run", folder / ".ci")
    return folder


def run_ci(checkout: Path, make: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`.ci/run`, called from another folder, with the shell script ``make`` in place of make."""
    tools = checkout.parent / "bin"
    tools.mkdir()
    (tools / "make").write_text("#!/bin/sh\n" + make)
    (tools / "make").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    env = {name: value for name, value in os.environ.items() if name != "RTLOOM_SHARED"} | env | {"PATH": path}
    return subprocess.run([checkout / ".ci/run"], cwd=checkout.parent, env=env, capture_output=True, text=True)


TELL = 'echo "$PWD|$1|$RTLOOM_SHARED"\n'


def test_tests_come_before_the_example_and_see_the_shared_folder(checkout):
    (checkout.parent / "shared").mkdir()
    result = run_ci(checkout, TELL)
    assert result.returncode == 0, result.stderr
    shared = checkout.parent / "shared"
    assert result.stdout.splitlines() == [f"{checkout}|test|{shared}", f"{checkout}|run|{shared}"]


def test_without_a_shared_folder_the_tests_are_told_none(checkout):
    result = run_ci(checkout, TELL)
    assert result.returncode == 0, result.stderr
    notice, *calls = result.stdout.splitlines()
    assert "../shared" in notice
    assert calls == [f"{checkout}|test|", f"{checkout}|run|"]


def test_a_failed_test_ends_it(checkout):
    result = run_ci(checkout, TELL + "exit 3\n")
    assert result.returncode == 3
    assert "|run|" not in result.stdout
