"""Several files that change together, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sim.errors import StorageError


def write_together(folder: Path, contents: Mapping[str, str]) -> None:
    """Write each text of ``contents`` under its name in ``folder``, which is created where it is missing.

    All are complete on the disk before the first takes its name. Raises StorageError; what could not be written leaves
    nothing behind, folders included.
    """
    try:
        with _created(folder):
            staging = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
            try:
                for name, text in contents.items():
                    _write(staging / name, text)
                for name in contents:
                    if (folder / name).is_dir():
                        raise IsADirectoryError(None, f"{name} there is a folder")
                for name in contents:
                    os.replace(staging / name, folder / name)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error.strerror or str(error)
        raise StorageError(f"{folder}: cannot write the report: {reason}; nothing was written there") from error


def _write(path: Path, text: str) -> None:
    with open(path, "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _created(folder: Path) -> Iterator[None]:
    """``folder`` with its parents; those that were made here are removed again where the body fails."""
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise
