"""Fit the figures of analytical units to measured kernels: ``python -m sim.calibrate a100 FOLDER`` writes the calibration.

FOLDER holds the measurements (Vidur and Frontier profiles of Llama-2-7B, LLMCompass kernels). Rows with 1 or 2048 tokens, and
with a context or chunk of 2048, are check points: they take no part in a fit, and the error on them is recorded beside it. The
model that is fitted is the very code that prices ops. Deterministic; scipy and pandas are needed here alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.base.calibration import Calibration, DecodeFigures, Fit, GemmFigures, PointwiseFigures, PrefillFigures
from accel.gpu_tensor_core.attention import attention_closures
from accel.gpu_tensor_core.gemm import gemm_ps
from accel.gpu_vector_unit import pointwise_ps
from sim.measured import Rows, attention_rows, mlp_rows, single_kernel_rows
from sim.toml_text import to_toml
from workloads.ops import Linear

if TYPE_CHECKING:
    from accel.base.spec import Spec

# The machine that was measured: an A100-SXM4-80GB (NVIDIA's A100 data sheet: 108 SMs, 1.41 GHz, 312 TFLOPS, 2039 GB/s, 40 MB L2).
A100 = {"clock": 1_410_000_000, "copies": 108, "rate": 1024, "bandwidth": 2_039_000}
L2_BYTES = 40_000_000
# Thread blocks and splits of published CUTLASS and cuBLAS kernels for this generation.
BLOCKS = ((256, 128), (128, 256), (128, 128), (256, 64), (64, 256), (128, 64), (64, 128), (64, 64))
BLOCKS += ((32, 128), (32, 64), (16, 128), (16, 64))
SPLITS = (1, 2, 3, 4, 6, 8)
CACHE_SHARES = range(500, 1001, 50)  # of the L2, in permille; the price has steps in it, so it is scanned
VIDUR = "Vidur profiling data (MIT), Llama-2-7B on A100-80GB, tensor parallel 1, 2, 4, 8: medians of repeated rows"
FRONTIER = "Frontier profiling data (MIT), Llama-2-7B on A800 (A100 silicon), FlashInfer: medians"
LLMCOMPASS = "LLMCompass artifact (BSD-3-Clause), A100"


@dataclass(frozen=True)
class Model:
    """A part to fit: ``predict(figures)`` -> ps per row; ``start`` and ``most`` by name of the free figures."""

    figures: type[Spec]
    predict: Callable[[Any], np.ndarray]
    start: dict[str, int]
    fixed: dict[str, Any]

    def at(self, x: np.ndarray) -> Any:
        """The figures at ``x`` times the start, as the integers that are committed; shares stay within the whole."""
        whole = {name: round(float(v) * first) for (name, first), v in zip(self.start.items(), x, strict=True)}
        return self.figures(**{n: min(v, 1000) if n.endswith("permille") else v for n, v in whole.items()}, **self.fixed)


def fit(model: Model, rows: Rows) -> tuple[Any, float]:
    """Figures that minimise the soft L1 loss of log(simulated / measured) over the fitted rows, and that loss.

    Every octave of the row's size weighs the same, so that the many rows of large batches do not drown the small ones.
    """
    from scipy.optimize import least_squares

    free = ~rows.check
    octave = np.floor(np.log2(rows.size[free])).astype(int)
    weight = np.sqrt(1 / np.bincount(octave)[octave])
    weight = weight / weight.mean()

    def residual(x: np.ndarray) -> np.ndarray:
        return weight * np.log(model.predict(model.at(x)) / rows.ps)[free]

    start = np.ones(len(model.start))
    most = [1000 / first if name.endswith("permille") else 100 for name, first in model.start.items()]
    found = least_squares(residual, start, bounds=(0.01, most), loss="soft_l1", f_scale=0.05, diff_step=1e-2)
    return model.at(found.x), float(found.cost)


def errors(predicted: np.ndarray, rows: Rows) -> np.ndarray:
    """simulated / measured - 1 of every row."""
    return predicted / rows.ps - 1


def record(part: str, source: str, constants: int, predicted: np.ndarray, rows: Rows) -> Fit:
    """The summary of errors that is committed beside the figures."""
    error = np.abs(errors(predicted, rows))

    def summary(chosen: np.ndarray, prefix: str) -> dict[str, int]:
        if not len(chosen):
            return {}
        figures = {"median": np.median(chosen), "p90": np.percentile(chosen, 90), "max": chosen.max()}
        return {f"{prefix}{name}_permille": round(1000 * float(v)) for name, v in figures.items()}

    fitted, checked = error[~rows.check], error[rows.check]
    counts = {"rows": len(fitted), "check_rows": len(checked)}
    return Fit(part=part, source=source, constants=constants, **counts, **summary(fitted, ""), **summary(checked, "check_"))


def predict_gemm(rows: Rows) -> Callable[[GemmFigures], np.ndarray]:
    op = Linear(m=rows.of("m"), n=rows.of("n"), k=rows.of("k"))
    return lambda figures: gemm_ps(op, figures, **A100, buffer=L2_BYTES, mapping=None)


def fit_gemm(rows: Rows) -> tuple[GemmFigures, Fit]:
    """Five continuous constants and the scanned share of the L2."""
    start = {"launch_ps": 5_000_000, "bandwidth_permille": 850, "compute_permille": 800}
    start |= {"overlap_permille": 500, "split_ps": 1_000_000}
    best = None
    for share in CACHE_SHARES:
        model = Model(GemmFigures, predict_gemm(rows), start, {"cache_permille": share, "blocks": BLOCKS, "splits": SPLITS})
        figures, loss = fit(model, rows)
        if best is None or loss < best[1]:
            best = (figures, loss)
    return best[0], record("gemm", VIDUR, 6, predict_gemm(rows)(best[0]), rows)


SHAPE = {"heads": 32, "kv_heads": 32, "head_dim": 128}


def _unused_prefill() -> PrefillFigures:
    return PrefillFigures(launch_ps=0, compute_permille=1000, merge_ps=0, query_tile=64, unsplit_context=128)


def predict_decode(rows: Rows) -> Callable[[DecodeFigures], np.ndarray]:
    requests, context = rows.of("requests"), rows.of("requests") * rows.of("context")
    return lambda figures: attention_closures(figures, _unused_prefill(), **A100, **SHAPE)[0](requests, context)


def fit_decode(rows: Rows) -> tuple[DecodeFigures, Fit]:
    """Five free constants; two blocks per core by inspection (the measured step at 7 requests x 32 heads > 2 x 108)."""
    start = {"launch_ps": 10_000_000, "bandwidth_permille": 900, "block_ps": 3_600_000}
    start |= {"overlap_permille": 650, "tail_ps_per_kb": 20_000}
    figures, _ = fit(Model(DecodeFigures, predict_decode(rows), start, {"blocks_per_core": 2}), rows)
    return figures, record("decode", FRONTIER, 6, predict_decode(rows)(figures), rows)


def predict_prefill(rows: Rows, decode: DecodeFigures) -> Callable[[PrefillFigures], np.ndarray]:
    chunk, past = rows.of("chunk"), rows.of("past")
    return lambda figures: attention_closures(decode, figures, **A100, **SHAPE)[1](chunk, past)


def fit_prefill(rows: Rows, decode: DecodeFigures) -> tuple[PrefillFigures, Fit]:
    """Three free constants; tile and unsplit context by inspection (steps of the measured times at 128 and 448 tokens)."""
    start = {"launch_ps": 30_000_000, "compute_permille": 400, "merge_ps": 3_700}
    predict = predict_prefill(rows, decode)
    figures, _ = fit(Model(PrefillFigures, predict, start, {"query_tile": 64, "unsplit_context": 128}), rows)
    return figures, record("prefill", FRONTIER, 5, predict(figures), rows)


def predict_pointwise(rows: Rows, host_ps: int = 0) -> Callable[[PointwiseFigures], np.ndarray]:
    return lambda figures: host_ps + pointwise_ps(rows.of("bytes"), rows.of("row"), figures, A100["bandwidth"])


def fit_pointwise(name: str, rows: Rows) -> tuple[PointwiseFigures, Fit]:
    """Launch and bandwidth, and the time of a row where the function has rows."""
    start = {"launch_ps": 2_000_000, "bandwidth_permille": 500}
    fixed = {}
    if (rows.of("row") > 1).any():
        start["row_ps_per_1000"] = 500_000
    else:
        fixed["row_ps_per_1000"] = 0
    figures, _ = fit(Model(PointwiseFigures, predict_pointwise(rows), start, fixed), rows)
    return figures, record(name, VIDUR, len(start), predict_pointwise(rows)(figures), rows)


def calibrate_a100(folder: Path) -> Calibration:
    """All parts of the A100 from the measurements in ``folder``."""
    mlp, kernels = mlp_rows(folder), single_kernel_rows(folder)
    decode_rows, prefill_rows = attention_rows(folder)
    gemm, gemm_fit = fit_gemm(mlp["gemm"])
    decode, decode_fit = fit_decode(decode_rows)
    prefill, prefill_fit = fit_prefill(prefill_rows, decode)
    pointwise, fits = {}, [gemm_fit, decode_fit, prefill_fit]
    for name in ("rms_norm", "rope", "silu_mul", "add", "embedding"):
        pointwise[name], found = fit_pointwise(name, mlp[name])
        fits.append(found)
    for name, like in (("gelu", "silu_mul"), ("layer_norm", "rms_norm")):
        # Timed from the host, launches included: only the bandwidth is taken over; launch and row are those of the nearest kind.
        rows = kernels[name]
        figures, _ = fit(Model(PointwiseFigures, predict_pointwise(rows), _HOST_TIMED, {"row_ps_per_1000": 0}), rows)
        fits.append(record(name, f"{LLMCOMPASS}; launch and row as {like} (assumed)", 2, predict_pointwise(rows)(figures), rows))
        pointwise[name] = pointwise[like].model_copy(update={"bandwidth_permille": figures.bandwidth_permille})
    pointwise["default"] = pointwise["add"].model_copy(update={"bandwidth_permille": pointwise["gelu"].bandwidth_permille})
    source = "relu, bias, quantize, dequantize: launch as add, bandwidth as gelu (assumed)"
    fits.append(Fit(part="default", source=source, constants=0, rows=0))
    about = "A100-80GB: efficiencies and launch times of kernels, fitted to public measurements of Llama-2-7B and single kernels."
    parts = {"gemm": gemm, "decode": decode, "prefill": prefill, "pointwise": pointwise, "fit": tuple(fits)}
    return Calibration(name="a100", about=about, **parts)


_HOST_TIMED = {"launch_ps": 50_000_000, "bandwidth_permille": 700}


def text_of(calibration: Calibration) -> str:
    """The committed text: tables of figures, then one ``[[fit]]`` per part."""
    return f"# Written by `python -m sim.calibrate a100 FOLDER`; do not edit.\n{to_toml(calibration.model_dump())}"


def main(arguments: Sequence[str]) -> int:
    """``a100 FOLDER``: fit, write accel/calibration/a100.toml, print the fits."""
    if len(arguments) != 2 or arguments[0] != "a100":
        print("usage: python -m sim.calibrate a100 FOLDER_OF_MEASUREMENTS", file=sys.stderr)
        return 2
    calibration = calibrate_a100(Path(arguments[1]))
    target = Path(__file__).resolve().parent.parent / "accel" / "calibration" / "a100.toml"
    target.write_text(text_of(calibration))
    for found in calibration.fit:
        print(
            f"{found.part:12} {found.rows:6} rows, {found.constants} constants: median {found.median_permille / 10:5.1f} %, P90 "
            f"{found.p90_permille / 10:5.1f} %, max {found.max_permille / 10:5.1f} %; {found.check_rows} check points: median "
            f"{found.check_median_permille / 10:5.1f} %, max {found.check_max_permille / 10:5.1f} %"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
