"""Are the joules of a netlist those of its library, each counted once?"""

import numpy as np
import pytest

from accel.base import netlist as netlist_module
from accel.base import power
from accel.base.errors import ToolError
from accel.base.liberty import gate_pin, read_liberty
from accel.base.netlist import Netlist
from accel.base.synthesis import Synthesis


def test_opensta_counts_each_energy_once(asap7, opensta):
    """A chain of two buffers and a flip-flop: joules by hand from the library's own capacitances and tables."""
    flop, buffer = asap7.flipflop(), asap7.driver()
    cells = {
        "b": {"type": buffer.name, "connections": {"A": [3], "Y": [4]}},
        "f": {"type": flop.name, "connections": {"CLK": [2], "D": [4], "QN": [5]}},
    }
    ports = {"clk": ("input", [2]), "d": ("input", [3]), "q": ("output", [5])}
    module = {"ports": {n: {"direction": d, "bits": b} for n, (d, b) in ports.items()}, "cells": cells}
    netlist = Netlist({"modules": {"top": module}}, "top", asap7.library)
    priced = power.analyse(Synthesis(netlist, asap7.library, "none"), asap7, period_ps=1000)
    farads, volts = asap7.library.farads, asap7.library.volts
    load = float(flop.pins["D"]["capacitance"]) * farads
    switching = load * volts**2 / 2
    index = {i.name: n for n, i in enumerate(netlist.instances)}
    assert switching < priced.output_j[index["b"]] < switching + 1e-15  # tables of ASAP7 are below 1 fJ per toggle
    # Liberty, DFFHQNx1: CLK rises 0.12 fJ and falls 0.45 fJ, the means over the four states of D and QN, at small slews.
    assert priced.clock_j[index["f"]] == pytest.approx(0.57e-15, rel=0.03)
    assert priced.root_j == pytest.approx(float(flop.pins["CLK"]["capacitance"]) * farads * volts**2)
    idle, busy = netlist.run([[{}] * 50, [{"d": t % 2} for t in range(50)]])[1]
    assert priced.joules(idle) == pytest.approx(50 * (priced.root_j + priced.clock_j[index["f"]]))
    toggled = 49 * (priced.output_j[index["b"]] + priced.data_j[index["b"]] + priced.data_j[index["f"]])
    assert priced.joules(busy) - priced.joules(idle) == pytest.approx(toggled + 48 * priced.output_j[index["f"]])


def test_a_missing_tool_is_named(asap7, monkeypatch):
    monkeypatch.setattr(power, "COMMAND", "no-such-sta")
    netlist = Netlist({"modules": {"top": {"ports": {}, "cells": {}}}}, "top", read_liberty(dict(asap7.texts)))
    with pytest.raises(ToolError, match="OpenSTA is not installed"):
        power.analyse(Synthesis(netlist, asap7.library, "none"), asap7, period_ps=709)


def test_toggles_do_not_depend_on_the_cycles_counted_at_once(asap7, monkeypatch):
    """Blocks of two cycles, which meet in the middle of workloads of several lengths, and a clock gate."""
    gate = next(c for c in asap7.library.cells.values() if c.gate)
    pins = {gate_pin(gate, "clock"): [2], gate_pin(gate, "enable"): [4], gate_pin(gate, "out"): [6]}
    rest = {p: ["0"] for p, pin in gate.pins.items() if pin.get("direction") == "input" and p not in pins}
    cells = {
        "g": {"type": gate.name, "connections": pins | rest},
        "f": {"type": asap7.flipflop().name, "connections": {"CLK": [6], "D": [3], "QN": [5]}},
    }
    ports = {"clk": ("input", [2]), "d": ("input", [3]), "en": ("input", [4]), "q": ("output", [5])}
    module = {"ports": {n: {"direction": d, "bits": b} for n, (d, b) in ports.items()}, "cells": cells}
    netlist = Netlist({"modules": {"top": module}}, "top", asap7.library)
    rng = np.random.default_rng(0)
    stimuli = [[{"d": int(d), "en": int(e)} for d, e in rng.integers(0, 2, (n, 2))] for n in (0, 1, 2, 3, 7, 20, 21)]
    whole = netlist.run(stimuli)
    monkeypatch.setattr(netlist_module, "MOST_BYTES", 1)
    blocks = netlist.run(stimuli)
    assert blocks[0] == whole[0]
    assert whole[1][-1].toggles[[3, 5, 6]].min() > 0
    for found, wanted in zip(blocks[1], whole[1], strict=True):
        assert found.cycles == wanted.cycles
        assert (found.toggles.tolist(), found.ones.tolist()) == (wanted.toggles.tolist(), wanted.ones.tolist())
