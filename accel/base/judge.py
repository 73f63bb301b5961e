"""The judge of a conformance pass: compares what the simulation saw with the cost and the golden kernel, with equality.

A cost that is a range (`CostRange`) must hold what was seen, both ends included.

The first difference in time is told in words: which run, what was expected, what was seen, and in which cycles.
`price_difference` holds a price against itself: it must be whole, and the same for one op and for an array of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from accel.base.cost import Cost
from accel.base.cost_range import CostRange, least_of
from accel.base.script import Pass, Run
from accel.base.simulation import Interface
from accel.base.unit import RtlUnit
from workloads.ops import Op


def difference(unit: RtlUnit, face: Interface, some: Pass, seen: Mapping[str, Any], golden: Callable[..., Any]) -> str | None:
    """The first difference between what ``some`` pass should show and what was seen, in words."""
    after = -1
    for number, (run, (first, last, counts)) in enumerate(zip(some.runs, seen["runs"], strict=not seen["fault"])):
        cost = unit.tile_cost(run.tile)
        where = f"run {number} ({run})"
        if some.mode == "free":
            if first != after + 1:
                return f"{where}: its config word should be taken in cycle {after + 1}, the RTL took it in cycle {first}"
            n = len(run.arrays)
            least, most = int(least_of(cost).run(n).cycles), int(cost.run(n).cycles)
            if not least <= last - first + 1 <= most:
                wanted = f"{most} cycles" if least == most else f"{least} to {most} cycles"
                formula = f"latency {cost.latency} + {n - 1} * interval {cost.interval}"
                return f"{where}: cost says {wanted} ({formula}), the RTL took {last - first + 1} (cycles {first} to {last})"
        after = last
        if wrong := _event_difference(face, cost, len(run.arrays), counts):
            return f"{where}: {wrong} (cycles {first} to {last})"
    if seen["fault"]:
        number = min(len(seen["runs"]), len(some.runs) - 1)
        return f"{seen['fault']} [run {number}: {some.runs[number]}]"
    return _value_difference(unit, face, some, seen, golden)


def _event_difference(face: Interface, cost: Cost, n: int, counts: list[int]) -> str | None:
    names = [name for name, _, _ in face.events]
    for events in (cost.events, least_of(cost).events):
        if set(names) != set(events):
            return f"cost states the events {sorted(events)}, the RTL has {sorted(names)}"
    for name, count in zip(names, counts, strict=True):
        least, most = n * int(least_of(cost).events[name]), n * int(cost.events[name])
        if not least <= count <= most:
            wanted = f"{most}" if least == most else f"{least} to {most}"
            return f"cost says {wanted} of event {name!r}, the RTL counted {count}"
    return None


def _value_difference(
    unit: RtlUnit, face: Interface, some: Pass, seen: Mapping[str, Any], golden: Callable[..., Any]
) -> str | None:
    words = [
        [int(text[i : i + digits], 16) for i in range(0, len(text), digits)]
        for text, digits in zip(seen["words"], seen["digits"], strict=True)
    ]
    at = [0] * len(face.outputs)
    for number, run in enumerate(some.runs):
        counts = unit.output_words(run.tile)
        for i, arrays in enumerate(run.arrays):
            mine, cycles = {}, []
            for o, (name, _) in enumerate(face.outputs):
                end = at[o] + counts[name]
                mine[name] = words[o][at[o] : end]
                cycles += seen["cycles"][o][at[o] : end]
                at[o] = end
            if wrong := _array_difference(unit, run, mine, golden(run.tile, *arrays)):
                times = f"its words left in cycles {min(cycles)} to {max(cycles)}"
                return f"run {number} ({run}), invocation {i}: {wrong}; {times}"
    return None


def _array_difference(unit: RtlUnit, run: Run, words: dict[str, list[int]], wanted: Any) -> str | None:
    try:
        got = unit.decode(run.tile, words)
    except ValueError as error:
        return f"decode() refused the output words: {error}"
    if len(wanted) != len(got):
        return f"{unit.golden} returns {len(wanted)} arrays, decode() {len(got)}"
    for which, (want, have) in enumerate(zip(wanted, got, strict=True)):
        if want.dtype.kind not in "iub" or have.dtype.kind not in "iub":
            raise TypeError(
                f"results must be integer codes or bit patterns, got {want.dtype} from {unit.golden} and {have.dtype}"
            )
        if want.shape != have.shape:
            return f"result {which} should have the shape {want.shape} ({unit.golden}), decode() gave {have.shape}"
        wrong = np.argwhere(want != have)
        if len(wrong):
            index = tuple(int(i) for i in wrong[0])
            return (
                f"result {which} at {list(index)} should be {want[index]} ({unit.golden}), the RTL gave {have[index]} "
                f"({len(wrong)} of {want.size} values differ)"
            )
    return None


def whole_difference(cost: Cost, cycles: int, events: Mapping[str, int]) -> str | None:
    """How the ``cycles`` and ``events`` that the RTL made for a whole op differ from its ``cost``, in words."""
    ends = [(int(end.cycles), {name: int(count) for name, count in end.events.items()}) for end in (least_of(cost), cost)]
    (least, fewest), (most, largest) = ends
    counted = fewest.keys() == events.keys() == largest.keys()
    if least <= cycles <= most and counted and all(fewest[name] <= n <= largest[name] for name, n in events.items()):
        return None
    priced = " to ".join(f"{end} cycles and {counts}" for end, counts in ends[not isinstance(cost, CostRange) :])
    return f"cost(op) is {priced}, the RTL made {cycles} and {events}"


def price_difference(price: Callable[[Op], Cost], ops: Iterable[Op]) -> str | None:
    """The first of ``ops`` whose price is not whole, or is another where it is priced in one array with others of its kind."""
    alike: dict[tuple[Any, ...], list[Op]] = {}
    for op in ops:
        same = (getattr(op, f.name) for f in fields(op) if f.name not in op.dimensions)
        alike.setdefault((type(op), *same), []).append(op)
    for group in alike.values():
        extents = {name: np.array([getattr(op, name) for op in group], dtype=np.int64) for name in group[0].dimensions}
        try:
            together = _figures(price(group[0].resized(**extents)))
        except (TypeError, ValueError) as error:
            return f"{group[0].describe()}: wanted a price also where the extents are arrays, got {type(error).__name__}: {error}"
        for i, op in enumerate(group):
            for name, wanted in _figures(price(op)).items():
                got = np.broadcast_to(together[name], len(group))[i]
                if not hasattr(wanted, "__index__"):
                    return f"{op.describe()}: wanted a whole number for {name}, cost says {wanted!r}"
                if got.dtype.kind not in "iu" or got != wanted:
                    return f"{op.describe()}: cost says {wanted} for {name}, and {got!r} where the extents are arrays"
    return None


def _figures(cost: Cost) -> dict[str, Any]:
    found = {"latency": cost.latency, "interval": cost.interval} | {f"event {name!r}": n for name, n in cost.events.items()}
    least = _figures(cost.least) if isinstance(cost, CostRange) else {}
    return found | {f"least {name}": n for name, n in least.items()}
