"""The report as Markdown, for a comment on a pull request: GitHub's dialect, text of users escaped, no images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sim.report.table import Cell, Table
from sim.report.verdict import Verdict

_SPECIAL = re.compile(r"[\\`*\[\]{}|~#!$]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
_LIST_START = re.compile(r"^([-+]|\d+[.)])(?=\s|$)")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_INVISIBLE = "\u200b"  # after "@": a name is shown, and nobody is notified


def escaped(text: object) -> str:
    """``text`` on one line, so that Markdown shows it as it is: no mark-up, no HTML, no end of a table's cell, no mention."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    line = _SPECIAL.sub(lambda m: "\\" + m[0], line)
    line = re.sub("[&<>]", lambda m: _ENTITIES[m[0]], line)
    return _LIST_START.sub(lambda m: m[1][:-1] + "\\" + m[1][-1], line).replace("@", f"@{_INVISIBLE}")


def markdown(title: str, about: str, verdict: Verdict, tables: Sequence[Table]) -> str:
    """The whole report."""
    parts = [f"# {escaped(title)}"]
    if about:
        parts.append(escaped(about))
    parts.append(f"**{escaped(verdict.headline)}**")
    parts.append("\n".join(f"- {escaped(point)}" for point in verdict.points))
    if verdict.cautions:
        parts.append("\n".join(["**Beware**", "", *(f"- {escaped(caution)}" for caution in verdict.cautions)]))
    parts += [_section(table) for table in tables]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(table: Table) -> str:
    body = "\n\n".join(part for part in (escaped(table.note), _grid(table)) if part)
    if table.folded:
        return f"<details>\n<summary>{escaped(table.title)}</summary>\n\n{body}\n\n</details>"
    return f"## {escaped(table.title)}\n\n{body}"


def _grid(table: Table) -> str:
    if not any(group.rows for group in table.groups):
        return "None."
    lines = [_line(escaped(column.label) for column in table.columns)]
    lines.append(_line("---:" if column.numeric else "---" for column in table.columns))
    for group in table.groups:
        if group.label:
            lines.append(_line([f"**{escaped(group.label)}**", *[""] * (len(table.columns) - 1)]))
        lines += [_line(map(_cell, row)) for row in group.rows]
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    return f"{escaped(cell.text)} ({escaped(cell.note)})" if cell.note else escaped(cell.text)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
