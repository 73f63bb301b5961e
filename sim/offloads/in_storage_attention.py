"""Attention of decodes inside drives that hold keys and values, prefill on the device: InstInfer (InstAttention, HPCA'25).

The heads are dealt out to the drives; the busiest has h of them. Each request is one command per layer and drive: its q, k and v
come over the links, the pages of its heads are read on all flash channels, the engines attend, and the result goes back. Commands
overlap (`sim.offloads._attend`), so that for R requests of mean context c the attention of one block takes about

    latency of one command + (R - 1) max(in, flash, engine, out) + programs of the new tokens, and of copies of their keys

with flash and engine those of c tokens (`memsys.kv_store`, and the engine's own price). Requests of one length are priced
exactly; of others, each head is off by less than one page of keys and one of values per request, and where it is sparse by less
than the pages of keys that one page of their copy stands for in addition. New tokens wait in the drive
until a page of every head is full; over time, that is their share of a page each, which is charged in every step. The keys and
values of a prompt are shipped and programmed, layer by layer, beside the next block.

SparF reads fewer pages, by its profile of activity (`sim.offloads._sparf`), and keeps a second copy of keys, by channel. Work of
a whole run is that of the mean context, over a whole period of pages around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from accel.base.clock import bytes_to_ps, cycles_to_ps
from accel.base.extent import larger
from accel.base.mapping import ceil_div
from accel.base.quantity import MBytesPerSecond
from memsys.kv_store import KvLayout
from memsys.link import NamedLink
from memsys.ssd import Ssd
from sim.errors import BadInput, CheckFailed, Infeasible
from sim.files import validate
from sim.offloads._attend import attend_ps
from sim.offloads._drives import check_places, pages_and_wear
from sim.offloads._sparf import SparF
from sim.offloads.base import Offload, Timer, Worker
from sim.offloads.kv_streaming import in_main_memory, new_bytes, past_bytes
from sim.timing import Timing
from sim.work import CYCLE, Work
from workloads.ops import Attention, Op
from workloads.sparse_attention import SparseAttention

if TYPE_CHECKING:
    from sim.engine import Served
    from sim.lowering import Stage
    from sim.pricing import StepPricer
    from sim.system import Device
    from workloads.model import Precision, Transformer


class InStorageAttention(Offload):
    """Keys and values lie on the drives of ``placement.kv``, and decodes are attended there."""

    engine: str
    """The unit in the drives: as many copies for each of them."""
    main: str
    """The device's memory, where prompts are attended and from which q, k and v come."""
    device_link: NamedLink
    """The device's own link, over which all drives are reached."""
    sparf: SparF | None = None
    """Sparse attention; dense without."""
    read_rate: MBytesPerSecond | None = None
    """What reads of pages reach inside a drive, as measured; by default what channels and cells do."""
    sequences: int = Field(default=256, gt=0)
    """Requests stored at a time, at most: room and addresses are checked for them at the longest context."""
    context: int | None = Field(default=None, gt=0)
    """Tokens of the longest context that is stored, where that is less than the model's; longer requests are refused."""
    group: int = Field(default=16, gt=0)
    """Tokens of a group, of which a page holds whole ones."""

    def parts(self) -> tuple[dict[str, str], dict[str, str]]:
        return {"engine": self.engine}, {"main": self.main}

    def check(self, device: Device, model: Transformer, precision: Precision) -> None:
        check_places(device, self.engine)
        drives, slot = device.memories[device.placement.kv], device.units[self.engine]
        where = f"{device.name}: placement.offload"
        if self.read_rate is not None and self.read_rate > drives.internal_mb_per_s:
            most = f"at most the {drives.internal_mb_per_s} MB/s of {drives.part}"
            raise BadInput(f"{where}.read_rate: wanted {most}, got {self.read_rate} MB/s")
        if precision.kv.name != "fp16":
            raise BadInput(f"{device.name}: precision.kv: wanted fp16, which the engine of the drives takes, got {precision.kv}")
        longest = self.longest(model)
        stored = {"heads": model.kv_heads, "head_dim": model.head_dim, "layers": model.layers, "context": longest}
        layout = validate(KvLayout, self._pages_of(device) | stored, where)
        if self.sparf is not None:
            self.sparf.check(layout, where)
        if longest > slot.unit.max_tokens:
            raise BadInput(
                f"{device.name}: units.{self.engine}.max_tokens: wanted at least the {longest} tokens of the longest context of "
                f"{model.name}, got {slot.unit.max_tokens}; or a shorter placement.offload.context"
            )
        try:
            slot.unit.check(self._asked(device, layout, longest, 1))
        except ValueError as error:
            raise BadInput(f"{device.name}: units.{self.engine}: {error}") from None
        try:
            layout.check_fits(drives, self.sequences, longest)
        except ValueError as error:
            raise Infeasible(f"{where}.sequences: {error}") from None

    def kv_token_bytes(self, nbytes: int) -> int:
        return nbytes if self.sparf is None else nbytes * 3 // 2

    def most_requests(self) -> int:
        return self.sequences

    def longest(self, model: Transformer) -> int:
        return min(self.context or model.max_context, model.max_context)

    def takes(self, op: Op) -> bool:
        return isinstance(op, Attention)

    # time

    def time(self, stage: Stage, device: Device, own: Timer) -> Timing:
        op = stage.op
        assert isinstance(op, Attention)
        drives: Ssd = device.memories[device.placement.kv]
        if op.role == "decode":
            return self._attended(op, device, drives)
        there = own(stage, in_main_memory(device, self.main))
        past = past_bytes(op)  # of earlier chunks of the prompt, fetched back
        fetched_ps = larger(drives.link.transfer_ps(_share(past, drives.drives)), self.device_link.transfer_ps(past))
        written = there.written | {self.main: there.written[self.main] + past}
        return Timing(
            larger(there.ps, fetched_ps),
            there.compute_ps,
            larger(there.memory_ps, fetched_ps),
            there.read | {device.placement.kv: past},
            written,
            there.mapping,
        )

    def _attended(self, op: Attention, device: Device, drives: Ssd) -> Timing:
        """The decodes of a batch on the busiest drive."""
        slot = device.units[self.engine]
        layout = self._layout(device, ceil_div(op.kv_heads, drives.drives), op.head_dim)
        queries = layout.heads * (op.heads // op.kv_heads)
        context = op.context // op.requests
        pages = self._pages(device, layout, context) * (op.heads // op.kv_heads)
        asked = self._asked(device, layout, context, ceil_div(queries, slot.count // drives.drives))
        engine_ps = cycles_to_ps(slot.unit.cost(asked).cycles, slot.clock)
        to_drive = op.activations.nbytes(queries * op.head_dim) + op.kv.nbytes(2 * layout.heads * op.head_dim)
        in_ps = max(drives.link.transfer_ps(to_drive), self.device_link.transfer_ps(_to_drives(op)))
        from_drive = op.output.nbytes(queries * op.head_dim)
        out_ps = max(drives.link.transfer_ps(from_drive), self.device_link.transfer_ps(_from_drives(op)))
        new_ps = self._new_ps(op.requests, layout, drives)
        flash_ps = op.requests * drives.pages_ps(ceil_div(pages, drives.nand.channels)) + new_ps
        if self.read_rate is not None:
            flash_ps = larger(flash_ps, op.requests * bytes_to_ps(pages * layout.page_bytes, self.read_rate) + new_ps)
        sent, returned = op.requests * _to_drives(op), op.requests * _from_drives(op)
        return Timing(
            attend_ps(drives, op.requests, pages, engine_ps, in_ps, out_ps, self.read_rate) + new_ps,
            op.requests * engine_ps,
            flash_ps,
            {self.main: sent, device.placement.kv: returned},
            {self.main: returned, device.placement.kv: sent},
            "own",
        )

    def _new_ps(self, tokens: int, layout: KvLayout, drives: Ssd) -> int:
        """Flash time of one new token for each of ``tokens`` requests, in the long run."""
        channels = drives.nand.channels
        programs = ceil_div(ceil_div(layout.decode_bytes(tokens), layout.page_bytes), channels)
        return drives.pages_ps(programs, program=True) + drives.pages_ps(ceil_div(self._read_back(layout, tokens), channels))

    def background_ps(self, prefilled: int, decodes: int, shape: Mapping[str, Any], device: Device) -> int:
        if not prefilled:
            return 0
        drives: Ssd = device.memories[device.placement.kv]
        layout = self._layout(device, ceil_div(shape["kv_heads"], drives.drives), shape["head_dim"])
        pages = ceil_div(ceil_div(layout.decode_bytes(prefilled), layout.page_bytes), drives.nand.channels)
        shipped = layout.prefill_bytes(prefilled)
        everything = shape["kv"].nbytes(2 * prefilled * shape["kv_heads"] * shape["head_dim"])
        return max(
            drives.link.transfer_ps(shipped), self.device_link.transfer_ps(everything), drives.pages_ps(pages, program=True)
        )

    # work

    def work(self, stage: Stage, device: Device, own: Worker) -> Work:
        op, kv = stage.op, device.placement.kv
        assert isinstance(op, Attention)
        drives: Ssd = device.memories[kv]
        layout = self._layout(device, op.kv_heads, op.head_dim)
        programs = layout.decode_bytes(op.tokens) // layout.page_bytes
        moved = Work()
        moved.events.update({(kv, "page_program"): programs, (kv, "block_erase"): programs // drives.nand.pages})
        if op.role != "decode":
            past = past_bytes(op)
            done = own(stage, in_main_memory(device, self.main))
            moved.events.update({(kv, "read_byte"): past, (self.main, "write_byte"): past, (kv, "write_byte"): new_bytes(op)})
            moved.events[kv, "page_read"] = drives.pages(past)
            done.add(moved)
            return done
        mean = op.context // op.requests
        period = layout.copy_tokens or layout.page_tokens
        around = np.maximum(mean + np.arange(period) - period // 2, 0)
        pages = int(self._pages(device, layout, around).sum()) * (op.heads // op.kv_heads)
        sent, returned = op.requests * _to_drives(op), op.requests * _from_drives(op)
        moved.events.update({(self.main, "read_byte"): sent, (self.main, "write_byte"): returned})
        moved.events.update({(kv, "write_byte"): sent, (kv, "read_byte"): returned})
        moved.events[kv, "page_read"] = op.requests * pages // period + self._read_back(layout, op.requests)
        moved.add(self._engine_work(device, layout, mean, op.heads), op.requests)
        return moved

    def _engine_work(self, device: Device, layout: KvLayout, context: int, heads: int) -> Work:
        """One request of ``context`` tokens on the engines, which price one head after the other."""
        cost = device.units[self.engine].unit.cost(self._asked(device, layout, context, heads))
        done = Work()
        done.cycles[self.engine] = done.events[self.engine, CYCLE] = cost.cycles
        for event, count in cost.events.items():
            done.events[self.engine, event] = count
        return done

    def account(self, work: Work, pricer: StepPricer, served: Served) -> dict[str, Any]:
        """Pages, wear and use of the flash. Laws: what attention must read is read; the flash works no longer than the run."""
        device, kv = pricer.device, pricer.device.placement.kv
        drives: Ssd = device.memories[kv]
        part, busy = drives.nand, sum(tally.busy_ps for tally in served.tallies)
        tokens, context = (sum(getattr(t, name) for t in served.tallies) for name in ("decode_tokens", "decode_context"))
        new = tokens + sum(t.chunk_tokens for t in served.tallies)
        read, programmed = work.events[kv, "page_read"], work.events[kv, "page_program"]
        token_bytes = pricer.model.kv_bytes_per_token(pricer.precision)
        waiting = tokens * (part.page_bytes // (2 * pricer.model.head_dim))  # in DRAM, less than a page of each head
        least = max(context - waiting, 0) * token_bytes * (1000 if self.sparf is None else self.sparf.tokens_permille) // 1000
        if read * part.page_bytes < least:
            raise CheckFailed(f"conservation: {read} pages read of memory {kv}, {least} bytes must be")
        on_channel = [ceil_div(pages, drives.drives * part.channels) for pages in (read, programmed)]
        flash_ps = drives.pages_ps(on_channel[0]) + drives.pages_ps(on_channel[1], program=True)
        if flash_ps > busy:
            raise CheckFailed(f"conservation: the flash of memory {kv} works {flash_ps} ps in {busy} ps")
        stored = self.kv_token_bytes(token_bytes)
        return {f"{kv}_flash_utilization": flash_ps / busy} | pages_and_wear(kv, drives, work, served, new * token_bytes, stored)

    def ends(self) -> Mapping[str, Offload]:
        if self.sparf is None:
            return {}
        return {end: self.model_copy(update={"sparf": self.sparf.at(end)}) for end in ("least", "most")}

    # what one request asks of a drive

    def _pages_of(self, device: Device) -> dict[str, Any]:
        """How pages hold keys and values, whatever the model."""
        return {
            "page_bytes": device.memories[device.placement.kv].nand.page_bytes,
            "group": self.group,
            "copy_channels": None if self.sparf is None else device.units[self.engine].unit.page_channels,
            "sequences": self.sequences,
        }

    def _layout(self, device: Device, heads: int, head_dim: int) -> KvLayout:
        """One block's keys and values of ``heads`` heads on pages."""
        return _layout_of(tuple(self._pages_of(device).items()), heads, head_dim)

    def _pages(self, device: Device, layout: KvLayout, context: Any) -> Any:
        """Pages that the heads of ``layout`` read for one query each over ``context`` tokens."""
        return layout.dense_pages(context) if self.sparf is None else self.sparf.pages(layout, context)

    def _read_back(self, layout: KvLayout, tokens: int) -> int:
        """Pages of keys read back, in the long run, for the copies of ``tokens`` new tokens."""
        return 0 if self.sparf is None else ceil_div(layout.heads * tokens, layout.page_tokens)

    def _asked(self, device: Device, layout: KvLayout, context: Any, heads: int) -> SparseAttention:
        """What ``heads`` heads ask of one engine."""
        if self.sparf is None:
            return SparseAttention.all_tokens(context, layout.head_dim, heads)
        return self.sparf.asked(layout, device.units[self.engine].unit, context, heads)


@cache
def _layout_of(pages: tuple[tuple[str, Any], ...], heads: int, head_dim: int) -> KvLayout:
    return KvLayout(**dict(pages), layers=1, heads=heads, head_dim=head_dim, context=1)


def _share(nbytes: Any, drives: int) -> Any:
    return ceil_div(nbytes, drives)


def _to_drives(op: Attention) -> int:
    """Bytes of q, k and v of one request."""
    return op.activations.nbytes(op.heads * op.head_dim) + op.kv.nbytes(2 * op.kv_heads * op.head_dim)


def _from_drives(op: Attention) -> int:
    """Bytes of the output of one request."""
    return op.output.nbytes(op.heads * op.head_dim)
