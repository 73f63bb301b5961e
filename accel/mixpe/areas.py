"""The areas of arrays of the sizes that MixPE's authors take to be equal in area, as entries of accel/tech/arrays_asap7.toml.

    python -m accel.mixpe.areas LIBERTY...

maps them by hierarchy, for area alone, and writes the file (half an hour, most of it elaboration). The array of 64 x 64 cells is
not mapped: its area is that of the quadratic through 8 x 8, 16 x 16 and 32 x 32. Its parts are such: cells grow with rows times
columns, dequantisers with columns and columns times rows (a running sum per row), skew registers with the square of either.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from accel.base.characterize import PERIOD_PS, describe
from accel.base.figures import Characterisation, hardware, write_entries
from accel.base.rtl import elaborate, rtlil_hash
from accel.base.synthesis import LibertyFiles, synthesize
from accel.base.unit import RtlUnit
from accel.mixpe import MixPe
from accel.systolic_array import SystolicArray

FILE = Path(__file__).parent.parent / "tech" / "arrays_asap7.toml"
MAPPED: tuple[RtlUnit, ...] = (
    SystolicArray(rows=32, columns=32),
    SystolicArray(rows=32, columns=28, operands="fp16"),
    MixPe(rows=32, columns=32, activations="fp16"),
)
SQUARES = (8, 16, 32)
LARGEST = 64


def measure(unit: RtlUnit, files: LibertyFiles) -> Characterisation:
    """The area of ``unit``, mapped by hierarchy."""
    mapped = synthesize(elaborate(unit)[1], files, period_ps=PERIOD_PS)
    return Characterisation.without_joules(
        mapped,
        component=unit.kind(),
        parameters=hardware(unit),
        rtlil=rtlil_hash(unit),
        library=describe(files.library),
        tools=mapped.tool,
        composed_vs_flat="not measured at this size",
        note="area only",
    )


def largest(squares: Sequence[Characterisation]) -> Characterisation:
    """The array of 64 x 64 W4A8 cells by the quadratic through ``squares``."""
    quadratic = np.polyfit(SQUARES, [found.area_um2 for found in squares], 2)
    counts = np.polyfit(SQUARES, [found.cells for found in squares], 2)
    last = squares[-1]
    return replace(
        last,
        parameters=last.parameters | {"rows": LARGEST, "columns": LARGEST},
        area_um2=float(np.polyval(quadratic, LARGEST)),
        cells=round(float(np.polyval(counts, LARGEST))),
        parts=(),
        composed_vs_flat="",
        rtlil="",  # of no netlist
        tools=f"not mapped: quadratic through arrays of {', '.join(f'{n} x {n}' for n in SQUARES)}; {last.tools}",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m accel.mixpe.areas LIBERTY...``: map every array again."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("liberty", type=Path, nargs="+", help="Liberty files, plain or gzipped")
    files = LibertyFiles.read(parser.parse_args(arguments).liberty)
    squares = [measure(MixPe(rows=n, columns=n), files) for n in SQUARES]
    write_entries(FILE, [*(measure(unit, files) for unit in MAPPED), *squares, largest(squares)])


if __name__ == "__main__":
    main()
