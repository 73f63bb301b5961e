"""Tables as both forms of the report show them. Text here is as users wrote it: each form escapes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

CLASSES = ("assumed", "scaled", "datasheet", "published", "synthesized")
"""Source classes, those that a reader should doubt most first."""


@dataclass(frozen=True)
class Cell:
    """One value. ``note`` is smaller and beside it; ``tone`` is "good" or "bad" for a note that is news."""

    text: str
    note: str = ""
    tone: str = ""
    badge: str = ""
    """The style of a badge: a source class or the status of a proof; "" for plain text."""


@dataclass(frozen=True)
class Column:
    """A heading. ``system`` is the place of the system whose colour is shown beside it."""

    label: str
    numeric: bool = False
    system: int | None = None


@dataclass(frozen=True)
class Group:
    """Rows under a heading of their own ("" for none)."""

    label: str
    rows: list[list[Cell]]
    total: bool = False
    """True where the rows are the sums of those above."""


@dataclass(frozen=True)
class Table:
    """Columns, and rows in groups. ``note`` explains it; ``folded`` hides it until it is asked for."""

    title: str
    columns: list[Column]
    groups: list[Group] = field(default_factory=list)
    note: str = ""
    folded: bool = False


def plain(title: str, columns: Sequence[Any], rows: Iterable[Sequence[Any]], note: str = "", folded: bool = False) -> Table:
    """A table without groups; strings stand for cells and for headings of text."""
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    lines = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    return Table(title, heads, [Group("", lines)] if lines else [], note, folded)


def class_badge(source_class: Any) -> Cell:
    """A source class as a badge; what is not one is shown, without a colour."""
    return Cell(str(source_class), badge=source_class if source_class in CLASSES else "other")


def shared(entries: Iterable[tuple[Any, str]], systems: Sequence[str]) -> dict[Any, str]:
    """Entries of several systems, each once, with the systems that have it: "all", or their names."""
    found: dict[Any, list[str]] = {}
    for entry, system in entries:
        owners = found.setdefault(entry, [])
        if system not in owners:
            owners.append(system)
    return {entry: "all" if len(owners) == len(systems) > 1 else ", ".join(owners) for entry, owners in found.items()}
