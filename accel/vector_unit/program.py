"""What the lanes do for each function: its phases over a row, and the trips of a word through the lanes in each of them.

A trip computes special(a b + c), the product and the sum rounded each to FP32. Its operands:

    a    x: the word; partner: x of the lane half a word away; v: the word's result of the trip before; total, maximum, s0: below
    b    one, k1, s0, s1; x, v; y, z: the next word of that stream
    c    none (-0, which changes nothing), one, k2, s0, offset; x, v; z

k1 and k2 come with the config word, s0 and s1 hold results of earlier phases, total and maximum those of a reduction, and offset
is the -M of a softmax (`accel.vector_unit.maximum`). RTL, price and codec all read this table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


class Trip(NamedTuple):
    """special(a b + c)."""

    a: str
    b: str
    c: str = "none"
    special: str = "bypass"


@dataclass(frozen=True)
class Phase:
    """A pass: words go through ``trips`` and end in ``sink``; the next phase begins when the last one is there."""

    trips: tuple[Trip, ...]
    sink: str
    """out, integers, rectified: the output stream, as FP16, INT8, or FP16 without negatives; total: the sum over the row;
    maximum; s0, minus_s0, s1: a register; scale: s0 and the output stream."""
    words: str = "row"
    """row: all words of x of the row; one: a single one, of which lane 0 counts; none: no word is read."""
    online: bool = False
    """The words pass by the maximum first; where they are summed, offset follows it."""
    x: str = "fp16"
    """Format of x: fp16, int32 or fp32."""

    @property
    def period(self) -> int:
        """Cycles from word to word: the trips of one are interleaved with those of others."""
        return max(len(self.trips), 1)

    @property
    def scalar(self) -> bool:
        """Only lane 0 works."""
        return self.words != "row"

    def reads(self, stream: str) -> int:
        """Words of ``stream`` y or z that go with a word of x."""
        return sum((trip.b == stream) + (trip.c == stream) for trip in self.trips)


def _scalar(trip: Trip, sink: str) -> Phase:
    return Phase((trip,), sink, words="none")


LOG2E = math.log2(math.e)
GELU_LINEAR = -2 * math.sqrt(2 / math.pi) * LOG2E
EPSILON = 1e-5  # added to a mean square before its root: torch.nn.LayerNorm's, and Llama-2's rms_norm_eps
_EXPONENTIAL = Trip("x", "k1", "offset", "exponential")
_SIGMOID = Trip("v", "one", "one", "reciprocal")
_SILU = (Trip("x", "k1", "none", "exponential"), _SIGMOID, Trip("x", "v"))
_ROOT = Trip("total", "k1", "k2", "root")

FUNCTIONS: dict[str, tuple[Phase, ...]] = {
    "add": (Phase((Trip("x", "one", "z"),), "out"),),
    "relu": (Phase((Trip("x", "one"),), "rectified"),),
    "silu": (Phase(_SILU, "out"),),
    "silu_mul": (Phase((*_SILU, Trip("v", "y")), "out"),),
    "gelu": (
        Phase((Trip("x", "x"), Trip("v", "k1", "k2"), Trip("v", "x", "none", "exponential"), _SIGMOID, Trip("x", "v")), "out"),
    ),
    "softmax": (
        Phase((_EXPONENTIAL,), "total", online=True),
        _scalar(Trip("total", "one", "none", "reciprocal"), "s0"),
        Phase((_EXPONENTIAL, Trip("v", "s0")), "out"),
    ),
    "rms_norm": (
        Phase((Trip("x", "x"),), "total"),
        _scalar(_ROOT, "s0"),
        Phase((Trip("x", "s0"), Trip("v", "y")), "out"),
    ),
    "layer_norm": (
        Phase((Trip("x", "one"),), "total"),
        _scalar(Trip("total", "k1"), "minus_s0"),
        Phase((Trip("x", "one", "s0"), Trip("v", "v")), "total"),
        _scalar(_ROOT, "s1"),
        Phase((Trip("x", "one", "s0"), Trip("v", "s1"), Trip("v", "y", "z")), "out"),
    ),
    "rope": (Phase((Trip("partner", "y"), Trip("x", "z", "v")), "out"),),
    "quantize": (
        Phase((), "maximum", online=True),
        _scalar(Trip("maximum", "k1"), "scale"),
        _scalar(Trip("s0", "one", "none", "reciprocal"), "s1"),
        Phase((Trip("x", "s1"),), "integers"),
    ),
    "dequantize": (
        Phase((Trip("x", "one"),), "minus_s0", words="one", x="int32"),
        Phase((Trip("x", "one"),), "s1", words="one", x="fp32"),
        Phase((Trip("s0", "y", "x"), Trip("v", "z"), Trip("v", "s1")), "out", x="int32"),
    ),
}
"""The phases of each function, in the order in which every row goes through them; ``bias`` is ``add``."""

OPERANDS = {
    "add": (None, "y"),
    "bias": (None, "bias"),
    "silu_mul": ("y", None),
    "rms_norm": ("gain", None),
    "layer_norm": ("gain", "bias"),
    "rope": ("sin", "cos"),
    "dequantize": ("zero", "scale"),
}
"""Which operands of the op the streams y and z carry."""

PHASES = [phase for phases in FUNCTIONS.values() for phase in phases]
LONGEST = max(phase.period for phase in PHASES)


def phases(function: str) -> tuple[Phase, ...]:
    """The phases of a function of the op."""
    return FUNCTIONS["add" if function == "bias" else function]


def first_phase(function: str) -> int:
    """Where the phases of ``function`` begin in `PHASES`."""
    return next(i for i, phase in enumerate(PHASES) if phase is phases(function)[0])


def constants(function: str, row: int) -> tuple[float, float]:
    """k1 and k2 of a function over rows of ``row`` elements."""
    match function:
        case "silu" | "silu_mul":
            return -LOG2E, 0.0
        case "gelu":
            return 0.044715 * GELU_LINEAR, GELU_LINEAR
        case "softmax":
            return LOG2E, 0.0
        case "rms_norm" | "layer_norm":
            return 1 / row, EPSILON
        case "quantize":
            return 1 / 127, 0.0
    return 0.0, 0.0
