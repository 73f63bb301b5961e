"""Unit: the one declaration from which RTL, price, test and documentation of a piece of hardware follow.

`RtlUnit` is proved: `accel.base.conformance` shows that its component and its `tile_cost` agree bit for bit, cycle for cycle,
event for event. `AnalyticalUnit` is a price from calibrated figures and is labelled so everywhere.
"""

from __future__ import annotations

import collections.abc
import itertools
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, final

from pydantic import field_validator

from accel.base.calibration import Calibration
from accel.base.cost import NOTHING, Cost
from accel.base.mapping import Mapping, operand_traffic
from accel.base.spec import Spec, discover
from workloads.ops import Linear, Op

if TYPE_CHECKING:
    import numpy as np
    from amaranth.lib import wiring

PACKAGES = ("accel", "pim")  # where units live
DRAWS_PER_OP = 2000  # until one fits a unit


class Unit(Spec):
    """A compute unit: its hardware parameters, and the price of each op that it executes."""

    executes: ClassVar[tuple[type[Op], ...]]
    proof_class: ClassVar[str]
    partial_sums: ClassVar[bool] = False
    """Whether partial sums may enter, so that `limits` may cut a reduction: every part but the first then accumulates."""
    dequantizes: ClassVar[bool] = False
    """Whether scales and zero points of the weights may be operands (`Linear.dequantized`)."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "cost" in vars(cls):
            raise TypeError(f"{cls.__name__} must not define cost(): it is final, and built from tile_cost() and limits()")

    def check(self, op: Op) -> None:
        """Raise ValueError, saying what is wanted, when this unit cannot execute ``op`` at all."""
        if not isinstance(op, self.executes):
            wanted = " or ".join(c.kind for c in self.executes)
            raise ValueError(f"{self.kind()} executes {wanted}, not {op.kind}")
        if getattr(op, "accumulate", False) and not self.partial_sums:
            raise ValueError(f"{self.kind()} takes no partial sums; wanted an op that does not accumulate, not {op.describe()}")
        if getattr(op, "dequantized", False) and not self.dequantizes:
            raise ValueError(f"{self.kind()} applies no scales; wanted an op that is not dequantized, not {op.describe()}")

    @final
    def takes(self, op: Op) -> bool:
        """Whether `check` accepts ``op``."""
        try:
            self.check(op)
        except ValueError:
            return False
        return True

    def companions(self, op: Op) -> tuple[list[Op], list[Op]]:
        """Ops that must run before and after ``op`` because this unit executes it (a table precompute, a dequantisation)."""
        return [], []

    def fetched(self, op: Op) -> Op:
        """``op`` with the formats in which this unit's operands lie in memory, where they differ from the op's own."""
        return op

    def operand_traffic(self, op: Linear, *, copies: int, buffer: int) -> tuple[Any, Any, Any]:
        """Bytes of activations read, weights read and results written at main memory; see `accel.base.mapping`."""
        return operand_traffic(op, buffer)

    @abstractmethod
    def limits(self, op: Op) -> dict[str, int]:
        """The largest extent of each dimension of ``op`` that one invocation takes."""

    @abstractmethod
    def tile_cost(self, tile: Op) -> Cost:
        """Latency, interval and events of one invocation on ``tile``, whose extents (ints or arrays) are within the limits."""

    @final
    def cost(self, op: Op) -> Cost:
        """Cycles and events of ``op``, cut into runs of full and remainder tiles, one run after the other."""
        total = NOTHING
        for tile, count in self.runs(op):
            total = total + self.tile_cost(tile).run(count)
        return total

    @final
    def runs(self, op: Op) -> Iterator[tuple[Op, Any]]:
        """The (tile, number of invocations) that make up ``op``, full tiles first: two at most for each dimension, and for a
        reduction two more, as its first part is without partial sums (or with those that the op itself starts from).

        With array extents every class is yielded, its extents kept legal (at least 1) where its count is 0.
        """
        self.check(op)
        limits = self.limits(op)
        names = [n for n in op.dimensions if n in limits]
        if not names:
            yield op, 1
            return
        choices = []
        for name in names:
            extent, limit = getattr(op, name), limits[name]
            full, rest = extent // limit, extent % limit
            parts = []
            for size, count, before in ((limit, full, 0), (_at_least_one(rest), rest > 0, full)):
                if self.partial_sums and name in op.reductions:
                    first = (count > 0) * (before == 0)
                    parts += [({name: size}, first), ({name: size, "accumulate": True}, count - 1 * first)]
                else:
                    parts.append(({name: size}, count))
            choices.append(parts)
        for combination in itertools.product(*choices):
            count = 1
            for _, n in combination:
                count = count * n
            if isinstance(count, (int, bool)) and count == 0:
                continue
            tile = op.resized(**{name: value for changed, _ in combination for name, value in changed.items()})
            yield tile, (int(count) if isinstance(count, bool) else count)


def _at_least_one(extent: Any) -> Any:
    if isinstance(extent, int):
        return max(extent, 1)
    import numpy as np

    return np.maximum(extent, 1)


class RtlUnit(Unit):
    """A unit with RTL, proved against its golden kernel in `kernels_ref` by the generic conformance bench.

    The component's signature has ``config`` (In stream: one word opens a run), input streams, output streams and ``events``
    (Out, a `StructLayout` of unsigned increments for the cycle, one field per event name of `tile_cost`).
    """

    golden: ClassVar[str]
    proof_class = "rtl"

    def numerics(self) -> dict[str, Any]:
        """Keyword arguments of the golden kernel: the hardware parameters that decide how results are rounded; usually none."""
        return {}

    @abstractmethod
    def component(self) -> wiring.Component:
        """The RTL, a fresh Amaranth component."""

    @abstractmethod
    def encode_config(self, tile: Op, n: int) -> int:
        """The bits of the config word that opens a run of ``n`` invocations of ``tile``."""

    @abstractmethod
    def encode(self, tile: Op, *arrays: np.ndarray) -> dict[str, list[int]]:
        """The words (as bits) of one invocation for each input stream but ``config``, from the op's input arrays."""

    @abstractmethod
    def output_words(self, tile: Op) -> dict[str, int]:
        """How many words each output stream carries for one invocation."""

    @abstractmethod
    def decode(self, tile: Op, words: collections.abc.Mapping[str, list[int]]) -> tuple[np.ndarray, ...]:
        """The result arrays, as the golden kernel returns them, from the output words of one invocation."""

    @classmethod
    @abstractmethod
    def examples(cls) -> Iterable[tuple[RtlUnit, Op]]:
        """Units at the corners of their parameters, each with an op; never empty. Conformance runs on every one."""

    @classmethod
    @abstractmethod
    def draw(cls, rng: np.random.Generator) -> tuple[RtlUnit, Op]:
        """A random unit and op over the whole parameter ranges that the unit accepts (``rtloom verify --random``).

        It may refuse a combination (ValueError), and is then called again. A unit that few of these ops suit, as each set of
        parameters executes one function on one format, overrides `draw_op` too.
        """

    def draw_op(self, rng: np.random.Generator) -> Op:
        """A random op that this very unit accepts (``rtloom verify --set``, characterisation); here the first such op of `draw`.

        Raises ValueError where none of `DRAWS_PER_OP` draws gives one.
        """
        for _ in range(DRAWS_PER_OP):
            try:
                _, op = self.draw(rng)
            except ValueError:  # a combination that the class refuses, as it may
                continue
            if self.takes(op):
                return op
        raise ValueError(f"none of {DRAWS_PER_OP} draws of {self.kind()} fits these parameters: {dict(self)}")


def rtl_units() -> dict[str, type[RtlUnit]]:
    """Every unit with RTL by its kind."""
    return {kind: cls for package in PACKAGES for kind, cls in discover(package, RtlUnit).items()}


class AnalyticalUnit(Unit):
    """A unit priced from calibrated figures; ``calibration`` names the file under accel/calibration that holds them."""

    calibration: str
    proof_class = "analytical"

    @field_validator("calibration")
    @classmethod
    def _calibration_exists(cls, name: str) -> str:
        Calibration.load(name)
        return name

    @abstractmethod
    def time_ps(self, op: Op, *, copies: int, clock: int, bandwidth: int, buffer: int, mapping: Mapping | None = None) -> Any:
        """Picoseconds that ``copies`` copies take together for ``op``, launch and memory traffic included.

        ``clock`` is in Hz, ``bandwidth`` the peak of the main memory in MB/s, ``buffer`` the bytes of the shared on-chip buffer;
        ``mapping`` fixes the thread block of a GEMM, and None searches the unit's own blocks. Int or int64 array, like the op's
        extents.
        """
