"""Liberty files: what a standard-cell library says of its cells, read as far as synthesis, simulation and power need it.

What is read is checked once, here, and a LibertyError names file, line, cell and attribute: a tool that is handed a broken
library fails later, with a line number of a copy, or computes with a zero.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

_GROUP = re.compile(
    r"\b(?P<group>library|cell|pin|ff|latch|test_cell)\s*\(\s*(?P<name>[^(){}]*?)\s*\)\s*\{"
    r"|\b(?P<key>area|function|direction|clock_gating_integrated_cell|clock_gate_\w+_pin|next_state|clocked_on|capacitance|dont_use"
    r'|nom_voltage|nom_temperature|capacitive_load_unit)\s*[:(]\s*"?(?P<value>[^";\n]*?)"?\s*\)?\s*[;\n]'
)
_TOKEN = re.compile(r"\s*([A-Za-z_]\w*(?:\[\d+\])?|[!()*&+|^01'])")
_PYTHON = {"!": "~", "*": "&", "&": "&", "+": "|", "|": "|", "^": "^", "(": "(", ")": ")", "1": "(-1)", "0": "0"}
_OPERATORS = {*_PYTHON, "'"}
_COMMENT = re.compile(r"/\*|//")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?=[\s\",\\);])"
_BAD_TABLE = re.compile(rf"\b(?P<key>values|index_\d)\s*\((?:[\s\",\\]+|{_NUMBER})*+(?!\))(?P<got>[^)\s\",]*)")
"""A table up to the first word in it that is no number."""
_BAD_VALUE = re.compile(rf"\b(?P<key>value)\s*:(?!\s*\"?\s*{_NUMBER})\s*\"?(?P<got>[^\";\n]*)")


class LibertyError(ValueError):
    """A Liberty file that cannot be used: what is wrong with it, in one line."""


@dataclass
class Cell:
    """What a Liberty file says of one cell: area in um2, pins, and what it computes."""

    name: str
    area: float = 0.0
    pins: dict[str, dict[str, str]] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)  # of a flip-flop: next_state, clocked_on, and the names q, qn
    latch: bool = False
    scan: bool = False
    gate: str | None = None  # clock_gating_integrated_cell
    dont_use: bool = False
    file: str = ""

    def outputs(self) -> list[str]:
        return [p for p, pin in self.pins.items() if pin.get("direction") == "output"]

    @property
    def is_flipflop(self) -> bool:
        return "next_state" in self.state and not self.latch

    @property
    def is_logic(self) -> bool:
        """Whether logic can be mapped onto it: a function of two or more inputs, and no state."""
        inputs = sum(pin.get("direction") == "input" for pin in self.pins.values())
        return inputs > 1 and not (self.state or self.gate or self.dont_use) and any("function" in p for p in self.pins.values())


@dataclass
class Library:
    """The cells of one or more Liberty files, with the operating point of the first.

    Files come by name of the library in them, in whatever order they are given, so that figures do not depend on it; ahead of
    all is the first of them with logic gates, as ABC gives up on a library that begins with none.
    """

    files: tuple[str, ...]
    names: tuple[str, ...]
    cells: dict[str, Cell]
    volts: float
    celsius: float
    farads: float  # of one capacitive load unit


def read_text(path: Path) -> str:
    """The text of a Liberty file, gzipped or not. Raises LibertyError in one line where it cannot be read."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LibertyError(f"{str(path)!r}, line {line}: wanted text in UTF-8, got the byte 0x{data[error.start]:02x}") from None
    except (OSError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise LibertyError(f"cannot read the Liberty file {str(path)!r}: {error}") from error
    if "\0" in text:
        raise LibertyError(f"{_at(str(path), text, text.index(chr(0)))}: wanted text in UTF-8, got the byte 0x00")
    return text


def read_liberty(texts: Mapping[str, str]) -> Library:
    """The cells of Liberty ``texts`` by file name. Raises LibertyError, naming the file, where one is not Liberty."""
    read = sorted(((file, *_read_one(file, text)) for file, text in texts.items()), key=lambda one: (one[1], one[0]))
    leading = next((n for n, (_, _, found, _) in enumerate(read) if any(c.is_logic for c in found.values())), 0)
    read.insert(0, read.pop(leading))
    cells: dict[str, Cell] = {}
    names: list[str] = []
    facts: dict[str, str] = {}
    for file, name, found, seen in read:
        names.append(name)
        cells |= found
        for key in ("nom_voltage", "nom_temperature", "capacitive_load_unit"):
            if facts and key in seen and seen[key] != facts.get(key, seen[key]):
                raise LibertyError(f"{file}: wanted {key} {facts[key]} as in {names[0]}, got {seen[key]}: not one corner")
        facts = facts or seen
    first = partial(repr, read[0][0])
    volts, celsius = (
        _number(first, key, facts.get(key, usual)) for key, usual in (("nom_voltage", "1"), ("nom_temperature", "25"))
    )
    amount, _, unit = facts.get("capacitive_load_unit", "1,pf").partition(",")
    scale = {"ff": 1e-15, "pf": 1e-12}.get(unit.strip().strip('"').lower())
    if scale is None:
        raise LibertyError(f"{first()}: wanted capacitive_load_unit in ff or pf, got {unit.strip()!r}")
    farads = _number(first, "capacitive_load_unit", amount) * scale
    return Library(tuple(one[0] for one in read), tuple(names), cells, volts, celsius, farads)


def _read_one(file: str, text: str) -> tuple[str, dict[str, Cell], dict[str, str]]:
    text = _without_comments(file, text)
    cells: dict[str, Cell] = {}
    starts: dict[str, int] = {}
    functions: list[tuple[int, Cell, str, str, str]] = []
    facts: dict[str, str] = {}
    library = ""
    cell: Cell | None = None
    pin = ""
    in_test = False
    for match in _GROUP.finditer(text):
        group, key, value = match["group"], match["key"], match["value"]
        if group is not None:
            name = match["name"].strip().strip('"')
            if group == "library":
                library = name
            elif group == "cell":
                if not re.fullmatch(r"\w+", name):
                    raise LibertyError(f"{file!r}: wanted a cell name of letters, digits and _, got {name!r}")
                cell, in_test, pin = Cell(name, math.nan, file=file), False, ""
                cells[name], starts[name] = cell, match.start()
            elif cell is None or in_test:
                continue
            elif group == "test_cell":
                in_test = cell.scan = True
            elif group == "pin":
                pin = name
                cell.pins.setdefault(name, {})
            else:
                cell.latch = group == "latch"
                cell.state["q"], _, cell.state["qn"] = (part.strip().strip('"') for part in name.partition(","))
        elif cell is None:
            facts.setdefault(key, value)
        elif not in_test:
            if key in ("area", "capacitance"):
                _number(partial(_at, file, text, match.start(), cell.name), key, value, least=0.0)
            elif key in ("function", "next_state", "clocked_on"):
                functions.append((match.start(), cell, pin, key, value))
            _note(cell, pin, key, value)
    if not library or not cells:
        what = "no library group" if not library else "no cells"
        raise LibertyError(f"{file!r} is not a Liberty file: wanted library (NAME) {{ cell (NAME) {{...}} }}, got {what}")
    if text.count("{") != text.count("}"):
        raise LibertyError(f"{file!r} does not parse: {text.count('{')} groups open and {text.count('}')} close")
    for cell in cells.values():
        if math.isnan(cell.area) and cell.outputs() and not cell.dont_use:
            raise LibertyError(f"{_at(file, text, starts[cell.name], cell.name)}: wanted an area in um2, got none")
        cell.area = 0.0 if math.isnan(cell.area) else cell.area
    for at, cell, pin, key, value in functions:
        if not cell.dont_use and not _is_function(value, cell, text, starts[cell.name]):
            where = f"{_at(file, text, at, cell.name)}{f', pin {pin}' if key == 'function' else ''}"
            known = ", ".join(filter(None, [*cell.pins, cell.state.get("q"), cell.state.get("qn")]))
            raise LibertyError(f"{where}: wanted a {key} of {known} with ! * & + | ^, got {value!r}")
    _check_tables(file, text, starts)
    return library, cells, facts


def _at(file: str, text: str, position: int, cell: str | None = None) -> str:
    return f"{file!r}, line {text.count(chr(10), 0, position) + 1}{f': cell {cell}' if cell else ''}"


def _number(where: Callable[[], str], key: str, value: str, least: float = -math.inf) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= least):
        raise LibertyError(f"{where()}: wanted {key} as a number{'' if least else ' from 0 up'}, got {value!r}")
    return number


def _without_comments(file: str, text: str) -> str:
    """``text`` with comments blanked, line for line. Raises LibertyError where a comment or a string is not closed."""
    parts, position, search, quoted = [], 0, 0, False
    while match := _COMMENT.search(text, search):
        quoted ^= text.count('"', search, match.start()) % 2 == 1
        search = match.end()
        if quoted:
            continue
        end = text.find("*/" if match[0] == "/*" else "\n", search)
        if end < 0 and match[0] == "/*":
            raise LibertyError(f"{_at(file, text, match.start())}: wanted */ to close the comment that begins here, got none")
        search = len(text) if end < 0 else end + 2 * (match[0] == "/*")
        parts += [text[position : match.start()], re.sub(r"[^\n]", " ", text[match.start() : search])]
        position = search
    text = "".join([*parts, text[position:]])
    if text.count('"') % 2:
        strings = re.finditer(r'"((?:[^"\\\n]|\\\s*\n|\\.)*)("?)', text)
        broken = next((m for m in strings if not m[2]), None)
        at = broken.start() if broken else text.rindex('"')
        raise LibertyError(f"{_at(file, text, at)}: wanted a second quote on the line, got {text[at:].splitlines()[0]!r}")
    return text


def _check_tables(file: str, text: str, starts: Mapping[str, int]) -> None:
    if match := _BAD_TABLE.search(text) or _BAD_VALUE.search(text):
        cell = max(((at, name) for name, at in starts.items() if at < match.start()), default=(0, None))[1]
        where = _at(file, text, match.start("got"), cell)
        raise LibertyError(f"{where}: wanted numbers in {match['key']}, got {match['got']!r}")


def _is_function(function: str, cell: Cell, text: str, start: int) -> bool:
    """Whether ``function`` parses and names only pins, states, or what else (a bus, a bank) ``cell`` at ``start`` declares."""
    names = {name.partition("[")[0] for name in _terms(function) or [""] if name not in _OPERATORS}
    unknown = names - {*cell.pins, cell.state.get("q"), cell.state.get("qn")}
    if not unknown:
        return True
    body = text[start : end_of_group(text, start)]
    return all(name and re.search(rf"\(\s*[^(){{}};:]*\b{name}\b[^(){{}};:]*\)\s*\{{", body) for name in unknown)


def _note(cell: Cell, pin: str, key: str, value: str) -> None:
    if key == "area":
        cell.area = float(value)
    elif key == "clock_gating_integrated_cell":
        cell.gate = value
    elif key == "dont_use":
        cell.dont_use = value == "true"
    elif key in ("next_state", "clocked_on"):
        cell.state[key] = value
    elif pin:
        cell.pins[pin].setdefault(key, value)


def _terms(function: str) -> list[str] | None:
    """The tokens of a Liberty function, with ``*`` for an operator left out; None where it does not parse."""
    terms: list[str] = []
    position, depth, complete = 0, 0, False
    function = function.rstrip()
    while position < len(function):
        match = _TOKEN.match(function, position)
        if match is None:
            return None
        term, position = match[1], match.end()
        if complete and (term in "!(01" or term not in _OPERATORS):
            terms.append("*")
            complete = False
        if complete == (term in "!(01" or term not in _OPERATORS):
            return None
        depth += {"(": 1, ")": -1}.get(term, 0)
        if depth < 0:
            return None
        complete = term not in "!(*&+|^"
        terms.append(term)
    return terms if complete and depth == 0 else None


def to_python(function: str, names: Mapping[str, str]) -> str:
    """A Liberty function such as ``(!A1 * B) + C`` as Python over ints, pins renamed. Raises LibertyError where it is neither."""
    terms = _terms(function)
    if terms is None or any(term not in _PYTHON and term not in names for term in terms):
        raise LibertyError(f"wanted a Liberty function of the pins {', '.join(names)} with ! * & + | ^, got {function!r}")
    parts = [_PYTHON.get(term) or names[term] for term in terms]
    if "^" in parts and not {"&", "|"}.isdisjoint(parts):
        raise LibertyError(f"{function!r} mixes ^ with other operators, whose order of precedence files do not agree on")
    return "".join(parts)


def gate_pin(cell: Cell, role: str) -> str:
    """The pin of an integrated clock gate with ``role`` "clock", "enable", "test" or "out"."""
    return next(p for p, pin in cell.pins.items() if pin.get(f"clock_gate_{role}_pin") == "true")


def end_of_group(text: str, start: int) -> int:
    """Position after the brace that closes the group that starts at ``start``."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.end()
    raise LibertyError(f"a Liberty group is not closed: {text[start : start + 40]!r}")
