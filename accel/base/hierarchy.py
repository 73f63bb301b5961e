r"""Hierarchy: which modules of a design are the same, so that a PE of which there are a thousand is synthesised once.

Amaranth writes one RTLIL module per instance. Two modules are the same where their bodies agree after every wire has been renamed
after the place where it first appears, and their children are the same; bottom-up. What remains is one module per kind, with
the ports of its first instance:

    top -> pe_0_0, pe_0_1, pe_1_0, pe_1_1        becomes        top -> 4 x pe_0_0
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from accel.base.errors import ToolError

LEAST_BITS = 64
"""Size of a module that is worth a boundary, in bits of results: over that of a smaller one, logic is better optimised across."""
_NAME = re.compile(r"[\\$][^\s{}]+")
_WIRE = re.compile(r"wire width (?P<width>\d+) (?:(?P<way>input|output|inout) \d+ +)?(?:signed +)?(?P<name>\S+)")


def _declared(wire: str) -> re.Match[str]:
    """The parts of a line that declares a wire, as Amaranth writes it."""
    if (parts := _WIRE.fullmatch(wire)) is None:
        raise ToolError(f"wanted a line 'wire width N [input|output|inout N] [signed] NAME' of RTLIL, got {wire!r}")
    return parts


@dataclass
class _Item:
    """A cell, process, memory or connection of a module; ``child`` is the kind of an instance of another module."""

    lines: list[str]
    child: str = ""

    @property
    def keyword(self) -> str:
        return next(line for line in self.lines if not line.startswith("attribute")).partition(" ")[0]

    @property
    def bits(self) -> int:
        """Bits of the result of a cell; of a product, those of all its partial products."""
        widths = dict(re.findall(r"parameter \\(\w*WIDTH) (\d+)$", "\n".join(self.lines), re.M))
        if any(line.startswith("cell $mul ") for line in self.lines):
            return int(widths["A_WIDTH"]) * int(widths["B_WIDTH"])
        return int(widths.get("Y_WIDTH") or widths.get("WIDTH", 0))

    def signals(self) -> Iterator[str]:
        """The names of wires and memories, in order; of an instance, by port of its child."""
        for line in self.lines:
            word, _, rest = line.partition(" ")
            if word == "connect" and self.keyword == "cell":
                rest = rest.partition(" ")[2]
            elif word == "parameter":
                rest = rest.partition('"\\')[2].rstrip('"') if rest.startswith("\\MEMID") else ""
            elif word in ("cell", "process", "attribute"):
                rest = ""
            yield from _NAME.findall(rest)


@dataclass
class _Module:
    name: str
    attributes: list[str] = field(default_factory=list)
    wires: dict[str, list[str]] = field(default_factory=dict)
    items: list[_Item] = field(default_factory=list)

    @cached_property
    def ports(self) -> dict[str, str]:
        """The direction of each port."""
        found = {name: _declared(lines[-1])["way"] for name, lines in self.wires.items()}
        return {name: way for name, way in found.items() if way}

    def without_aliases(self) -> list[_Item]:
        """The items but for connections that only give a second name to a signal."""
        used = Counter(name for item in self.items for name in item.signals())
        second = {name for name in self.wires if used[name] == 1 and name not in self.ports}
        return [i for i in self.items if i.keyword != "connect" or not second.issuperset(_NAME.findall(i.lines[0])[:1])]


@dataclass(frozen=True)
class Design:
    """RTLIL with one module per kind."""

    text: str
    top: str
    children: Mapping[str, Counter[str]]
    """Of each module: its instances of other modules."""
    bits: Mapping[str, int]
    """Size of each module, those of its children included: bits of results of its cells (of a product, partial ones)."""

    def counts(self) -> Counter[str]:
        """Instances of each module in the whole design."""
        total = Counter({self.top: 1})
        for name in reversed(_bottom_up(self.children)):
            for child, count in self.children[name].items():
                total[child] += total[name] * count
        return total

    def repeated(self) -> list[str]:
        """The modules worth a boundary: there are several of them, and most of them are not inside of another such one.

        (The PE of an array's cells is not: it is dissolved in the cell, which is what is repeated, and in the few cells of a
        kind of their own.)
        """
        counts = self.counts()
        outside = Counter({self.top: 1})  # instances that are in no repeated module
        found = []
        for name in reversed(_bottom_up(self.children)):
            several = name != self.top and outside[name] > 1 and 2 * outside[name] > counts[name]
            if several and self.bits[name] >= LEAST_BITS:
                found.append(name)
                continue
            for child, count in self.children[name].items():
                outside[child] += outside[name] * count
        return sorted(found)


def deduplicate(rtlil: str, top: str) -> Design:
    """The design ``top`` of ``rtlil``, as Amaranth writes it, with each kind of module once. Raises ToolError without ``top``."""
    modules = _parse(rtlil)
    if f"\\{top}" not in modules:
        raise ToolError(f"wanted RTLIL with a module {top!r}, got modules {', '.join(modules) or 'none'}")
    kinds: dict[str, str] = {}  # by canonical text, the module that stands for all of its kind
    kind_of: dict[str, str] = {}
    places: dict[str, dict[str, str]] = {}  # of each module: the canonical name of each port
    tree = {name: Counter(i.child for i in m.items if i.child) for name, m in modules.items()}
    for name in _bottom_up(tree, f"\\{top}"):
        text, places[name] = _canonical(modules[name], kind_of, places)
        kind_of[name] = kinds.setdefault(hashlib.sha256(text.encode()).hexdigest(), name)
    kept = {name: modules[name] for name in kinds.values()}
    children = {name: Counter(kind_of[i.child] for i in m.items if i.child) for name, m in kept.items()}
    bits: dict[str, int] = {}
    for name in _bottom_up(children):
        bits[name] = sum(item.bits for item in kept[name].items)
        bits[name] += sum(count * bits[child] for child, count in children[name].items())
    lines = [line for module in kept.values() for line in _written(module, kind_of, places)]
    return Design("\n".join([*lines, ""]), kind_of[f"\\{top}"], children, bits)


def _bottom_up(children: Mapping[str, Counter[str]], top: str | None = None) -> list[str]:
    """Every module (below ``top``) after those that it has instances of."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in order:
            for child in children[name]:
                visit(child)
            order[name] = None

    for name in children if top is None else [top]:
        visit(name)
    return list(order)


def _parse(rtlil: str) -> dict[str, _Module]:
    modules: dict[str, _Module] = {}
    attributes: list[str] = []
    module, item, depth = _Module(""), _Item([]), 0
    for line in map(str.strip, rtlil.splitlines()):
        word = line.partition(" ")[0]
        if depth:  # inside of a cell or a process
            depth += (word == "switch") - (word == "end")
            item.lines.append(line)
        elif word == "attribute":
            attributes.append(line)
        elif word == "module":
            module = modules[line.split()[1]] = _Module(line.split()[1], attributes)
            attributes = []
        elif word == "wire":
            module.wires[line.split()[-1]] = [*attributes, line]
            attributes = []
        elif word in ("cell", "process", "memory", "connect"):
            item, attributes = _Item([*attributes, line]), []
            module.items.append(item)
            depth = word in ("cell", "process")
    for module in modules.values():
        for item in module.items:
            kind = next((line.split()[1] for line in item.lines if line.startswith("cell ")), "")
            item.child = kind if kind in modules else ""
    return modules


def _canonical(module: _Module, kind_of: Mapping[str, str], places: Mapping[str, dict[str, str]]) -> tuple[str, dict[str, str]]:
    """A text that equal modules share, and what it calls their ports."""
    names: dict[str, str] = {}

    def renamed(text: str) -> str:
        return _NAME.sub(lambda m: names.setdefault(m[0], f"n{len(names)}"), text)

    lines = []
    for item in module.without_aliases():
        if item.child:
            ports = places[item.child]
            connects = sorted(
                (ports[line.split()[1]], line.split(" ", 2)[2]) for line in item.lines if line.startswith("connect")
            )
            lines += [f"instance {kind_of[item.child]}", *(f"{port} {renamed(signal)}" for port, signal in connects)]
            continue
        for line in item.lines:
            word, _, rest = line.partition(" ")
            if item.keyword == "cell" and word == "connect":
                port, _, signal = rest.partition(" ")
                lines.append(f"connect {port} {renamed(signal)}")
            elif word == "cell":
                lines.append(f"cell {rest.split()[0]}")
            elif word == "parameter":
                memory = rest.startswith("\\MEMID")
                lines.append(renamed(rest.partition('"\\')[2].rstrip('"')) if memory else line)
            elif word == "process":
                lines.append(word)
            else:
                lines.append(renamed(line))
    for name, declared in module.wires.items():
        if name in names or name in module.ports:
            width = _declared(declared[-1])["width"]
            lines.append(f"wire {names.get(name, name)} {width} {module.ports.get(name, '')} {declared[:-1]}")
    body = len(lines) - sum(line.startswith("wire ") for line in lines)
    return "\n".join(lines[:body] + sorted(lines[body:])), {port: names.get(port, port) for port in module.ports}


def _written(module: _Module, kind_of: Mapping[str, str], places: Mapping[str, dict[str, str]]) -> Iterator[str]:
    """The RTLIL of ``module`` with instances of the modules that stand for their kinds."""
    yield from [*module.attributes, f"module {module.name}"]
    for declared in module.wires.values():
        yield from declared
    for item in module.items:
        if not item.child:
            yield from item.lines
            continue
        kind = kind_of[item.child]
        ports = {place: name for name, place in places[kind].items()}
        for line in item.lines:
            word, _, rest = line.partition(" ")
            if word == "cell":
                yield f"cell {kind} {rest.split()[1]}"
            elif word == "connect":
                port, _, signal = rest.partition(" ")
                yield f"connect {ports[places[item.child][port]]} {signal}"
            else:
                yield line
    yield "end"
