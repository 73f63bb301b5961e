"""What `run` and `compare` serve: experiments and designs of the command line, with its overrides, as one Experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.commands import parse
from sim.errors import BadInput
from sim.experiment import Experiment
from sim.files import locate, override, parse_toml, shipped, validate

DEVICE = "device."  # --set device.KEY=VALUE reaches the design of every system


@dataclass(frozen=True)
class Options:
    """The options that `run` and `compare` share; None where not given."""

    trace: Path | None = None
    profile: str | None = None
    requests: int | None = None
    rate: float | None = None
    model: str | None = None
    precision: str | None = None
    policy: str | None = None
    replicas: int | None = None
    overlong: str | None = None
    seed: int | None = None
    settings: Sequence[str] | None = None


def assemble(names: Sequence[str], options: Options) -> tuple[Experiment, Path | None]:
    """The experiment that serves every name's systems, and the folder that its relative paths refer to.

    Each name is an experiment or a design. Designs are served as the experiments beside them are; without any, by the options.
    Raises BadInput with every fault.
    """
    parts = [_load(name) for name in names]
    experiments = [part for part in parts if "systems" in part.data]
    data = _merged(experiments) if experiments else _from_options(names, options)
    data["systems"] = [system for part in parts for system in _systems(part)]
    if experiments and len(parts) > 1:
        data["name"] = " and ".join(str(part.data.get("name", part.label)) for part in parts)
    base = next((part.base for part in experiments if part.base is not None), None)
    _apply(data, options, base)
    settings = options.settings or ()
    data = override(data, [s for s in settings if not s.startswith(DEVICE)])
    for setting in settings:
        if setting.startswith(DEVICE):
            _set_device(data, setting.removeprefix(DEVICE))
    label = experiments[0].label if experiments else "command line"
    return validate(Experiment, data, label), base


@dataclass(frozen=True)
class _Part:
    label: str
    data: dict[str, Any]
    base: Path | None


def _load(name: str) -> _Part:
    """An experiment or a design as plain data; a design's file holds units, an experiment's systems."""
    if name in shipped("designs"):
        return _Part(name, {"design": name}, None)
    known = [*shipped("experiments"), *shipped("designs")]
    if name not in known and not Path(name).suffix and not Path(name).exists():
        from workloads.names import did_you_mean

        hint = did_you_mean(name, known)
        raise BadInput(f"unknown experiment or design {name!r}{hint} (known: {', '.join(known)}, or a path to a .toml file)")
    label, text = locate(name, "experiments", "experiment")
    data = parse_toml(text, label)
    if "units" in data and "systems" not in data:
        return _Part(label, {"design": name}, None)
    data.setdefault("systems", [])
    return _Part(label, data, Path(label).parent if label.endswith(".toml") else None)


def _merged(experiments: Sequence[_Part]) -> dict[str, Any]:
    """The one trace, policy, ... of several experiments. Raises BadInput where they differ."""
    first = experiments[0]
    faults = []
    for other in experiments[1:]:
        differing = (key for key in ("seed", "trace", "policy", "router") if first.data.get(key) != other.data.get(key))
        faults += [
            f"{other.label}: {key}: wanted that of {first.label}, so that both serve the same, got another" for key in differing
        ]
        if other.base != first.base:
            faults.append(f"{other.label}: wanted experiments from one folder, got it and {first.label}")
    if faults:
        raise BadInput(*faults)
    return {key: value for key, value in first.data.items() if key != "systems"}


def _systems(part: _Part) -> list[Any]:
    """The systems of one name, each with the model and precision that its own experiment gives it."""
    if "systems" not in part.data:
        return [{"design": part.data["design"]}]
    inherited = {key: part.data[key] for key in ("model", "precision") if key in part.data}
    systems = part.data["systems"]
    if not isinstance(systems, list):
        return systems
    return [inherited | system if isinstance(system, dict) else system for system in systems]


def _from_options(names: Sequence[str], options: Options) -> dict[str, Any]:
    """What designs alone leave open. Raises BadInput that names each missing option."""
    faults = []
    if options.model is None:
        faults.append("--model: missing; wanted the model that the designs serve, such as llama-2-7b")
    if options.trace is None and options.profile is None:
        faults.append("--trace: missing; wanted a trace file, or --profile and --requests to generate one")
    if faults:
        raise BadInput(*faults)
    return {"name": " against ".join(names), "trace": {}, "policy": {"kind": "chunked_prefill"}}


def _apply(data: dict[str, Any], options: Options, base: Path | None) -> None:
    """Options replace what the files say. A trace of the command line lies where the user stands, not beside the experiment."""
    file = options.trace
    if file is not None and base is not None:
        file = file.absolute()
    trace = data.setdefault("trace", {})
    if isinstance(trace, dict):
        if options.trace is not None or options.profile is not None:
            for key in ("file", "profile", "prompt", "output", "requests", "rate", "arrivals"):
                trace.pop(key, None)
        given = {
            "file": None if file is None else str(file),
            "profile": options.profile,
            "requests": options.requests,
            "rate": options.rate,
            "overlong": None if options.overlong is None else str(options.overlong),
        }
        trace |= {key: value for key, value in given.items() if value is not None}
    if options.policy is not None:
        data["policy"] = {"kind": options.policy}
    if options.seed is not None:
        data["seed"] = options.seed
    systems = data["systems"] if isinstance(data["systems"], list) else []
    for system in systems:
        if not isinstance(system, dict):
            continue
        if options.model is not None:
            system["model"] = options.model
        if options.precision is not None:
            system["precision"] = parse.pairs(options.precision, "--precision")
        if options.replicas is not None:
            _replicate(system, options.replicas)


def _replicate(system: dict[str, Any], replicas: int) -> None:
    """Set the replicas; a name that begins with their number, as `sim.system.System.name` does, follows it."""
    name, counted = system.get("name"), f"{system.get('replicas', 1)} x "
    if isinstance(name, str) and name.startswith(counted):
        system["name"] = name.removeprefix(counted) if replicas == 1 else f"{replicas} x {name.removeprefix(counted)}"
    system["replicas"] = replicas


def _set_device(data: dict[str, Any], setting: str) -> None:
    """Add an override of design keys to every system."""
    path, equals, value = setting.partition("=")
    if not equals or not path:
        raise BadInput(f"--set: wanted key.path=value, got {DEVICE + setting!r}")
    parsed = override({}, [f"value={value}"])["value"]
    for system in data["systems"]:
        if isinstance(system, dict) and isinstance(given := system.get("set", {}), dict):  # what is wrong is said by validation
            system["set"] = {**given, path.strip(): parsed}
