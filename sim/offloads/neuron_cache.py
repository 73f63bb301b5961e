"""FFN weights on flash, neuron by neuron, with those of the last tokens kept in main memory (LLM in a flash, arXiv 2312.11514).

Embeddings, attention and predictors stay in main memory. In every block low-rank predictors (hidden x rank, rank x neurons) say
which neurons the tokens use. The profile (`workloads.sparsity`) says how many those are: with a window of k tokens and m new ones

    read      fresh(k, m) neurons, in random reads: a whole neuron each where rows and columns are bundled, else one of a matrix
    rows      4 x bytes read / copy: a row of the buffer is rewritten for every neuron that leaves, and one for every one that
              comes, each of them read and written; and bytes read / link to a device with memory of its own
    GEMMs     over used(max(k, m)) neurons, all that the buffer holds; or used(m), where the kernels skip the others

    FFN       predictors + read + rows + GEMMs, or predictors + max(read + rows, GEMMs) where reads are ``overlapped``

Where so many are fresh that one sequential read of all of them is quicker (prompts), the whole FFN is streamed, into place,
nothing is predicted, and GEMMs go over all neurons. All this is timed with the first matrix of the FFN. Tokens count as
consecutive whoever they belong to: batches share one buffer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from accel.base.clock import PS_PER_MS, bytes_to_ps
from accel.base.extent import larger
from accel.base.mapping import ceil_div
from accel.base.quantity import MBytesPerSecond
from memsys.link import NamedLink
from sim.errors import BadInput
from sim.offloads import _ffn, _flash
from sim.offloads._ffn import DOWN, ENTRY, ByNeuron
from sim.offloads.base import Timer, Worker
from sim.timing import Timing
from sim.work import Work
from workloads import sparsity
from workloads.ops import Linear

if TYPE_CHECKING:
    from sim.lowering import Stage
    from sim.system import Device
    from workloads.model import Precision, Transformer

COPIES = 4  # a row read and written where a neuron leaves, and where one comes
WHOLE = sparsity.WHOLE


class Fetch(NamedTuple):
    """What one block reads for its FFN: bytes from flash, those of them that are moved row by row, picoseconds of both; and 1
    where the whole FFN is streamed."""

    nbytes: Any
    arranged: Any
    flash_ps: Any
    rows_ps: Any
    streamed: Any


class NeuronCache(ByNeuron):
    """FFN neurons in ``placement.weights``, a drive; those of a window of tokens, and all other weights, in main memory."""

    window: int = Field(ge=1, le=sparsity.LONGEST)
    """k: tokens whose neurons stay in ``main``."""
    bundle: bool = True
    """Whether all weights of a neuron lie together, and are read at once."""
    computes: Literal["buffer", "used"] = "buffer"
    """What GEMMs go over: all neurons of the buffer, or those that the tokens use."""
    overlapped: bool = False
    """Whether reads go on while units work on the neurons that are there."""
    copy_rate: MBytesPerSecond
    """What moving rows reads and writes per second, of ``host`` or ``main``."""
    host: str | None = None
    """The host's memory, in which rows are put in order where ``main`` is that of a device behind ``link``."""
    link: NamedLink | None = None
    """From ``host`` to ``main``."""

    def parts(self) -> tuple[dict[str, str], dict[str, str]]:
        return {}, {"main": self.main} | ({} if self.host is None else {"host": self.host})

    # what fits

    def check(self, device: Device, model: Transformer, precision: Precision) -> None:
        _flash.check_places(device, self.kind(), self.main)
        _flash.check_link(device, self.kind(), self.main, self.host, self.link)
        _ffn.check_profile(device, self.kind(), self.sparsity, model)
        entry = device.placement.unit_of(Linear(role="gate_up" if model.gated else "up", m=1, n=1, k=1))
        assert entry is not None
        _ffn.check_unit(device, "placement.linear", entry, model, precision, predicts=True)
        _flash.check_room(device, self.main, self.held(model, precision))
        arranged = self.host or self.main
        most = device.memories[arranged].bandwidth
        if self.copy_rate > most:
            raise BadInput(
                f"{device.name}: placement.offload.copy_rate: wanted at most the {most} MB/s of memory {arranged!r}, "
                f"got {self.copy_rate} MB/s"
            )

    def held(self, model: Transformer, precision: Precision) -> dict[str, int]:
        ffn = _ffn.ffn_bytes(model, precision)
        window = ceil_div(ffn * self.sparsity.used(self.window), WHOLE)
        return {
            "embeddings, attention, norms": model.weight_bytes(precision) - ffn,
            "predictors": _ffn.predictor_bytes(model, self.sparsity),
            f"neurons of {self.window} tokens": window,
            _ffn.PROMPT: ceil_div(ffn - window, model.layers),
        }

    # one block

    def time(self, stage: Stage, device: Device, own: Timer) -> Timing:
        op = stage.op
        assert isinstance(op, Linear)
        there = _flash.in_main_memory(device, self.main)
        done = own(replace(stage, op=self._thinned(op, device)), there)
        if op.role not in ENTRY:
            return done
        step = self.fetch(op, device)
        predicted = [own(ahead, there) for ahead in _ffn.predictors(stage, self.sparsity, stage.unit, step.streamed)]
        predicted_ps = sum(timing.ps for timing in predicted)
        fetched_ps = step.flash_ps + step.rows_ps
        moved = self.work(stage, device, lambda *_: Work())
        read, written = (
            _flash.sums([*(getattr(timing, way) for timing in (done, *predicted)), _flash.bytes_of(moved, event)])
            for way, event in (("read", "read_byte"), ("written", "write_byte"))
        )
        ps, memory_ps = fetched_ps + done.ps, fetched_ps + done.memory_ps
        if self.overlapped:
            ps = larger(larger(fetched_ps, done.ps), _flash.carried_ps(device, read, written))
            memory_ps = larger(fetched_ps, done.memory_ps)
        compute_ps = done.compute_ps + sum(timing.compute_ps for timing in predicted)
        memory_ps = memory_ps + sum(timing.memory_ps for timing in predicted)
        return Timing(predicted_ps + ps, compute_ps, memory_ps, read, written, _label(step, predicted_ps, done.mapping))

    def work(self, stage: Stage, device: Device, own: Worker) -> Work:
        op = stage.op
        assert isinstance(op, Linear)
        there = _flash.in_main_memory(device, self.main)
        done = own(replace(stage, op=self._thinned(op, device)), there)
        if op.role not in ENTRY:
            return done
        step = self.fetch(op, device)
        for ahead in _ffn.predictors(stage, self.sparsity, stage.unit, step.streamed):
            done.add(own(ahead, there))
        host = self.host or self.main
        _flash.count_read(done, device, step.nbytes, self._chunk(op), host, streamed=step.streamed)
        for event in ("read_byte", "write_byte"):
            _flash.add(done, host, event, step.arranged * COPIES // 2)
        _flash.count_upload(done, step.nbytes, host, self.main)
        return done

    def _thinned(self, op: Linear, device: Device) -> Linear:
        """``op`` over those of the FFN's neurons that are worked on; any other as it is."""
        if op.role not in (*ENTRY, DOWN):
            return op
        entry = _ffn.entering(op, self.sparsity.gated) if op.role == DOWN else op
        used = self.sparsity.used(op.m if self.computes == "used" else larger(op.m, self.window))
        share = used + (WHOLE - used) * self.fetch(entry, device).streamed
        if op.role == DOWN:
            return replace(op, k=ceil_div(op.k * share, WHOLE))
        return replace(op, n=ceil_div(op.n * share, WHOLE))

    def _chunk(self, op: Linear) -> int:
        """Bytes of one random read: a neuron, or what one matrix has of it."""
        matrix = op.weights.nbytes(op.k)
        return matrix * _ffn.matrices(op) if self.bundle else matrix

    def fetch(self, op: Linear, device: Device) -> Fetch:
        """What is read before ``op``, the first matrix of an FFN, by random reads or in a stream, whichever is quicker."""
        neuron, neurons = op.weights.nbytes(op.k) * _ffn.matrices(op), _ffn.neurons(op)
        needed, kept = self.sparsity.used(op.m), self.sparsity.used(self.window)
        fresh_of = {"profile": self.sparsity.fresh(self.window, op.m), "least": larger(needed - kept, 0), "most": needed}
        fresh, every = ceil_div(neurons * fresh_of[self.activity], WHOLE) * neuron, neurons * neuron
        random_ps = _flash.random_read_ps(device, fresh, self._chunk(op))
        rows_ps = bytes_to_ps(COPIES * fresh, self.copy_rate) + _flash.upload_ps(self.link, fresh)
        stream_ps = bytes_to_ps(every, device.memories[device.placement.weights].bandwidth)
        place_ps = _flash.upload_ps(self.link, every)
        streamed = (random_ps + rows_ps > stream_ps + place_ps) * 1
        return Fetch(
            fresh + (every - fresh) * streamed,
            fresh * (1 - streamed),
            random_ps + (stream_ps - random_ps) * streamed,
            rows_ps + (place_ps - rows_ps) * streamed,
            streamed,
        )


def _label(step: Fetch, predicted_ps: Any, mapping: str) -> str:
    """What the time of a single step went to, beside the mapping of the GEMM."""
    if not isinstance(step.flash_ps, int):
        return mapping
    parts = (("predictors", predicted_ps), ("flash", step.flash_ps), ("rows", step.rows_ps))
    return ", ".join([mapping, *(f"{what} {ps / PS_PER_MS:.3g} ms" for what, ps in parts)])
