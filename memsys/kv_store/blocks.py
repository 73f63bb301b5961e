"""Blocks: the physical pages of one drive: where the next page goes, what is erased, and how often.

Pages are programmed in order into open blocks, one for each stream and channel; a stream is whatever shall be erased together.
The next block of a channel is the free one with the fewest erases, of the next plane in turn. Greedy reclaim: where a channel has
no block to spare, its full block with the fewest live pages is copied out and erased. One block of each channel is kept for that.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from memsys.nand_part import NandPart

RESERVE = 1
"""Free blocks of a channel that only reclaim may take: what it moves fits one."""


class DriveFull(ValueError):
    """No page is left for what was to be written."""


@dataclass(frozen=True)
class Stamp:
    """What the spare bytes of a programmed page say of it."""

    table: str
    address: int
    owner: int
    """Number of the sequence since the drive was new: addresses are used again."""
    tokens: int
    """Tokens on the page, from its first."""


class Blocks:
    """Blocks of a NAND part, of which ``spare_permille`` are no capacity. ``moved(stamp, page)`` is told of pages moved."""

    def __init__(self, part: NandPart, spare_permille: int, moved: Callable[[Stamp, int], None]) -> None:
        self.part, self._moved = part, moved
        total = part.total_planes * part.blocks
        self.usable_pages = total * (1000 - spare_permille) // 1000 * part.pages
        self.erases = np.zeros(total, dtype=np.int64)
        self.live = np.zeros(total, dtype=np.int64)
        self.fill = np.zeros(total, dtype=np.int64)
        self.stamps: dict[int, Stamp] = {}
        """Live pages by their number: block x pages of a block + page."""
        self.programmed = self.pages_moved = self.worn = 0
        # block = order x channels + channel: blocks that follow each other on a channel are on the next plane
        self._free = [[(0, order) for order in range(total // part.channels)] for _ in range(part.channels)]
        self._full: list[set[int]] = [set() for _ in range(part.channels)]
        self._open: dict[tuple[Hashable, int], int] = {}
        self._streams: dict[Hashable, set[int]] = {}
        self._stream_of: dict[int, Hashable] = {}

    def channel(self, page: int) -> int:
        """The channel of a physical page."""
        return page // self.part.pages % self.part.channels

    def program(self, stream: Hashable, channel: int, stamp: Stamp) -> int:
        """Program the next page of ``stream`` on ``channel``, or where that has no block to give, on another: most free blocks
        first.

        Raises DriveFull, with figures, where no channel has one.
        """
        if len(self.stamps) >= self.usable_pages:
            raise self.full(1)
        return self._program(stream, channel, stamp, RESERVE)

    def full(self, pages: int) -> DriveFull:
        """The error where ``pages`` more do not fit."""
        size, worn = self.part.page_bytes / 1e9, f", {self.worn} blocks worn out" if self.worn else ""
        return DriveFull(
            f"drive full: wanted {pages * size:.6g} GB more, got {len(self.stamps) * size:.6g} GB live of "
            f"{self.usable_pages * size:.6g} GB ({sum(map(len, self._free))} blocks free{worn})"
        )

    def invalidate(self, page: int) -> None:
        """``page`` is not live any more."""
        del self.stamps[page]
        self.live[page // self.part.pages] -= 1

    def release(self, stream: Hashable) -> None:
        """Erase every block of ``stream``, none of whose pages may be live."""
        for block in sorted(self._streams.pop(stream, ())):
            self._open.pop((stream, block % self.part.channels), None)
            self._erase(block)

    def _program(self, stream: Hashable, channel: int, stamp: Stamp, reserve: int) -> int:
        block = self._block(stream, channel, reserve)
        if block is None:
            others = sorted(range(self.part.channels), key=lambda other: -len(self._free[other]))
            found = (self._block(stream, other, reserve) for other in others if other != channel)
            block = next((other for other in found if other is not None), None)
        if block is None:
            raise self.full(1)
        page = block * self.part.pages + int(self.fill[block])
        self.stamps[page] = stamp
        self.fill[block] += 1
        self.live[block] += 1
        self.programmed += 1
        if self.fill[block] == self.part.pages:
            channel = self.channel(page)
            del self._open[stream, channel]
            self._full[channel].add(block)
        return page

    def _block(self, stream: Hashable, channel: int, reserve: int) -> int | None:
        """The block that ``stream`` has open on ``channel``, or opens there; None where no more than ``reserve`` are free."""
        if (stream, channel) not in self._open and reserve and len(self._free[channel]) <= reserve:
            self._collect(channel)  # which may open one
        block = self._open.get((stream, channel))
        if block is None and len(self._free[channel]) > reserve:
            block = heapq.heappop(self._free[channel])[1] * self.part.channels + channel
            self._open[stream, channel], self._stream_of[block] = block, stream
            self._streams.setdefault(stream, set()).add(block)
        return block

    def _collect(self, channel: int) -> None:
        """Greedy reclaim until the channel has a block to spare, or nothing can be gained on it."""
        while len(self._free[channel]) <= RESERVE and self._full[channel]:
            victim = min(self._full[channel], key=lambda block: (self.live[block], self.erases[block]))
            if self.live[victim] == self.part.pages:
                return
            stream = self._stream_of[victim]
            for page in range(victim * self.part.pages, (victim + 1) * self.part.pages):
                stamp = self.stamps.get(page)
                if stamp is not None:
                    self._moved(stamp, self._program(stream, channel, stamp, 0))
                    self.invalidate(page)
                    self.pages_moved += 1
            self._streams[stream].discard(victim)
            self._erase(victim)

    def _erase(self, block: int) -> None:
        if self.live[block]:
            raise AssertionError(f"block {block}: {self.live[block]} live pages would be erased")
        channel = block % self.part.channels
        self._full[channel].discard(block)
        del self._stream_of[block]
        self.fill[block] = 0
        self.erases[block] += 1
        if self.erases[block] < self.part.endurance:
            heapq.heappush(self._free[channel], (int(self.erases[block]), block // self.part.channels))
        else:
            self.worn += 1

    def verify(self) -> None:
        """Raise AssertionError unless live pages are counted right, and none is where nothing is programmed."""
        counted = np.zeros_like(self.live)
        for page in self.stamps:
            block, offset = divmod(page, self.part.pages)
            if offset >= self.fill[block]:
                raise AssertionError(f"page {page} is live in block {block}, of which {self.fill[block]} pages are programmed")
            counted[block] += 1
        if not np.array_equal(counted, self.live):
            raise AssertionError(f"blocks {np.flatnonzero(counted != self.live).tolist()}: live pages miscounted")
