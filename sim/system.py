"""Devices and systems: units, memories, placement and technology under a plan. Written as TOML, validated as these classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from accel.base.quantity import Bytes, Hertz, Picoseconds, Watts
from accel.base.spec import Spec, chosen_by_kind, lookup
from accel.base.tech import Entry, SourceClass, Tech, available
from accel.base.unit import Unit
from memsys.base import Memory
from sim.files import locate, override, parse_toml, validate
from sim.placement import Placement

TENSORS = ("weights", "kv", "activations")
AnyUnit = chosen_by_kind(Unit, "unit", "accel", "pim")
AnyMemory = chosen_by_kind(Memory, "memory", "memsys")


class Slot(Spec):
    """A unit of a device and the number of its copies."""

    unit: AnyUnit
    count: int = Field(default=1, gt=0, le=100_000)
    clock: Hertz

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, data: Any) -> Any:
        """A file writes the unit's own parameters beside ``count`` and ``clock``."""
        if isinstance(data, dict) and "unit" not in data:
            own = {k: v for k, v in data.items() if k in cls.model_fields}
            return own | {"unit": {k: v for k, v in data.items() if k not in own}}
        return data


class Assumption(Spec):
    """What a design takes for granted about time, for its reports."""

    what: str = Field(min_length=1)
    value: str = Field(min_length=1)
    source_class: SourceClass = Field(alias="class")
    source: str = Field(min_length=1)


class Device(Spec):
    """One accelerator: units dealt over ``cores``, memories, and where everything is placed."""

    name: str = Field(min_length=1, max_length=200)
    about: str = ""
    cores: int = Field(default=1, gt=0, le=100_000)
    """Independent cores over which thread blocks are dealt; each owns ``count / cores`` copies of every unit but those that an
    offload has elsewhere, in drives or dies."""
    buffer: Bytes
    """The shared on-chip buffer (a GPU's L2) between main memory and the cores."""
    units: dict[str, Slot] = Field(min_length=1)
    memories: dict[str, AnyMemory] = Field(min_length=1)
    placement: Placement
    stream_permille: int | None = Field(default=None, gt=0, le=1000)
    """Share of a memory's peak bandwidth that the streams of proved units reach, by default what the memory's own commands allow;
    analytical units carry their own."""
    launch_overhead: Picoseconds = 0
    """Time each stage on a proved unit takes besides compute and traffic; analytical units carry their own."""
    host_overhead: Picoseconds = 0
    """Time of each step in which the device waits for the host (scheduling, sampling, launch)."""
    memory_utilization_permille: int = Field(default=900, gt=0, le=1000)
    """Share of main memory given to weights and KV cache; vLLM's gpu_memory_utilization, 0.9 by default."""
    power_limit: Watts | None = None
    """What the board may draw; reports warn where a run's mean power exceeds it."""
    technology: tuple[str, ...] = ()
    tech: tuple[Entry, ...] = ()
    """Figures of this device alone (idle power, area), each with source and class."""
    assumptions: tuple[Assumption, ...] = ()
    """What its times rest on besides units and memories, each with source and class."""

    @model_validator(mode="after")
    def _names_exist(self) -> Device:
        placed = self.placement.units_named() | {key: getattr(self.placement, key) for key in TENSORS}
        counts = {name: slot.count for name, slot in self.units.items()}
        elsewhere, memories = ({}, {}) if self.placement.offload is None else self.placement.offload.parts()
        dealt = {name: count for name, count in counts.items() if name not in elsewhere.values()}
        faults = _faults_between(counts, list(self.memories), placed, list(self.technology), self.cores, dealt)
        for names, known, what in ((elsewhere, list(counts), "unit"), (memories, list(self.memories), "memory")):
            for field, name in names.items():
                faults += _unless(name, known, f"placement.offload.{field}", what)
        wanted = {"activations": "a memory that is written at random, as results of ops are"}
        if self.placement.offload is None:
            wanted["kv"] = (
                "a memory that takes single tokens, or a [placement.offload] such as kv_streaming, as keys and values are "
                "programmed by pages"
            )
        for tensor, what in wanted.items():
            name = getattr(self.placement, tensor)
            memory = self.memories.get(name)
            if memory is not None and not memory.in_place:
                faults.append(f"placement.{tensor}: wanted {what}; got {name!r}, which is {memory.kind()}")
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @classmethod
    def faults_between(cls, data: Any) -> list[str]:
        def table(key: str) -> dict[str, Any]:
            found = data.get(key)
            return found if isinstance(found, dict) else {}

        counts = {name: slot.get("count", 1) if isinstance(slot, dict) else 1 for name, slot in table("units").items()}
        placed = {key: name for key, name in table("placement").items() if isinstance(name, str)}
        technology = data.get("technology", ())
        technology = [name for name in technology if isinstance(name, str)] if isinstance(technology, list) else []
        offload = table("placement").get("offload")
        elsewhere = [name for name in offload.values() if isinstance(name, str)] if isinstance(offload, dict) else []
        dealt = {name: count for name, count in counts.items() if name not in elsewhere}
        return _faults_between(counts, list(table("memories")), placed, technology, data.get("cores", 1), dealt)

    def entries(self, component: str) -> list[Entry]:
        """Figures among which are those of ``component``: the device's own first, then what a memory brings for itself, then
        those of the technologies in order."""
        brought = self.memories[component].entries() if component in self.memories else ()
        return [*self.tech, *brought, *(e for name in self.technology for e in Tech.load(name).entry)]

    def stream_share(self, memory: str) -> int:
        """Thousandths of the peak of ``memory`` that the streams of proved units reach."""
        return self.memories[memory].stream_permille if self.stream_permille is None else self.stream_permille


class Plan(Spec):
    """How a system spreads a model over devices. Only replicas are priced so far; the others are refused above 1."""

    replicas: int = Field(default=1, gt=0, le=4096)
    tensor: Literal[1] = 1
    pipeline: Literal[1] = 1
    expert: Literal[1] = 1


class System(Spec):
    """Devices of one design under a plan."""

    device: Device
    plan: Plan = Plan()

    @property
    def name(self) -> str:
        return self.device.name if self.plan.replicas == 1 else f"{self.plan.replicas} x {self.device.name}"


def _faults_between(
    counts: dict[str, Any],
    memories: list[str],
    placed: dict[str, str],
    technology: list[str],
    cores: Any,
    dealt: dict[str, Any],
) -> list[str]:
    """Names that nothing in the design bears, and units that are ``dealt`` over the cores and do not come out even."""
    faults = []
    for key, name in placed.items():
        if key in (*TENSORS, "memory"):
            faults += _unless(name, memories, f"placement.{key}", "memory")
        elif key in ("linear", "attention", "pointwise", "table_precompute") or "." in key:
            faults += _unless(name, list(counts), f"placement.{key}", "unit")
    for name in technology:
        faults += _unless(name, available(), "technology", "technology")
    for name, count in dealt.items():
        if isinstance(count, int) and isinstance(cores, int) and cores > 0 and count % cores:
            faults.append(f"units.{name}.count: wanted a multiple of the {cores} cores, got {count}")
    return faults


def _unless(name: str, known: list[str], where: str, what: str) -> list[str]:
    try:
        lookup(name, dict.fromkeys(known, True), what)
    except ValueError as error:
        return [f"{where}: {error}"]
    return []


def load_device(name: str | Path, settings: Sequence[str] = (), base: Path | None = None) -> Device:
    """The shipped design ``name``, or the design file at a path, with overrides applied before validation."""
    label, text = locate(name, "designs", "design", base)
    return validate(Device, override(parse_toml(text, label), settings), label)
