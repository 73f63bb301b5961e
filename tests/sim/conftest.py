"""What the tests of the command share: a small device, a small trace, and a way to call `rtloom` in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from small_system import DESIGN, ENERGIES, EXPERIMENT, TRACE, entry
from typer.testing import CliRunner

from sim.cli import app


@dataclass(frozen=True)
class Outcome:
    """What a call of the command left: exit code, stdout, stderr."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """stdout as JSON: nothing else may be on it."""
        return json.loads(self.stdout)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test, with ``small.toml`` (a design), ``trace.csv`` and ``experiment.toml``."""
    (tmp_path / "small.toml").write_text(DESIGN + "".join(entry(*e) for e in ENERGIES))
    (tmp_path / "trace.csv").write_text(TRACE)
    (tmp_path / "experiment.toml").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RTLOOM_RUNS", raising=False)
    return tmp_path


@pytest.fixture
def rtloom(folder: Path) -> Callable[..., Outcome]:
    """Calls the command in `folder` and checks its exit code."""

    def call(*arguments: object, code: int = 0) -> Outcome:
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, f"wanted exit code {code}, got {done.exit_code}: {done.stderr or done.stdout}"
        assert "Traceback" not in done.stderr
        return Outcome(done.exit_code, done.stdout, done.stderr)

    return call
