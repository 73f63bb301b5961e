"""Watches a trace of page operations: one thing at a time, each in full, registers free, a block changed in order.

It shares no code with the engine: each rule is looked up among all intervals by brute force. So it is slow, and sees what the
engine and its specification could both have got wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from accel.base.clock import bytes_to_ps
from memsys.nand_ops.operations import Interval, Kind, Operations
from memsys.nand_part import NandPart


def violations(part: NandPart, operations: Operations, channel: int, trace: Sequence[Interval]) -> list[str]:
    """What is wrong with the ``trace`` of one ``channel``; a line each, none where all is well."""
    own = _Own(part, operations, channel)
    done: dict[int, dict[str, list[Interval]]] = defaultdict(lambda: defaultdict(list))
    for interval in sorted(trace, key=lambda i: i.start):
        if interval.operation >= 0:
            done[interval.operation][interval.what].append(interval)
    found = [*_channel(trace), *_arrays(own, trace), *_suspensions(own, trace, done)]
    for op in own.numbers:
        found += _operation(own, op, done[op])
    return [*found, *_registers(own, done), *_order(own, done)]


class _Own:
    """The operations of one channel in plain ints."""

    def __init__(self, part: NandPart, operations: Operations, channel: int) -> None:
        self.part = part
        place = operations.place
        self.numbers = [i for i, c in enumerate(place.channel.tolist()) if c == channel]
        self.kind = [Kind(k) for k in operations.kind.tolist()]
        self.die = (place.chip * part.dies + place.die).tolist()
        self.plane, self.block, self.page = place.plane.tolist(), place.block.tolist(), place.page.tolist()
        size = len(self.kind)
        self.nbytes = [part.page_bytes] * size if operations.nbytes is None else operations.nbytes.tolist()
        self.arrival = [0] * size if operations.arrival is None else operations.arrival.tolist()

    def array(self, op: int) -> int:
        times = {Kind.READ: self.part.read_ps, Kind.PROGRAM: self.part.program_ps, Kind.ERASE: (self.part.erase_ps,)}[
            self.kind[op]
        ]
        return times[self.page[op] % len(times)]

    def transfer(self, op: int) -> int:
        return 0 if self.kind[op] is Kind.ERASE else int(bytes_to_ps(self.nbytes[op], self.part.channel_mb_per_s))

    def suspend(self, op: int) -> int | None:
        return {Kind.PROGRAM: self.part.suspend_program_ps, Kind.ERASE: self.part.suspend_erase_ps}.get(self.kind[op])


def _channel(trace: Iterable[Interval]) -> Iterable[str]:
    """Two things on the channel at once."""
    uses = sorted((i.start, i.end, i) for i in trace if i.what != "sense")
    for (_, end, before), (start, _, after) in pairwise(uses):
        if start < end:
            yield f"{after} on a channel that carries {before}"


def _arrays(own: _Own, trace: Iterable[Interval]) -> Iterable[str]:
    """Two things at once in the arrays of a die, but for planes of one multi-plane operation."""
    by_die: dict[int, list[Interval]] = defaultdict(list)
    for interval in trace:
        if interval.what == "sense":
            by_die[interval.die].append(interval)
    for senses in by_die.values():
        together: dict[tuple[int, int], list[int]] = defaultdict(list)
        for sense in senses:
            together[sense.start, sense.end].append(sense.operation)
        for ops in together.values():
            planes = [own.plane[op] for op in ops]
            kinds, pages = {own.kind[op] for op in ops}, {own.page[op] for op in ops if own.kind[op] is not Kind.ERASE}
            if len(ops) > 1 and not own.part.multi_plane:
                yield f"operations {ops} at once in a die without multi-plane operations"
            if len(set(planes)) < len(planes) or len(kinds) > 1 or len(pages) > 1:
                yield f"operations {ops} at once, of kinds {kinds}, planes {planes}, pages {pages}"
        for (_, end), (start, _) in pairwise(sorted(together)):
            if start < end:
                yield f"die {senses[0].die}: the array starts at {start}, while it works until {end}"


def _operation(own: _Own, op: int, done: dict[str, list[Interval]]) -> Iterable[str]:
    """Phases that are missing, too many, in the wrong order, at the wrong die or of the wrong length."""
    kind, command, what = own.kind[op], own.part.command_ps, f"operation {op}"
    first = "load" if kind is Kind.PROGRAM else "command"
    wanted = {first: 1, "out": int(kind is Kind.READ)}
    for use in ("command", "load", "out"):
        if len(done[use]) != wanted.get(use, 0):
            yield f"{what}: {len(done[use])} x {use}, wanted {wanted.get(use, 0)}"
            return
    if not done["sense"]:
        yield f"{what}: its array never works"
        return
    opening, senses = done[first][0], done["sense"]
    if {i.die for uses in done.values() for i in uses} != {own.die[op]}:
        yield f"{what}: wanted die {own.die[op]} alone"
    if opening.start < own.arrival[op]:
        yield f"{what}: starts at {opening.start}, before it came at {own.arrival[op]}"
    length = command + (own.transfer(op) if kind is Kind.PROGRAM else 0)
    if opening.end - opening.start != length:
        yield f"{what}: {first} takes {opening.end - opening.start} ps, wanted {length}"
    if senses[0].start < opening.end:
        yield f"{what}: its array works before {first} is over"
    suspend, stops = own.suspend(op), len(senses) - 1
    if stops and suspend is None:
        yield f"{what}: suspended, which the part cannot"
        return
    worked = sum(i.end - i.start for i in senses) - stops * (suspend or 0)
    if worked != own.array(op):
        yield f"{what}: its array works for {worked} ps, wanted {own.array(op)}"
    if kind is Kind.READ:
        out = done["out"][0]
        if out.start < senses[-1].end or out.end - out.start != own.transfer(op):
            yield f"{what}: out from {out.start} to {out.end}, wanted {own.transfer(op)} ps from {senses[-1].end} on"


def _suspensions(own: _Own, trace: Iterable[Interval], done: dict[int, dict[str, list[Interval]]]) -> Iterable[str]:
    """Arrays that stop or go on without a command to suspend or resume them; and such commands for nothing."""
    wanted = set()
    for op in own.numbers:
        for before, after in pairwise(done[op]["sense"]):
            wanted |= {("suspend", own.die[op], before.end - (own.suspend(op) or 0)), ("resume", own.die[op], after.start)}
    got = [(i.what, i.die, i.end) for i in trace if i.what in ("suspend", "resume")]
    for what, die, end in wanted - set(got):
        yield f"die {die}: wanted a {what} that ends at {end}, where an array stops or goes on"
    for what, die, end in got:
        if (what, die, end) not in wanted or got.count((what, die, end)) > 1:
            yield f"die {die}: the {what} that ends at {end} is for no array, or twice"


def _registers(own: _Own, done: dict[int, dict[str, list[Interval]]]) -> Iterable[str]:
    """Pages that would be overwritten before they have left."""
    reads = [op for op in own.numbers if own.kind[op] is Kind.READ and done[op]["out"] and done[op]["sense"]]
    for op in reads:
        sensed, left = done[op]["sense"][-1].end, done[op]["out"][0].end
        others = [other for other in own.numbers if own.die[other] == own.die[op] and other != op]
        if own.part.cache_read:  # one job of reads may be sensed behind it, and waits in the other register
            cached = [done[other]["sense"][-1].end for other in others if own.kind[other] is Kind.READ and done[other]["sense"]]
            behind = [end for end in cached if sensed < end < left]
            if len(set(behind)) > 1:
                yield f"operation {op}: {len(behind)} reads are sensed behind it before it has left at {left}"
            others = [other for other in others if own.kind[other] is not Kind.READ]
        uses = [use.start for other in others for use in (*done[other]["load"], *done[other]["sense"])]
        if soon := [start for start in uses if sensed <= start < left]:
            yield f"operation {op}: its register is used again at {min(soon)}, before it has left at {left}"


def _order(own: _Own, done: dict[int, dict[str, list[Interval]]]) -> Iterable[str]:
    """Operations of one block, of which one changes it, that overtake each other."""
    by_block: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for op in own.numbers:
        by_block[own.die[op], own.plane[op], own.block[op]].append(op)
    for ops in by_block.values():
        for place, after in enumerate(ops):
            for before in ops[:place]:
                if own.kind[before] is own.kind[after] is Kind.READ or not done[before]["sense"] or not done[after]["sense"]:
                    continue
                if done[after]["sense"][0].start < done[before]["sense"][-1].end:
                    yield f"operation {after} overtakes operation {before} of the same block"
