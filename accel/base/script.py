"""What the conformance bench plays: from a unit and an op to passes of runs, drawn from a seed.

A *case* is a unit, an op and a seed. Its *passes* are sequences of runs, each driven in one way:

    op         the whole op, cut into runs as `Unit.cost` cuts it                       unstalled
    lengths    runs of n = 1, 2, 3 and more invocations of one tile                     unstalled
    corners    one run per corner of the input values                                   unstalled
    sequence   runs of different tiles and lengths                                      unstalled
    long       as many invocations of a small tile as make many hundred cycles           unstalled
    stalls     as sequence, with random gaps on every input and output stream
    patient    every output takes a word only after it has been offered

The gaps of a stream are as likely as the pass has drawn for it, from hardly ever to most of the time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accel.base.proofs import parameters_of
from accel.base.unit import RtlUnit
from workloads.ops import Op

Arrays = tuple[np.ndarray, ...]
InputMaker = Callable[[Op, np.random.Generator], Arrays]
Golden = Callable[..., Arrays]
CornerMaker = Callable[[Op], Iterable[tuple[str, Arrays]]]

PASS_CYCLES = 800  # what the drawn runs of one pass may take together, by their cost
LONG_CYCLES = 600  # of the one long run: hundreds of invocations, which an interval must hold for and a counter must count
STALL_CHOICES = (0.05, 0.25, 0.5, 0.75)
DRAWS = 40  # of a tile, of which the best is taken
DRAWS_REFUSED = 200
HANG_SLACK = 300  # cycles without any handshake before a unit is said to hang, on top of its longest latency


@dataclass(frozen=True)
class Case:
    """``op`` on ``unit``; ``others`` are ops whose tiles are mixed into the random sequences."""

    unit: RtlUnit
    op: Op
    seed: int
    others: tuple[Op, ...] = ()

    def describe(self) -> str:
        parameters = ", ".join(f"{k}={v}" for k, v in parameters_of(self.unit).items())
        return f"{self.unit.kind()}({parameters}), {self.op.describe()}, seed {self.seed}"


@dataclass(frozen=True)
class Run:
    """Invocations of one tile, each with its input arrays."""

    tile: Op
    arrays: list[Arrays]
    note: str = ""

    def __str__(self) -> str:
        return f"n={len(self.arrays)}{', ' + self.note if self.note else ''}, {self.tile.describe()}"


@dataclass(frozen=True)
class Pass:
    """A sequence of runs and how it is driven: ``free`` (unstalled), ``stalled`` or ``patient``."""

    name: str
    mode: str
    runs: list[Run]
    seed: int
    stalls: tuple[float, ...] = field(default=(0.5,))  # drawn per stream, in turn

    def script(self, unit: RtlUnit, inputs: list[str], outputs: list[str]) -> dict[str, Any]:
        """The pass as JSON for `accel.base._bench`; stream names in the order of the signature, ``config`` first."""
        words: dict[str, list[str]] = {name: [] for name in inputs}
        runs = []
        for run in self.runs:
            words["config"].append(f"{unit.encode_config(run.tile, len(run.arrays)):x}")
            for arrays in run.arrays:
                for name, some in _named(unit, "encode()", unit.encode(run.tile, *arrays), inputs[1:]).items():
                    words[name] += [f"{word:x}" for word in some]
            owed = _named(unit, "output_words()", unit.output_words(run.tile), outputs)
            runs.append({"outputs": [len(run.arrays) * owed[o] for o in outputs], "taken": [len(words[i]) for i in inputs]})
        stalls = itertools.cycle(self.stalls)
        latency = max(int(unit.tile_cost(run.tile).latency) for run in self.runs)
        return {
            "mode": self.mode,
            "seed": self.seed,
            "idle": [next(stalls) for _ in inputs],
            "busy": [next(stalls) for _ in outputs],
            "patience": 2 * latency + HANG_SLACK,
            "drain": latency,
            "runs": runs,
            "inputs": [words[name] for name in inputs],
        }


def _named(unit: RtlUnit, what: str, value: Mapping[str, Any], names: list[str]) -> Mapping[str, Any]:
    if set(value) != set(names):
        raise TypeError(f"{unit.kind()}.{what} must name the streams {sorted(names)}, got {sorted(value)}")
    return value


def passes(case: Case, make_inputs: InputMaker, make_corners: CornerMaker, golden: Golden) -> Iterator[Pass]:
    """Every pass of ``case``; equal cases give equal passes."""
    rng = np.random.default_rng(case.seed)
    unit, op = case.unit, case.op
    tiles = _Tiles(unit, (op, *case.others), rng)

    def drawn(tile: Op, n: int) -> Run:
        return Run(tile, [make_inputs(tile, rng) for _ in range(n)])

    yield Pass("op", "free", whole_op(unit, op, make_inputs(op, rng), golden), 0)
    tile = tiles.within(op, PASS_CYCLES // 10)
    yield Pass("lengths", "free", [drawn(tile, n) for n in (1, 2, 3, int(rng.integers(4, 7)), 1)], 0)
    large = tiles.largest(op, PASS_CYCLES // 5)  # where no extent is so small that padding hides a corner
    yield Pass("corners", "free", [Run(large, [arrays], name) for name, arrays in make_corners(large)], 0)
    yield Pass("sequence", "free", [drawn(*choice) for choice in tiles.sequence(PASS_CYCLES)], 0)
    for name, mode, cycles in (("stalls", "stalled", PASS_CYCLES // 2), ("patient", "patient", PASS_CYCLES // 3)):
        runs = [drawn(*choice) for choice in tiles.sequence(cycles)]
        stalls = tuple(float(p) for p in rng.choice(STALL_CHOICES, 7))
        yield Pass(name, mode, runs, int(rng.integers(1 << 31)), stalls)
    small = tiles.within(op, 1)  # the cheapest of many draws
    cost = unit.tile_cost(small)
    count = 1 + max(LONG_CYCLES - int(cost.latency), 0) // max(int(cost.interval), 1)
    yield Pass("long", "free", [drawn(small, count)], 0)


def whole_op(unit: RtlUnit, op: Op, arrays: Arrays, golden: Golden) -> list[Run]:
    """The runs of `Unit.runs`, each invocation with its slices of ``arrays``.

    Where a reduction is cut, every part but the first starts from what ``golden`` says that the part before it leaves; after the
    last part that must be what it says of the whole op. Raises TypeError where a reduction is cut and the unit takes no partial
    sums, AssertionError where the golden kernel does not compose.
    """
    limits = {name: limit for name, limit in unit.limits(op).items() if name in op.dimensions}
    cut = [name for name in op.reductions if getattr(op, name) > limits.get(name, getattr(op, name))]
    if cut and not unit.partial_sums:
        raise TypeError(f"{unit.kind()} cuts the reduction {cut} of {op.describe()}, but takes no partial sums")
    parts = _cut_arrays(unit, op, limits, arrays, golden, cut)
    runs = []
    for tile, count in unit.runs(op):
        if not count:
            continue
        same = parts.pop(_signature(tile), [])  # the first part of a sum that accumulates is a tile like those after it
        invocations, others = same[:count], same[count:]
        if others:
            parts[_signature(tile)] = others
        if len(invocations) != count:
            raise AssertionError(f"{unit.kind()}.runs() counts {count} invocations of {tile.describe()}, got {len(invocations)}")
        runs.append(Run(tile, invocations))
    if parts:
        raise AssertionError(f"{unit.kind()}.runs() leaves out tiles of {op.describe()}: {sorted(parts)}")
    return runs


def _signature(tile: Op) -> tuple[Any, ...]:
    return (*tile.extents().values(), getattr(tile, "accumulate", False))


def _cut_arrays(
    unit: RtlUnit, op: Op, limits: dict[str, int], arrays: Arrays, golden: Golden, cut: list[str]
) -> dict[tuple[Any, ...], list[Arrays]]:
    """The input arrays of all invocations by the signature of their tile, the reductions innermost."""
    names = sorted(limits, key=lambda name: name in op.reductions)
    starts = [range(0, getattr(op, name), limits[name]) for name in names]
    parts: dict[tuple[Any, ...], list[Arrays]] = {}
    partial: Any = None
    wanted = golden(op, *arrays) if cut else ()
    for corner in itertools.product(*starts):
        extents = {name: min(limits[name], getattr(op, name) - at) for name, at in zip(names, corner, strict=True)}
        part = {name: slice(None) for name in op.dimensions}
        part |= {name: slice(at, at + extents[name]) for name, at in zip(names, corner, strict=True)}
        taken = op.take(part, *arrays)
        tile = op.resized(**extents)
        if any(at for name, at in zip(names, corner, strict=True) if name in cut):
            tile = op.resized(**extents, accumulate=True)
            taken = (*taken[: len(tile.operands()) - 1], partial)
        parts.setdefault(_signature(tile), []).append(taken)
        if cut:
            (partial,) = golden(tile, *taken)
            if all(part[name].stop == getattr(op, name) for name in cut):
                whole = wanted[0][tuple(part[d] for d in op.dimensions if d not in op.reductions)]
                if not np.array_equal(partial, whole):
                    raise AssertionError(
                        f"{unit.golden} of the parts of {op.describe()}, one after the other, is not that of the whole"
                    )
    return parts


class _Tiles:
    """Draws tiles that one invocation of a unit takes, sized by what they cost."""

    def __init__(self, unit: RtlUnit, ops: tuple[Op, ...], rng: np.random.Generator):
        self.unit, self.ops, self.rng = unit, ops, rng

    def sequence(self, cycles: int) -> Iterator[tuple[Op, int]]:
        """(tile, n) of different runs, at least three, until they cost about ``cycles``."""
        count, left = 0, cycles
        while left > 0 or count < 3:
            op = self.ops[self.rng.integers(len(self.ops))]
            tile = self.within(op, max(cycles // int(self.rng.choice([4, 8, 20])), 1))
            n = int(self.rng.integers(1, 5))
            cost = self.unit.tile_cost(tile)
            while n > 1 and cost.run(n).cycles > max(left, cycles // 4):
                n -= 1
            yield tile, n
            count, left = count + 1, left - int(cost.run(n).cycles)

    def within(self, op: Op, cycles: int) -> Op:
        """A tile of ``op`` with drawn extents whose latency is at most ``cycles``, or the cheapest of many draws."""
        return self._best(op, lambda latency: max(latency - cycles, 0))

    def largest(self, op: Op, cycles: int) -> Op:
        """Of many draws, the tile whose latency is closest to ``cycles``."""
        return self._best(op, lambda latency: abs(latency - cycles))

    def _best(self, op: Op, distance: Callable[[int], int]) -> Op:
        best, nearest = self._drawn(op), None
        for tile in itertools.chain([best], (self._drawn(op) for _ in range(DRAWS - 1))):
            off = distance(int(self.unit.tile_cost(tile).latency))
            if nearest is None or off < nearest:
                best, nearest = tile, off
            if off == 0:
                break
        return best

    def _drawn(self, op: Op) -> Op:
        """Extents drawn from 1, the op's own and its parts, the limit, and log-uniformly between (without a limit: up to
        twice the op's own); the op's first tile where the unit executes none of many."""
        limits = self.unit.limits(op)
        for _ in range(DRAWS_REFUSED):
            extents = {}
            for name in op.dimensions:
                own = getattr(op, name)
                most = limits.get(name, 2 * own)
                part = -(-own // int(self.rng.integers(2, 5)))
                between = int(np.exp(self.rng.uniform(0, np.log(most + 1))))
                extents[name] = int(self.rng.choice([1, min(part, most), min(own, most), most, between, between, between]))
            if self.unit.partial_sums and hasattr(op, "accumulate"):
                extents["accumulate"] = bool(self.rng.integers(2))
            tile = op.resized(**extents)
            try:
                self.unit.check(tile)
            except ValueError:
                continue  # the unit does not execute this shape
            if all(getattr(tile, name) <= limit for name, limit in self.unit.limits(tile).items() if name in op.dimensions):
                return tile
        return next(tile for tile, _ in self.unit.runs(op))
