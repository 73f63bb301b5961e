"""TOML out: plain data as the text that `tomllib` reads back. Values that TOML cannot say are refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(data: Mapping[str, Any]) -> str:
    """``data`` as TOML. ``tomllib.loads(to_toml(data)) == data`` for tables of strings, ints, floats, bools, lists, tables.

    Keys that are None are left out. Raises TypeError for any other value.
    """
    lines: list[str] = []
    _write(data, [], lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def _write(table: Mapping[str, Any], path: list[str], lines: list[str]) -> None:
    """Plain keys first, then the tables below: a plain key after a header would belong to that header's table."""
    tables = {k: v for k, v in table.items() if isinstance(v, Mapping)}
    arrays = {k: v for k, v in table.items() if _is_array_of_tables(v)}
    lines += [f"{_key(k)} = {_value(v)}" for k, v in table.items() if k not in tables and k not in arrays and v is not None]
    for key, value in tables.items():
        if not value or not all(isinstance(v, Mapping) for v in value.values()):  # the headers below imply this one
            lines += ["", f"[{'.'.join(map(_key, [*path, key]))}]"]
        _write(value, [*path, key], lines)
    for key, values in arrays.items():
        for value in values:
            lines += ["", f"[[{'.'.join(map(_key, [*path, key]))}]]"]
            _write(value, [*path, key], lines)


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's, but for DEL


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    raise TypeError(f"TOML has no value for {value!r}")
