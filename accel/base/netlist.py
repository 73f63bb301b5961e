"""A netlist of standard cells as a function over bit lanes: exact cycle-by-cycle values and toggle counts of every net.

Each net is one Python int whose bit l belongs to lane l. The netlist is stepped with one lane per workload; then, all flip-flop
values being known, it is evaluated once more with one lane per cycle and workload, and counting bits gives every net's toggles.
This goes by blocks of cycles, as the values of all nets in all cycles may not fit into memory.
Delays are zero, so a net toggles at most once per cycle: glitches are not seen, and neither is their energy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from accel.base.liberty import Cell, LibertyError, Library, gate_pin, to_python

MOST_LANES = 63
MOST_BYTES = 1 << 29
"""Of the values of all nets and flip-flops in the cycles that are counted at once, about."""
WORD_BYTES = 40
"""Of one value: a Python int and the reference to it."""


@dataclass(frozen=True)
class Instance:
    """One cell of the netlist: its name, its Liberty cell and the net (an index, or the constants "0" and "1") of each pin."""

    name: str
    cell: Cell
    nets: Mapping[str, Any]

    @property
    def is_clocked(self) -> bool:
        return self.cell.is_flipflop or self.cell.gate is not None

    @property
    def driven(self) -> int:
        """Number of nets that the instance drives."""
        return sum(isinstance(self.nets.get(p), int) for p in self.cell.outputs())


@dataclass(frozen=True)
class Step:
    """What one workload did over ``cycles`` cycles, by net: toggles, and cycles at one (of a gated clock: open)."""

    cycles: int
    toggles: np.ndarray
    ones: np.ndarray


def share_gates(design: dict[str, Any], top: str, library: Library, most: int) -> None:
    """Copy clock gates in Yosys's ``design`` until none drives more than ``most`` pins, each copy with its own net."""
    cells = design["modules"][top]["cells"]
    loads: dict[Any, list[list[Any]]] = {}
    largest = 0
    for item in cells.values():
        for pin, bits in item["connections"].items():
            largest = max([largest, *(b for b in bits if isinstance(b, int))])
            if library.cells.get(item["type"]) and pin in library.cells[item["type"]].outputs():
                continue
            for bit in bits:
                loads.setdefault(bit, []).append(bits)
    largest = max(
        [largest, *(b for port in design["modules"][top]["ports"].values() for b in port["bits"] if isinstance(b, int))]
    )
    for name, item in list(cells.items()):
        cell = library.cells.get(item["type"])
        if cell is None or not cell.gate:
            continue
        pin = gate_pin(cell, "out")
        driven = loads.get(item["connections"][pin][0], [])
        for copy in range(1, -(-len(driven) // most)):
            largest += 1
            cells[f"{name}_copy{copy}"] = {**item, "connections": {**item["connections"], pin: [largest]}}
            for bits in driven[copy * most : (copy + 1) * most]:
                bits[0] = largest


def _rows(columns: Sequence[int], lanes: int) -> list[int]:
    """Transpose: word l has bit l of ``columns[i]`` as its bit i."""
    bits = np.array(columns, dtype=np.uint64)[:, None] >> np.arange(lanes, dtype=np.uint64) & np.uint64(1)
    return [int.from_bytes(row.tobytes(), "little") for row in np.packbits(bits.astype(np.uint8), axis=0, bitorder="little").T]


def _columns(words: Sequence[int], width: int) -> list[int]:
    """Transpose back: column i has bit i of ``words[l]`` as its bit l."""
    size = -(-width // 8)
    raw = np.frombuffer(b"".join(w.to_bytes(size, "little") for w in words), dtype=np.uint8).reshape(len(words), size)
    bits = np.unpackbits(raw, axis=1, count=width, bitorder="little").astype(np.uint64)
    return ((np.uint64(1) << np.arange(len(words), dtype=np.uint64)) @ bits).tolist()


class Netlist:
    """The top module ``top`` of Yosys's ``write_json`` output, mapped onto the cells of ``library``.

    Supported: combinational cells, rising-edge flip-flops without asynchronous inputs, and integrated clock gates on one clock.
    Raises LibertyError where a cell is none of these.
    """

    def __init__(self, design: dict[str, Any], top: str, library: Library, clock: str = "clk") -> None:
        module = design["modules"][top]
        self.ports: dict[str, tuple[str, list[Any]]] = {n: (p["direction"], p["bits"]) for n, p in module["ports"].items()}
        self.clock = self.ports[clock][1][0] if clock in self.ports else None
        self.instances = []
        for name, item in module["cells"].items():
            kind = item["type"]
            if kind not in library.cells:
                raise LibertyError(f"the netlist has a cell {kind!r} that none of the Liberty files define")
            nets = {pin: bits[0] for pin, bits in item["connections"].items() if bits}
            self.instances.append(Instance(name, library.cells[kind], nets))
        self.flipflops = [i for i in self.instances if i.cell.is_flipflop]
        self.gates = [i for i in self.instances if i.cell.gate]
        self._gate_of_net = {i.nets[gate_pin(i.cell, "out")]: n for n, i in enumerate(self.gates)}
        bits = [b for _, port in self.ports.values() for b in port] + [b for i in self.instances for b in i.nets.values()]
        self.nets = 1 + max((b for b in bits if isinstance(b, int)), default=0)
        self._inputs = [b for n, (d, port) in self.ports.items() if d == "input" and n != clock for b in port]

    @property
    def area(self) -> float:
        """Area of all cells in um2."""
        return sum(i.cell.area for i in self.instances)

    def gate_of(self, flipflop: Instance) -> int | None:
        """Index in ``gates`` of the clock gate of ``flipflop``; None where the clock drives it directly."""
        return self._gate_of_net.get(flipflop.nets[flipflop.cell.state["clocked_on"]])

    @staticmethod
    def _variable(net: Any) -> str:
        return f"n{net}" if isinstance(net, int) else {"0": "0", "1": "(-1)"}.get(net, "0")

    @cached_property
    def _evaluate(self):
        """The combinational logic as one generated function: (flip-flop values, input bits) -> value of every net."""
        defined: dict[int, tuple[int, ...]] = {}
        lines: dict[int, str] = {}
        state = ", ".join(f"s{n}" for n in range(len(self.flipflops)))
        for n, flop in enumerate(self.flipflops):
            names = {flop.cell.state["q"]: f"s{n}", flop.cell.state["qn"]: f"(~s{n})"}
            for pin in flop.cell.outputs():
                if pin in flop.nets:
                    lines[flop.nets[pin]] = to_python(flop.cell.pins[pin]["function"], names)
                    defined[flop.nets[pin]] = ()
        for instance in self.instances:
            if instance.cell.is_flipflop or instance.cell.gate:
                continue
            if instance.cell.latch:
                raise LibertyError(f"the netlist has a latch {instance.cell.name!r}; wanted flip-flops and clock gates")
            outputs = instance.cell.outputs()
            names = {p: self._variable(b) for p, b in instance.nets.items() if p not in outputs}
            reads = tuple(b for p, b in instance.nets.items() if p not in outputs and isinstance(b, int))
            for pin in outputs:
                if pin in instance.nets:
                    lines[instance.nets[pin]] = to_python(instance.cell.pins[pin].get("function", "?"), names)
                    defined[instance.nets[pin]] = reads
        try:
            order = [net for net in TopologicalSorter(defined).static_order() if net in lines]
        except CycleError as error:
            raise LibertyError("the netlist has a combinational loop") from error
        source = ["def evaluate(state, inputs):"]
        if state:
            source.append(f" {state}, = state")
        if self._inputs:
            source.append(f" {', '.join(self._variable(b) for b in self._inputs)}, = inputs")
        source += [f" n{net} = {lines[net]}" for net in order]
        known = {*lines, *self._inputs}
        source.append(" return (" + ", ".join(f"n{n}" if n in known else "0" for n in range(self.nets)) + ",)")
        scope: dict[str, Any] = {}
        exec("\n".join(source), scope)
        return scope["evaluate"]

    def value(self, nets: Sequence[int], bit: Any) -> int:
        """The lanes of a port's ``bit`` in evaluated ``nets``."""
        return nets[bit] if isinstance(bit, int) else (-1 if bit == "1" else 0)

    def run(self, stimuli: Sequence[Sequence[Mapping[str, int]]]) -> tuple[list[list[dict[str, int]]], list[Step]]:
        """Step workloads side by side: ``stimuli[l][t]`` holds the input ports of workload l in cycle t.

        Returns the output ports in every cycle, and toggles. One cycle with ``rst`` high, not counted, comes first.
        """
        lanes, longest = len(stimuli), max(map(len, stimuli), default=0)
        if lanes > MOST_LANES:
            raise ValueError(f"wanted at most {MOST_LANES} workloads side by side, got {lanes}")
        mask = (1 << lanes) - 1
        outputs = {n: bits for n, (direction, bits) in self.ports.items() if direction == "output"}
        results: list[list[dict[str, int]]] = [[] for _ in stimuli]
        nexts, enables = self._compile_edges()
        # As if a zero had been clocked in, which is what the RTL's registers without a reset hold at first.
        state: Sequence[int] = [self._clocked_in_zero(flop) for flop in self.flipflops]
        state = nexts(state, self._evaluate(state, self._lanes([{"rst": 1}] * lanes)))
        counter = _Counter(self, enables, [len(s) for s in stimuli])
        for t in range(longest):
            bits_in = self._lanes([s[t] if t < len(s) else {} for s in stimuli])
            nets = self._evaluate(state, bits_in)
            counter.add(state, bits_in)
            words = {name: _rows([self.value(nets, b) & mask for b in bits], lanes) for name, bits in outputs.items()}
            for lane in range(lanes):
                if t < len(stimuli[lane]):
                    results[lane].append({name: rows[lane] for name, rows in words.items()})
            state = nexts(state, nets)
        return results, counter.steps()

    @staticmethod
    def _clocked_in_zero(flop: Instance) -> int:
        return eval(to_python(flop.cell.state["next_state"], dict.fromkeys(flop.cell.pins, "0")))

    def _lanes(self, words: Sequence[Mapping[str, int]]) -> list[int]:
        """The input bits, in the order of ``_inputs``, with one lane per word."""
        bits = []
        for name, (direction, port) in self.ports.items():
            if direction != "input" or port == [self.clock]:
                continue
            bits += _columns([w.get(name, 0) for w in words], len(port))
        return bits

    def _compile_edges(self):
        """(state, nets) -> next state, with the clock gates' enables respected; and the net that enables each gate."""
        enables = [self._enable(gate) for gate in self.gates]
        source = ["def nexts(s, n):"]
        source += [f" e{i} = {e}" for i, e in enumerate(enables)]
        parts = []
        for i, flop in enumerate(self.flipflops):
            clock = flop.nets.get(flop.cell.state["clocked_on"].strip("() "))
            gate = self._gate_of_net.get(clock)
            if gate is None and clock != self.clock:
                raise LibertyError(f"flip-flop {flop.name} ({flop.cell.name}) is not clocked by the rising edge of the clock")
            names = {p: f"n[{b}]" if isinstance(b, int) else self._variable(b) for p, b in flop.nets.items()}
            data = to_python(flop.cell.state["next_state"], names)
            parts.append(f"({data})" if gate is None else f"(e{gate} & ({data}) | ~e{gate} & s[{i}])")
        source.append(f" return ({', '.join(parts)}{',' if parts else ''})")
        scope: dict[str, Any] = {}
        exec("\n".join(source), scope)
        return scope["nexts"], enables

    def _enable(self, gate: Instance) -> str:
        pins = [gate_pin(gate.cell, "enable")]
        pins += [p for p, pin in gate.cell.pins.items() if pin.get("clock_gate_test_pin") == "true"]
        nets = [gate.nets[p] for p in pins if p in gate.nets]
        return " | ".join(f"n[{b}]" if isinstance(b, int) else self._variable(b) for b in nets)


class _Counter:
    """Toggles and ones of every net, from the flip-flops and inputs of one cycle after another."""

    def __init__(self, netlist: Netlist, enables: Sequence[str], lengths: Sequence[int]) -> None:
        self.netlist, self.enables, self.lengths = netlist, enables, np.array(lengths, dtype=np.int64)
        self.width = -(-len(lengths) // 8)
        words = len(netlist.flipflops) + netlist.nets * self.width // WORD_BYTES + 1
        self.block = max(MOST_BYTES // (WORD_BYTES * words), 2)
        self.states: list[Sequence[int]] = []
        self.inputs: list[Sequence[int]] = []
        self.first = 0  # the cycle of the first of them; it has been counted already where it is not 0
        self.toggles, self.ones = np.zeros((2, netlist.nets, len(lengths)), dtype=np.int64)

    def add(self, state: Sequence[int], inputs: Sequence[int]) -> None:
        """One more cycle."""
        self.states.append(state)
        self.inputs.append(inputs)
        if len(self.states) > self.block:
            self._count()

    def steps(self) -> list[Step]:
        """The activity of each workload, all cycles having been added."""
        self._count()
        for gate in self.netlist.gates:
            net = gate.nets[gate_pin(gate.cell, "out")]
            self.toggles[net] = 2 * self.ones[net]
        return [Step(int(n), self.toggles[:, lane], self.ones[:, lane]) for lane, n in enumerate(self.lengths)]

    def _count(self) -> None:
        """Count what has been added, and keep its last cycle to compare the next one with."""
        if not self.states:
            return
        lanes, cycles, width = len(self.lengths), len(self.states), self.width
        nets = list(self.netlist._evaluate(self._pack(self.states), self._pack(self.inputs)))
        scope = {"n": nets}
        for gate, enable in zip(self.netlist.gates, self.enables, strict=True):  # "one" in the cycles in which it ticks
            nets[gate.nets[gate_pin(gate.cell, "out")]] = eval(enable, scope)
        lived = self.first + np.arange(cycles)[:, None] < self.lengths
        whole, new = (1 << 8 * width * cycles) - 1, slice(1 if self.first else 0, None)
        for n, value in enumerate(nets):
            raw = np.frombuffer((value & whole).to_bytes(cycles * width, "little"), np.uint8).reshape(cycles, width)
            bits = np.unpackbits(raw, axis=1, count=lanes, bitorder="little")
            self.ones[n] += (bits & lived)[new].sum(axis=0, dtype=np.int64)
            self.toggles[n] += ((bits[1:] ^ bits[:-1]) & lived[1:]).sum(axis=0, dtype=np.int64)
        self.first += cycles - 1
        del self.states[:-1], self.inputs[:-1]

    def _pack(self, rows: Sequence[Sequence[int]]) -> list[int]:
        mask = (1 << 8 * self.width) - 1
        return [
            int.from_bytes(b"".join([(v & mask).to_bytes(self.width, "little") for v in column]), "little")
            for column in zip(*rows, strict=True)
        ]
