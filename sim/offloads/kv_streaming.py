"""KV cache across a link, attention on the device: keys and values of every block are fetched for every step.

With b bytes of keys and values of the tokens before, and w of the new ones, the attention of one block takes

    decode     max(attention in main memory, b / rate, or b / rate + w / write rate where both ways share the link)
    prefill    max(attention in main memory, b / rate)

as what is fetched is worked on as it comes, but no less than main memory takes to receive it and to read it again. Those of new
prompt tokens are written beside the next block. This is how FlexGen (ICML 2023) works with a cache on drives, and DeepSpeed's
ZeRO-Inference with one in host memory; weights stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from accel.base.clock import bytes_to_ps
from accel.base.extent import larger
from accel.base.mapping import ceil_div
from accel.base.quantity import MBytesPerSecond
from memsys.base import Memory
from memsys.ssd import Ssd
from sim.errors import BadInput
from sim.offloads._drives import pages_and_wear
from sim.offloads.base import Offload, Timer, Worker
from sim.timing import Timing
from sim.work import Work
from workloads.ops import Attention, Op

if TYPE_CHECKING:
    from sim.engine import Served
    from sim.lowering import Stage
    from sim.pricing import StepPricer
    from sim.system import Device
    from workloads.model import Precision, Transformer


class KvStreaming(Offload):
    """Keys and values lie in ``placement.kv``, which is not the main memory, and are fetched for every step."""

    main: str
    """The memory in which attention works on what was fetched."""
    rate: MBytesPerSecond | None = None
    """What reads of keys and values reach, as measured for their size; by default the bandwidth of ``placement.kv``."""
    fetched_permille: int = Field(default=1000, gt=0, le=1000)
    """Share of the keys and values that decodes fetch, where attention is sparse; the attention itself is priced as if dense."""

    def parts(self) -> tuple[dict[str, str], dict[str, str]]:
        return {}, {"main": self.main}

    def check(self, device: Device, model: Transformer, precision: Precision) -> None:
        kv = device.placement.kv
        if kv == self.main:
            raise BadInput(f"{device.name}: placement.kv: wanted a memory other than the main one, {self.main!r}, got it")
        most = device.memories[kv].bandwidth
        if self.rate is not None and self.rate > most:
            raise BadInput(
                f"{device.name}: placement.offload.rate: wanted at most the {most} MB/s of memory {kv!r}, got {self.rate} MB/s"
            )

    def takes(self, op: Op) -> bool:
        return isinstance(op, Attention)

    def time(self, stage: Stage, device: Device, own: Timer) -> Timing:
        op = stage.op
        assert isinstance(op, Attention)
        memory = device.memories[device.placement.kv]
        there = own(stage, in_main_memory(device, self.main))
        past, new = self._fetched(op), new_bytes(op)
        moved_ps = bytes_to_ps(past, self.rate or memory.bandwidth)
        read, written = there.read | {device.placement.kv: past}, there.written | {self.main: there.written[self.main] + past}
        if op.role == "decode":  # the new ones of a prompt are written beside the block
            write_ps = bytes_to_ps(new, _write_mb_per_s(memory))
            moved_ps = larger(moved_ps, write_ps) if isinstance(memory, Ssd) else moved_ps + write_ps
            written |= {device.placement.kv: new}
        moved_ps = larger(moved_ps, device.memories[self.main].carried_ps(read[self.main], written[self.main]))
        return Timing(
            larger(there.ps, moved_ps), there.compute_ps, larger(there.memory_ps, moved_ps), read, written, there.mapping
        )

    def work(self, stage: Stage, device: Device, own: Worker) -> Work:
        assert isinstance(stage.op, Attention)
        done = own(stage, in_main_memory(device, self.main))
        past, new, kv = self._fetched(stage.op), new_bytes(stage.op), device.placement.kv
        moved = Work()
        moved.events.update({(kv, "read_byte"): past, (kv, "write_byte"): new, (self.main, "write_byte"): past})
        moved.events.update({(kv, event): n for event, n in device.memories[kv].cell_events(past, new).items()})
        done.add(moved)
        return done

    def account(self, work: Work, pricer: StepPricer, served: Served) -> dict[str, Any]:
        kv = pricer.device.placement.kv
        drives = pricer.device.memories[kv]
        if not isinstance(drives, Ssd):
            return {}
        token_bytes = pricer.model.kv_bytes_per_token(pricer.precision)
        return pages_and_wear(kv, drives, work, served, work.events[kv, "write_byte"], token_bytes)

    def _fetched(self, op: Attention) -> Any:
        past = past_bytes(op)
        return ceil_div(past * self.fetched_permille, 1000) if op.role == "decode" else past

    def background_ps(self, prefilled: int, decodes: int, shape: Mapping[str, Any], device: Device) -> int:
        new = shape["kv"].nbytes(2 * prefilled * shape["kv_heads"] * shape["head_dim"])
        return bytes_to_ps(new, _write_mb_per_s(device.memories[device.placement.kv]))


def past_bytes(op: Attention) -> Any:
    """Keys and values of the tokens before the new ones, which wait where the cache lies."""
    return op.kv.nbytes(2 * (op.context - op.tokens) * op.kv_heads * op.head_dim)


def new_bytes(op: Attention) -> Any:
    """Keys and values of the new tokens."""
    return op.kv.nbytes(2 * op.tokens * op.kv_heads * op.head_dim)


def in_main_memory(device: Device, main: str) -> Device:
    """``device`` as if its KV cache lay in ``main``."""
    return device.model_copy(update={"placement": device.placement.model_copy(update={"kv": main, "offload": None})})


def _write_mb_per_s(memory: Memory) -> int:
    """What a memory takes: of drives the least of links and cells."""
    return min(memory.bandwidth, memory.drives * memory.program_mb_per_s) if isinstance(memory, Ssd) else memory.bandwidth
