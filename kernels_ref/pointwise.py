"""Point-wise and row-wise functions as the vector unit computes them, bit for bit.

Operands and results are FP16 patterns but where `workloads.ops` says otherwise; between them everything is float32, each product
and each sum rounded on its own. Exponential, reciprocal and reciprocal square root are those of `kernels_ref.elementary`.

    softmax     e = 2^(x log2 e - M),  y = e (1 / sum e)              M: an integer near the highest x log2 e so far (`_offset`)
    rms_norm    y = x r gain,          r = (sum x^2 (1 / n) + eps)^-1/2
    layer_norm  d = x - mean,          y = d r gain + bias,           r = (sum d^2 (1 / n) + eps)^-1/2,  mean = sum x (1 / n)
    rope        y = [x1 cos - x2 sin, x2 cos + x1 sin]                x1, x2: the halves of each vector of head_dim elements
    silu        y = x (1 / (1 + 2^(-x log2 e)))                       silu_mul: times its second operand
    gelu        y = x (1 / (1 + 2^((c1 x^2 + c0) x)))                 the tanh form: c0 = -2 sqrt(2 / pi) log2 e, c1 = 0.044715 c0
    quantize    scale = max |x| (1 / 127),  code = round(x (1 / scale)) in INT8
    dequantize  y = (x - zero sums) scale row_scale                   x and sums INT32, row_scale FP32

A sum over a row is one over words of ``lanes`` elements, each summed by a binary tree over neighbouring lanes; word w is added to
part w mod 4, and the sum is (part 0 + part 1) + (part 2 + part 3). What a row lacks in its last word counts as zero. How far this
is from the exact functions is in `kernels_ref.pointwise_ideal`.

Special values. softmax: an element of -infinity gives exactly 0, a row of nothing else NaN; +infinity gives NaN there and 0
elsewhere. A NaN makes every result of its row NaN wherever a row is reduced; but where codes are made its scale is NaN, and they
are 0. A row of zeros is quantised with scale 0 to codes 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kernels_ref.elementary import exponential, reciprocal, reciprocal_root
from kernels_ref.floats import decode, encode
from workloads.formats import FORMATS
from workloads.ops import Pointwise

F32 = np.float32
EPSILON = 1e-5  # torch.nn.LayerNorm's, and Llama-2's rms_norm_eps
LOG2E = math.log2(math.e)
GELU_LINEAR = -2 * math.sqrt(2 / math.pi) * LOG2E
GELU_CUBIC = 0.044715 * GELU_LINEAR
INT8_MAX = 127
PARTS = 4
FP16, FP32 = FORMATS["fp16"], FORMATS["fp32"]


def pointwise(op: Pointwise, *arrays: np.ndarray, lanes: int) -> tuple[np.ndarray, ...]:
    """The results of ``op.function`` on patterns ``arrays`` in the order of `op.operands()`: FP16 patterns [rows, row], or for
    quantize INT8 codes [rows, row] and FP32 patterns of scales [rows]. Raises ValueError for a function not in `FUNCTIONS`.
    """
    if op.function not in FUNCTIONS:
        raise ValueError(f"wanted one of the functions {', '.join(FUNCTIONS)}, got {op.function!r}")
    values = [_floats(array, operand.format) for array, operand in zip(arrays, op.operands(), strict=True)]
    with np.errstate(all="ignore"):
        result = FUNCTIONS[op.function](_Row(op, lanes), *values)
        if op.function == "quantize":
            codes, scale = result
            return np.nan_to_num(np.clip(np.rint(codes), -128, 127)).astype(np.int64), encode(scale, FP32)
        return (encode(result, FP16),)


def _floats(array: np.ndarray, fmt) -> np.ndarray:
    """float32 of patterns or integers, rounded once."""
    return (decode(array, fmt) if fmt.kind == "float" else np.asarray(array, dtype=np.int64)).astype(F32)


class _Row:
    """Reductions over the rows of ``op`` in words of ``lanes``."""

    def __init__(self, op: Pointwise, lanes: int):
        self.op, self.lanes = op, lanes

    def words(self, x: np.ndarray, padding: float) -> np.ndarray:
        """``x`` [rows, row] as [rows, words, lanes]."""
        padded = np.pad(x, ((0, 0), (0, -x.shape[1] % self.lanes)), constant_values=F32(padding))
        return padded.reshape(len(x), -1, self.lanes)

    def sum(self, x: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
        """sum x [rows, 1]; with ``offsets`` [rows, words], sum 2^(offsets[:, w] - offsets[:, -1]) x over the words w."""
        tree = self.words(x, 0)
        while tree.shape[-1] > 1:
            tree = tree[..., 0::2] + tree[..., 1::2]
        terms = tree[..., 0]
        parts = np.zeros((len(x), PARTS), F32)
        scales = np.zeros((len(x), PARTS), np.int64)  # what the parts count in: 2^scales
        for w in range(terms.shape[1]):
            part = parts[:, w % PARTS]
            if offsets is not None:
                part, scales[:, w % PARTS] = _rescale(part, offsets[:, w] - scales[:, w % PARTS]), offsets[:, w]
            parts[:, w % PARTS] = part + terms[:, w]
        if offsets is not None:
            parts = _rescale(parts, offsets[:, -1:] - scales)
        return ((parts[:, 0] + parts[:, 1]) + (parts[:, 2] + parts[:, 3]))[:, None]

    def mean(self, x: np.ndarray) -> np.ndarray:
        return self.sum(x) * F32(1 / self.op.row)


def _rescale(part: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """``part`` 2^-shift, by its exponent: zero below the normal range."""
    scaled = np.ldexp(part, -shift)
    return np.where(scaled < F32(2.0**-126), F32(0), scaled)


def _softmax(row: _Row, x: np.ndarray) -> np.ndarray:
    highest = np.fmax.accumulate(np.fmax.reduce(row.words(x, -np.inf), axis=-1), axis=-1)
    offsets = _offset(highest)  # [rows, words]
    logits = x * F32(LOG2E)
    each = np.repeat(offsets, row.lanes, axis=1)[:, : x.shape[1]]
    total = row.sum(exponential(logits - each.astype(F32)), offsets)
    return exponential(logits - offsets[:, -1:].astype(F32)) * reciprocal(total)


def _offset(highest: np.ndarray) -> np.ndarray:
    """M = floor(trunc(x) 5909 / 4096) + 1, within 7 of x log2 e; infinities count as 65536.

    An integer, so that what was summed before a new maximum is rescaled exactly, by its exponent (Softermax, DAC'21).
    """
    magnitude = np.trunc(np.minimum(np.abs(np.where(np.isnan(highest), np.inf, highest)), 65536)).astype(np.int64)
    return (np.where(highest < 0, -magnitude, magnitude) * 5909 >> 12) + 1


def _rms_norm(row: _Row, x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return x * reciprocal_root(row.mean(x * x) + F32(EPSILON)) * gain


def _layer_norm(row: _Row, x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    d = x - row.mean(x)
    return d * reciprocal_root(row.mean(d * d) + F32(EPSILON)) * gain + bias


def _rope(row: _Row, x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    first, second = np.moveaxis(x.reshape(len(x), -1, 2, row.op.half_head), 2, 0)  # [rows, heads, half_head] each
    cos, sin = cos[:, None], sin[:, None]
    return np.stack([first * cos - second * sin, second * cos + first * sin], axis=2).reshape(x.shape)


def _silu(row: _Row, x: np.ndarray) -> np.ndarray:
    return x * reciprocal(exponential(x * F32(-LOG2E)) + F32(1))


def _gelu(row: _Row, x: np.ndarray) -> np.ndarray:
    exponent = (x * x * F32(GELU_CUBIC) + F32(GELU_LINEAR)) * x
    return x * reciprocal(exponential(exponent) + F32(1))


def _quantize(row: _Row, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = np.max(np.abs(x), axis=1) * F32(1 / INT8_MAX)  # np.max keeps a NaN
    return x * reciprocal(scale)[:, None], scale


def _dequantize(
    row: _Row, x: np.ndarray, sums: np.ndarray, row_scale: np.ndarray, zero: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    return (x - zero * sums[:, None]) * scale * row_scale[:, None]


FUNCTIONS: dict[str, Callable[..., np.ndarray | tuple[np.ndarray, np.ndarray]]] = {
    "add": lambda row, x, y: x + y,
    "bias": lambda row, x, bias: x + bias,
    "relu": lambda row, x: np.where(x <= 0, F32(0), x),
    "silu": _silu,
    "silu_mul": lambda row, x, y: _silu(row, x) * y,
    "gelu": _gelu,
    "softmax": _softmax,
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
    "rope": _rope,
    "quantize": _quantize,
    "dequantize": _dequantize,
}
