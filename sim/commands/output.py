"""What the command prints: results on stdout as aligned text or JSON, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sim.errors import StorageError

Row = Sequence[Any]


def clean(text: Any) -> str:
    """``text`` on one line without control characters, so that a name from a file cannot steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def figure(value: Any) -> str:
    """A number with about six significant digits, no exponent between 1e-4 and 1e12; anything else as text."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        if value and not 1e-4 <= abs(value) < 1e12:
            return f"{value:.4g}"
        text = f"{value:,.{max(0, 6 - len(str(int(abs(value)))))}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:,}" if isinstance(value, int) else clean(value)


def table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Aligned columns under a rule; columns of numbers to the right."""
    cells = [[figure(value) for value in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows) for i in range(len(columns))]
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]

    def line(values: Sequence[str]) -> str:
        aligned = (v.rjust(w) if right else v.ljust(w) for v, w, right in zip(values, widths, numeric, strict=True))
        return "  ".join(aligned).rstrip()

    return "\n".join([line(list(columns)), line(["-" * w for w in widths]), *map(line, cells)])


def say(text: str) -> None:
    """A line of results. What the terminal cannot encode is written as escapes."""
    if sys.stdout is None:
        raise StorageError("cannot write the results: standard output is closed")
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def log(text: str) -> None:
    """A line for the person at the terminal, never part of the results."""
    encoding = sys.stderr.encoding or "utf-8"
    print(f"rtloom: {text}".encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)


def emit_json(data: Any) -> None:
    """``data`` as JSON on stdout; not a number is null."""
    say(json.dumps(finite(data), indent=2, ensure_ascii=True, allow_nan=False))


def finite(data: Any) -> Any:
    """``data`` with NumPy numbers as Python's, and what JSON cannot say (inf, nan) as None."""
    if isinstance(data, dict):
        return {str(k): finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [finite(v) for v in data]
    if hasattr(data, "tolist"):
        return finite(data.tolist())
    if isinstance(data, float) and (data != data or data in (float("inf"), float("-inf"))):
        return None
    return data


@contextmanager
def progress(total: int | None) -> Iterator[Callable[[str, int], None]]:
    """A progress bar on stderr where that is a terminal; the yielded function takes what is being done and steps finished."""
    if not sys.stderr.isatty():
        yield lambda what, done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda what, done: bar.update(task, description=clean(what), completed=done)
