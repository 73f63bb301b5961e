"""Vector unit: softmax, norms, rotary embedding, activations, residual add, quantise and dequantise, in FP16 with FP32 inside.

Each of ``lanes`` lanes has one FP32 multiplier, one FP32 adder and one interpolator for exponential and reciprocal in a loop,
which a word of ``lanes`` elements passes once per trip (`accel.vector_unit.program`): a function of t trips takes a word every t
cycles. Row-wise functions go over their row once per phase and read it again each time, so that no row is kept: layer_norm three
times, softmax, rms_norm and quantize twice. Softmax is online: maximum and rescaled sum in one phase. Between the phases lane 0
works on one scalar. What is computed, bit for bit: `kernels_ref.pointwise`.

Words, first field in the lowest bits, the last word of a row filled up with zeros:

    x          lanes x 32 bits: an FP16 pattern, or INT32. Each phase's words follow one another. Before a row that is dequantised
               come two words whose first field alone counts: its sum (INT32) and its scale (FP32)
    y, z       lanes x FP16: the other operands, a word for each word of x of the phase that uses them
    results    lanes x 16 bits: an FP16 pattern, or an INT8 code with its sign. Before a row of codes comes a word whose first 32
               bits are their scale (FP32)

rope pairs lane i with lane i + lanes / 2: a word holds lanes / 2 elements of the first halves of heads and their partners of the
second halves. y then holds -sin and sin, z cos and cos.

Timing, with w words per row, LOOP cycles per trip (`accel.vector_unit.timing`): a phase of t trips takes (w - 1) t + t LOOP
cycles and a constant. Functions of one phase go over all words of a run without a break; the others finish a phase before the
next one.
Source of the online softmax: Milakov and Gimelshein, arXiv 1805.02867; of its integer maximum: Softermax, DAC'21.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from accel.base.cost import Cost
from accel.base.mapping import ceil_div
from accel.base.unit import RtlUnit
from accel.base.words import pack_words, unpack_words
from accel.vector_unit.program import FUNCTIONS, OPERANDS, Phase, constants, first_phase, phases
from accel.vector_unit.timing import CONFIG, RUN_BITS, phase_cycles
from workloads.formats import FORMATS
from workloads.ops import Op, Pointwise

if TYPE_CHECKING:
    from amaranth.lib import wiring

FEWEST_LANES, MOST_LANES = 4, 128
LARGEST_ROW = 1 << 24  # elements; the words of a run are counted in 48 bits


class VectorUnit(RtlUnit):
    """Point-wise and row-wise functions in FP16, one trip of a word per cycle."""

    lanes: int = Field(default=FEWEST_LANES, ge=FEWEST_LANES, le=MOST_LANES)
    """Elements per word, a power of two."""

    executes: ClassVar[tuple[type[Op], ...]] = (Pointwise,)
    golden: ClassVar[str] = "pointwise.pointwise"

    @field_validator("lanes")
    @classmethod
    def _power_of_two(cls, lanes: int) -> int:
        if lanes & (lanes - 1):
            raise ValueError(f"wanted a power of two, got {lanes}")
        return lanes

    def numerics(self) -> dict[str, Any]:
        return {"lanes": self.lanes}

    def check(self, op: Pointwise) -> None:
        super().check(op)
        if op.function not in (*FUNCTIONS, "bias"):
            raise ValueError(f"{self.kind()} executes {', '.join(FUNCTIONS)} and bias, not {op.function}")
        wanted = _formats(op.function)
        if (got := (op.activations.name, op.output.name)) != wanted:
            raise ValueError(f"{self.kind()} takes {op.function} from {' to '.join(wanted)}, not from {' to '.join(got)}")
        if op.function == "rope" and (not op.head_dim or op.head_dim % 2 or np.any(op.row % op.head_dim)):
            raise ValueError(
                f"{self.kind()} rotates whole vectors of an even head_dim, not rows of {op.row} with head_dim {op.head_dim}"
            )
        if np.any(op.row > LARGEST_ROW):
            raise ValueError(f"{self.kind()} takes rows of up to {LARGEST_ROW} elements, not {op.row}")

    def limits(self, op: Pointwise) -> dict[str, int]:
        """None: rows and words are only counted."""
        return {}

    def _words(self, op: Pointwise) -> Any:
        """Words per row."""
        return ceil_div(op.row, self.lanes) if op.function != "rope" else ceil_div(op.row // 2, self.lanes // 2)

    def tile_cost(self, tile: Pointwise) -> Cost:
        program, words = phases(tile.function), self._words(tile)
        if len(program) == 1:
            all_words = words * tile.rows
            latency, interval = phase_cycles(program[0], all_words, self.lanes), all_words * program[0].period
        else:
            latency = interval = tile.rows * sum(phase_cycles(phase, _read(phase, words), self.lanes) for phase in program)
        return Cost(latency=CONFIG + latency + 1, interval=interval, events=self._events(program, words, tile.rows))

    def _events(self, program: tuple[Phase, ...], words: Any, rows: Any) -> dict[str, Any]:
        events = dict.fromkeys(
            ["word_in", "multiply_add", "exponential", "reciprocal", "root", "maximum", "reduce", "word_out"], 0 * words * rows
        )
        for phase in program:
            each = _read(phase, words)
            lanes = 1 if phase.scalar else self.lanes
            streams = (phase.words != "none") + phase.reads("y") + phase.reads("z")
            events["word_in"] = events["word_in"] + rows * each * streams
            events["multiply_add"] = events["multiply_add"] + rows * each * lanes * len(phase.trips)
            for name in ("exponential", "reciprocal", "root"):
                uses = sum(trip.special == name for trip in phase.trips)
                events[name] = events[name] + rows * each * lanes * uses
            events["maximum"] = events["maximum"] + rows * each * lanes * phase.online
            events["reduce"] = events["reduce"] + rows * each * lanes * (phase.sink == "total")
            events["word_out"] = events["word_out"] + rows * each * (phase.sink in ("out", "integers", "rectified", "scale"))
        return events

    def component(self) -> wiring.Component:
        from accel.vector_unit.rtl import VectorRtl

        return VectorRtl(self.lanes)

    def encode_config(self, tile: Pointwise, n: int) -> int:
        from accel.vector_unit.sequencer import config_layout

        program, words, rows = phases(tile.function), self._words(tile), n * tile.rows
        if len(program) == 1:
            rows, words = 1, rows * words
        if max(rows, words) > 1 << RUN_BITS:
            raise ValueError(f"a run of {self.kind()} takes up to 2^{RUN_BITS} rows, or words, got {max(rows, words)}")
        first = first_phase(tile.function)
        k1, k2 = (int(np.float32(k).view(np.uint32)) for k in constants(tile.function, tile.row))
        word = {
            "first": first,
            "last": first + len(program) - 1,
            "rows": rows - 1,
            "words": words - 1,
            "tail": (tile.row - 1) % self.lanes + 1,
            "k1": k1,
            "k2": k2,
        }
        return config_layout(self.lanes).const(word).as_bits()

    def encode(self, tile: Pointwise, *arrays: np.ndarray) -> dict[str, list[int]]:
        operands = dict(zip((operand.name for operand in tile.operands()), arrays, strict=True))
        fields: dict[str, list[np.ndarray]] = {"x": [], "y": [], "z": []}
        x = self._spread(tile, operands["x"])
        headers = iter(operands[name] for name in ("sums", "row_scale") if name in operands)
        for phase in phases(tile.function):
            if phase.words == "row":
                fields["x"].append(x)
            elif phase.words == "one":
                header = np.zeros((tile.rows, 1, self.lanes), np.int64)
                header[:, 0, 0] = next(headers)
                fields["x"].append(header)
        for stream, name in zip("yz", OPERANDS.get(tile.function, (None, None)), strict=True):
            if name is not None:
                fields[stream].append(self._other(tile, name, operands[name]))
        return {
            stream: pack_words(np.concatenate(parts, axis=1).reshape(-1, self.lanes), bits) if parts else []
            for (stream, parts), bits in zip(fields.items(), (32, 16, 16), strict=True)
        }

    def _other(self, tile: Pointwise, name: str, values: np.ndarray) -> np.ndarray:
        """The words [rows, words, lanes] of an operand other than x."""
        if tile.function != "rope":
            return self._spread(tile, np.broadcast_to(values, (tile.rows, tile.row)))
        first = values ^ FORMATS["fp16"].fields.sign if name == "sin" else values
        both = np.stack([first, values], axis=1)[:, None]  # [rows, 1, halves, half_head]
        return self._spread(
            tile, np.broadcast_to(both, (tile.rows, tile.row // tile.head_dim, *both.shape[2:])).reshape(tile.rows, -1)
        )

    def _spread(self, tile: Pointwise, rows: np.ndarray) -> np.ndarray:
        """``rows`` [rows, row] as [rows, words, lanes]."""
        rows = np.asarray(rows, dtype=np.int64)
        if tile.function != "rope":
            return np.pad(rows, ((0, 0), (0, -tile.row % self.lanes))).reshape(tile.rows, -1, self.lanes)
        halves = rows.reshape(tile.rows, -1, 2, tile.half_head).swapaxes(1, 2).reshape(tile.rows, 2, -1)
        padded = np.pad(halves, ((0, 0), (0, 0), (0, -(tile.row // 2) % (self.lanes // 2))))
        return padded.reshape(tile.rows, 2, -1, self.lanes // 2).swapaxes(1, 2).reshape(tile.rows, -1, self.lanes)

    def _gathered(self, tile: Pointwise, words: np.ndarray) -> np.ndarray:
        """The rows of which ``words`` [rows, words, lanes] are spread."""
        if tile.function != "rope":
            return words.reshape(tile.rows, -1)[:, : tile.row]
        halves = words.reshape(tile.rows, -1, 2, self.lanes // 2).swapaxes(1, 2).reshape(tile.rows, 2, -1)[..., : tile.row // 2]
        return halves.reshape(tile.rows, 2, -1, tile.half_head).swapaxes(1, 2).reshape(tile.rows, tile.row)

    def output_words(self, tile: Pointwise) -> dict[str, int]:
        return {"results": tile.rows * (self._words(tile) + (tile.function == "quantize"))}

    def decode(self, tile: Pointwise, words: Mapping[str, list[int]]) -> tuple[np.ndarray, ...]:
        fields = unpack_words(words["results"], 16, self.lanes).reshape(tile.rows, -1, self.lanes)
        if tile.function == "quantize":
            low, high = fields[:, 0, 0] & 0xFFFF, fields[:, 0, 1] & 0xFFFF
            return self._gathered(tile, fields[:, 1:]), low | high << 16
        return (self._gathered(tile, fields) & 0xFFFF,)

    @classmethod
    def examples(cls) -> Iterable[tuple[RtlUnit, Op]]:
        for lanes, rows, row in ((4, 2, 11), (8, 1, 18)):
            for function in ("bias", *FUNCTIONS):
                if lanes == FEWEST_LANES or function in ("softmax", "layer_norm", "rope"):
                    yield cls(lanes=lanes), _op(function, rows, row, half_head=3)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> tuple[RtlUnit, Op]:
        def log_uniform(most: int) -> int:
            return int((most + 1) ** rng.random())

        lanes = FEWEST_LANES << int(6 * rng.random() ** 12)  # mostly few: a simulator takes minutes for the most
        function = str(rng.choice([*FUNCTIONS, "bias"]))
        return cls(lanes=lanes), _op(function, log_uniform(4), log_uniform(6 * lanes), half_head=log_uniform(64))


def _read(phase: Phase, words: Any) -> Any:
    """Words that go through the lanes for each row."""
    return words if phase.words == "row" else 1


def _formats(function: str) -> tuple[str, str]:
    """Formats of x and of the results."""
    return "int32" if function == "dequantize" else "fp16", "int8" if function == "quantize" else "fp16"


def _op(function: str, rows: int, row: int, half_head: int) -> Pointwise:
    """An op about as long as ``row``."""
    activations, output = (FORMATS[name] for name in _formats(function))
    head_dim = None
    if function == "rope":
        head_dim = 2 * half_head
        row = head_dim * ceil_div(row, head_dim)
    return Pointwise(function=function, rows=rows, row=row, head_dim=head_dim, activations=activations, output=output)
