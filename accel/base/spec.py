"""Spec: the immutable, validated parameters of anything a user can put in a file, and its discovery by file name.

Each module below a package holds at most one public Spec (`base` and names that start with "_" are skipped), whose ``kind`` is
the module's name; one with none holds what the kinds share. Nothing registers itself: adding a file adds the kind.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any, Self, Union

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Tag, model_validator

ENTRY_POINTS = "rtloom.specs"  # packages outside this repository join through this group


def _power_of_two(size: int) -> int:
    if size & (size - 1):
        below = 1 << (size.bit_length() - 1)
        raise ValueError(f"wanted a power of two, such as {below} or {2 * below}, got {size}")
    return size


PowerOfTwo = Annotated[int, AfterValidator(_power_of_two)]
"""A parameter that hardware counts in bits of an address; its range is stated beside it."""


class Spec(BaseModel):
    """Frozen, strict, no extra keys. Subclasses are the parameters of units, memories, policies, ..."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def kind(cls) -> str:
        """The name users write: the module that defines the class."""
        return cls.__module__.rpartition(".")[2]

    @model_validator(mode="before")
    @classmethod
    def _drop_own_kind(cls, data: Any) -> Any:
        """A file names the class by ``kind``; by then it has been chosen, and the word is not a parameter."""
        if isinstance(data, dict) and data.get("kind") == cls.kind() and "kind" not in cls.model_fields:
            return {k: v for k, v in data.items() if k != "kind"}
        return data

    @classmethod
    def from_data(cls, data: Any) -> Self:
        """Validate what a TOML or JSON file holds: as strict as Python, but its arrays may fill tuples."""
        return cls.model_validate(_tuples(data))

    @classmethod
    def faults_between(cls, data: Any) -> list[str]:
        """What is wrong between several keys of a file's tables, as ``key.path: message``, even where single keys are wrong."""
        return []

    @classmethod
    def summary(cls) -> str:
        """First line of the class's docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]


def _tuples(data: Any) -> Any:
    """``data`` with its arrays as tuples. (Validating it as JSON would not do: a validator that runs before hides that it is.)"""
    if isinstance(data, dict):
        return {key: _tuples(value) for key, value in data.items()}
    return tuple(map(_tuples, data)) if isinstance(data, list) else data


@cache
def discover(package: str, base: type[Spec] = Spec) -> dict[str, type[Any]]:
    """Every Spec of type ``base`` in ``package`` by its kind, in alphabetical order.

    Raises TypeError where a module holds more than one: then its name would not say which is meant.
    """
    folder = importlib.import_module(package)
    names = [m.name for m in pkgutil.iter_modules(folder.__path__) if m.name != "base" and not m.name.startswith("_")]
    modules = [f"{package}.{name}" for name in names]
    modules += [e.value for e in entry_points(group=ENTRY_POINTS) if e.name.partition(":")[0] == package]
    found = {}
    for name in sorted(modules):
        spec = _the_spec(name)
        if spec is not None and issubclass(spec, base):
            found[name.rpartition(".")[2]] = spec
    return found


def _public_specs(module: str) -> list[type[Spec]]:
    loaded = importlib.import_module(module)
    return [
        value
        for name, value in vars(loaded).items()
        if inspect.isclass(value)
        and issubclass(value, Spec)
        and (value.__module__ == module or value.__module__.startswith(module + "."))
        and not name.startswith("_")
    ]


def _the_spec(module: str) -> type[Spec] | None:
    specs = _public_specs(module)
    if len(specs) > 1:
        names = ", ".join(s.__name__ for s in specs)
        raise TypeError(f"{module} must have one public Spec, whose kind is the module's name; it has {names}")
    return specs[0] if specs else None


def lookup(kind: str, known: dict[str, Any], what: str) -> Any:
    """``known[kind]``, or a ValueError with the nearest right name."""
    if kind in known:
        return known[kind]
    near = difflib.get_close_matches(kind, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {what} {kind!r}{hint} (known: {', '.join(known) or 'none'})")


def chosen_by_kind(base: type[Spec], what: str, *packages: str) -> Any:
    """The annotation of a field that holds any Spec of type ``base`` found in ``packages``, chosen by its key ``kind``."""
    known = {kind: spec for package in packages for kind, spec in discover(package, base).items()}

    def named(data: Any) -> Any:
        if isinstance(data, dict):
            if "kind" not in data:
                raise ValueError(f"wanted the key 'kind' ({what}: {', '.join(known)})")
            lookup(str(data["kind"]), known, what)
        elif not isinstance(data, base):
            raise ValueError(f"wanted a table with the key 'kind' ({what}: {', '.join(known)}), got {data!r}")
        return data

    if len(known) == 1:
        return Annotated[next(iter(known.values())), BeforeValidator(named)]
    union = Union[tuple(Annotated[spec, Tag(kind)] for kind, spec in known.items())]  # type: ignore[valid-type]  # noqa: UP007 - built at run time
    return Annotated[union, Discriminator(lambda v: v["kind"] if isinstance(v, dict) else v.kind()), BeforeValidator(named)]
