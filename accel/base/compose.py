"""Composition: a design mapped module by module becomes one netlist, and says which module takes how much of its area.

A net that enters many instances was buffered inside of each of them but not on the way to them; here it gets a tree of buffers,
with at most `BRANCHES` pins behind each. (Inside of a module ABC has done so.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from accel.base.liberty import Cell, Library

BRANCHES = 8
Bit = Any  # a net, or one of the constants "0", "1", "x"


@dataclass(frozen=True)
class Part:
    """One kind of module: how many there are, and the cells and um2 of each without the modules inside of it."""

    module: str
    count: int
    cells: int
    area_um2: float
    sequential_um2: float


def parts(design: Mapping[str, Any], top: str, library: Library) -> tuple[Part, ...]:
    """Every kind of module below ``top``, largest in all first."""
    found = []
    for name, count in counts(design, top).items():
        cells = [library.cells[kind] for kind in _types(design, name) if kind in library.cells]
        clocked = sum(c.area for c in cells if c.is_flipflop or c.gate)
        found.append(Part(name, count, len(cells), sum(c.area for c in cells), clocked))
    return tuple(sorted(found, key=lambda p: -p.count * p.area_um2))


def kinds(design: Mapping[str, Any], top: str) -> Counter[str]:
    """How many of each library cell there are below ``top``."""
    total: Counter[str] = Counter()
    for name, count in counts(design, top).items():
        for kind in _types(design, name):
            if kind not in design["modules"]:
                total[kind] += count
    return total


def counts(design: Mapping[str, Any], top: str) -> Counter[str]:
    """Instances of each module below ``top``, itself included."""
    total = Counter({top: 1})
    for kind, count in Counter(_types(design, top)).items():
        if kind in design["modules"]:
            for inner, n in counts(design, kind).items():
                total[inner] += count * n
    return total


def _types(design: Mapping[str, Any], name: str) -> list[str]:
    return [item["type"] for item in design["modules"][name]["cells"].values()]


def buffer_boundaries(design: dict[str, Any], buffer: Cell, clock: str = "clk") -> None:
    """Put a tree of ``buffer`` into every net of a module of ``design`` that enters more than `BRANCHES` pins of instances."""
    (pin_in,) = (p for p, pin in buffer.pins.items() if pin.get("direction") == "input")
    (pin_out,) = buffer.outputs()
    for module in design["modules"].values():
        clocks = set(module["ports"].get(clock, {"bits": []})["bits"])
        loads: dict[int, list[list[Bit]]] = {}
        places: dict[int, list[int]] = {}
        for bits, position in _instance_inputs(design, module):
            if isinstance(bits[position], int) and bits[position] not in clocks:
                loads.setdefault(bits[position], []).append(bits)
                places.setdefault(bits[position], []).append(position)
        free = 1 + max(_nets(module), default=1)
        for net, pins in loads.items():
            ends = list(zip(pins, places[net], strict=True))
            while len(ends) > BRANCHES:
                drivers = []
                for start in range(0, len(ends), BRANCHES):
                    for bits, position in ends[start : start + BRANCHES]:
                        bits[position] = free
                    connections = {pin_in: [net], pin_out: [free]}
                    module["cells"][f"boundary_{free}"] = {"type": buffer.name, "connections": connections}
                    drivers.append((connections[pin_in], 0))
                    free += 1
                ends = drivers


def _instance_inputs(design: Mapping[str, Any], module: Mapping[str, Any]) -> Iterator[tuple[list[Bit], int]]:
    for item in module["cells"].values():
        if item["type"] in design["modules"]:
            ports = design["modules"][item["type"]]["ports"]
            for port, bits in item["connections"].items():
                if ports[port]["direction"] == "input":
                    yield from ((bits, n) for n in range(len(bits)))


def _nets(module: Mapping[str, Any]) -> Iterator[int]:
    groups = [port["bits"] for port in module["ports"].values()]
    groups += [bits for item in module["cells"].values() for bits in item["connections"].values()]
    yield from (bit for bits in groups for bit in bits if isinstance(bit, int))


def flatten(design: Mapping[str, Any], top: str) -> dict[str, Any]:
    """``design`` with the cells of all instances in the one module ``top``; an instance's cells are named INSTANCE.CELL."""
    return _Flattening(design).run(top)


class _Flattening:
    def __init__(self, design: Mapping[str, Any]) -> None:
        self.modules = design["modules"]
        self.cells: dict[str, Any] = {}
        self.same: list[Bit] = [0, 1]  # of each net, one that is the same; Yosys numbers its nets from 2

    def run(self, top: str) -> dict[str, Any]:
        module = self.modules[top]
        names = {bit: self._new() for port in module["ports"].values() for bit in port["bits"] if isinstance(bit, int)}
        self._place(top, "", names)
        ports = {
            name: {**port, "bits": [self._found(names.get(bit, bit)) for bit in port["bits"]]}
            for name, port in module["ports"].items()
        }
        for item in self.cells.values():
            item["connections"] = {pin: [self._found(b) for b in bits] for pin, bits in item["connections"].items()}
        return {"modules": {top: {"ports": ports, "cells": self.cells}}}

    def _place(self, name: str, prefix: str, names: dict[Bit, Bit]) -> None:
        """Add the cells of one instance of the module ``name``, whose port bits are called ``names`` outside."""

        def outside(bit: Bit) -> Bit:
            if not isinstance(bit, int):
                return bit
            if bit not in names:
                names[bit] = self._new()
            return names[bit]

        for cell, item in self.modules[name]["cells"].items():
            connections = {pin: [outside(b) for b in bits] for pin, bits in item["connections"].items()}
            if item["type"] not in self.modules:
                self.cells[prefix + cell] = {"type": item["type"], "connections": connections}
                continue
            inner: dict[Bit, Bit] = {}
            for pin, port in self.modules[item["type"]]["ports"].items():
                for within, without in zip(port["bits"], connections.get(pin, []), strict=False):
                    if within in inner or not isinstance(within, int):  # an output twice, a feed-through, or a constant
                        self._unite(inner.get(within, within), without)
                    else:
                        inner[within] = without
            self._place(item["type"], f"{prefix}{cell}.", inner)

    def _new(self) -> int:
        self.same.append(len(self.same))
        return len(self.same) - 1

    def _found(self, bit: Bit) -> Bit:
        while isinstance(bit, int) and self.same[bit] != bit:
            bit = self.same[bit]
        return bit

    def _unite(self, one: Bit, other: Bit) -> None:
        one, other = self._found(one), self._found(other)
        if isinstance(other, int):
            self.same[other] = one
        elif isinstance(one, int):
            self.same[one] = other
