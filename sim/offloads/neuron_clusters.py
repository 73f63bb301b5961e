"""FFN weights on flash in clusters of neurons: hot ones dense on one unit, cold ones sparse on another.

After PowerInfer-2 (arXiv 2406.06282). Main memory holds embeddings, attention, predictors and a share c of the neurons: the
hottest h for good, the rest least recently used. With used(m) of the profile (`workloads.sparsity`), and T the window of an LRU
cache of size c:

    read      fresh(T, m) neurons, none of them hot, in random reads, padded to whole pages; with ``gate_first`` the gate alone,
              and the other matrices only of the ``coactive_permille`` whose gate opens
    GEMMs     h of the neurons on ``dense``, used(m) less what falls on hot ones on ``sparse``, side by side:
              max(dense, sparse, bytes of both / bandwidth)
    FFN       predictors + max(GEMMs, read + GEMMs of the last cluster of ``cluster`` neurons read);
              predictors + GEMMs + read where they are not ``pipelined``

Prompts that use nearly all: the missing share 1 - c is streamed in order, all neurons are dense, and nothing is predicted. What
reads take longer than the GEMMs of both matrices is timed with the first one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field, model_validator

from accel.base.clock import bytes_to_ps
from accel.base.extent import larger, smaller
from accel.base.mapping import ceil_div
from accel.base.quantity import Bytes
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

WHOLE = sparsity.WHOLE
PERMILLE = WHOLE // 1000


class Clusters(NamedTuple):
    """What one block does for its FFN: bytes read, and their picoseconds; ppm of neurons dense, sparse, and in the last cluster
    that is read; and 1 where the missing ones are streamed in order."""

    nbytes: Any
    flash_ps: Any
    dense: Any
    sparse: Any
    last: Any
    streamed: Any


class NeuronClusters(ByNeuron):
    """FFN neurons in ``placement.weights``, a drive; hot and lately used ones, and all other weights, in main memory."""

    dense: str
    """The unit of hot clusters, and of all neurons of prompts."""
    sparse: str
    """The unit of predictors and cold clusters."""
    hot_permille: int = Field(ge=0, le=1000)
    """h: share of the neurons that stays in ``main`` and is computed densely."""
    cached_permille: int = Field(gt=0, le=1000)
    """c: share of the neurons in ``main`` in all."""
    cluster: int = Field(default=64, gt=0)
    """Neurons that are read before they are worked on together."""
    pipelined: bool = True
    """Whether clusters that are there are worked on while others are read."""
    page: Bytes
    """What reads are padded to."""
    gate_first: bool = False
    """Whether the gate is read first, and the rest only where it opens."""
    coactive_permille: int = Field(default=1000, gt=0, le=1000)
    """Neurons read whose gate opens."""

    @model_validator(mode="after")
    def _hot_fits(self) -> NeuronClusters:
        if self.hot_permille > self.cached_permille:
            raise ValueError(
                f"hot_permille: wanted at most the {self.cached_permille} of cached_permille, got {self.hot_permille}"
            )
        return self

    def parts(self) -> tuple[dict[str, str], dict[str, str]]:
        return {"dense": self.dense, "sparse": self.sparse}, {"main": self.main}

    # what fits

    def check(self, device: Device, model: Transformer, precision: Precision) -> None:
        _flash.check_places(device, self.kind(), self.main)
        _ffn.check_profile(device, self.kind(), self.sparsity, model)
        for field, predicts in (("dense", False), ("sparse", True)):
            where = f"placement.offload.{field}"
            _ffn.check_unit(device, where, getattr(self, field), model, precision, predicts=predicts)
        _flash.check_room(device, self.main, self.held(model, precision))

    def held(self, model: Transformer, precision: Precision) -> dict[str, int]:
        ffn = _ffn.ffn_bytes(model, precision)
        cached = ceil_div(ffn * self.cached_permille, 1000)
        return {
            "embeddings, attention, norms": model.weight_bytes(precision) - ffn,
            "predictors": _ffn.predictor_bytes(model, self.sparsity),
            "neurons": cached,
            _ffn.PROMPT: ceil_div(ffn - cached, model.layers),
        }

    # one block

    def time(self, stage: Stage, device: Device, own: Timer) -> Timing:
        op, there = stage.op, _flash.in_main_memory(device, self.main)
        assert isinstance(op, Linear)
        if op.role not in (*ENTRY, DOWN):
            return own(stage, there)
        step = self.clusters(op, device)
        done = self._beside(stage, step, there, own)
        if op.role == DOWN:
            return done
        predicted = [own(ahead, there) for ahead in _ffn.predictors(stage, self.sparsity, self.sparse, step.streamed)]
        moved = self._read(stage, device)
        read, written = (
            _flash.sums([*(getattr(timing, way) for timing in (done, *predicted)), _flash.bytes_of(moved, event)])
            for way, event in (("read", "read_byte"), ("written", "write_byte"))
        )
        exposed = self._exposed(stage, step, done, there, own) if self.pipelined else step.flash_ps
        ps = sum(timing.ps for timing in predicted) + done.ps + exposed
        compute_ps = done.compute_ps + sum(timing.compute_ps for timing in predicted)
        memory_ps = done.memory_ps + exposed + sum(timing.memory_ps for timing in predicted)
        return Timing(ps, compute_ps, memory_ps, read, written, done.mapping)

    def _exposed(self, stage: Stage, step: Clusters, done: Timing, there: Device, own: Timer) -> Any:
        """Picoseconds by which reads outlast the GEMMs of the FFN that ``stage`` enters and ``done`` times: those of the last
        cluster wait for its neurons, and the main memory takes them in beside what GEMMs read of it."""
        assert isinstance(stage.op, Linear)
        ending = replace(stage, op=_ffn.ending(stage.op), fused=())
        end = self._beside(ending, step, there, own)
        last = step._replace(dense=step.last * step.streamed, sparse=step.last * (1 - step.streamed))
        last_ps = sum(self._beside(part, last, there, own).ps for part in (replace(stage, fused=()), ending))
        taken = sum(moved[self.main] for timing in (done, end) for moved in (timing.read, timing.written)) + step.nbytes
        reads_ps = (step.flash_ps + last_ps) * (step.nbytes > 0)
        return larger(larger(reads_ps, there.memories[self.main].time_ps(taken)) - done.ps - end.ps, 0)

    def work(self, stage: Stage, device: Device, own: Worker) -> Work:
        op, there = stage.op, _flash.in_main_memory(device, self.main)
        assert isinstance(op, Linear)
        if op.role not in (*ENTRY, DOWN):
            return own(stage, there)
        done = Work()
        step = self.clusters(op, device)
        for part in self._split(stage, step):
            done.add(own(part, there))
        if op.role in ENTRY:
            for ahead in _ffn.predictors(stage, self.sparsity, self.sparse, step.streamed):
                done.add(own(ahead, there))
            done.add(self._read(stage, device))
        return done

    def _read(self, stage: Stage, device: Device) -> Work:
        """The reads of one block."""
        op, done = stage.op, Work()
        assert isinstance(op, Linear)
        step = self.clusters(op, device)
        _flash.count_read(done, device, step.nbytes, self._pages(op)[0], self.main, streamed=step.streamed)
        return done

    def _split(self, stage: Stage, step: Clusters) -> list[Stage]:
        """``stage`` over the dense neurons on one unit, and over the sparse ones on the other."""
        op = stage.op
        assert isinstance(op, Linear)

        def over(share: Any) -> Linear:
            if op.role == DOWN:
                return replace(op, k=ceil_div(op.k * share, WHOLE))
            return replace(op, n=ceil_div(op.n * share, WHOLE))

        return [
            replace(stage, op=over(step.dense), unit=self.dense),
            replace(stage, op=over(step.sparse), unit=self.sparse, fused=()),
        ]

    def _beside(self, stage: Stage, step: Clusters, there: Device, own: Timer) -> Timing:
        """Both parts of ``stage`` at a time, on units that share the main memory."""
        parts = [own(part, there) for part in self._split(stage, step)]
        read, written = (_flash.sums(getattr(part, way) for part in parts) for way in ("read", "written"))
        memory_ps = bytes_to_ps(read[self.main] + written[self.main], there.memories[self.main].bandwidth)
        ps = larger(memory_ps, larger(parts[0].ps, parts[1].ps))
        return Timing(ps, larger(parts[0].compute_ps, parts[1].compute_ps), memory_ps, read, written, parts[0].mapping)

    def _pages(self, op: Linear) -> tuple[int, int]:
        """Bytes of the first read of a neuron, and of the second one; all in the first unless the gate comes first."""
        matrix = op.weights.nbytes(op.k)
        whole = ceil_div(matrix * _ffn.matrices(op), self.page) * self.page
        first = ceil_div(matrix, self.page) * self.page if self.gate_first else whole
        return first, whole - first

    def clusters(self, op: Linear, device: Device) -> Clusters:
        """What the block of ``op``, a matrix of its FFN, reads, and where its neurons are worked on."""
        profile = self.sparsity
        hot, cached = self.hot_permille * PERMILLE, self.cached_permille * PERMILLE
        used = profile.used(op.m)
        cold = used - smaller(used * profile.covered(hot) // WHOLE, hot)
        if op.role == DOWN:
            op = _ffn.entering(op, profile.gated)
        fresh_of = {
            "profile": profile.fresh(profile.window_of(cached), op.m),
            "least": larger(used - cached, 0),
            "most": cold,
        }
        neurons = _ffn.neurons(op)
        fresh = ceil_div(neurons * smaller(fresh_of[self.activity], cold), WHOLE)
        first, second = self._pages(op)
        random = fresh * first + ceil_div(fresh * self.coactive_permille, 1000) * second
        random_ps = _flash.random_read_ps(device, random, first)
        absent = ceil_div(neurons * (1000 - self.cached_permille), 1000)
        missing = absent * op.weights.nbytes(op.k) * _ffn.matrices(op)
        stream_ps = bytes_to_ps(missing, device.memories[device.placement.weights].bandwidth)
        streamed = (random_ps > stream_ps) * 1
        read = fresh + (absent - fresh) * streamed
        return Clusters(
            random + (missing - random) * streamed,
            random_ps + (stream_ps - random_ps) * streamed,
            hot + (WHOLE - hot) * streamed,
            cold * (1 - streamed),
            smaller(smaller(self.cluster, read) * WHOLE // neurons, cold + (WHOLE - cold) * streamed),
            streamed,
        )
