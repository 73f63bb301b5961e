"""Experiments: which systems serve which trace under which policy. Written as TOML, run by `rtloom run` and `rtloom compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from accel.base.quantity import Picoseconds
from accel.base.spec import Spec, chosen_by_kind
from sim.errors import BadInput
from sim.files import locate, override, parse_toml, unreadable, validate
from sim.policies.base import Policy
from sim.system import Plan, System, load_device
from workloads.model import Precision, Transformer
from workloads.trace import LONGEST, Trace, TraceError

AnyPolicy = chosen_by_kind(Policy, "policy", "sim.policies")
MAX_REQUESTS = 10_000_000


class Formats(Spec):
    """Number formats by tensor class, as ``workloads.formats`` names them."""

    weights: str = "fp16"
    activations: str = "fp16"
    kv: str = "fp16"
    lm_head: str = "fp16"
    embeddings: str = "fp16"


class TraceSource(Spec):
    """Requests from a file, drawn from a committed profile, or all alike and there from the start (``prompt`` and ``output``)."""

    file: str | None = None
    profile: str | None = None
    prompt: int | None = Field(default=None, gt=0, le=LONGEST)
    output: int | None = Field(default=None, gt=0, le=LONGEST)
    """Tokens of every request, for offline batches."""
    requests: int | None = Field(default=None, gt=0, le=MAX_REQUESTS)
    """How many requests: drawn from the profile, or all alike (default 1,000); the first of the file (default all)."""
    rate: float | None = Field(default=None, gt=0)
    """Mean arrivals per second; the profile's own where it is not given."""
    arrivals: Literal["profile", "poisson"] = "profile"
    overlong: Literal["error", "reject", "clip"] = "reject"

    @model_validator(mode="after")
    def _one_source(self) -> TraceSource:
        if (self.prompt is None) != (self.output is None):
            missing, given = ("prompt", "output") if self.prompt is None else ("output", "prompt")
            raise ValueError(f"{missing}: missing; wanted the tokens of every request beside '{given}'")
        if [self.file, self.profile, self.prompt].count(None) != 2:
            raise ValueError(
                "wanted one of 'file' (a trace), 'profile' (statistics) and 'prompt' with 'output' (requests alike), "
                "got none or several"
            )
        if self.profile is None and (self.rate is not None or self.arrivals != "profile"):
            other = "a 'file', which has times of its own" if self.file is not None else "requests that are there from the start"
            raise ValueError(f"wanted 'rate' and 'arrivals' with a 'profile' alone, got them with {other}")
        return self


class Subject(Spec):
    """One system of a comparison: a design, the model it serves, and how many replicas."""

    design: str
    name: str | None = Field(default=None, min_length=1, max_length=200)
    model: str | None = None
    precision: Formats | None = None
    replicas: int = Field(default=1, gt=0, le=4096)
    set: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the design's keys, by dotted path."""
    cuts: dict[str, Picoseconds] = Field(default_factory=dict)
    """A fault: when the link of a memory, by its name, is cut."""


class Experiment(Spec):
    """A trace, a policy and the systems that serve it."""

    name: str = Field(min_length=1, max_length=200)
    about: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63)
    model: str | None = None
    precision: Formats = Formats()
    trace: TraceSource
    policy: AnyPolicy
    router: Literal["round_robin", "least_loaded"] = "round_robin"
    systems: tuple[Subject, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _models_named(self) -> Experiment:
        for i, subject in enumerate(self.systems):
            if subject.model is None and self.model is None:
                raise ValueError(f"systems.{i}.model: missing; wanted a model here or at the top level")
        return self


@dataclass(frozen=True)
class Case:
    """One resolved subject of an experiment, ready to be simulated."""

    name: str
    system: System
    model: Transformer
    precision: Precision
    cuts: dict[str, int] = field(default_factory=dict)


def load_experiment(name: str | Path, settings: Sequence[str] = ()) -> tuple[Experiment, Path | None]:
    """The shipped experiment ``name`` or the file at a path, and the folder that its relative paths refer to."""
    label, text = locate(name, "experiments", "experiment")
    base = Path(label).parent if label.endswith(".toml") else None
    return validate(Experiment, override(parse_toml(text, label), settings), label), base


def load_trace(source: TraceSource, seed: int, base: Path | None = None) -> Trace:
    """The requests of ``source``. Raises BadInput with file and line where they are wrong."""
    if source.profile is not None:
        from workloads.generator import generate

        try:
            return generate(source.profile, source.requests or 1000, rate=source.rate, seed=seed, arrivals=source.arrivals)
        except (ValueError, FileNotFoundError) as error:
            raise BadInput(f"trace.profile: {error}") from None
    if source.file is None:
        return _alike(source)
    path = Path(source.file)
    if base is not None and not path.is_absolute() and (base / path).exists():
        path = base / path
    try:
        trace = Trace.read(path)
    except TraceError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise unreadable(path, "trace", error) from None
    return trace if source.requests is None else trace.head(source.requests)


def _alike(source: TraceSource) -> Trace:
    """Requests of equal lengths that are all there from the start."""
    count = source.requests or 1000
    prompt, output = (np.full(count, length, np.int64) for length in (source.prompt, source.output))
    name = f"{count} x {source.prompt}/{source.output}"
    return Trace(arrival_ps=np.zeros(count, np.int64), prompt=prompt, output=output, name=name, source="requests alike, offline")


def resolve(experiment: Experiment, base: Path | None = None) -> list[Case]:
    """The systems of ``experiment`` with their designs and models loaded."""
    cases = []
    for subject in experiment.systems:
        settings = [f"{key}={_toml(value)}" for key, value in subject.set.items()]
        device = load_device(subject.design, settings, base)
        model = load_model(subject.model or experiment.model, base)
        formats = subject.precision or experiment.precision
        system = System(device=device, plan=Plan(replicas=subject.replicas))
        cases.append(Case(subject.name or system.name, system, model, load_precision(formats), subject.cuts))
    names = [case.name for case in cases]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise BadInput(f"systems: wanted distinct names, got {', '.join(map(repr, doubled))} more than once; give each a 'name'")
    return cases


def load_model(name: str, base: Path | None = None) -> Transformer:
    """A model by its name or the path of its config.json."""
    if base is not None and name.endswith(".json") and (base / name).exists():
        name = str(base / name)
    try:
        return Transformer.load(name)
    except ValueError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise unreadable(name, "model", error) from None


def load_precision(formats: Formats) -> Precision:
    """The precision that ``formats`` names."""
    try:
        return Precision.from_data(formats.model_dump())
    except ValueError as error:
        raise BadInput(str(error)) from None


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else f'"{value}"' if isinstance(value, str) else str(value)
