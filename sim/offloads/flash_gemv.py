"""Weights in NAND flash whose dies compute: each matrix is split between the cores in the dies and the chip's own unit.

    one vector      both side by side, as `pim.flash_split` divides rows; the chip's rows take no less than its unit needs
    m vectors       min(m of these one after the other, all weights once through the channels to the chip's unit)
    embedding       pages of the rows, read on all planes at a time, and the rows alone on the channels

The chip's unit is the one that the placement names for the op: it takes its rows from the channels as they come, and adds the
sums of a row that come from several dies, a ``partial_sum`` of the flash each, hidden behind the channels. Every page that is
read is a ``page_read``, be it computed in its die or sent; vectors are bytes written to the flash, sums and pages bytes read from
it. Prices of the cores are those of INT8 values: other widths are priced as so many of them, which no RTL proves.

Source: Cambricon-LLM, MICRO'24 (arXiv 2409.15654), secondary. Prompts are not in it: several vectors are this module's own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from accel.base.clock import bytes_to_ps, cycles_to_ps
from accel.base.extent import larger
from accel.base.mapping import ceil_div
from accel.base.quantity import Bytes
from memsys.base import Memory
from memsys.nand import Nand
from pim.flash_compute import FlashCompute
from pim.flash_split import RESULT_BYTES, ReadCompute, Split
from pim.flash_tiling import CoreArray, Tile
from sim.errors import BadInput
from sim.offloads.base import Offload, Timer, Worker
from sim.timing import Timing
from sim.work import CYCLE, Work
from workloads.formats import Format
from workloads.ops import Linear, Op, Pointwise
from workloads.page_gemv import PageGemv

if TYPE_CHECKING:
    from sim.engine import Served
    from sim.lowering import Stage
    from sim.pricing import StepPricer
    from sim.system import Device
    from workloads.model import Precision, Transformer

Tiling = Literal["published", "search"]


class Shared(NamedTuple):
    """A matrix split between dies and chip, for one vector."""

    rounds: ReadCompute
    split: Split

    @property
    def cores_ps(self) -> int:
        """Products in the dies alone."""
        return self.split.dies_ps * self.rounds.core_ps // self.rounds.round_ps

    @property
    def memory_ps(self) -> int:
        """Cells and channels alone."""
        sensed_ps = self.split.dies_ps * self.rounds.part.mean_read_ps // self.rounds.round_ps
        return max(sensed_ps, self.split.chip_ps)

    def label(self, here: Any, op: Linear) -> str:
        """What reports call the mapping of ``op``, with what of its rounds is no padding; nothing where vectors differ."""
        if not isinstance(here, int):
            return ""
        if not here:
            return "streamed"
        tile = self.rounds.tile
        filled = int(100 * tile.utilisation(op.n, op.k))
        return f"{tile} {filled} % filled, {100 * self.split.rows // op.n} % in dies"


class FlashGemv(Offload):
    """Weights in flash, worked on in its dies and streamed to the chip, as in Cambricon-LLM."""

    cores: str
    """The unit that stands for the cores in the dies, one copy in each."""
    tiling: Tiling = "published"
    """Tile of a round: the one that moves least, as published, or the fastest for each matrix."""
    slice: Bytes = 2048
    """Bytes of an ordinary read that go on a channel at a time."""
    bit_error_rate: float = Field(default=2e-4, ge=0, le=1)
    """Share of the bits that the cells give back wrong; runs report the outliers that the code of the cores cannot mend at it.
    2e-4: what Cambricon-LLM is evaluated at, and keeps 92 to 95 % of its accuracy."""

    def parts(self) -> tuple[dict[str, str], dict[str, str]]:
        return {"cores": self.cores}, {}

    def check(self, device: Device, model: Transformer, precision: Precision) -> None:
        where = f"{device.name}: placement"
        name = device.placement.weights
        flash: Memory = device.memories[name]
        slot = device.units[self.cores]
        if not isinstance(flash, Nand):
            raise BadInput(f"{where}.weights: wanted a memory of kind nand, got {name!r} of kind {flash.kind()}")
        if not isinstance(slot.unit, FlashCompute):
            raise BadInput(
                f"{where}.offload.cores: wanted a unit of kind flash_compute, got {self.cores!r} of {slot.unit.kind()}"
            )
        dies = flash.nand.total_dies
        if slot.count != dies:
            raise BadInput(f"{device.name}: units.{self.cores}.count: wanted one for each of the {dies} dies, got {slot.count}")
        if flash.bandwidth != flash.nand.channels_mb_per_s:
            raise BadInput(
                f"{device.name}: memories.{name}.bandwidth: wanted the {flash.nand.channels_mb_per_s} MB/s of its channels, "
                f"got {flash.bandwidth} MB/s"
            )
        if device.placement.kv == name:  # no page is programmed here
            raise BadInput(f"{where}.kv: wanted a memory other than that of the weights, got {name!r}")
        for key in ("weights", "lm_head"):
            self._check_page(device, key, getattr(precision, key))
        rounds_on(device, self, precision.activations)

    def _check_page(self, device: Device, key: str, weights: Format) -> None:
        """Raise BadInput where the cores take no page of ``weights``, the format of ``precision`` under ``key``."""
        core, bits = _core(device, self.cores), _flash(device).nand.page_bytes * 8
        where = f"{device.name}: units.{self.cores}"
        if weights.group is not None:
            wanted = "weights with one scale for each row, as a core adds up its whole page"
            raise BadInput(f"{where}: wanted {wanted}, got {weights} (precision.{key})")
        if core.page_values != bits // weights.bits:
            raise BadInput(
                f"{where}.page_values: wanted the {bits // weights.bits} weights of {weights} (precision.{key}) in a page, "
                f"got {core.page_values}, which are weights of {bits // core.page_values} bits"
            )

    def takes(self, op: Op) -> bool:
        return isinstance(op, Linear) or (isinstance(op, Pointwise) and op.function == "embedding")

    def time(self, stage: Stage, device: Device, own: Timer) -> Timing:
        alone, op = own(stage, _without(device)), stage.op
        if isinstance(op, Pointwise):
            return self._lookup(op, device, alone)
        assert isinstance(op, Linear)
        weights = device.placement.weights
        shared, streamed_ps, here = self._plan(op, stage, device, own, alone)
        vectors, sums = _moved(shared, op)
        rest = op.weights.nbytes((op.n - shared.split.rows) * op.k)
        return Timing(
            ps=here * (op.m * shared.split.ps) + (1 - here) * streamed_ps,
            compute_ps=here * (op.m * shared.cores_ps) + (1 - here) * alone.compute_ps,
            memory_ps=here * (op.m * shared.memory_ps) + (1 - here) * streamed_ps,
            read=alone.read | {weights: here * (op.m * (rest + sums)) + (1 - here) * alone.read[weights]},
            written=alone.written | {weights: here * (op.m * vectors)},
            mapping=shared.label(here, op),
        )

    def _lookup(self, op: Pointwise, device: Device, alone: Timing) -> Timing:
        """Rows of the embedding table, which lie in flash."""
        place, flash = device.placement, _flash(device)
        sensed_ps = ceil_div(_row_pages(op, flash), flash.nand.total_planes) * flash.nand.mean_read_ps
        fetched_ps = sensed_ps + flash.nand.command_ps + bytes_to_ps(op.read_bytes, flash.bandwidth)
        read = alone.read | {place.activations: alone.read[place.activations] - op.read_bytes, place.weights: op.read_bytes}
        ps, memory_ps = larger(alone.ps, fetched_ps), larger(alone.memory_ps, fetched_ps)
        return Timing(ps, alone.compute_ps, memory_ps, read, alone.written, alone.mapping)

    def work(self, stage: Stage, device: Device, own: Worker) -> Work:
        op, weights, flash = stage.op, device.placement.weights, _flash(device)
        if isinstance(op, Pointwise):
            done = own(stage, _without(device))
            done.events[device.placement.activations, "read_byte"] -= op.read_bytes
            done.events[weights, "read_byte"] += op.read_bytes
            done.events[weights, "page_read"] += _row_pages(op, flash)
            return done
        from sim.tiling import time_stage  # which imports the devices, and these the offloads

        assert isinstance(op, Linear)
        shared, _, here = self._plan(op, stage, device, time_stage, time_stage(stage, _without(device)))
        rest = op.n - shared.split.rows
        done = Work()
        done.add(own(stage, _without(device)), 1 - here)
        done.add(own(_one_vector(stage, rest), _without(device)), here * op.m)
        done.add(self._in_dies(op, shared, device), here * op.m)
        return done

    def weights_read(self, work: Work, device: Device) -> int:
        """Pages that were read, whether they were sent or computed in their dies."""
        return work.events[device.placement.weights, "page_read"] * _flash(device).nand.page_bytes

    def account(self, work: Work, pricer: StepPricer, served: Served) -> dict[str, Any]:
        """Outliers that were read in the dies, and how many of them are expected to be beyond the power of their code.

        Pages that are streamed pass the code of the flash's controller, which is not modelled; other values have no code.
        """
        code, outliers = _core(pricer.device, self.cores).code, work.events[self.cores, "entry"]
        share = code.beyond(self.bit_error_rate) / code.entries(code.page_values)
        return {
            f"{self.cores}_bit_error_rate": self.bit_error_rate,
            f"{self.cores}_outliers_read": outliers,
            f"{self.cores}_outliers_uncorrectable": outliers * share,
        }

    def _plan(self, op: Linear, stage: Stage, device: Device, own: Timer, alone: Timing) -> tuple[Shared, Any, Any]:
        """The split for one vector, the time to stream all weights, and 1 where vectors one by one are no slower, else 0."""
        one = alone if isinstance(op.m, int) and op.m == 1 else own(_one_vector(stage, op.n), _without(device))
        found = (
            Shared(rounds, rounds.split(op.n, op.k, nbytes=op.weight_bytes, chip_ps=one.ps))
            for rounds in rounds_on(device, self, op.activations)
        )
        shared = min(found, key=lambda shared: shared.split.ps)
        flash = _flash(device)
        on_each = ceil_div(flash.pages(op.weight_bytes), flash.nand.channels)
        streamed_ps = larger(alone.ps, on_each * shared.rounds.page_ps)
        return shared, streamed_ps, 1 * (op.m * shared.split.ps <= streamed_ps)

    def _in_dies(self, op: Linear, shared: Shared, device: Device) -> Work:
        """Work of the rows in the dies for one vector: pages, cores, and what goes on the channels."""
        done, weights, rows = Work(), device.placement.weights, shared.split.rows
        tile, core = shared.rounds.tile, _core(device, self.cores)
        for r, high in _cuts(rows, tile.page_rows):
            for c, wide in _cuts(op.k, tile.page_columns):
                cost = core.cost(PageGemv(rows=r, columns=c))
                done.cycles[self.cores] += high * wide * cost.cycles
                for event, count in {**cost.events, CYCLE: cost.cycles}.items():
                    done.events[self.cores, event] += high * wide * count
        vectors, sums = _moved(shared, op)
        done.events[weights, "page_read"] += tile.pages(rows, op.k)
        done.events[weights, "write_byte"] += vectors
        done.events[weights, "read_byte"] += sums
        done.events[weights, "partial_sum"] += sums // RESULT_BYTES
        done.events[device.placement.activations, "write_byte"] += op.output.nbytes(rows)
        return done


def rounds_on(device: Device, offload: FlashGemv, activations: Format) -> tuple[ReadCompute, ...]:
    """Rounds of every tile that ``offload`` tries with vectors of this format. Raises BadInput where the cores take none."""
    slot, core, flash = device.units[offload.cores], _core(device, offload.cores), _flash(device)
    try:
        return _rounds(flash, core, slot.clock, offload.tiling, offload.slice, activations.bits)
    except ValueError as error:
        raise BadInput(f"{device.name}: units.{offload.cores}: {error}") from None


@cache
def _rounds(
    flash: Nand, core: FlashCompute, clock: int, tiling: Tiling, slice_bytes: int, vector_bits: int
) -> tuple[ReadCompute, ...]:
    part = flash.nand
    array = CoreArray(part.channels, part.dies_per_channel, core.page_values)

    def timed(tile: Tile) -> ReadCompute:
        cycles = core.cost(PageGemv(rows=tile.page_rows, columns=tile.page_columns)).cycles
        rounds = ReadCompute(part, tile, int(cycles_to_ps(cycles, clock)), vector_bits, slice_bytes)
        if rounds.vector_bytes > core.buffer_bytes:
            raise ValueError(f"wanted vectors of {tile} that its {core.buffer_bytes} B hold, got {rounds.vector_bytes} B")
        return rounds

    if tiling == "published":
        return (timed(array.published()),)
    found, refused = [], ""
    for tile in array.tiles():
        try:
            found.append(timed(tile))
        except ValueError as error:  # larger than the buffers of a core, or more than the channels carry
            refused = str(error)
    if not found:
        raise ValueError(f"none of its {len(array.tiles())} tiles fits; of the last one: {refused}")
    return tuple(found)


def _flash(device: Device) -> Nand:
    flash = device.memories[device.placement.weights]
    assert isinstance(flash, Nand)  # `FlashGemv.check`
    return flash


def _core(device: Device, name: str) -> FlashCompute:
    core = device.units[name].unit
    assert isinstance(core, FlashCompute)  # `FlashGemv.check`
    return core


def _without(device: Device) -> Device:
    """``device`` without the offload."""
    return device.model_copy(update={"placement": device.placement.model_copy(update={"offload": None})})


def _one_vector(stage: Stage, rows: int) -> Stage:
    """``stage`` for the first of its vectors and so many rows of the matrix; what is fused works on all results of the vector."""
    fused = tuple((op.resized(**{op.dimensions[0]: 1}), unit) for op, unit in stage.fused)
    return replace(stage, op=stage.op.resized(m=1, n=rows), fused=fused)


def _cuts(extent: int, part: int) -> list[tuple[int, int]]:
    """(size, number) of the parts of ``extent``: whole ones, and the one that is left."""
    return [(size, count) for size, count in ((part, extent // part), (extent % part, 1)) if size and count]


def _moved(shared: Shared, op: Linear) -> tuple[int, int]:
    """Bytes to the dies and of sums from them for one vector, by the share of rows in the dies."""
    tile, rows = shared.rounds.tile, shared.split.rows
    vectors = ceil_div(tile.rounds(op.n, op.k) * tile.array.channels * shared.rounds.vector_bytes * rows, op.n)
    return vectors, RESULT_BYTES * rows * ceil_div(op.k, tile.page_columns)


def _row_pages(op: Pointwise, flash: Nand) -> Any:
    """Pages that hold the rows of a table, each row from the start of a page."""
    return op.rows * flash.pages(op.read_bytes // op.rows)
