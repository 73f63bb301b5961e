"""The areas that LUT Tensor Core's table 2 and figure 13 compare, as entries of accel/tech/ablation_asap7.toml and, for the cells
with FP16 activations, accel/tech/ablation_fp16_asap7.toml.

    python -m accel.lut_ablation.areas LIBERTY...

maps every netlist onto the library again and writes both (minutes). For size first, as the published scripts ask: the smallest
area at a clock of 1 GHz (`set_max_area 0`, `clk_period 1`; github.com/microsoft/T-MAC, sv_lut_array/scripts/constraint.tcl).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from accel.base import power
from accel.base.characterize import describe
from accel.base.figures import Characterisation, hardware, write_entries
from accel.base.rtl import digest, elaborate
from accel.base.synthesis import SMALL, LibertyFiles, synthesize
from accel.base.tech import Tech
from accel.lut_ablation import STEPS, LutAblation, Step
from accel.lut_ablation.fp16 import OPERANDS, Fp16Cell

FILE = Path(__file__).parent.parent / "tech" / "ablation_asap7.toml"
CELL_FILE = FILE.with_name("ablation_fp16_asap7.toml")
CELL = "lut_ablation_fp16_cell"
PERIOD_PS = 1000
WIDTHS = range(1, 9)
"""Weight bits of figure 13."""


def ablated(step: Step) -> LutAblation:
    """A netlist of table 2: W2 A8, M N K = 512."""
    return LutAblation(step=step)


def rival(step: Step, weight_bits: int) -> LutAblation:
    """A netlist of figure 13, at 2 x 16 x 4 and INT32 accumulators, which hold every width."""
    return LutAblation(step=step, columns=16, weight_bits=weight_bits, accumulator_bits=32)


def smallest() -> LutAblation:
    """One that a test maps again."""
    return LutAblation(columns=4)


def units() -> Iterator[LutAblation]:
    """All that the file holds."""
    yield smallest()
    for step in STEPS:
        yield ablated(step)
    compared: tuple[Step, ...] = ("fused", "mac", "unpu", "add")
    yield from (rival(step, bits) for step in compared for bits in WIDTHS)


def area(tech: Tech, unit: LutAblation) -> float:
    """The committed area of ``unit`` in um2. Raises ValueError where there is none."""
    for entry in tech.entry:
        if entry.area is not None and entry.matches(unit.kind(), dict(unit)):
            return entry.area
    raise ValueError(f"{tech.name} has no area of {unit!r}; python -m accel.lut_ablation.areas writes those of units()")


def cell_area(tech: Tech, kind: str) -> float:
    """The committed area of the FP16 cell ``kind`` in um2."""
    return next(entry.area for entry in tech.entry if entry.area is not None and entry.matches(CELL, {"kind": kind}))


def cell_rtlil(kind: str) -> str:
    """The RTLIL of the FP16 cell ``kind``."""
    from amaranth.back import rtlil

    return rtlil.convert(Fp16Cell(kind), name="top", emit_src=False)


def measure(unit: LutAblation, files: LibertyFiles) -> Characterisation:
    """Area, leakage and clock of ``unit``, mapped for size at `PERIOD_PS`."""
    return _measure(unit.kind(), hardware(unit), elaborate(unit)[1], files)


def measure_cell(kind: str, files: LibertyFiles) -> Characterisation:
    """Area, leakage and clock of the FP16 cell ``kind``, mapped as a whole."""
    return _measure(CELL, {"kind": kind}, cell_rtlil(kind), files, flat=True)


def _measure(
    component: str, parameters: dict[str, int | str], text: str, files: LibertyFiles, *, flat: bool = False
) -> Characterisation:
    mapped = synthesize(text, files, period_ps=PERIOD_PS, recipe=SMALL, flat=flat)
    leakage, shortest, critical = power.static(mapped, files, period_ps=PERIOD_PS)
    return Characterisation.without_joules(
        mapped,
        component=component,
        parameters=parameters,
        rtlil=digest(text),
        library=describe(files.library),
        tools=f"{mapped.tool} by the recipe SMALL for {PERIOD_PS} ps, OpenSTA {power.opensta_version()}",
        clock_mhz=1e6 / shortest if shortest else None,
        critical=critical,
        leakage_w=leakage,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m accel.lut_ablation.areas LIBERTY...``: map every netlist again."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("liberty", type=Path, nargs="+", help="Liberty files, plain or gzipped")
    files = LibertyFiles.read(parser.parse_args(arguments).liberty)
    for unit in units():
        result = measure(unit, files)
        print(f"{unit!r}: {result.area_um2:.1f} um2", flush=True)
        write_entries(FILE, [result])
    for kind in OPERANDS:
        write_entries(CELL_FILE, [measure_cell(kind, files)])


if __name__ == "__main__":
    main()
