"""Readers of request traces, told apart by their content, and the writer of rtloom's own format.

=========  ==========================================================  ====================================================
Azure      CSV ``TIMESTAMP,ContextTokens,GeneratedTokens``             wall clock, to 100 ns; times count from the first row
Mooncake   JSON lines: timestamp, input_length, output_length,         milliseconds; hashes of prompt blocks of 512 tokens
           optional hash_ids
Vidur      CSV ``arrived_at,num_prefill_tokens,num_decode_tokens``     seconds
rtloom     CSV ``arrival_s,prompt_tokens,output_tokens``               seconds, exact to the picosecond
=========  ==========================================================  ====================================================

Other columns are ignored. Times are read as decimals, never as floats. A row that cannot be right (a length that is missing, not
a whole number, below 1 or above 10^7, a time that is none or goes back) ends the reading with a `TraceError` that names the line.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from workloads.names import did_you_mean
from workloads.trace import LATEST_PS, LONGEST, Trace, TraceError

MAX_BYTES = 1 << 29  # 512 MiB: some ten million requests
MOONCAKE_BLOCK = 512  # tokens per hash; source: the Mooncake trace release (arXiv 2407.00079)
_PS_PER_S = 10**12


def read_trace(path: str | os.PathLike[str]) -> Trace:
    """The trace in the file ``path``. Raises `TraceError` on bad content, and OSError where it cannot be read."""
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    return parse_trace(data, os.fspath(path))


def parse_trace(data: bytes, where: str) -> Trace:
    """The trace in ``data``; ``where`` names its file in messages. Raises nothing but `TraceError`."""
    if len(data) > MAX_BYTES:
        raise TraceError(f"{where}: wanted a trace of at most {MAX_BYTES} bytes, got a larger file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TraceError(f"{where}:{line}: wanted UTF-8 text, got the byte {data[error.start]:#04x}") from None
    if not text.strip():
        raise TraceError(f"{where}:1: wanted a trace ({_known()}), got an empty file")
    rows = _Rows(where)
    if text.lstrip().startswith("{"):
        return _read_jsonl(text, rows)
    return _read_csv(text, rows)


def write_trace(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write ``trace`` as rtloom's CSV. The file appears whole or not at all; an existing one is replaced.

    Raises `TraceError` where the trace has prefix hashes, for which the format has no place, and OSError where writing fails.
    """
    if trace.prefix is not None:
        raise TraceError(f"{trace.name}: rtloom's CSV has no place for prefix hashes; write trace.without_prefix()")
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("x", encoding="utf-8", newline="\n") as file:
            file.write(",".join(_RTLOOM.columns) + "\n")
            columns = zip(trace.arrival_ps.tolist(), trace.prompt.tolist(), trace.output.tolist(), strict=True)
            file.writelines(f"{_decimal(arrival)},{prompt},{output}\n" for arrival, prompt, output in columns)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


# --- rows ---------------------------------------------------------------------------------------------------------------


class _Rows:
    """Collects checked requests; knows the line it is at, for messages."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.line = 0
        self.arrival: list[int] = []
        self.prompt: list[int] = []
        self.output: list[int] = []

    def fail(self, wanted: str, got: object) -> NoReturn:
        raise TraceError(f"{self.where}:{self.line}: wanted {wanted}, got {_short(got)}")

    def add(self, arrival: int, prompt: int, output: int, shown: Sequence[object]) -> None:
        """Append a request; ``shown`` is its time and lengths as the file has them."""
        if not 0 < prompt <= LONGEST:
            self.fail(f"a prompt of 1 to {LONGEST} tokens", shown[1])
        if not 0 < output <= LONGEST:
            self.fail(f"an output of 1 to {LONGEST} tokens", shown[2])
        if self.arrival and arrival < self.arrival[-1]:
            self.fail("a time not before that of the row above", shown[0])
        self.arrival.append(arrival)
        self.prompt.append(prompt)
        self.output.append(output)

    def trace(self, source: str, start: int = 0, **more: Any) -> Trace:
        if not self.arrival:
            self.line += 1
            self.fail("at least one request", "none")
        if self.arrival[-1] - start > LATEST_PS:
            self.line = 0
            raise TraceError(f"{self.where}: wanted times within {LATEST_PS // _PS_PER_S} s, got a later last row")
        arrays = [np.array(column, dtype=np.int64) for column in (self.prompt, self.output)]
        arrival = np.array([time - start for time in self.arrival] if start else self.arrival, dtype=np.int64)
        name = Path(self.where).stem or "trace"
        return Trace(arrival_ps=arrival, prompt=arrays[0], output=arrays[1], name=name, source=source, **more)


# --- CSV ----------------------------------------------------------------------------------------------------------------

_CLOCK = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,12}))?(?:Z|([+-])(\d{2}):?(\d{2}))?", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,30})?(?:[eE]-?\d{1,2})?", re.ASCII)
_COUNT = re.compile(r"(-?\d+)(?:\.0+)?", re.ASCII)


@lru_cache(maxsize=4096)
def _day(text: str) -> int:
    return date.fromisoformat(text).toordinal()


def _clock(text: str) -> int | None:
    """Picoseconds since the year 1 of a wall-clock time, exactly; None where it is none."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    day, hours, minutes, seconds, fraction, sign, zone_hours, zone_minutes = match.groups()
    try:
        days = _day(day)
    except ValueError:
        return None
    h, m, s = int(hours), int(minutes), int(seconds)
    if h > 23 or m > 59 or s > 59:
        return None
    if sign:
        east = int(zone_hours) * 60 + int(zone_minutes)
        m -= east if sign == "+" else -east
    picoseconds = int(fraction.ljust(12, "0")) if fraction else 0
    return ((days * 24 + h) * 3600 + m * 60 + s) * _PS_PER_S + picoseconds


def _seconds(text: str) -> int | None:
    """Picoseconds of a decimal number of seconds, rounded to the nearest; None where it is none."""
    return int((Decimal(text) * _PS_PER_S).to_integral_value()) if _SECONDS.fullmatch(text) else None


def _count(text: str) -> int | None:
    """A number of tokens ("12", or "12.0" as some tools write it); None where it is none."""
    if len(text) <= 12 and text.isdigit() and text.isascii():
        return int(text)
    match = _COUNT.fullmatch(text)
    if match is None:
        return None
    digits = match.group(1)
    return int(digits) if len(digits) <= 18 else LONGEST + 1  # far out of range, however long


@dataclass(frozen=True)
class _Format:
    """A CSV format: its columns for time, prompt and output, and how a time is read."""

    name: str
    columns: tuple[str, str, str]
    time: Callable[[str], int | None]
    example: str
    relative: bool = False  # times count from the first row


_RTLOOM = _Format("rtloom", ("arrival_s", "prompt_tokens", "output_tokens"), _seconds, "12.5")
_FORMATS = (
    _Format("Azure", ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), _clock, "2023-11-16 18:17:03.9799600", relative=True),
    _Format("Vidur", ("arrived_at", "num_prefill_tokens", "num_decode_tokens"), _seconds, "12.5"),
    _RTLOOM,
)


def _known() -> str:
    return ", ".join(f"{form.name}: {','.join(form.columns)}" for form in _FORMATS) + ", or Mooncake: JSON lines"


def _read_csv(text: str, rows: _Rows) -> Trace:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    start, form, picks = 0, None, (0, 0, 0)
    width = 0
    try:
        for row in lines:
            rows.line = lines.line_num
            if not row:
                continue
            if form is None:
                form, picks = _detect([cell.strip() for cell in row], rows)
                width = len(row)
                continue
            if len(row) != width:
                rows.fail(f"{width} fields, as in the header", f"{len(row)}: {','.join(row)}")
            shown = [row[i].strip() for i in picks]
            arrival, prompt, output = form.time(shown[0]), _count(shown[1]), _count(shown[2])
            if arrival is None:
                rows.fail(f"a time such as {form.example} in {form.columns[0]!r}", shown[0])
            if prompt is None:
                rows.fail(f"a whole number of tokens in {form.columns[1]!r}", shown[1])
            if output is None:
                rows.fail(f"a whole number of tokens in {form.columns[2]!r}", shown[2])
            if form.relative and not rows.arrival:
                start = arrival
            rows.add(arrival, prompt, output, shown)
    except csv.Error as error:
        rows.line = lines.line_num
        rows.fail("comma-separated values", error)
    if form is None:
        rows.fail(f"a trace ({_known()})", "no header")
    return rows.trace(f"{form.name} CSV", start)


def _detect(header: list[str], rows: _Rows) -> tuple[_Format, tuple[int, int, int]]:
    """The format whose columns the header has, and where they are."""

    def likeness(form: _Format) -> tuple[int, float]:
        near = sum(max(difflib.SequenceMatcher(None, c, cell[:100]).ratio() for cell in header[:100]) for c in form.columns)
        return sum(column in header for column in form.columns), near

    form = max(_FORMATS, key=likeness)
    exact, near = likeness(form)
    if exact == 0 and near < 2:
        rows.fail(f"the header of a known format ({_known()})", ",".join(header))
    for column in form.columns:
        if header.count(column) > 1:
            rows.fail(f"one column {column!r}", f"{header.count(column)} of them")
        if column not in header:
            others = [cell for cell in header if cell not in form.columns]
            rows.fail(
                f"the column {column!r} of the {form.name} format",
                f"{','.join(header)}" + did_you_mean(column, others).replace("did you mean", f"is {column!r} spelt"),
            )
    time, prompt, output = (header.index(column) for column in form.columns)
    return form, (time, prompt, output)


# --- JSON lines -----------------------------------------------------------------------------------------------------------


def _refuse(token: str) -> NoReturn:
    raise ValueError(f"the number {token}")


def _read_jsonl(text: str, rows: _Rows) -> Trace:
    decode = json.JSONDecoder(parse_constant=_refuse).decode
    prefix: list[tuple[int, ...]] = []
    hashed = False
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        rows.line = number
        try:
            record = decode(line)
        except (ValueError, RecursionError) as error:
            rows.fail("one JSON object per line", f"{_short(line)} ({_short(error, 80)})")
        if not isinstance(record, dict):
            rows.fail("a JSON object", line)
        shown = [_field(record, name, rows) for name in ("timestamp", "input_length", "output_length")]
        time, prompt, output = shown
        if not 0 <= time <= LATEST_PS // 10**9:
            rows.fail(f"a timestamp of 0 to {LATEST_PS // 10**9} ms", time)
        rows.add(time * 10**9, prompt, output, shown)
        hashes = record.get("hash_ids")
        hashed = hashed or hashes is not None
        prefix.append(_hashes(hashes, prompt, rows))
    more: dict[str, Any] = {"prefix": prefix, "prefix_block": MOONCAKE_BLOCK} if hashed else {}
    return rows.trace("Mooncake JSON lines", **more)


def _field(record: dict[str, Any], name: str, rows: _Rows) -> int:
    if name not in record:
        rows.fail(f"the key {name!r}", f"{', '.join(record) or 'none'}{did_you_mean(name, record)}")
    value = record[name]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int:
        rows.fail(f"a whole number in {name!r}", value)
    return value


def _hashes(value: object, prompt: int, rows: _Rows) -> tuple[int, ...]:
    most = -(-prompt // MOONCAKE_BLOCK)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(type(v) is int and 0 <= v < 1 << 63 for v in value):
        rows.fail("a list of non-negative integers in 'hash_ids'", value)
    if len(value) > most:
        rows.fail(f"at most {most} hash_ids, one per {MOONCAKE_BLOCK} tokens of the prompt", len(value))
    return tuple(value)


# --- text -----------------------------------------------------------------------------------------------------------------


def _decimal(ps: int) -> str:
    whole, rest = divmod(ps, _PS_PER_S)
    return f"{whole}.{rest:012d}".rstrip("0") if rest else str(whole)


def _short(value: object, most: int = 120) -> str:
    """One printable line of at most ``most`` characters."""
    text = value if isinstance(value, str) else str(value)
    text = "".join(c if c.isprintable() else " " for c in text[: most + 1])
    return repr(text) if not text.strip() else text if len(text) <= most else text[:most] + "..."
