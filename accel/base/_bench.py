"""The bench inside the simulator: drives every stream of a unit, and reports what it saw. Run by cocotb.

It knows no unit and no golden kernel: it reads words from a JSON file, and writes the words, cycles and event counts that it saw
to another. `accel.base.simulation` makes the Verilog around the unit (its registers ``fired``, ``valid`` and ``moved`` show the
last rising edge), `accel.base.conformance` judges the results.

One coroutine drives everything: after each falling edge it reads what happened at the rising edge before, and sets the inputs for
the next one.
"""

from __future__ import annotations

import json
import os
import random

import cocotb
from cocotb.triggers import FallingEdge

DRAIN_CYCLES = 24  # watched after the last word, on top of the latency of the last run
CONFIG = 0  # index of the config stream among the inputs


class Fault(Exception):
    """The unit broke the stream law, the run protocol, or stopped."""


class Bench:
    """The handles of one unit in simulation."""

    def __init__(self, dut, interface):
        self.dut = dut
        self.inputs = [s["name"] for s in interface["inputs"]]
        self.outputs = [s["name"] for s in interface["outputs"]]
        self.events = interface["events"]
        self.payload_in = [getattr(dut, f"in_{name}") for name in self.inputs]
        self.ones_in = [(1 << s["width"]) - 1 for s in interface["inputs"]]
        self.payload_out = [getattr(dut, f"out_{name}") for name in self.outputs]
        self.counters = [getattr(dut, f"count_{name}") for name in self.events]
        self.edge = FallingEdge(dut.clk)

    async def reset(self):
        self.dut.in_valid.value = 0
        self.dut.out_ready.value = 0
        self.dut.rst.value = 1
        for _ in range(2):
            await self.edge
        self.dut.rst.value = 0
        await self.edge

    def counts(self):
        """How often each event has happened up to the last rising edge."""
        return [_number(counter, f"events.{name}") for name, counter in zip(self.events, self.counters, strict=True)]


def _number(handle, name):
    try:
        return int(str(handle.value), 2)
    except ValueError:
        raise Fault(f"{name} is not defined: {handle.value}") from None


class Pass:
    """One sequence of runs, driven in one way."""

    def __init__(self, bench: Bench, script):
        self.bench = bench
        self.script = script
        self.runs = script["runs"]
        self.words = [[int(w, 16) for w in words] for words in script["inputs"]]  # of all runs, per input stream
        self.taken = [0] * len(bench.inputs)
        self.offered = [False] * len(bench.inputs)
        self.stale = [False] * len(bench.inputs)  # the payload still shows a word that was taken
        self.due = [0] * len(bench.outputs)  # words that the open run still owes, per output stream
        self.got: list[list[int]] = [[] for _ in bench.outputs]
        self.got_cycles: list[list[int]] = [[] for _ in bench.outputs]
        self.closed: list[list] = []  # [first cycle, last cycle, event counts] of each run that is over
        self.open_since: int | None = None
        self.cycle = -1  # of the last rising edge; the first edge that sees inputs is cycle 0
        self.random = random.Random(script["seed"])

    async def play(self):
        """Drive and watch until the last run is over; returns the record of the pass, with the fault if there was one."""
        fault = None
        self.before = self.bench.counts()
        try:
            await self._run_all()
        except Fault as error:
            fault = str(error)
        width = [len(f"{max(words, default=0):x}") for words in self.got]
        return {
            "fault": fault,
            "cycle": self.cycle,
            "runs": self.closed,
            "words": ["".join(f"{w:0{n}x}" for w in words) for words, n in zip(self.got, width, strict=True)],
            "digits": width,
            "cycles": self.got_cycles,
        }

    async def _run_all(self):
        bench, mode = self.bench, self.script["mode"]
        in_valid, out_ready = bench.dut.in_valid, bench.dut.out_ready
        fired_handle, moved_handle, valid_handle = bench.dut.fired, bench.dut.moved, bench.dut.out_valid_seen
        edge, patience = bench.edge, self.script["patience"]
        everything = (1 << len(bench.outputs)) - 1
        outputs_at = len(bench.inputs)
        ready = everything if mode == "free" else 0
        waiting, quiet, last = 0, 0, (-1, -1)  # the inputs as last set
        while len(self.closed) < len(self.runs):
            valid = self._offer(mode)
            if mode == "stalled":
                ready = sum((self.random.random() >= p) << i for i, p in enumerate(self.script["busy"]))
            elif mode == "patient":
                ready = waiting
            if (valid, ready) != last:
                in_valid.value, out_ready.value = valid, ready
                last = (valid, ready)
            await edge
            self.cycle += 1
            fired = _number(fired_handle, "valid or ready")
            if moved := _number(moved_handle, "valid or payload"):
                self._fault_of_moved(moved)
            if mode == "patient":
                waiting = _number(valid_handle, "valid") & ~(fired >> outputs_at)
            if fired:
                quiet = 0
                self._inputs_fired(fired)
                if fired >> outputs_at:
                    self._outputs_fired(fired >> outputs_at)
            else:
                quiet += 1
                if quiet > patience:
                    raise Fault(self._last_state(patience, valid, ready))
        await self._drain()

    def _offer(self, mode):
        """Put the next word on each input stream that has one; a word once offered stays. Returns the valid bits.

        While no word is offered the payload is the complement of the last one: a unit must not look at it.
        """
        valid = 0
        for i, words in enumerate(self.words):
            if not self.offered[i]:
                over = self.taken[i] == len(words)
                if over or (mode == "stalled" and self.random.random() < self.script["idle"][i]):
                    if self.stale[i]:
                        self.bench.payload_in[i].value = words[self.taken[i] - 1] ^ self.bench.ones_in[i]
                        self.stale[i] = False
                    continue
                self.bench.payload_in[i].value = words[self.taken[i]]
                self.offered[i] = True
            valid |= 1 << i
        return valid

    def _inputs_fired(self, fired):
        if fired & 1 << CONFIG:
            run = len(self.closed)
            if self.open_since is not None:
                raise Fault(f"{self._where()} took the next config word before its own last output word: owes {self._owed()}")
            self.open_since = self.cycle
            self.due = list(self.runs[run]["outputs"])
        for i in range(len(self.words)):
            if fired >> i & 1:
                self.taken[i] += 1
                self.offered[i], self.stale[i] = False, True

    def _outputs_fired(self, fired):
        for o, name in enumerate(self.bench.outputs):
            if fired >> o & 1:
                if self.open_since is None or not self.due[o]:
                    raise Fault(f"{self._where()} sent a word too many on {name!r}, after {len(self.got[o])} of the pass")
                self.due[o] -= 1
                self.got[o].append(_number(self.bench.payload_out[o], f"{name}.payload in cycle {self.cycle}"))
                self.got_cycles[o].append(self.cycle)
        if not any(self.due):
            self._close()

    def _close(self):
        """The open run has sent its last word."""
        run = len(self.closed)
        for name, taken, end in zip(self.bench.inputs, self.taken, self.runs[run]["taken"], strict=True):
            if taken < end:
                raise Fault(f"{self._where()} sent its last output word but left {end - taken} words of {name!r} untaken")
        now = self.bench.counts()
        self.closed.append([self.open_since, self.cycle, [b - a for a, b in zip(self.before, now, strict=True)]])
        self.before = now
        self.open_since = None

    async def _drain(self):
        """With every output ready and no input valid, nothing more may happen."""
        bench = self.bench
        bench.dut.in_valid.value, bench.dut.out_ready.value = 0, (1 << len(bench.outputs)) - 1
        for _ in range(DRAIN_CYCLES + self.script["drain"]):
            await bench.edge
            self.cycle += 1
            if after := _number(bench.dut.fired, "valid or ready") >> len(bench.inputs):
                names = " and ".join(repr(n) for o, n in enumerate(bench.outputs) if after >> o & 1)
                raise Fault(f"cycle {self.cycle}: sent a word on {names} after the last word of the last run")
        for name, a, b in zip(bench.events, self.before, bench.counts(), strict=True):
            if a != b:
                raise Fault(f"cycle {self.cycle}: counted {b - a} more of event {name!r} since the last word of the last run")

    def _fault_of_moved(self, moved):
        names = [repr(name) for o, name in enumerate(self.bench.outputs) if moved >> o & 1]
        raise Fault(f"{self._where()} changed or withdrew the word on {' and '.join(names)} while valid was high and ready low")

    def _where(self):
        return f"cycle {self.cycle}, run {len(self.closed)}:"

    def _owed(self):
        return ", ".join(f"{due} on {name!r}" for name, due in zip(self.bench.outputs, self.due, strict=True) if due)

    def _last_state(self, patience, valid, ready):
        """What a hanging unit was waiting for."""
        fired_ready = _number(self.bench.dut.in_ready_seen, "ready")
        out_valid = _number(self.bench.dut.out_valid_seen, "valid")
        ins = [
            f"{name}: {self.taken[i]} of {len(self.words[i])} words taken, valid={valid >> i & 1} ready={fired_ready >> i & 1}"
            for i, name in enumerate(self.bench.inputs)
        ]
        outs = [
            f"{name}: {len(self.got[o])} words sent, valid={out_valid >> o & 1} ready={ready >> o & 1}"
            for o, name in enumerate(self.bench.outputs)
        ]
        state = "run open, owes " + self._owed() if self.open_since is not None else "config word not taken"
        return f"{self._where()} hangs, nothing moved for {patience} cycles ({state}); " + "; ".join(ins + outs)


@cocotb.test()
async def conformance(dut):
    """Play every case of the job; a case ends at its first fault, and the next one starts from reset."""
    with open(os.environ["RTLOOM_JOB"]) as file:
        job = json.load(file)
    bench = Bench(dut, job["interface"])
    results = []
    for case in job["cases"]:
        await bench.reset()
        passes = []
        for script in case:
            passes.append(await Pass(bench, script).play())
            if passes[-1]["fault"]:
                break
        results.append(passes)
    with open(os.environ["RTLOOM_RESULTS"], "w") as file:
        json.dump(results, file)
