"""Activity: what real operands make a unit do. Plays ops on its RTL, then the same cycles on its mapped netlist, bit for bit.

The RTL runs in Amaranth's own simulator. Every input port is recorded in every cycle and given to the netlist in the same cycles;
every `valid` and `ready` must then agree in every cycle, and every payload wherever it is valid; of hardware that is no unit, all
that leaves it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accel.base.exercise import Traffic
from accel.base.netlist import Netlist, Step
from accel.base.rtl import Hardware
from accel.base.unit import RtlUnit
from workloads.ops import Op

WAIT = 4096
"""Cycles without a handshake after which a simulation is taken to hang."""


class MappingError(RuntimeError):
    """The mapped netlist and the RTL differ, or the RTL stopped: where."""


@dataclass(frozen=True)
class Workload:
    """Runs, each of ``n`` invocations of a tile with their operands, under stalls, followed by idle cycles."""

    runs: tuple[tuple[Op, tuple[tuple[np.ndarray, ...], ...]], ...]
    stall: float = 0.0
    """Probability that a stream with a word to pass does not pass it in a cycle."""
    idle: int = 0


@dataclass(frozen=True)
class Recording:
    """The ports of the unit in every cycle of one workload; payloads that leave only where they are valid."""

    inputs: list[dict[str, int]]
    outputs: list[dict[str, int]]
    events: Counter[str] = field(default_factory=Counter)
    """What a unit's RTL counted, as the price of some depends on data; of hardware that is no unit, nothing."""


def record(unit: RtlUnit, workloads: Sequence[Workload], seed: int, progress: Callable[[str], None]) -> list[Recording]:
    """Play ``workloads`` on the RTL, each from reset. Raises MappingError, with the last state, where it hangs."""
    component = unit.component()
    players = [_Player(unit, component, w, np.random.default_rng([seed, n])) for n, w in enumerate(workloads)]
    return _simulate(component, players, progress)


def record_traffic(hardware: Hardware, traffic: Sequence[Traffic], progress: Callable[[str], None]) -> list[Recording]:
    """Play ``traffic`` on the RTL, each from reset. Outputs are whole in every cycle."""
    component = hardware.component()
    return _simulate(component, [_Offers(component, each) for each in traffic], progress)


def _simulate(component: Any, players: Sequence[_Player | _Offers], progress: Callable[[str], None]) -> list[Recording]:
    from amaranth.sim import Simulator

    recordings: list[Recording] = []

    async def bench(ctx: Any) -> None:
        recordings.append(await players[len(recordings)].play(ctx))

    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    for number in range(len(players)):
        progress(f"simulating workload {number + 1} of {len(players)}")
        if number:
            simulator.reset()
        simulator.run()
    return recordings


class _Offers:
    """Offers words to the streams of one component, each from its cycle on until it is taken, for a number of cycles."""

    def __init__(self, component: Any, traffic: Traffic) -> None:
        from amaranth.hdl import Value
        from amaranth.lib import wiring

        self.traffic = traffic
        ports = [("__".join(map(str, p)), m.flow, Value.cast(v)) for p, m, v in component.signature.flatten(component)]
        self.inputs = {name: value for name, flow, value in ports if flow == wiring.In}
        self.outputs = {name: (value, (1 << len(value)) - 1) for name, flow, value in ports if flow == wiring.Out}

    async def play(self, ctx: Any) -> Recording:
        recording = Recording([], [])
        held = dict.fromkeys(self.inputs, 0)
        taken = dict.fromkeys(self.traffic.words, 0)
        for cycle in range(self.traffic.cycles):
            for name, words in self.traffic.words.items():
                here = taken[name] < len(words) and words[taken[name]][0] <= cycle
                held[f"{name}__valid"] = int(here)
                if here:  # a word stays when it has been taken, as in a producer's register
                    held[f"{name}__payload"] = words[taken[name]][1]
            for name, value in self.inputs.items():
                ctx.set(value, held[name])
            outputs = {name: ctx.get(value) & mask for name, (value, mask) in self.outputs.items()}
            recording.inputs.append(dict(held))
            recording.outputs.append(outputs)
            for name in taken:
                taken[name] += held[f"{name}__valid"] & outputs[f"{name}__ready"]
            await ctx.tick()
        return recording


class _Player:
    """Drives every stream of one component through one workload."""

    def __init__(self, unit: RtlUnit, component: Any, workload: Workload, rng: np.random.Generator) -> None:
        from amaranth.hdl import Value
        from amaranth.lib import wiring

        members = {name: m for name, m in component.signature.members.items() if m.is_signature}
        self.name = unit.kind()
        self.streams = {name: getattr(component, name) for name in members}
        self.payloads = {name: Value.cast(s.payload) for name, s in self.streams.items()}
        self.masks = {name: (1 << len(payload)) - 1 for name, payload in self.payloads.items()}
        self.events, self.counted = list(component.events.shape()), Value.cast(component.events)
        self.stall, self.idle, self.rng = workload.stall, workload.idle, rng
        self.words: dict[str, list[int]] = {name: [] for name, m in members.items() if m.flow == wiring.In}
        self.due = {name: 0 for name, m in members.items() if m.flow == wiring.Out}
        for tile, operands in workload.runs:
            self.words["config"].append(unit.encode_config(tile, len(operands)))
            for arrays in operands:
                for name, more in unit.encode(tile, *arrays).items():
                    self.words[name] += more
                for name, count in unit.output_words(tile).items():
                    self.due[name] += count

    async def play(self, ctx: Any) -> Recording:
        """One cycle after another until every word is out and the idle cycles are over."""
        recording = Recording([], [])
        offered = dict.fromkeys(self.words, False)
        taken = dict.fromkeys(self.words, 0)
        left = dict(self.due)
        quiet, idle = 0, self.idle
        while any(left.values()) or idle:
            idle -= not any(left.values())
            stalled = dict(zip(self.streams, (self.rng.random(len(self.streams)) < self.stall).tolist(), strict=True))
            recording.inputs.append(self._drive(ctx, offered, taken, stalled))
            outputs: dict[str, int] = {}
            before = (sum(taken.values()), sum(left.values()))
            for name in self.words:
                ready = outputs[f"{name}__ready"] = ctx.get(self.streams[name].ready)
                if offered[name] and ready:
                    taken[name], offered[name] = taken[name] + 1, False
            for name in left:
                valid = outputs[f"{name}__valid"] = ctx.get(self.streams[name].valid)
                if valid:
                    outputs[f"{name}__payload"] = ctx.get(self.payloads[name]) & self.masks[name]
                    left[name] -= not stalled[name]
            recording.outputs.append(outputs)
            counted = ctx.get(self.counted)
            for name, part in self.events:
                recording.events[name] += counted >> part.offset & (1 << part.width) - 1
            quiet = 0 if before != (sum(taken.values()), sum(left.values())) else quiet + 1
            if quiet > WAIT and any(left.values()):
                raise MappingError(f"{self.name} hangs in simulation: words still due {left}, words taken {taken}")
            await ctx.tick()
        return recording

    def _drive(self, ctx: Any, offered: dict[str, bool], taken: dict[str, int], stalled: dict[str, bool]) -> dict[str, int]:
        """Set the input ports for this cycle; a word once offered stays until the next one, as in a producer's register."""
        inputs: dict[str, int] = {}
        for name, words in self.words.items():
            offered[name] = offered[name] or (taken[name] < len(words) and not stalled[name])
            word = words[taken[name] - (not offered[name])] if offered[name] or taken[name] else 0
            ctx.set(self.payloads[name], word)
            ctx.set(self.streams[name].valid, offered[name])
            inputs |= {f"{name}__payload": word, f"{name}__valid": int(offered[name])}
        for name in self.due:
            ctx.set(self.streams[name].ready, not stalled[name])
            inputs[f"{name}__ready"] = int(not stalled[name])
        return inputs


def replay(netlist: Netlist, recordings: Sequence[Recording]) -> list[Step]:
    """The activity of the netlist on ``recordings``. Raises MappingError at the first bit that differs from the RTL."""
    results, steps = netlist.run([r.inputs for r in recordings])
    for number, (recording, outputs) in enumerate(zip(recordings, results, strict=True)):
        for cycle, (wanted, got) in enumerate(zip(recording.outputs, outputs, strict=True)):
            if difference := _difference(wanted, got):
                raise MappingError(f"the mapped netlist differs from the RTL: workload {number}, cycle {cycle}, {difference}")
    return steps


def _difference(wanted: Mapping[str, int], got: Mapping[str, int]) -> str:
    for name, value in wanted.items():
        if got.get(name, 0) != value:
            return f"{name}: wanted {value:#x}, got {got.get(name, 0):#x}"
    return ""
