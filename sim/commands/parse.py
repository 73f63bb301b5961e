"""Values as they are written on the command line, and what to say where they are not what was wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from sim.errors import BadInput
from sim.files import override, validate
from workloads.formats import Format, parse_format
from workloads.ops import Op, op_kinds

LARGEST = 10**12  # extents and batches; products of them stay far from what no machine could hold
_PREFILL = re.compile(r"(?:(\d{1,12})x)?(\d{1,12})(?:\+(\d{1,12}))?")
_DECODE = re.compile(r"(\d{1,12})x(\d{1,12})")


def pairs(text: str, option: str) -> dict[str, str]:
    """``"m=1,n=4096"`` -> {"m": "1", "n": "4096"}. Raises BadInput."""
    found: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = (s.strip() for s in part.partition("="))
        if not equals or not name or not value:
            raise BadInput(f"{option}: wanted NAME=VALUE,..., got {part!r}")
        if name in found:
            raise BadInput(f"{option}: {name} is given twice")
        found[name] = value
    return found


def prefill(text: str) -> list[tuple[int, int]]:
    """``"2048"``, ``"4x512"``, ``"512+1536"`` -> (new tokens, tokens cached before them) of each prompt. Raises BadInput."""
    match = _PREFILL.fullmatch(text)
    if match is None:
        raise BadInput(f"--prefill: wanted [BATCHx]TOKENS[+PAST], such as 2048 or 4x512, got {text!r}")
    batch, tokens, past = int(match[1] or 1), int(match[2]), int(match[3] or 0)
    if not 1 <= batch <= 1_000_000 or tokens < 1:
        raise BadInput(f"--prefill: wanted 1 to 1,000,000 prompts of at least one token, got {text!r}")
    return [(tokens, past)] * batch


def decode(text: str) -> tuple[int, int]:
    """``"32x2048"`` -> 32 requests that attend 2048 tokens each. Raises BadInput."""
    match = _DECODE.fullmatch(text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise BadInput(f"--decode: wanted BATCHxCONTEXT, both at least 1, such as 32x2048, got {text!r}")
    return int(match[1]), int(match[2])


def number_format(text: str, option: str) -> Format:
    """The number format of this name. Raises BadInput."""
    try:
        return parse_format(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def op(kind: str, shape: str, formats: Mapping[str, str]) -> Op:
    """An op of this kind from its extents and formats. Raises BadInput that names all that is wrong."""
    known = {k: cls for k, cls in op_kinds().items() if cls.__name__[0] != "_"}
    if kind not in known:
        from workloads.names import did_you_mean

        raise BadInput(f"--op: unknown op {kind!r}{did_you_mean(kind, known)} (known: {', '.join(known)})")
    cls = known[kind]
    declared = {f.name: f for f in fields(cls) if f.init and f.name != "role"}
    given: dict[str, Any] = {name: number_format(text, f"--{name}") for name, text in formats.items()}
    faults = [f"--{name}: {kind} has no format of that name" for name in given if name not in declared]
    for name, text in pairs(shape, "--shape").items():
        if name not in declared or "Format" in str(declared[name].type):
            extents = [n for n, f in declared.items() if "Format" not in str(f.type)]
            faults.append(f"--shape: {kind} has no {name!r}; it has {', '.join(extents)}")
        elif "str" in str(declared[name].type):
            given[name] = text
        elif "bool" in str(declared[name].type):
            if text not in ("true", "false"):
                faults.append(f"--shape: {name}: wanted true or false, got {text!r}")
            given[name] = text == "true"
        elif not text.isdecimal() or not 1 <= int(text[:20]) <= LARGEST:
            faults.append(f"--shape: {name}: wanted an integer from 1 to {LARGEST}, got {text!r}")
        else:
            given[name] = int(text)
    required = [n for n, f in declared.items() if f.default is MISSING and f.default_factory is MISSING and n not in given]
    faults += [f"--shape: {kind} needs {name}" for name in required if f"--shape: {name}:" not in " ".join(faults)]
    if faults:
        raise BadInput(*faults)
    return cls(**given)


def unit(cls: type[Any], settings: list[str] | None) -> Any:
    """A unit with the parameters of ``--set``, the others at their defaults. Raises BadInput."""
    data = override({}, settings or [])
    required = [n for n, f in cls.model_fields.items() if f.is_required() and n not in data]
    if required:
        raise BadInput(*(f"{cls.kind()}: {name} has no default; give it by --set {name}=..." for name in required))
    return validate(cls, data, f"--set of {cls.kind()}")
