"""The result store: one folder per run under ``runs/``, named by the hash of what was run.

A run is written beside its place and renamed into it, so that a reader sees all of it or none; a run that is there is never
changed. Parallel writers of one run race for the name, and the loser's copy is discarded. What a killed process left is
swept by the next writer. No symbolic link below the store is followed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sim.errors import BadInput, StorageError

NAME_LENGTH = 20  # hexadecimal digits of the hash that name a run: 80 bits
PARTIAL = ".partial-"
STALE_S = 60  # a writer locks its partial folder long before; older and unlocked means that its process has died
_NAME = re.compile(r"[0-9a-f]{4,64}")


class Store:
    """Runs below the folder ``root``, which is created when first written to."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def find(self, digest: str) -> Path | None:
        """The folder of the run with this hash, or None. Raises StorageError where something else is in its place."""
        folder = self.root / digest[:NAME_LENGTH]
        return folder if _is_run(folder) else None

    def resolve(self, name: str) -> Path:
        """The folder of the run whose name starts with ``name`` (at least four digits). Raises BadInput."""
        short = name.removeprefix(f"{self.root}{os.sep}").rstrip(os.sep)
        if not _NAME.fullmatch(short):
            raise BadInput(f"{name!r}: wanted the name of a run (hexadecimal digits, at least four), as 'rtloom run' prints it")
        found = [f for f in self.runs() if f.name.startswith(short[:NAME_LENGTH])]
        if len(found) != 1:
            stored = ", ".join(f.name for f in found or self.runs()) or "none"
            problem = "more than one run begins so" if found else "no such run"
            raise BadInput(f"{short}: {problem} in {self.root} (stored: {stored})")
        return found[0]

    def runs(self) -> list[Path]:
        """The folders of all complete runs, by name. Raises StorageError."""
        try:
            return sorted(f for f in self.root.iterdir() if _NAME.fullmatch(f.name) and _is_real_folder(f))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"{self.root}: cannot read the stored runs: {error.strerror}") from None

    def prepare(self) -> None:
        """Create the store and show that it can be written to, before hours are spent on a result. Raises StorageError."""
        with _explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            os.rmdir(tempfile.mkdtemp(prefix=PARTIAL, dir=self.root))

    def put(self, digest: str, write: Callable[[Path], None]) -> Path:
        """Store a run: ``write`` fills the folder that it is given. Returns the run's folder.

        Where the run is already there it is kept as it is. On any failure, an interrupt included, nothing is left.
        Raises StorageError.
        """
        self.prepare()
        final = self.root / digest[:NAME_LENGTH]
        with _explained(final):
            partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self.root))
            try:
                with _locked(partial):
                    write(partial)
                    _flush(partial)
                    partial.chmod(0o755)
                    _rename(partial, final)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return final

    def _sweep(self) -> None:
        """Remove what writers that have died left behind."""
        for folder in self.root.glob(f"{PARTIAL}*"):
            try:
                status = folder.lstat()
                if stat.S_ISDIR(status.st_mode) and time.time() - status.st_mtime > STALE_S:
                    with _locked(folder, wait=False):
                        shutil.rmtree(folder, ignore_errors=True)
            except OSError:  # its writer lives or has just renamed it, or another process sweeps it
                continue


def read_bytes(folder: Path, name: str, limit: int = 1 << 32) -> bytes:
    """The content of the regular file ``name`` in a run's folder. Raises StorageError; follows no link."""
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # else a pipe would wait for a writer
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
                raise StorageError(f"{path}: wanted a regular file of at most {limit} bytes")
            return file.read()
    except OSError as error:
        raise StorageError(f"{path}: cannot read it: {os.strerror(error.errno or 0)}") from None


def write_file(path: Path, content: str | bytes) -> None:
    """Write ``path`` in one step, so that it holds either its old content or all of the new. Raises StorageError."""
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


def _is_real_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _is_run(path: Path) -> bool:
    """Whether the folder of a run is there; False where nothing is. Raises StorageError where something else has its name."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    if stat.S_ISLNK(mode):
        raise StorageError(f"{path}: is a symbolic link, which the store does not follow; remove it")
    if not stat.S_ISDIR(mode):
        raise StorageError(f"{path}: wanted the folder of a run or nothing, got something else; remove it")
    return True


def _rename(partial: Path, final: Path) -> None:
    if _is_run(final):
        return
    try:
        os.rename(partial, final)
    except OSError:
        if not _is_real_folder(final):
            raise
        # Another writer was first; both hold the same result.


def _flush(folder: Path) -> None:
    """Force the files of ``folder`` to the disk, so that a rename never outlives its content."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold the exclusive lock on ``folder``; the kernel drops it when the process ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"{path}: cannot write it: {reason}; nothing was stored there") from error
