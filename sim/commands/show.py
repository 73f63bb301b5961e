"""`rtloom show`: one thing in full: the fields of a class with units, defaults and documentation, or a file as it is resolved."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel.base.spec import Spec
from sim.commands.catalogue import SINGULAR, memories, named, offloads, policies, units
from sim.commands.emit import emit
from sim.commands.output import table
from sim.errors import BadInput
from sim.files import shipped
from sim.provenance import resolved
from sim.toml_text import to_toml

if TYPE_CHECKING:
    from memsys.nand_part import NandPart


def main(*, names: list[str], settings: list[str] | None, out: Path | None, json: bool) -> None:
    """Show ``[KIND] NAME``."""
    if len(names) > 2:
        raise BadInput(f"wanted NAME or KIND NAME, got {len(names)} words")
    name = names[-1]
    what = SINGULAR.get(names[0], names[0]) if len(names) == 2 else _kind_of(name)
    named(what, _SHOW, "kind of thing")
    settings = settings or []
    if settings and what not in ("designs", "experiments"):
        raise BadInput(f"--set: designs and experiments can be overridden, {what} cannot")
    data, text = _SHOW[what](name, settings)
    emit("show", {"kind": what, "name": name} | data, text, json, out)


def _kind_of(name: str) -> str:
    """Which list ``name`` is in."""
    from accel.base import tech
    from memsys.link import links
    from memsys.nand_part import nands
    from memsys.standard import parts
    from workloads import model

    known: dict[str, Sequence[str]] = {
        "units": list(units()),
        "memories": list(memories()),
        "parts": [*parts(), *nands()],
        "links": links(),
        "policies": list(policies()),
        "offloads": list(offloads()),
        "designs": shipped("designs"),
        "experiments": shipped("experiments"),
        "models": model.available(),
        "technologies": tech.available(),
    }
    found = [what for what, names in known.items() if name in names]
    if len(found) > 1:
        raise BadInput(f"{name!r} names more than one thing; say which: {', '.join(f'rtloom show {w} {name}' for w in found)}")
    if found:
        return found[0]
    if name.endswith(".json"):
        return "models"
    if name.endswith(".toml"):
        return _kind_of_file(name)
    named(name, {n: w for w, ns in known.items() for n in ns}, "name")
    raise AssertionError  # named() has raised


def _kind_of_file(path: str) -> str:
    from sim.files import locate, parse_toml

    label, text = locate(path, "designs", "file")
    return "experiments" if "systems" in parse_toml(text, label) else "designs"


def _class(found: dict[str, type[Spec]], what: str, name: str) -> tuple[dict[str, Any], str]:
    cls = named(name, found, what)
    schema = cls.model_json_schema()["properties"] if cls.model_fields else {}
    fields = []
    for field, info in cls.model_fields.items():
        wanted = schema.get(info.alias or field, {})
        fields.append(
            {
                "name": info.alias or field,
                "wanted": _wanted(wanted),
                "default": "required" if info.is_required() else _plain(info.get_default(call_default_factory=True)),
                "about": " ".join((info.description or "").split()),
            }
        )
    executes = [op.kind for op in getattr(cls, "executes", ())]
    about = inspect.getdoc(cls) or ""
    lines = [about, ""] + ([f"Executes: {', '.join(executes)}", ""] if executes else [])
    columns = ("name", "wanted", "default", "about")
    text = "\n".join(lines) + "\n" + table([["-" if f[c] is None else str(f[c]) for c in columns] for f in fields], columns)
    return {"about": about, "executes": executes, "fields": fields}, text


def _wanted(schema: dict[str, Any]) -> str:
    """A field's type and range in words."""
    if schema.get("examples"):
        return f'text such as "{schema["examples"][0]}"'
    choices = [str(s.get("type", s.get("const", "table"))) for s in schema.get("anyOf", [])]
    kind = schema.get("type") or " or ".join("nothing" if c == "null" else c for c in choices) or "table"
    if "enum" in schema:
        kind = " | ".join(map(str, schema["enum"]))
    ends = [("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<")]
    limits = ", ".join(f"{sign} {schema[key]}" for key, sign in ends if key in schema)
    return f"{kind} {limits}".strip()


def _plain(value: Any) -> Any:
    try:
        return resolved(value)
    except TypeError:
        return str(value)


def _file(data: dict[str, Any]) -> tuple[dict[str, Any], str]:
    return {"resolved": data}, to_toml(data).rstrip()


def _design(name: str, settings: list[str]) -> tuple[dict[str, Any], str]:
    from sim.system import load_device

    return _file(resolved(load_device(name, settings)))


def _experiment(name: str, settings: list[str]) -> tuple[dict[str, Any], str]:
    from sim.experiment import load_experiment

    return _file(resolved(load_experiment(name, settings)[0]))


def _model(name: str, settings: list[str]) -> tuple[dict[str, Any], str]:
    from sim.experiment import load_model

    model = load_model(name)
    derived = {
        "parameters": model.parameters,
        "weight_bytes": model.weight_bytes(),
        "kv_bytes_per_token": model.kv_bytes_per_token(),
    }
    return _file(resolved(model) | derived)


def _part(name: str, settings: list[str]) -> tuple[dict[str, Any], str]:
    from memsys.nand_part import load_nand, nands
    from memsys.standard import load_part, parts

    load = named(name, dict.fromkeys(parts(), load_part) | dict.fromkeys(nands(), load_nand), "part of DRAM or NAND")
    part = load(name)
    return _file(resolved(part) | (_derived(part) if load is load_nand else {}))


def _derived(part: NandPart) -> dict[str, Any]:
    """What follows from a NAND part, in 10^6 B/s and ps."""
    names = ("capacity", "channels_mb_per_s", "bus_read_mb_per_s", "array_read_mb_per_s", "read_mb_per_s", "program_mb_per_s")
    return {name: getattr(part, name) for name in names} | {"read_latency_ps": part.read_latency_ps()}


def _link(name: str, settings: list[str]) -> tuple[dict[str, Any], str]:
    from memsys.link import links, load_link

    named(name, dict.fromkeys(links(), True), "link")
    link = load_link(name)
    return _file(resolved(link) | {"payload_mb_per_s": link.payload_mb_per_s})


def _technology(name: str, settings: list[str]) -> tuple[dict[str, Any], str]:
    from accel.base.tech import Tech, available

    named(name, dict.fromkeys(available(), True), "technology")
    return _file(resolved(Tech.load(name)))


_SHOW = {
    "units": lambda name, _: _class(units(), "unit", name),
    "memories": lambda name, _: _class(memories(), "memory", name),
    "parts": _part,
    "links": _link,
    "policies": lambda name, _: _class(policies(), "policy", name),
    "offloads": lambda name, _: _class(offloads(), "offload", name),
    "designs": _design,
    "experiments": _experiment,
    "models": _model,
    "technologies": _technology,
}
