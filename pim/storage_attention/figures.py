"""Figures of the attention engine at the sizes of a drive, for accel/tech/asap7.toml.

    python -m pim.storage_attention.figures LIBERTY...

maps `TARGETS` for area, leakage and clock, and plays small engines (`PLAYED`), as the large ones have too many cells to be
played. The joules of an event grow with the lanes,

    E_w = sum_j events_wj (a_j + b_j lanes),    a, b >= 0, relative errors least in square

over all workloads but every other one of the largest engine played, which are predicted. Score memories are flip-flops, of 32
words per lane where they are played; a longer one has more to select from in a read, which the joules leave out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import accel
from accel.base.characterize import PERIOD_PS, Bench
from accel.base.figures import Characterisation, write_entries
from accel.base.rtl import rtlil_hash
from accel.base.scaling import extrapolate
from accel.base.synthesis import LibertyFiles
from pim.storage_attention import StorageAttention

FILE = Path(accel.__file__).parent / "tech" / "asap7.toml"
TARGETS = (StorageAttention(), StorageAttention(max_tokens=4096))
PLAYED = (
    StorageAttention(head_dim=8, lanes=2, page_bytes=64, page_channels=2, max_tokens=64),
    StorageAttention(head_dim=16, lanes=4, page_bytes=128, page_channels=2, max_tokens=128),
    StorageAttention(head_dim=32, lanes=8, page_bytes=512, page_channels=8, max_tokens=256),
)
WORKLOADS = 36


def modules() -> str:
    """What the joules are from: the sizes of the engines played, and their RTLIL."""
    return ", ".join(f"{unit.lanes} lanes of RTLIL {rtlil_hash(unit)[:12]}" for unit in PLAYED)


def measured(liberty: Sequence[Path], progress: Callable[[str], None]) -> list[Characterisation]:
    """The figures of `TARGETS`. Raises as `accel.base.characterize.characterize` does."""
    with ThreadPoolExecutor(1) as beside:  # foreign tools, while the RTL is simulated here
        bench = Bench(LibertyFiles.read(liberty), 0, PERIOD_PS, progress, beside)
        found = [bench.measure(unit, bench.synthesize(unit), WORKLOADS) for unit in PLAYED]
        *rows, last = ((unit, m.counts, m.joules) for unit, m in zip(PLAYED, found, strict=True))
        rows.append((last[0], last[1][::2], last[2][::2]))
        predicted = (last[0], last[1][1::2], last[2][1::2])
        results: list[Characterisation] = []
        for unit in TARGETS:
            fitted = extrapolate(unit, rows, predicted)
            how = f"scaled in lanes from engines of {modules()}, 32 scores per lane"
            result = bench.result(unit, bench.synthesize(unit), found[-1], fitted, how=how)
            if result.clock_mhz is None and results:  # too many cells for a netlist in one piece
                shorter = f"clock of max_tokens={TARGETS[0].max_tokens}"
                result = replace(result, clock_mhz=results[0].clock_mhz, critical=results[0].critical)
                result = replace(result, tools=f"{shorter}; {result.tools}")
            results.append(replace(result, rtlil="", tools=f"mapped as RTLIL {rtlil_hash(unit)[:12]}; {result.tools}"))
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m pim.storage_attention.figures LIBERTY...``: all of them again (half an hour)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("liberty", type=Path, nargs="+", help="Liberty files, plain or gzipped")
    given = parser.parse_args(arguments)
    write_entries(FILE, measured(given.liberty, lambda line: print(line, flush=True)))


if __name__ == "__main__":
    main()
