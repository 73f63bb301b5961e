"""What can be named: units, memories, parts, links, policies, offloads, models, designs, experiments and technologies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accel.base.spec import Spec, discover, lookup
from sim.errors import BadInput
from sim.files import locate, parse_toml, shipped

Row = dict[str, Any]


def units() -> dict[str, type[Any]]:
    """Every compute unit by its kind."""
    from accel.base.unit import Unit

    return discover("accel", Unit) | discover("pim", Unit)


def unit_class(kind: str) -> type[Any]:
    """The unit class of this kind. Raises BadInput with the nearest right name."""
    return named(kind, units(), "unit")


def memories() -> dict[str, type[Any]]:
    """Every memory by its kind."""
    from memsys.base import Memory

    return discover("memsys", Memory)


def policies() -> dict[str, type[Any]]:
    """Every scheduling policy by its kind."""
    from sim.policies.base import Policy

    return discover("sim.policies", Policy)


def offloads() -> dict[str, type[Any]]:
    """Every way of offloading by its kind."""
    from sim.offloads.base import Offload

    return discover("sim.offloads", Offload)


def named(name: str, known: dict[str, Any], what: str) -> Any:
    """``known[name]``. Raises BadInput with the nearest right name."""
    try:
        return lookup(name, known, what)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _classes(found: dict[str, type[Spec]]) -> list[Row]:
    return [{"kind": kind, "summary": cls.summary(), "class": _label(cls), "proof": _proof(cls)} for kind, cls in found.items()]


def _first(text: str) -> str:
    """The first sentence of ``text``."""
    return text.partition(". ")[0].rstrip(".") + "."


def _label(cls: type[Any]) -> str:
    return {"rtl": "RTL", "analytical": "analytical"}.get(getattr(cls, "proof_class", ""), "")


def _proof(cls: type[Any]) -> str | None:
    """proved, other (at other parameters than the defaults), none; None for what has no RTL."""
    from accel.base.unit import RtlUnit

    if not issubclass(cls, RtlUnit):
        return None
    from sim.commands.proof import of_kind

    return of_kind(cls)


def _toml_files(folder: str) -> list[Row]:
    rows = []
    for name in shipped(folder):
        label, text = locate(name, folder, folder.rstrip("s"))
        data = parse_toml(text, label)
        rows.append({"kind": name, "summary": _first(str(data.get("about") or data.get("name", ""))), "class": "", "proof": None})
    return rows


def _models() -> list[Row]:
    from workloads.model import Transformer, available

    rows = []
    for name in available():
        model = Transformer.load(name)
        summary = (
            f"{model.parameters / 1e9:.2f} G parameters, {model.layers} blocks of {model.hidden}, context {model.max_context}"
        )
        rows.append({"kind": name, "summary": summary, "class": "", "proof": None})
    return rows


def _technologies() -> list[Row]:
    from accel.base.tech import Tech, available

    loaded = {name: Tech.load(name) for name in available()}
    return [
        {
            "kind": name,
            "summary": _first(tech.about),
            "class": ", ".join(sorted({e.source_class for e in tech.entry})),
            "proof": None,
        }
        for name, tech in loaded.items()
    ]


def _parts() -> list[Row]:
    from memsys.nand_part import load_nand, nands
    from memsys.standard import load_part, parts

    loaded: list[Any] = [*map(load_part, parts()), *map(load_nand, nands())]
    return [
        {"kind": str(part), "summary": _first(part.about), "class": ", ".join(part.source_classes), "proof": None}
        for part in loaded
    ]


def _links() -> list[Row]:
    from memsys.link import links, load_link

    return [
        {
            "kind": link.name,
            "summary": _first(link.about),
            "class": ", ".join(sorted({link.source_class, link.energy_class})),
            "proof": None,
        }
        for link in map(load_link, links())
    ]


LISTS: dict[str, Callable[[], list[Row]]] = {
    "units": lambda: _classes(units()),
    "memories": lambda: _classes(memories()),
    "parts": _parts,
    "links": _links,
    "policies": lambda: _classes(policies()),
    "offloads": lambda: _classes(offloads()),
    "models": _models,
    "designs": lambda: _toml_files("designs"),
    "experiments": lambda: _toml_files("experiments"),
    "technologies": _technologies,
}
SINGULAR = {"unit": "units", "memory": "memories", "policy": "policies", "model": "models", "design": "designs"}
SINGULAR |= {"experiment": "experiments", "technology": "technologies", "part": "parts", "link": "links", "offload": "offloads"}


def rows(what: str) -> list[Row]:
    """``{kind, summary, class, proof}`` of everything called ``what``. Raises BadInput."""
    return named(SINGULAR.get(what, what), LISTS, "list")()
