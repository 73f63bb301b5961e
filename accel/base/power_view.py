"""The power tables of a Liberty file rewritten for OpenSTA, so that it prices a toggle of one kind of pin once.

OpenSTA (2.0) adds up every table of a pin: all states (``when``), all related pins, and both rails. A characterised library lists
one table per state and arc, and sees the same energy on the supply and on the ground rail, so the plain sum is several times what
a cell draws. In the view each pin has one table: the mean over its states and arcs, supply rail only; and each cell one leakage,
the one without a state where there is one, else the mean.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from statistics import fmean
from typing import Literal

from accel.base.liberty import LibertyError, end_of_group

PowerPins = Literal["output", "clock", "data"]


def only_cells(text: str, cells: Collection[str]) -> str:
    """The Liberty file ``text`` with ``cells`` alone."""
    groups = [(m.start(), m[1].strip().strip('"')) for m in re.finditer(r"\bcell\s*\(([^)]*)\)\s*\{", text)]
    kept = [text[start : end_of_group(text, start)] for start, name in groups if name in cells]
    return "\n".join([text[: groups[0][0]], *kept, "}", ""])


def power_view(text: str, pins: PowerPins, *, unit: bool = False) -> str:
    """The Liberty file ``text`` with one power table per pin of the kind ``pins``, and none on the others.

    With ``unit`` every table says 1: what a tool then reports shows how it counts.
    """
    for start, end in reversed(list(_groups(text, "cell"))):
        text = text[:start] + _one_table_per_pin(text[start:end], pins, unit) + text[end:]
    return text


def _groups(text: str, keyword: str) -> Iterator[tuple[int, int]]:
    position = 0
    pattern = re.compile(rf"\b{keyword}\s*\([^)]*\)\s*\{{")
    while match := pattern.search(text, position):
        position = end_of_group(text, match.start())
        yield match.start(), position


def _replace(text: str, pieces: Sequence[tuple[int, int]], new: str) -> str:
    """``text`` with the first of ``pieces`` replaced by ``new`` and the others cut out."""
    for n, (start, end) in reversed(list(enumerate(pieces))):
        text = text[:start] + (new if n == 0 else "") + text[end:]
    return text


def _one_table_per_pin(cell: str, kind: PowerPins, unit: bool) -> str:
    ground = {m[1] for m in re.finditer(r'\bpg_pin\s*\(\s*"?(\w+)"?\s*\)\s*\{[^}]*pg_type\s*:\s*"?primary_ground', cell)}
    for start, end in reversed(list(_groups(cell, "pin"))):
        pin = cell[start:end]
        pieces = list(_groups(pin, "internal_power"))
        if pieces:
            table = _mean_power([pin[a:b] for a, b in pieces], ground, unit) if _pin_kind(pin) == kind else ""
            cell = cell[:start] + _replace(pin, pieces, table) + cell[end:]
    pieces = list(_groups(cell, "leakage_power"))
    return _replace(cell, pieces, _mean_leakage([cell[a:b] for a, b in pieces], ground)) if pieces else cell


def _attribute(group: str, key: str) -> str:
    match = re.search(rf'\b{key}\s*:\s*"?([^";\n]*)"?', group)
    return match[1].strip() if match else ""


def _pin_kind(pin: str) -> PowerPins:
    if _attribute(pin, "direction") == "output":
        return "output"
    return "clock" if _attribute(pin, "clock") == "true" or _attribute(pin, "clock_gate_clock_pin") == "true" else "data"


def _mean_leakage(groups: list[str], ground: set[str]) -> str:
    supply = [g for g in groups if _attribute(g, "related_pg_pin") not in ground]
    values = [float(_attribute(g, "value")) for g in supply if not _attribute(g, "when")]
    values = values[:1] or [float(_attribute(g, "value")) for g in supply] or [0.0]
    return f"leakage_power () {{ value : {sum(values) / len(values):.6g}; }}"


def _mean_power(groups: list[str], ground: set[str], unit: bool) -> str:
    supply = [g for g in groups if _attribute(g, "related_pg_pin") not in ground]
    if not supply:
        return ""
    tables: dict[str, list[str]] = {}
    for group in supply:
        for start, end in _groups(group, r"(?:rise_power|fall_power|power)"):
            table = group[start:end]
            tables.setdefault(table.partition("(")[0].strip(), []).append(table)
    related = _attribute(supply[0], "related_pin").split()
    lines = [f'related_pin : "{related[0]}";'] if related else []
    if unit:
        lines += [f'{kind} (scalar) {{ values ("1"); }}' for kind in ("rise_power", "fall_power")]
    else:
        lines += [_mean_table(kind, same) for kind, same in tables.items()]
    return "internal_power () { " + "\n".join(lines) + " }"


def _mean_table(kind: str, tables: list[str]) -> str:
    """The mean of tables over one index; a table without an index is a constant over all of it."""
    rows = [[_numbers(row) for row in _rows(t)] for t in tables]
    sizes = [[len(row) for row in r] for r in rows]
    largest = max(sizes, key=sum)
    indices = [re.findall(r"\bindex_\d\s*\([^)]*\)\s*;", t) for t in tables]
    model = sizes.index(largest)
    for n, size in enumerate(sizes):
        if size == [1]:
            rows[n] = [rows[n][0] * columns for columns in largest]
        elif size != largest or indices[n] != indices[model]:
            raise LibertyError(f"the {kind} tables of one pin differ in their indices: {tables[n][:60]!r}")
    mean = [[fmean(cell) for cell in zip(*row, strict=True)] for row in zip(*rows, strict=True)]
    template = re.match(r"\w+\s*\(([^)]*)\)", tables[model])
    values = ", ".join('"' + ", ".join(f"{v:.6g}" for v in row) + '"' for row in mean)
    return f"{kind} ({template[1] if template else 'scalar'}) {{ {' '.join(indices[model])} values ({values}); }}"


def _rows(table: str) -> list[str]:
    match = re.search(r"\bvalues\s*\((.*?)\)\s*;", table, re.S)
    if match is None:
        raise LibertyError(f"wanted values (...); in a power table, got {' '.join(table[:80].replace(chr(92), ' ').split())} ...")
    return re.findall(r'"([^"]*)"', match[1]) or [match[1]]


def _numbers(row: str) -> list[float]:
    return [float(v) for v in re.split(r"[\s,\\]+", row) if v]
