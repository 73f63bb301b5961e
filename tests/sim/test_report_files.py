"""Are the three files written together, or not at all?"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from report_systems import served

from sim.errors import StorageError
from sim.report import write_report
from sim.report.files import write_together


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_in_place_of_the_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    experiment, results = served()
    with pytest.raises(StorageError, match="out: cannot write the report: File exists; nothing was written there"):
        write_report(results, experiment, tmp_path / "out")
    assert tree(tmp_path) == ["out"]
    assert (tmp_path / "out").read_text() == "mine"


def test_a_file_above_the_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="Not a directory"):
        write_together(tmp_path / "file" / "out", {"a": "x"})
    assert tree(tmp_path) == ["file"]


def test_a_full_disk_leaves_no_file_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_together(tmp_path / "a" / "b", {"report.html": "x"})
    assert tree(tmp_path) == []


def test_a_failure_midway_keeps_the_old_report_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"report.html": "old page", "report.md": "old text"}
    write_together(tmp_path, old)
    calls = iter([None, OSError(errno.EIO, "bad")])
    real = os.fsync

    def failing(descriptor: int) -> None:
        fault = next(calls)
        if fault:
            raise fault
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError):
        write_together(tmp_path, {"report.html": "new page", "report.md": "new text"})
    assert {name: (tmp_path / name).read_text() for name in tree(tmp_path)} == old


def test_a_folder_in_place_of_a_file_is_seen_before_anything_changes(tmp_path: Path) -> None:
    write_together(tmp_path, {"report.html": "old"})
    (tmp_path / "report.md").mkdir()
    with pytest.raises(StorageError, match=r"report\.md"):
        write_together(tmp_path, {"report.html": "new", "report.md": "new"})
    assert (tmp_path / "report.html").read_text() == "old"
    assert tree(tmp_path) == ["report.html", "report.md"]


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_together(tmp_path / "new" / "out", {"report.html": "x"})
    assert tree(tmp_path) == []


def test_a_report_replaces_an_older_one_and_keeps_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_together(tmp_path, {"report.html": "old"})
    write_together(tmp_path, {"report.html": "new"})
    assert tree(tmp_path) == ["notes.txt", "report.html"]
    assert (tmp_path / "report.html").read_text() == "new"
