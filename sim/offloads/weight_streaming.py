"""Weights on flash, streamed in full for every step: what offloading costs where nothing is known of activations.

Of every matrix ``resident_permille`` stays in main memory, as do tables whose rows are looked up; the rest is read when its GEMM
is due, in long sequential reads, or page by page (``page``) where pages are faulted in:

    GEMM    weights in main memory + bytes streamed / min(drive, link)         one after the other, or
            max of both                                                        where reads are ``overlapped`` with work

Nothing takes less than a memory needs for what it receives and what is read of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from accel.base.clock import bytes_to_ps
from accel.base.extent import larger
from accel.base.mapping import ceil_div
from accel.base.quantity import Bytes
from memsys.link import NamedLink
from sim.offloads import _flash
from sim.offloads.base import Offload, Timer, Worker
from sim.timing import Timing
from sim.work import Work
from workloads.ops import Linear, Op

if TYPE_CHECKING:
    from sim.lowering import Stage
    from sim.system import Device
    from workloads.model import Precision, Transformer


class WeightStreaming(Offload):
    """Weights in ``placement.weights``, a drive, of which a share stays in main memory and the rest is streamed every step."""

    main: str
    """The memory in which all else lies, and from which units work."""
    resident_permille: int = Field(default=0, ge=0, le=1000)
    """Share of every matrix that stays in ``main``."""
    page: Bytes | None = None
    """What is read at a time; None: long sequential reads."""
    overlapped: bool = False
    """Whether reads go on while units work on what was read before."""
    host: str | None = None
    """The host's memory, which reads go through where ``main`` is that of a device behind ``link``."""
    link: NamedLink | None = None
    """From ``host`` to ``main``."""

    def parts(self) -> tuple[dict[str, str], dict[str, str]]:
        return {}, {"main": self.main} | ({} if self.host is None else {"host": self.host})

    def check(self, device: Device, model: Transformer, precision: Precision) -> None:
        _flash.check_places(device, self.kind(), self.main)
        _flash.check_link(device, self.kind(), self.main, self.host, self.link)
        _flash.check_room(device, self.main, self._held(model, precision))

    def held_bytes(self, model: Transformer, precision: Precision) -> int:
        return sum(self._held(model, precision).values())

    def _held(self, model: Transformer, precision: Precision) -> dict[str, int]:
        linear = model.layers * model.block_weight_bytes(precision) + precision.lm_head.nbytes(model.vocab * model.hidden)
        return {
            "embeddings, norms": replace(model, tied=False).weight_bytes(precision) - linear,
            "resident": ceil_div(linear * self.resident_permille, 1000),
            "the matrix that is read": self._streamed(_flash.largest_matrix(model, precision)),
        }

    def takes(self, op: Op) -> bool:
        return isinstance(op, Linear)

    def _streamed(self, nbytes: int) -> int:
        return ceil_div(nbytes * (1000 - self.resident_permille), 1000)

    def stream_ps(self, op: Linear, device: Device) -> Any:
        """Picoseconds in which the weights of ``op`` that are not resident come from flash."""
        nbytes = self._streamed(op.weight_bytes)
        if self.page is None:
            flash_ps = bytes_to_ps(nbytes, device.memories[device.placement.weights].bandwidth)
        else:
            flash_ps = _flash.random_read_ps(device, nbytes, self.page)
        return larger(flash_ps, _flash.upload_ps(self.link, nbytes))

    def time(self, stage: Stage, device: Device, own: Timer) -> Timing:
        assert isinstance(stage.op, Linear)
        there = own(stage, _flash.in_main_memory(device, self.main))
        flash_ps = self.stream_ps(stage.op, device)
        moved = self.work(stage, device, lambda *_: Work())
        read = _flash.sums([there.read, _flash.bytes_of(moved, "read_byte")])
        written = _flash.sums([there.written, _flash.bytes_of(moved, "write_byte")])
        ps, memory_ps = there.ps + flash_ps, there.memory_ps + flash_ps
        if self.overlapped:
            ps = larger(larger(there.ps, flash_ps), _flash.carried_ps(device, read, written))
            memory_ps = larger(there.memory_ps, flash_ps)
        return Timing(ps, there.compute_ps, memory_ps, read, written, there.mapping)

    def work(self, stage: Stage, device: Device, own: Worker) -> Work:
        assert isinstance(stage.op, Linear)
        done = own(stage, _flash.in_main_memory(device, self.main))
        nbytes, host = self._streamed(stage.op.weight_bytes), self.host or self.main
        if nbytes:
            _flash.count_read(done, device, nbytes, self.page or nbytes, host)
            _flash.count_upload(done, nbytes, host, self.main)
        return done

    def weights_wanted(self, nbytes: int) -> int:
        return self._streamed(nbytes)
