"""The store: does a reader ever see half a run, is a run ever changed, and does anything lead out of the folder?"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sim.errors import BadInput, StorageError
from sim.store import NAME_LENGTH, PARTIAL, STALE_S, Store, read_bytes, write_file

DIGEST = "0123456789abcdef" * 4
NAME = DIGEST[:NAME_LENGTH]


def fill(folder: Path) -> None:
    for name in ("result.json", "requests.parquet"):
        (folder / name).write_text(name * 1000)


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_a_run_is_found_where_it_was_put(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    assert store.find(DIGEST) is None
    assert store.runs() == []
    folder = store.put(DIGEST, fill)
    assert folder == store.find(DIGEST) == store.resolve(NAME[:4]) == store.resolve(str(folder))
    assert left(store.root) == [NAME]
    assert left(folder) == ["requests.parquet", "result.json"]


def test_a_stored_run_is_never_changed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(DIGEST, fill)
    store.put(DIGEST, lambda folder: (folder / "result.json").write_text("other"))
    assert read_bytes(tmp_path / NAME, "result.json").startswith(b"result.json")
    assert left(tmp_path) == [NAME]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("bug"), SystemExit(143)])
def test_nothing_is_left_when_writing_fails(tmp_path: Path, failure: BaseException) -> None:
    def write(folder: Path) -> None:
        fill(folder)
        raise failure

    wanted = StorageError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(wanted) as raised:
        Store(tmp_path).put(DIGEST, write)
    if isinstance(failure, OSError):
        assert str(raised.value) == f"{tmp_path / NAME}: cannot write it: No space left on device; nothing was stored there"
    assert left(tmp_path) == []


def test_a_disk_that_is_full_when_flushed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        Store(tmp_path).put(DIGEST, fill)
    with pytest.raises(StorageError, match="No space left on device"):
        write_file(tmp_path / "report.json", "{}")
    assert left(tmp_path) == []


def _put(root: Path, mark: int, ready: multiprocessing.synchronize.Barrier) -> None:
    def write(folder: Path) -> None:
        for name in ("a", "b", "c"):
            (folder / name).write_text(str(mark))
        ready.wait()

    Store(root).put(DIGEST, write)


def test_parallel_writers_leave_one_whole_run(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    writers = [context.Process(target=_put, args=(tmp_path, mark, barrier)) for mark in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert left(tmp_path) == [NAME]
    assert len({(tmp_path / NAME / name).read_text() for name in ("a", "b", "c")}) == 1


KILLED = """
import sys, time
from pathlib import Path
from sim.store import Store
def write(folder):
    (folder / "result.json").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
Store(sys.argv[1]).put(sys.argv[2], write)
"""


def test_a_killed_writer_leaves_no_run_and_is_swept(tmp_path: Path, root: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), DIGEST]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(root)})
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    store = Store(tmp_path)
    (partial,) = tmp_path.iterdir()
    os.utime(partial, (0, 0))
    store.prepare()
    assert partial.exists(), "a living writer's folder was swept"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert store.find(DIGEST) is None
    assert store.runs() == []
    store.put(DIGEST, fill)
    assert left(tmp_path) == [NAME]


def test_a_young_partial_folder_is_left_alone(tmp_path: Path) -> None:
    young, old = tmp_path / f"{PARTIAL}young", tmp_path / f"{PARTIAL}old"
    for folder in (young, old):
        folder.mkdir()
        fill(folder)
    long_ago = time.time() - STALE_S - 1
    os.utime(old, (long_ago, long_ago))
    Store(tmp_path).prepare()
    assert left(tmp_path) == [young.name]


def test_no_link_is_followed(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "runs"
    outside.mkdir()
    root.mkdir()
    (outside / "result.json").write_text("secret")
    (root / NAME).symlink_to(outside)
    (root / f"{PARTIAL}link").symlink_to(outside)
    store = Store(root)
    assert store.runs() == []
    for use in (store.find, lambda digest: store.put(digest, fill)):
        with pytest.raises(StorageError, match="symbolic link, which the store does not follow"):
            use(DIGEST)
    assert left(outside) == ["result.json"]
    (root / NAME).unlink()
    folder = store.put(DIGEST, lambda folder: (folder / "result.json").symlink_to(outside / "result.json"))
    with pytest.raises(StorageError, match=r"result\.json: cannot read it: Too many levels of symbolic links"):
        read_bytes(folder, "result.json")


def test_what_stands_in_the_place_of_a_run_is_said_before_any_work(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("a file where the run's folder should be")
    with pytest.raises(StorageError, match=f"{NAME}: wanted the folder of a run or nothing, got something else; remove it"):
        Store(tmp_path).find(DIGEST)


def test_a_partial_folder_that_goes_while_it_is_looked_at_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial, looked = tmp_path / f"{PARTIAL}other", Path.lstat
    partial.mkdir()

    def look(path: Path) -> os.stat_result:
        found = looked(path)
        if path == partial:
            partial.rmdir()  # its writer has renamed it in between
        return found

    monkeypatch.setattr(Path, "lstat", look)
    Store(tmp_path).prepare()
    assert left(tmp_path) == []


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "result.json")
    with pytest.raises(StorageError, match="wanted a regular file"):
        read_bytes(tmp_path, "result.json")


@pytest.mark.parametrize("name", ["..", "../outside", "/etc", "abc", "xyzw", "0123/../..", "", "01 23"])
def test_only_the_name_of_a_run_names_a_run(tmp_path: Path, name: str) -> None:
    Store(tmp_path).put(DIGEST, fill)
    with pytest.raises(BadInput, match="wanted the name of a run"):
        Store(tmp_path).resolve(name)


def test_an_unknown_or_ambiguous_name_lists_what_is_stored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    other = DIGEST[:8] + "f" * 56
    for digest in (DIGEST, other):
        store.put(digest, fill)
    with pytest.raises(BadInput, match=rf"beef: no such run in .* \(stored: {NAME}, {other[:NAME_LENGTH]}\)"):
        store.resolve("beef")
    with pytest.raises(BadInput, match="0123: more than one run begins so"):
        store.resolve("0123")


def test_a_store_that_cannot_be_written_is_said_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="runs: cannot write it: File exists"):
        Store(tmp_path / "runs").prepare()


def test_write_file_replaces_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "below" / "report.json"
    write_file(path, "old")
    write_file(path, b"new")
    assert path.read_text() == "new"

    def refuse(source: str, target: Path) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError, match="Input/output error"):
        write_file(path, "newer")
    assert path.read_text() == "new"
    assert left(path.parent) == ["report.json"]
