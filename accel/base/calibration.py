"""Calibration: the fitted figures behind an analytical unit, with what they were fitted on and how well.

Files in ``accel/calibration/*.toml``; every figure is an integer (picoseconds, parts per thousand), so that prices are exact.
``rtloom``'s own fits are written by ``python -m sim.calibrate``; ``ideal`` is the machine without losses.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated

from pydantic import Field, model_validator

from accel.base.committed import committed, read_committed
from accel.base.spec import Spec

Permille = Annotated[int, Field(gt=0, le=1000)]
Count = Annotated[int, Field(ge=0)]


class GemmFigures(Spec):
    """GEMM kernels; the equation stands in `accel.gpu_tensor_core.gemm`."""

    launch_ps: Count
    bandwidth_permille: Permille
    compute_permille: Permille
    overlap_permille: Annotated[int, Field(ge=0, le=1000)]
    """Share of the shorter of compute and traffic that the longer does not hide."""
    split_ps: Count
    """Extra time of a split reduction."""
    cache_permille: Permille
    """Share of the shared buffer that holds operand panels."""
    blocks: tuple[tuple[int, int], ...] = Field(min_length=1)
    """Thread blocks (m, n) that the search tries."""
    splits: tuple[int, ...] = Field(min_length=1)
    """Numbers of parts of the reduction that the search tries."""


class DecodeFigures(Spec):
    """Decode attention; the equation stands in `accel.gpu_tensor_core.attention`."""

    launch_ps: Count
    bandwidth_permille: Permille
    block_ps: Count
    """Core time of one thread block, which serves one KV head of one request."""
    overlap_permille: Annotated[int, Field(ge=0, le=1000)]
    """Share of the traffic that the blocks' own time does not hide."""
    tail_ps_per_kb: Count
    """Time per 1000 bytes of keys and values of one KV head of one request, read by the last thread block alone."""
    blocks_per_core: int = Field(gt=0)


class PrefillFigures(Spec):
    """Prefill attention; the equation stands in `accel.gpu_tensor_core.attention`."""

    launch_ps: Count
    compute_permille: Permille
    merge_ps: Count
    """Time per query token and head to merge partial results where the keys are split over thread blocks."""
    query_tile: int = Field(gt=0)
    unsplit_context: Count
    """Contexts up to this many tokens are never split, and take decode's launch time."""


class PointwiseFigures(Spec):
    """One pointwise function; the equation stands in `accel.gpu_vector_unit`."""

    launch_ps: Count
    row_ps_per_1000: Count
    """Time per 1000 elements of a row, which one thread block works through."""
    bandwidth_permille: Permille


class Fit(Spec):
    """How one part was fitted. Errors are |simulated / measured - 1| in parts per thousand."""

    part: str
    source: str = Field(min_length=1)
    constants: Count
    """Free constants, those chosen by inspection (tile sizes, thresholds) included."""
    rows: Count
    median_permille: Count = 0
    p90_permille: Count = 0
    max_permille: Count = 0
    check_rows: Count = 0
    check_median_permille: Count = 0
    check_p90_permille: Count = 0
    check_max_permille: Count = 0


class Calibration(Spec):
    """All figures of one device, and their fits."""

    name: str
    about: str
    gemm: GemmFigures
    decode: DecodeFigures
    prefill: PrefillFigures
    pointwise: dict[str, PointwiseFigures]
    """By function; ``default`` stands for those without an entry."""
    fit: tuple[Fit, ...] = ()

    @model_validator(mode="after")
    def _has_default(self) -> Calibration:
        if "default" not in self.pointwise:
            raise ValueError("pointwise: wanted an entry 'default' for functions without figures")
        return self

    @classmethod
    def load(cls, name: str) -> Calibration:
        """The committed calibration ``name``. Raises ValueError, with the nearest right name, where there is none."""
        return _load(name)


def available() -> list[str]:
    """Names of the committed calibrations."""
    return committed("accel", "calibration")


@cache
def _load(name: str) -> Calibration:
    return Calibration.from_data(read_committed("accel", "calibration", name, "calibration"))
