"""KvStore: keys and values on one drive, page by page: two address tables, a buffer in DRAM, reclaim, wear.

New tokens wait in DRAM until a page of every head is full. Where the buffer overflows, the longest tail that waits goes out on
partly filled pages, which are read, merged and programmed again later: write amplification of a small buffer. The copy of K by
channel is written when its block of tokens is full: from DRAM while a prompt passes, else K is read back from its token pages;
tokens that no page of the copy holds yet are read from token pages (decision 15).

Pages of a layer share blocks, heads and K and V alike. With ``by_task`` they share them with those of the same task only, and
all are erased when it ends; without, pages of all tasks share blocks, as on any drive, and reclaim copies what is still live.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from memsys.kv_store.address import Fields
from memsys.kv_store.blocks import Blocks, DriveFull, Stamp
from memsys.kv_store.layout import KvLayout
from memsys.kv_store.report import Lost, LostTokens, Wear
from memsys.nand_part import NandPart
from memsys.ssd import SPARE_PERMILLE

TOKENS, COPY = "tokens", "copy"
KINDS = ("key", "value")


@dataclass
class _Sequence:
    task: Hashable
    owner: int
    length: list[int]
    """Tokens by layer, those in DRAM included."""
    durable: list[int]
    """Tokens in flash."""
    copied: list[int]
    """Blocks of tokens of the copy."""
    lost: list[int]
    """Tokens up to here, and from ``length`` on, were lost with the power."""


class KvStore:
    """Keys and values of the sequences of ``layout`` on the NAND ``part`` of one drive, ``spare_permille`` of whose blocks are no
    capacity, with ``buffer_bytes`` of DRAM for tokens that wait (by default as many as ever do).

    Raises ValueError where page sizes differ or the buffer does not hold a page of every head of one layer.
    """

    def __init__(
        self,
        part: NandPart,
        layout: KvLayout,
        *,
        spare_permille: int = SPARE_PERMILLE,
        buffer_bytes: int | None = None,
        by_task: bool = True,
    ) -> None:
        if layout.page_bytes != part.page_bytes:
            raise ValueError(f"page_bytes: wanted the {part.page_bytes} B of a page of {part}, got {layout.page_bytes} B")
        self.buffer_bytes = layout.buffer_bytes if buffer_bytes is None else buffer_bytes
        least = layout.page_tokens * layout.token_bytes
        if self.buffer_bytes < min(least, layout.buffer_bytes):
            raise ValueError(f"buffer_bytes: wanted {least} B at least, a page of every head, got {self.buffer_bytes} B")
        self.layout, self.by_task = layout, by_task
        self.blocks = Blocks(part, spare_permille, self._remap)
        self.tables: dict[str, dict[int, int]] = {TOKENS: {}, COPY: {}}
        """Physical page by packed logical address, of token pages and of the copy."""
        self._fields: dict[str, Fields] = {TOKENS: layout.token_fields}
        if (copies := layout.copy_fields) is not None:
            self._fields[COPY] = copies
        self._sequences: dict[int, _Sequence] = {}
        self._opened = self._host_bytes = self._copy_bytes = self._partial = self._read_back = self.buffered_bytes = 0

    # the commands of a host

    def open(self, sequence: int, task: Hashable) -> None:
        """Begin an empty ``sequence`` of ``task``. Raises ValueError where it is open or out of range."""
        if sequence in self._sequences or not 0 <= sequence < self.layout.sequences:
            state = "which is open" if sequence in self._sequences else f"of 0 to {self.layout.sequences - 1}"
            raise ValueError(f"sequence: wanted a free one of {self.layout.sequences}, got {sequence}, {state}")
        zeros = [[0] * self.layout.layers for _ in range(4)]
        self._sequences[sequence] = _Sequence(task, self._opened, *zeros)
        self._opened += 1

    def append(self, sequence: int, layer: int, tokens: int) -> None:
        """Take keys and values of ``tokens`` more tokens of one layer, all heads.

        Raises DriveFull where they do not fit; `length` then says what is kept. Raises ValueError beyond the declared context.
        """
        held, layout = self._held(sequence, layer), self.layout
        length = held.length[layer]
        if tokens < 1 or length + tokens > layout.context:
            raise ValueError(f"tokens: wanted 1 to {layout.context - length} more of {layout.context}, got {tokens}")
        new = length + tokens
        full = new // layout.page_tokens * layout.page_tokens
        while self._waiting_bytes(held, layer, new) > self.buffer_bytes:
            self._flush_longest()
        durable = held.durable[layer]
        self._room(layout.written_pages(durable, new))
        self._receive(held, layer, tokens)
        try:
            if full > durable:
                self._fill(sequence, layer, held, full // layout.page_tokens)
            while layout.copy_tokens and (held.copied[layer] + 1) * layout.copy_tokens <= new:
                self._copy(sequence, layer, held, durable)
        except DriveFull:  # no block, though there are pages: blocks that other streams have begun
            self._receive(held, layer, max(length, held.durable[layer]) - new)
            raise

    def end(self, task: Hashable) -> None:
        """Forget all sequences of ``task``; with reclaim by task, erase their blocks. Raises ValueError where it has none."""
        layout = self.layout
        ended = [number for number, held in self._sequences.items() if held.task == task]
        if not ended:
            raise ValueError(f"task: wanted one with an open sequence, got {task!r}")
        owners = set()
        for held in map(self._sequences.pop, ended):
            owners.add(held.owner)
            self.buffered_bytes -= (sum(held.length) - sum(held.durable)) * layout.token_bytes
        for table in self.tables.values():
            for address, page in [item for item in table.items() if self.blocks.stamps[item[1]].owner in owners]:
                del table[address]
                self.blocks.invalidate(page)
        if self.by_task:
            for layer in range(layout.layers):
                self.blocks.release((task, layer))

    def power_loss(self) -> tuple[Lost, ...]:
        """DRAM loses the tokens that wait; returns what was lost. The tables are kept: journalled, or read from spare bytes."""
        lost = []
        for number, held in self._sequences.items():
            for layer, (length, durable) in enumerate(zip(held.length, held.durable, strict=True)):
                if length > durable:
                    lost.append(Lost(number, layer, durable, length - durable))
                    held.length[layer], held.lost[layer] = durable, length
        self.buffered_bytes = 0
        return tuple(lost)

    # what lies where

    def length(self, sequence: int, layer: int) -> int:
        """Tokens of one layer that can be read."""
        return self._held(sequence, layer).length[layer]

    def locate(self, sequence: int, layer: int, head: int, kind: str, token: int) -> int | None:
        """Physical page that holds the ``kind`` ("key" or "value") of a token; None: it waits in DRAM.

        Raises LostTokens where it was lost with the power, ValueError where there never was one.
        """
        held, layout = self._held(sequence, layer), self.layout
        if kind not in KINDS:
            raise ValueError(f"kind: wanted {' or '.join(map(repr, KINDS))}, got {kind!r}")
        if not 0 <= token < held.length[layer]:
            if held.length[layer] <= token < held.lost[layer]:
                raise LostTokens(f"token {token} of sequence {sequence}, layer {layer}: lost from DRAM when the power failed")
            raise ValueError(f"token: wanted one of the {held.length[layer]} of sequence {sequence}, layer {layer}, got {token}")
        if token >= held.durable[layer]:
            return None
        address = self._fields[TOKENS].pack(sequence, layer, token // layout.page_tokens, head, KINDS.index(kind))
        return self._read(TOKENS, address, held.owner, token % layout.page_tokens)

    def dense_pages(self, sequence: int, layer: int) -> list[int]:
        """Physical pages read for attention on all tokens of one layer: K and V of all heads, but what waits in DRAM."""
        held, layout = self._held(sequence, layer), self.layout
        groups = -(-held.durable[layer] // layout.page_tokens)
        wanted = product(range(groups), range(layout.heads), range(len(KINDS)))
        return [self._read(TOKENS, self._fields[TOKENS].pack(sequence, layer, *each), held.owner, 0) for each in wanted]

    def sparf_pages(self, sequence: int, layer: int, head: int, channels: set[int], tokens: set[int]) -> list[int]:
        """Physical pages that SparF reads for one head: of the copy those with one of ``channels``, K of tokens that the copy
        does not hold yet, K and V of the groups with one of ``tokens``. A page read in both steps is there twice.

        Raises ValueError where there is no copy, or no such channel or token."""
        held, layout = self._held(sequence, layer), self.layout
        if layout.copy_channels is None:
            raise ValueError("copy_channels: wanted a channel-indexed copy of K, which SparF reads, got none")
        for name, chosen, size in (("channels", channels, layout.head_dim), ("tokens", tokens, held.length[layer])):
            if beyond := {one for one in chosen if not 0 <= one < size}:
                raise ValueError(f"{name}: wanted some of the {size} of sequence {sequence}, layer {layer}, got {min(beyond)}")
        touched = sorted({channel // layout.copy_channels for channel in channels})
        pages = []
        for block, group in product(range(held.copied[layer]), touched):
            address = self._fields[COPY].pack(sequence, layer, block, head, group)
            pages.append(self._read(COPY, address, held.owner, 0))
        tail = range(held.copied[layer] * layout.copy_tokens // layout.page_tokens, -(-held.durable[layer] // layout.page_tokens))
        kept = sorted({token // layout.page_tokens for token in tokens if token < held.durable[layer]})
        for group, kind in [*((group, 0) for group in tail), *product(kept, range(len(KINDS)))]:
            address = self._fields[TOKENS].pack(sequence, layer, group, head, kind)
            pages.append(self._read(TOKENS, address, held.owner, 0))
        return pages

    @property
    def wear(self) -> Wear:
        """What has been written and erased so far."""
        blocks, page = self.blocks, self.layout.page_bytes
        payload = self._host_bytes + self._copy_bytes
        return Wear(
            host_bytes=self._host_bytes,
            copy_bytes=self._copy_bytes,
            pages_programmed=blocks.programmed,
            pages_moved=blocks.pages_moved,
            pages_partial=self._partial,
            pages_read_back=self._read_back,
            erases=int(blocks.erases.sum()),
            max_erases=int(blocks.erases.max()),
            mean_erases=Fraction(int(blocks.erases.sum()), blocks.erases.size),
            write_amplification=Fraction(blocks.programmed * page, payload) if payload else Fraction(1),
        )

    def verify(self) -> None:
        """Raise AssertionError unless each logical page has one live physical page, which says so, and no other page lives."""
        self.blocks.verify()
        mapped = {page: (name, address) for name, table in self.tables.items() for address, page in table.items()}
        if len(mapped) != sum(map(len, self.tables.values())) or mapped.keys() != self.blocks.stamps.keys():
            raise AssertionError("a physical page is mapped twice, or is live and not mapped")
        for page, (name, address) in mapped.items():
            stamp = self.blocks.stamps[page]
            if (stamp.table, stamp.address) != (name, address):
                raise AssertionError(f"page {page} is mapped as {name} {address:#x}, and says {stamp}")
        waiting = sum(sum(held.length) - sum(held.durable) for held in self._sequences.values()) * self.layout.token_bytes
        if waiting != self.buffered_bytes or waiting > self.buffer_bytes:
            raise AssertionError(
                f"buffer: {waiting} B wait, {self.buffered_bytes} B are counted, {self.buffer_bytes} B there are"
            )

    # how

    def _held(self, sequence: int, layer: int) -> _Sequence:
        if sequence not in self._sequences:
            raise ValueError(f"sequence: wanted one that is open, got {sequence}")
        if not 0 <= layer < self.layout.layers:
            raise ValueError(f"layer: wanted 0 to {self.layout.layers - 1}, got {layer}")
        return self._sequences[sequence]

    def _waiting_bytes(self, held: _Sequence, layer: int, new: int) -> int:
        """What waits in DRAM once this layer has ``new`` tokens, and its full pages are programmed."""
        durable, full = held.durable[layer], new - new % self.layout.page_tokens
        grown = new - max(durable, full) - (held.length[layer] - durable)
        return self.buffered_bytes + grown * self.layout.token_bytes

    def _room(self, pages: int) -> None:
        if len(self.blocks.stamps) + pages > self.blocks.usable_pages:
            raise self.blocks.full(pages)

    def _receive(self, held: _Sequence, layer: int, tokens: int) -> None:
        """``tokens`` more of one layer are in DRAM."""
        held.length[layer] += tokens
        self.buffered_bytes += tokens * self.layout.token_bytes

    def _settle(self, held: _Sequence, layer: int, tokens: int) -> None:
        """``tokens`` more of one layer are in flash, and leave DRAM."""
        held.durable[layer] += tokens
        self._host_bytes += tokens * self.layout.token_bytes
        self.buffered_bytes -= tokens * self.layout.token_bytes

    def _fill(self, sequence: int, layer: int, held: _Sequence, groups: int) -> None:
        """Program full token pages up to group ``groups``; the first is merged with its partial pages where it has any."""
        layout, durable = self.layout, held.durable[layer]
        if durable % layout.page_tokens:
            self._read_back += 2 * layout.heads
        for group in range(durable // layout.page_tokens, groups):
            self._put_group(sequence, layer, held, group, layout.page_tokens)
        self._settle(held, layer, groups * layout.page_tokens - durable)

    def _copy(self, sequence: int, layer: int, held: _Sequence, in_flash: int) -> None:
        """Program the next block of the copy; keys of the first ``in_flash`` tokens are read back."""
        layout, block = self.layout, held.copied[layer]
        old = min(in_flash, (block + 1) * layout.copy_tokens) - block * layout.copy_tokens
        self._read_back += layout.heads * (max(old, 0) // layout.page_tokens)
        for head, group in product(range(layout.heads), range(layout.channel_groups)):
            address = self._fields[COPY].pack(sequence, layer, block, head, group)
            self._put(COPY, address, sequence + block + group + 2 * head, layer, held, layout.copy_tokens)
        held.copied[layer] += 1
        self._copy_bytes += layout.copy_tokens * layout.heads * layout.row_bytes

    def _flush_longest(self) -> None:
        """Program the longest tail that waits on partly filled pages."""
        layout = self.layout
        waits = product(self._sequences, range(layout.layers))
        number, layer = max(waits, key=lambda at: self._sequences[at[0]].length[at[1]] - self._sequences[at[0]].durable[at[1]])
        held = self._sequences[number]
        group, filled = divmod(held.durable[layer], layout.page_tokens)
        tail = held.length[layer] - held.durable[layer]
        self._room(2 * layout.heads)
        if filled:
            self._read_back += 2 * layout.heads
        self._put_group(number, layer, held, group, filled + tail)
        self._partial += 2 * layout.heads
        self._settle(held, layer, tail)

    def _put_group(self, sequence: int, layer: int, held: _Sequence, group: int, tokens: int) -> None:
        """K and V of one token group, all heads. Neighbours of every field are on different channels: reads of one head and
        writes of one group both use all."""
        for head, kind in product(range(self.layout.heads), range(len(KINDS))):
            address = self._fields[TOKENS].pack(sequence, layer, group, head, kind)
            self._put(TOKENS, address, sequence + group + 2 * head + kind, layer, held, tokens)

    def _put(self, name: str, address: int, stripe: int, layer: int, held: _Sequence, tokens: int) -> None:
        stream = (held.task, layer) if self.by_task else None
        stamp = Stamp(name, address, held.owner, tokens)
        page = self.blocks.program(stream, stripe % self.blocks.part.channels, stamp)
        before = self.tables[name].get(address)  # after programming: reclaim may have moved it
        if before is not None:
            self.blocks.invalidate(before)
        self.tables[name][address] = page

    def _remap(self, stamp: Stamp, page: int) -> None:
        self.tables[stamp.table][stamp.address] = page

    def _read(self, name: str, address: int, owner: int, offset: int) -> int:
        """The page of a logical address, which must say that it holds token ``offset`` of that page of ``owner``."""
        page = self.tables[name][address]
        stamp = self.blocks.stamps[page]
        if (stamp.table, stamp.address, stamp.owner) != (name, address, owner) or offset >= stamp.tokens:
            raise AssertionError(f"page {page}: wanted {name} {address:#x} of owner {owner}, token {offset}, got {stamp}")
        return page
