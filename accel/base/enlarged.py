"""Figures of arrays too large to be elaborated, from small arrays of the same modules: ``scaled`` entries of a technology file.

    python -m accel.base.enlarged accel/tech/asap7.toml LIBERTY...

does `ARRAYS` again (an hour). So far beyond what is played, a fit that lets the joules of every event grow with rows and columns
(`accel.base.scaling`) multiplies its noise: from 8 x 8 to 128 x 128 by 256. Here the joules of an event are a constant, as it
counts elements, and each of these moves in one cell whatever the size. Only what comes once for the whole width grows: the clock,
with cells, edges and triangles of skew registers, and the words of a vector unit, with its lanes:

    E_w = sum_j n_wj a_j + sum_i n_wi sum_s b_is x^s,    a, b >= 0

with x^s all powers of rows and columns up to degree 2, of lanes to 1. The largest array that is played is predicted, not fitted.
Area, leakage and cells are polynomials of the same degree through arrays that are mapped. The clock is that of the largest array
played, and so too high: the large one has its cells and edges, but its control fans out further.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from accel.base import power
from accel.base.characterize import CYCLE, PERIOD_PS, Bench, Progress
from accel.base.figures import Characterisation, hardware, write_entries
from accel.base.fit import non_negative_least_squares
from accel.base.rtl import rtlil_hash
from accel.base.scaling import extents, extrapolate
from accel.base.spec import discover, lookup
from accel.base.synthesis import LibertyFiles
from accel.base.unit import RtlUnit


@dataclass(frozen=True)
class Enlarged:
    """An array, and the smaller ones that its figures come from: sizes in the order of its extents."""

    kind: str
    parameters: Mapping[str, int | str]
    played: tuple[tuple[int, ...], ...]
    """Arrays whose joules are measured, the largest, which is predicted, last."""
    mapped: tuple[tuple[int, ...], ...]
    """Arrays of which there are area and leakage besides."""
    words: frozenset[str] = frozenset()
    """Events that count words of the whole width."""

    @property
    def unit(self) -> RtlUnit:
        return lookup(self.kind, discover("accel", RtlUnit), "unit")(**self.parameters)

    def of(self, sizes: Iterable[int]) -> RtlUnit:
        """The unit at other extents."""
        unit = self.unit
        return type(unit)(**dict(unit) | dict(zip(extents(unit), sizes, strict=True)))

    def growth(self, unit: RtlUnit, event: str) -> list[float]:
        """What the joules of ``event`` are a sum of (`accel.base.scaling.Growth`)."""
        return powers(unit) if event == CYCLE or event in self.words else [1.0]


def powers(unit: RtlUnit) -> list[float]:
    """Products of extents up to a degree that is their number: of rows and columns 1, r, c, r r, r c, c c; of lanes 1, l."""
    values = list(extents(unit).values())
    chosen = (itertools.combinations_with_replacement(values, degree) for degree in range(len(values) + 1))
    return [float(math.prod(c)) for c in itertools.chain.from_iterable(chosen)]


ARRAYS = (
    Enlarged(
        "systolic_array",
        {"rows": 128, "columns": 128, "dataflow": "weight_stationary", "operands": "fp16", "add_depth": 1},
        played=((2, 2), (2, 4), (4, 2), (2, 8), (8, 2), (4, 4), (8, 8)),
        mapped=((16, 16), (32, 32)),
    ),
    Enlarged(
        "vector_unit", {"lanes": 128}, played=((4,), (8,), (16,)), mapped=((32,),), words=frozenset({"word_in", "word_out"})
    ),
)


def measured(array: Enlarged, files: LibertyFiles, *, seed: int, period_ps: int, progress: Progress) -> Characterisation:
    """The figures of ``array``. Raises as `accel.base.characterize.characterize` does."""
    with ThreadPoolExecutor(1) as beside:  # foreign tools, while the RTL is simulated here
        bench = Bench(files, seed, period_ps, progress, beside)
        rows, static = [], []
        for unit in map(array.of, array.played):
            drawn = bench.measure(unit, bench.synthesize(unit))
            rows.append((unit, drawn.counts, drawn.joules))
            static.append((unit, drawn.mapped.area_um2, drawn.mapped.cells, drawn.priced.leakage_w))
        for larger in map(array.of, array.mapped):
            mapped = bench.synthesize(larger)
            static.append((larger, mapped.area_um2, mapped.cells, power.static(mapped, files, period_ps=period_ps)[0]))
        fitted = extrapolate(array.unit, rows[:-1], rows[-1], array.growth)
        found = bench.result(unit, drawn.mapped, drawn, fitted, how=f"scaled from {_sizes(each for each, *_ in rows)}")
    area, cells, leakage = (polynomial(array.unit, [(each, row[n]) for each, *row in static]) for n in range(3))
    names = " and ".join(extents(array.unit))
    modules = f"{_size(smallest := array.of(array.played[0]))} of RTLIL {rtlil_hash(smallest)[:12]}"
    how = f"area and leakage by a polynomial in {names} through {_sizes(each for each, *_ in static)}"
    return replace(
        found,
        parameters=hardware(array.unit),
        rtlil="",  # of no netlist
        area_um2=area,
        cells=round(cells),
        leakage_w=leakage,
        parts=(),
        composed_vs_flat="",
        tools=f"not mapped: {how}; clock of {_size(unit)}; {modules}; {found.tools}",
    )


def polynomial(unit: RtlUnit, known: Sequence[tuple[RtlUnit, float]]) -> float:
    """The value at ``unit`` of the polynomial in `powers`, coefficients >= 0, whose relative errors at ``known`` are least."""
    matrix = np.array([powers(smaller) for smaller, _ in known]) / np.array([[value] for _, value in known])
    scale = np.linalg.norm(matrix, axis=0)
    coefficients = non_negative_least_squares(matrix / scale, np.ones(len(known))) / scale
    return float(np.array(powers(unit)) @ coefficients)


def _size(unit: RtlUnit) -> str:
    return " x ".join(map(str, extents(unit).values()))


def _sizes(units: Iterable[RtlUnit]) -> str:
    first, *_ = found = list(units)
    return f"arrays of {', '.join(map(_size, found))}" if len(extents(first)) > 1 else f"{', '.join(map(_size, found))} lanes"


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m accel.base.enlarged FILE LIBERTY...``: every array of `ARRAYS` again."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("file", type=Path, help="technology file, such as accel/tech/asap7.toml")
    parser.add_argument("liberty", type=Path, nargs="+", help="Liberty files, plain or gzipped")
    given = parser.parse_args(arguments)
    files = LibertyFiles.read(given.liberty)
    for array in ARRAYS:
        found = measured(array, files, seed=0, period_ps=PERIOD_PS, progress=lambda line: print(line, flush=True))
        write_entries(given.file, [found])


if __name__ == "__main__":
    main()
