"""NeuPIMs (ASPLOS'24, arXiv 2403.00579): the area that PIM adds to a bank of DRAM, published as 3.11 % (CACTI 7, 22 nm).

    overhead = (N A + S) / B

A: the PIM bank synthesised on ASAP7 without its row buffers, which are flip-flops there and sense amplifiers in a DRAM. They grow
with the bytes of a row, and nothing else does to speak of: A = 2 A(rows of 512 B) - A(rows of 1024 B). N: area from 7 to 20 nm.
S: the second row buffer, as one more row of sense amplifiers. B: the bank without PIM. The controllers are not on the DRAM's die.
No factor is fitted; what is not in the sum is in the row's note.
"""

from __future__ import annotations

from collections.abc import Iterable

from accel.base.tech import Tech
from pim.areas import BANK, FILE, HALF_ROWS
from pim.pim_bank import PimBank
from sim.reproductions.base import Row

PUBLISHED = 3.11
SOURCE = "NeuPIMs, ASPLOS'24: area overhead (CACTI 7, 22 nm)"
N = 3.6
"""Stillmaker and Baas, Integration 58 (2017) 74, area from 7 nm to 20 nm, the node of its table that is next to 22 nm."""
BANKS, SUBARRAYS = 32, 64
CORE_UM2, SENSE_UM2 = 44.9432e6, 7.347e6
"""CACTI 7.0.3DD, 3DDRAM_Samsung3D8Gb_extened.cfg with: 22 nm, 8 Gb on one die in 32 banks, 128 bit wide, burst depth 4, 1 GHz,
the arrangement left to CACTI (64 x 8 subarrays of 512 x 1024 for pages of 8192 bit): DRAM core, of it sense amplifiers."""
FORCED_CORE_UM2 = 38.884e6
"""The same with 64 x 16 subarrays of 512 x 512, 4 bit wide, as in that file."""
LESS_DENSE = 10
"""How much more area logic takes in a DRAM process: as Pimba (MICRO'25) is reported to assume (the paper was not at hand)."""


def area(unit: PimBank) -> float:
    """The committed area in um2. Raises ValueError where there is none."""
    for name in ("asap7", FILE.stem):
        for entry in Tech.load(name).entry:
            if entry.area is not None and entry.matches(unit.kind(), dict(unit)) and set(entry.parameters) == set(dict(unit)):
                return entry.area
    raise ValueError(f"no technology has the area of {unit}")


def datapath() -> float:
    """A in um2."""
    return 2 * area(HALF_ROWS) - area(BANK)


def overhead(core_um2: float = CORE_UM2, scale: float = N) -> float:
    """Percent of a bank, where the synthesised area counts ``scale`` times."""
    return 100 * (scale * datapath() + SENSE_UM2 / BANKS / SUBARRAYS) / (core_um2 / BANKS)


def note() -> str:
    """What the published figure may hold that is not here, and how much each would move."""
    sense = overhead(scale=0)
    changes = {
        "at 22 instead of 20 nm, by the square": overhead(scale=N * 22**2 / 20**2),
        "with cells on 70 % of the area": overhead(scale=N / 0.7),
        f"with logic {LESS_DENSE} times as large, as is assumed for a DRAM process": overhead(scale=N * LESS_DENSE),
        "over a bank of subarrays of 512 x 512": overhead(FORCED_CORE_UM2),
    }
    return (
        f"the paper does not say what its figure holds. Here the datapath is {overhead() - sense:.2f} % and a second row of "
        f"sense amplifiers {sense:.2f} %; wires, unused area, switches between the row buffers and the DRAM process are missing. "
        f"It would be {', '.join(f'{found:.2f} % {change}' for change, found in changes.items())}"
    )


def rows() -> Iterable[Row]:
    yield Row(
        system="pim_area",
        setup="PIM bank with two row buffers, ASAP7 scaled to 20 nm, over a DRAM bank by CACTI 7 at 22 nm",
        metric="area added to a bank",
        unit="%",
        published=PUBLISHED,
        simulated=overhead(),
        source=SOURCE,
        note=note(),
    )
