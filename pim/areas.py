"""Area, clock, leakage and joules of the controllers of a channel with and without PIM, for accel/tech/pim_asap7.toml.

    python -m pim.areas LIBERTY...

characterises them again (minutes each), and maps a bank with rows of half the length, for its area alone: with the bank in
asap7.toml it tells how much of that is row buffers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import accel
from accel.base.characterize import characterize
from accel.base.exercise import Exercised
from accel.base.figures import write_entries
from accel.base.synthesis import LibertyFiles
from accel.mixpe.areas import measure
from memsys.controller.exercise import DramController
from pim.pim_bank import PimBank
from pim.pim_controller.exercise import PimControllerExercise

FILE = Path(accel.__file__).parent / "tech" / "pim_asap7.toml"
CONTROLLERS: tuple[Exercised, ...] = (PimControllerExercise(), DramController())
BANK = PimBank()
HALF_ROWS = PimBank(row_bytes=BANK.row_bytes // 2)


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m pim.areas LIBERTY...``: characterise both controllers again, and map the smaller bank."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("liberty", type=Path, nargs="+", help="Liberty files, plain or gzipped")
    liberty = parser.parse_args(arguments).liberty
    write_entries(FILE, [measure(HALF_ROWS, LibertyFiles.read(liberty))])
    for each in CONTROLLERS:
        write_entries(FILE, [characterize(each, liberty, progress=lambda line: print(line, flush=True))])


if __name__ == "__main__":
    main()
