"""LUT Tensor Core (ISCA'25, arXiv 2408.06003): what each step from UNPU saves in area (table 2), and up to which weight width
looking up is smaller than multiplying (figure 13).

The areas are committed (accel/tech/ablation_asap7.toml); nothing is synthesised here. No number is fitted; one choice was made
with the result in view, as `CONSTANTS` says. What they hold, and all that was tried: docs/decisions/0010-unpu-ablation.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from accel.base.tech import Tech
from accel.lut_ablation import STEPS, LutAblation, Step
from accel.lut_ablation.areas import CELL_FILE, FILE, WIDTHS, ablated, area, cell_area, rival
from sim.reproductions.base import Row
from workloads.formats import FORMATS
from workloads.ops import Linear

TOLERANCE = 0.05
TABLE_2 = {"unpu": 17271.71, "reinterpreted": 13116.60, "negated_offline": 12780.05, "fused": 11991.29}  # um2, 28 nm
SOURCE_2 = "LUT Tensor Core, ISCA'25, table 2"
SOURCE_13 = "LUT Tensor Core, ISCA'25, figure 13"
CONSTANTS = [
    "netlists mapped for size, as the published scripts ask; chosen after the default recipe, for depth, had given densities of "
    "1.07, 1.12 and 1.17 (same netlists, one array)"
]
FIGURE_13 = [  # what is compared with multiplying: its FP16 cell, its step, and the widest weights at which it is smaller
    ("look-up", "look_up", "fused", 6),
    ("adding", "add", "add", 2),
    ("conventional look-up", "whole", "unpu", 2),
]
FP16_NOTES = {
    "look_up": (
        "bare cells: an FP16 accumulator and its term. At 7 bits looking up takes 0.89 of the products' area; an eighth more in "
        "each cell (table or weight registers, a pipeline: not in the published RTL) would make it the published 6"
    ),
    "add": "",
    "whole": (
        "bare cells: nobody pays for the whole table. The published conventional look-up builds one, in FP16, for each dot "
        "product; its 11 adders of some 34 um2 beside each cell would leave it 1 bit"
    ),
}
INT8_NOTE = (
    "the published figure has FP16 activations, where a product takes an FP16 multiplier and adders that align and normalise; "
    "with INT8 activations a product is cheap beside the INT32 accumulator that a look-up writes once per bit plane"
)


def density(tech: Tech, step: Step) -> float:
    """How much more of the tile fits an area than of UNPU's."""
    return area(tech, ablated("unpu")) / area(tech, ablated(step))


def area_per_rate(tech: Tech, unit: LutAblation) -> float:
    """um2 per multiply-accumulate per cycle, at the unit's widest weights."""
    tile = Linear(
        m=unit.rows, n=unit.columns, k=unit.group, weights=FORMATS[f"int{unit.weight_bits}"], activations=FORMATS["int8"]
    )
    return area(tech, unit) * unit.tile_cost(tile).interval / tile.macs


def crossover(tech: Tech, step: Step, multiplier_bits: int | None) -> int:
    """The most weight bits up to which ``step`` is smaller, per rate, than products by ``multiplier_bits`` (None: as many)."""
    found = 0
    for bits in WIDTHS:
        products = area_per_rate(tech, rival("mac", multiplier_bits or bits))
        if area_per_rate(tech, rival(step, bits)) >= products:
            break
        found = bits
    return found


def fp16_crossover(cells: Tech, kind: str) -> int:
    """The most weight bits up to which ``kind``, which takes a cycle per bit, is smaller per rate than four FP16 products."""
    return max(bits for bits in (0, *WIDTHS) if cell_area(cells, kind) * bits < cell_area(cells, "multiply"))


def rows() -> Iterable[Row]:
    tech = Tech.load(FILE.stem)
    setup = "ASAP7, W2 A8, M2 N64 K4"
    for before, step in itertools.pairwise(STEPS):
        for metric, base in (("density, UNPU = 1", "unpu"), (f"area of {before} over that of {step}", before)):
            if metric.startswith("area") and before == "unpu":
                continue  # the first step is the first density
            yield Row(
                system="lut_area",
                setup=f"{setup}, {step}",
                metric=metric,
                unit="x",
                published=TABLE_2[base] / TABLE_2[step],
                simulated=density(tech, step) / density(tech, base),
                source=SOURCE_2,
                constants=CONSTANTS,
                tolerance=TOLERANCE,
            )
    cells = Tech.load(CELL_FILE.stem)
    for name, kind, step, published in FIGURE_13:
        compared = [("FP16 x FP16", "FP16", fp16_crossover(cells, kind), FP16_NOTES[kind])]
        for products, bits in (("INT8 x INT8", 8), ("INT8 x INT-W", None)):
            compared.append((products, "INT8", crossover(tech, step, bits), INT8_NOTE))
        for products, activations, simulated, note in compared:
            yield Row(
                system="lut_area",
                setup=f"ASAP7, {name} against {products} products, {activations} activations",
                metric="smaller per rate up to weights of",
                unit="bit",
                published=published,
                simulated=simulated,
                source=SOURCE_13,
                note=note,
                tolerance=TOLERANCE,
            )
