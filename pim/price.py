"""Cycles of logits and attend on a PIM channel in closed form: exact where nothing interferes, else a proved range.

**Alone** (no refresh, no reads or writes), a request is made of groups: a GWRITE and the m tiles that use its vector. The time
from the end of one operation to that of the next depends on these two only, so that a group takes

    in(t) + (m - 1) same(t) + out(t)        GWRITE to tile, tile to tile, tile to the next GWRITE

and the first one of a run, in which all rows are still closed, start + first(t) instead of out and in. Each of these is what the
schedule of the two operations takes (`pim.schedule`), so that no timing is kept here.

**Refresh without traffic.** The exact number is `pim.schedule.play` of the request's operations, from the cycle ``start`` in
which it begins: it depends on the phase of the refresh timer then, so that no formula of the shape alone gives it.

**Range**, for any phase of that timer. ``least`` is the time alone: refresh and traffic only ever hold a command up. The most,
with W, L and I in cycles:

- Reads and writes, to rows that hold no keys or values, hold a tile up by at most tFAW and a write's turn-around
  (`pim.mixed.held_up`), a GWRITE and with a single row buffer a tile also by closing banks and opening the vector's row again
  (`_reopened`). Before an operation at most one of them is served alone (`pim.mixed.alone`). W is the sum of all of that and of
  the time alone.
- A refresh costs at most L: what is reserved for the operation that did not fit before it; closing its rank; and tRFC, until
  which the operation after it waits, which may have to open the vector's row again. One comes every I = tREFI / ranks, so that
  a time T has at most T / I + 1 of them, T <= W + (T / I + 1) L, and most = (W + L) I / (I - L), rounded up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accel.base.cost import Cost
from accel.base.cost_range import CostRange
from accel.base.extent import smaller
from accel.base.mapping import ceil_div
from memsys.part import Part
from pim.checks import whole
from pim.commands import result_cycles
from pim.layout import KvLayout
from pim.mixed import alone, held_up
from pim.rules import gwrite_cycles
from pim.schedule import closed_within, fixed_of_gwrite, fixed_of_tile, per_result, play
from pim.tiles import Gwrite, Operation, Tile


@dataclass(frozen=True)
class PimPrice:
    """Prices requests of one ``layout`` on a channel of ``part``, each from an idle channel, or in a run one after the other."""

    part: Part
    layout: KvLayout
    dual: bool = True

    def logits(self, context: Any, accesses: Any = None) -> Cost:
        """q K^T over ``context`` tokens (int or int64 array).

        Without ``accesses`` alone on the channel, exactly. With it, the range where the channel is refreshed, in any phase of its
        timer, and so many reads and writes come meanwhile (int or array, 0 for refresh only), as a `CostRange`; what a request
        takes with refresh and no traffic, exactly, `pim.schedule.play` tells. Raises ValueError where the channel does
        not hold so many tokens.
        """
        lay = self.layout
        context = whole("context", context, 1, lay.capacity)
        tiles = ceil_div(context, lay.banks)
        rows = [min(lay.slots, lay.heads - first) for first in range(0, lay.heads, lay.slots)]
        kinds = [Tile(lay.head_dim // lay.multipliers, heads) for heads in rows]
        warm = sum(self._in(tile) + (tiles - 1) * self._same(tile) + self._out(tile) for tile in kinds)
        cold = warm - self._out(kinds[-1]) - self._in(kinds[0]) + self._start() + self._first(kinds[0])
        bursts = tiles * sum(tile.bursts * tile.results for tile in kinds)
        events = self._events(len(kinds) + 0 * tiles, len(kinds) * tiles, bursts, tiles * lay.heads)
        return self._ranged(Cost(cold, warm, events), accesses, max(map(self._reserved, kinds)))

    def attend(self, context: Any, accesses: Any = None) -> Cost:
        """p V over ``context`` tokens; as `logits`."""
        lay = self.layout
        context = whole("context", context, 1, lay.capacity)
        most = lay.row // lay.multipliers
        full, rest = context // lay.row, ceil_div(context % lay.row, lay.multipliers)
        last = rest + (rest == 0) * most
        first = np.where(np.asarray(full) > 0, most, rest)
        start, inner, same, out = (self._by_bursts(of) for of in (self._first, self._in, self._same, self._out))
        group = inner + (lay.value_rows - 1) * same + out
        warm = lay.heads * (full * int(group[most]) + (rest > 0) * group[rest])
        cold = warm - out[last] - inner[first] + self._start() + start[first]
        groups = lay.heads * (full + (rest > 0))
        tiles = groups * lay.value_rows
        events = self._events(groups, tiles, lay.heads * lay.value_rows * (full * most + rest), tiles)
        if isinstance(context, int):
            cold, warm = int(cold), int(warm)
            events = {name: int(count) for name, count in events.items()}
        return self._ranged(Cost(cold, warm, events), accesses, max(map(self._reserved, self._chunks())))

    def _ranged(self, alone_cost: Cost, accesses: Any, reserved: int) -> Cost:
        if accesses is None:
            return alone_cost
        accesses = whole("accesses", accesses, 0)
        part, events = self.part, alone_cost.events
        operations, reopened = events["gwrite"] + events["header"], self._reopened()
        closed = events["gwrite"] if self.dual else operations
        traffic = 1 * (accesses > 0)
        more = (operations * held_up(part) + closed * reopened) * traffic + smaller(accesses, operations) * alone(part)
        interval = part.timing.trefi // part.organisation.ranks
        after = part.timing.trfc + part.timing.trcd_rd + part.banks_per_channel
        lost = reserved + reopened + held_up(part) + self._closing() + after
        if lost >= interval:
            raise ValueError(f"{part}: no bound, as a refresh may cost {lost} cycles and comes every {interval}")
        most = [
            ceil_div((cycles + more + lost) * interval, interval - lost) for cycles in (alone_cost.latency, alone_cost.interval)
        ]
        return CostRange(most[0], most[1], events, least=alone_cost)

    def _reopened(self) -> int:
        """Cycles at most to close the banks of an operation after reads and writes, and to open the vector's row."""
        t = self.part.timing
        banks = 1 if self.dual else self.part.banks_per_channel
        return closed_within(self.part) + banks + t.trp + t.trc + t.trcd_rd

    def _closing(self) -> int:
        """Cycles until a rank is closed for a refresh: PPRE and PRE to every bank, tRP, REFAB."""
        return closed_within(self.part) + 2 * self.part.banks_per_rank + self.part.timing.trp + 1

    def _events(self, groups: Any, tiles: Any, bursts: Any, results: Any) -> dict[str, Any]:
        """Commands, and parts of GEMVs; rows that are opened are counted as closed, also the last ones.

        The row of the vectors is opened for each of them with a single row buffer, else once in a run, which is not counted.
        """
        o, banks = self.part.organisation, self.part.banks_per_channel
        return {
            "activate": 0 * groups if self.dual else groups,
            "gwrite": groups,
            "header": tiles,
            "grouped_act": tiles * (banks // o.banks),
            "comp": bursts,
            "read_result": results,
            "pim_precharge": tiles * banks,
        }

    def _chunks(self) -> list[Tile]:
        return [Tile(n, 1) for n in range(1, self.layout.row // self.layout.multipliers + 1)]

    def _by_bursts(self, of: Callable[[Tile], int]) -> NDArray[np.int64]:
        """``of`` tiles of attend, by their bursts; 0 at 0."""
        return np.array([0, *map(of, self._chunks())], np.int64)

    def _reserved(self, tile: Tile) -> int:
        """What `pim.schedule.reserved` can ask for at most before ``tile`` or its GWRITE."""
        t = self.part.timing
        before = max(gwrite_cycles(self.part), result_cycles(self.part, tile.bursts) + t.trtp, t.tras)
        takes = fixed_of_tile(self.part, self.dual) + tile.results * per_result(self.part, tile.bursts)
        return before + max(takes, fixed_of_gwrite(self.part))

    def _start(self) -> int:
        return self._takes(Gwrite())

    def _first(self, tile: Tile) -> int:
        return self._takes(Gwrite(), tile) - self._start()

    def _same(self, tile: Tile) -> int:
        return self._takes(Gwrite(), tile, tile) - self._takes(Gwrite(), tile)

    def _out(self, tile: Tile) -> int:
        return self._takes(Gwrite(), tile, Gwrite()) - self._takes(Gwrite(), tile)

    def _in(self, tile: Tile) -> int:
        return self._takes(Gwrite(), tile, Gwrite(), tile) - self._takes(Gwrite(), tile, Gwrite())

    def _takes(self, *operations: Operation) -> int:
        return _takes(self.part, operations, self.dual)


@cache
def _takes(part: Part, operations: tuple[Operation, ...], dual: bool) -> int:
    """Cycles of ``operations`` on an idle channel without refresh."""
    return play(part, operations, dual=dual, refresh=False, keep=False).cycles
