"""KV cache across a link, attention on the device: keys and values of every block are fetched for every step.

    decode     max(attention in main memory, bytes of keys and values / rate)           fetched while others are worked on
    prefill    attention in main memory; new keys and values are written beside the block (`background_ps`)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from accel.base.clock import bytes_to_ps
from accel.base.extent import larger
from sim.offloads.base import Offload, Timer, Worker
from sim.timing import Timing
from sim.work import Work
from workloads.ops import Attention, Op

if TYPE_CHECKING:
    from sim.lowering import Stage
    from sim.system import Device


class KvStreaming(Offload):
    """Keys and values lie in ``placement.kv``, which is not the main memory, and are fetched for every step."""

    main: str
    """The memory in which attention works on what was fetched."""

    def parts(self) -> tuple[dict[str, str], dict[str, str]]:
        return {}, {"main": self.main}

    def takes(self, op: Op) -> bool:
        return isinstance(op, Attention)

    def time(self, stage: Stage, device: Device, own: Timer) -> Timing:
        assert isinstance(stage.op, Attention)
        there = own(stage, _in_main_memory(device, self.main))
        if stage.op.role != "decode":
            return there
        fetched_ps = bytes_to_ps(stage.op.kv_bytes, device.memories[device.placement.kv].bandwidth)
        read = there.read | {device.placement.kv: stage.op.kv_bytes}
        ps, memory_ps = larger(there.ps, fetched_ps), larger(there.memory_ps, fetched_ps)
        return Timing(ps, there.compute_ps, memory_ps, read, there.written, there.mapping)

    def work(self, stage: Stage, device: Device, own: Worker) -> Work:
        assert isinstance(stage.op, Attention)
        done = own(stage, _in_main_memory(device, self.main))
        kv, op = device.placement.kv, stage.op
        new = op.kv.nbytes(2 * op.tokens * op.kv_heads * op.head_dim)
        done.events[kv, "write_byte"] = done.events[kv, "write_byte"] + new
        if op.role == "decode":
            done.events[kv, "read_byte"] = done.events[kv, "read_byte"] + op.kv_bytes
            done.events[self.main, "write_byte"] = done.events[self.main, "write_byte"] + op.kv_bytes
        return done

    def background_ps(self, prefilled: int, decodes: int, shape: Mapping[str, Any], device: Device) -> int:
        new = shape["kv"].nbytes(2 * (prefilled + decodes) * shape["kv_heads"] * shape["head_dim"])
        return bytes_to_ps(new, device.memories[device.placement.kv].bandwidth)


def _in_main_memory(device: Device, main: str) -> Device:
    """``device`` as if its KV cache lay in ``main``."""
    return device.model_copy(update={"placement": device.placement.model_copy(update={"kv": main, "offload": None})})
