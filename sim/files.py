"""TOML files of users: read within limits, overridden by ``--set``, validated with every fault reported at once.

Each fault is one line: ``file: key.path: what was wanted, what was got; did you mean ...?``
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from accel.base.committed import committed
from accel.base.spec import Spec
from sim.errors import BadInput, RtloomError, StorageError

MAX_BYTES = 1_000_000
S = TypeVar("S", bound=Spec)


def shipped(folder: str) -> list[str]:
    """Names (file stems) of the TOML files that rtloom ships in ``sim/FOLDER``."""
    return committed("sim", folder)


def locate(name: str | Path, folder: str, what: str, base: Path | None = None) -> tuple[str, str]:
    """(label, text) of a shipped file by its stem, or of a user's file by its path (from ``base``, else the current folder)."""
    text = str(name)
    if text in shipped(folder):
        return text, (files("sim") / folder / f"{text}.toml").read_text()
    path = (base / text) if base and not Path(text).is_absolute() and (base / text).exists() else Path(text)
    if not path.suffix and not path.exists():
        near = difflib.get_close_matches(text, shipped(folder), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"unknown {what} {text!r}{hint} (known: {', '.join(shipped(folder))}, or a path to a .toml file)")
    try:
        if path.exists() and not (path.is_file() or path.is_dir() or path.is_char_device()):
            raise BadInput(f"{path}: wanted a file, got a pipe or another thing that cannot be read twice")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise BadInput(f"{path}: wanted a file of at most {MAX_BYTES} bytes, got a larger one")
        return str(path), content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: wanted UTF-8 text, got a byte that is not ({error.reason} at {error.start})") from None
    except OSError as error:
        raise unreadable(path, what, error) from None


def unreadable(path: str | Path, what: str, error: OSError) -> RtloomError:
    """What to raise where a file of the user cannot be read: a wrong name is bad input, anything else a failure to read."""
    kind = BadInput if isinstance(error, FileNotFoundError | IsADirectoryError) else StorageError
    return kind(f"{error.filename or path}: cannot read the {what}: {error.strerror}")


def parse_toml(text: str, label: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises BadInput with the line."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{label}: not TOML: {error}") from None
    except (ValueError, RecursionError):
        raise BadInput(f"{label}: {_SANE}") from None
    _refuse_deep(data, label)
    return data


MOST_LEVELS = 50
_SANE = f"wanted integers of at most 4000 digits and at most {MOST_LEVELS} levels of tables and arrays, got more"


def _refuse_deep(data: Any, label: str) -> None:
    """Raise BadInput where tables and arrays nest deeper than any file needs: what walks them would run out of stack."""
    level = [data]
    for _ in range(MOST_LEVELS):
        level = [v for node in level for v in (node.values() if isinstance(node, Mapping) else node)]
        level = [node for node in level if isinstance(node, Mapping | list | tuple)]
    if level:
        raise BadInput(f"{label}: {_SANE}")


def override(data: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """``data`` with each ``key.path=value`` applied; a value is TOML where it parses as TOML, else a string."""
    result = _copy(data)
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals or not path:
            raise BadInput(f"--set: wanted key.path=value, got {setting!r}")
        *parents, last = path.strip().split(".")
        node: Any = result
        for key in parents:
            node = _step(node, key, path, create=True)
        parsed = _value(value.strip())
        if isinstance(node, list):
            _step(node, last, path)
            node[int(last)] = parsed
        elif isinstance(node, dict):
            node[last] = parsed
        else:
            raise BadInput(f"--set {path}: {'.'.join(parents)} is a single value, not a table")
    return result


def _copy(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _copy(v) for k, v in node.items()}
    return [_copy(v) for v in node] if isinstance(node, list) else node


def _step(node: Any, key: str, path: str, create: bool = False) -> Any:
    if isinstance(node, list):
        if not key.isdecimal() or int(key) >= len(node):
            raise BadInput(f"--set {path}: wanted an index below {len(node)}, got {key!r}")
        return node[int(key)]
    if not isinstance(node, dict):
        raise BadInput(f"--set {path}: {key!r} lies below a single value")
    return node.setdefault(key, {}) if create else node[key]


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError):
        raise BadInput(f"--set: {_SANE}") from None


def validate(cls: type[S], data: Mapping[str, Any], label: str) -> S:
    """``cls`` from the tables of a file. Raises BadInput with one line per fault, those between keys included."""
    _refuse_deep(data, label)  # --set may have nested it
    try:
        return cls.from_data(data)
    except ValidationError as error:
        lines = explain(error, cls)
        lines += [line for line in cls.faults_between(data) if line not in lines]
        raise BadInput(*(f"{label}: {line}" for line in lines)) from None


def explain(error: ValidationError, cls: type[Spec]) -> list[str]:
    """One line per fault: the key path, what was wanted, what was got, the nearest right name."""
    lines = []
    faults = error.errors(include_url=False)
    for fault in faults:
        if fault["type"] == "too_short" and any(f["loc"][: len(fault["loc"])] == fault["loc"] for f in faults if f is not fault):
            continue  # pydantic leaves out the faulty items, then finds too few
        path = _written_path(fault["loc"])
        where = ".".join(str(p) for p in path) or "(top level)"
        if fault["type"] == "extra_forbidden":
            known = _fields_beside(cls, fault["loc"])
            near = difflib.get_close_matches(str(path[-1]), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            lines.append(f"{where}: unknown key{hint} (known: {', '.join(known)})")
        elif fault["type"] == "missing":
            lines.append(f"{where}: missing; wanted a value here")
        else:
            message = re.sub(r"^Input should be ", "wanted ", fault["msg"].removeprefix("Value error, "))
            got = "" if "got" in message or isinstance(fault["input"], dict | list) else f", got {fault['input']!r}"
            own_path = not path and _KEY_PATH.match(message)  # a check over several keys names the one at fault itself
            lines += f"{message}{got}".split("\n") if own_path else [f"{where}: {message}{got}"]
    return lines


_KEY_PATH = re.compile(r"[a-z_]+(\.\w+)*: ")
_TAGS = re.compile(r"[A-Z]\w*|literal\[.*\]")  # classes and literals of a union, which pydantic puts into the path


def _written_path(loc: Sequence[Any]) -> list[Any]:
    """``loc`` as the file's author wrote it: without the wrapper of a unit, the class that a ``kind`` chose, a union's member."""
    kinds = {c.__module__.rpartition(".")[2] for c in _all_subclasses(Spec)}
    path: list[Any] = []
    for i, key in enumerate(loc):
        parents = tuple(loc[max(i - 2, 0) : i])
        chosen = key in kinds and (parents[-1:] in (("unit",), ("policy",), ("offload",)) or parents[:-1] == ("memories",))
        if not (isinstance(key, str) and (key == "unit" or chosen or _TAGS.fullmatch(key))):
            path.append(key)
    return path


def _fields_beside(cls: type[Spec], loc: Sequence[Any]) -> list[str]:
    """Field names of the innermost Spec on the way to ``loc``; Specs chosen by ``kind`` are named by their tag in the path."""
    current: Any = cls
    for key in loc[:-1]:
        current = _descend(current, key) or current
    return sorted(current.model_fields)


def _descend(current: type[Spec], key: Any) -> type[Spec] | None:
    field = current.model_fields.get(key) if isinstance(key, str) else None
    if field is not None:
        return next((c for c in _specs_in(field.annotation)), None)
    return next((c for c in _all_subclasses(Spec) if c.__module__.rpartition(".")[2] == key), None)  # a class chosen by kind


def _all_subclasses(cls: type) -> list[type]:
    return [d for c in cls.__subclasses__() for d in (c, *_all_subclasses(c))]


def _specs_in(annotation: Any) -> list[type[Spec]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Spec) else []
    return [c for a in getattr(annotation, "__args__", ()) for c in _specs_in(a)]


def shared_file(path: Path) -> Path | None:
    """``path`` below the folder that RTLOOM_SHARED names: a trace or library that is not shipped. None where it is not there."""
    folder = os.environ.get("RTLOOM_SHARED")
    found = Path(folder) / path if folder else None
    return found if found is not None and found.is_file() else None
