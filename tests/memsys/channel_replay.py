"""Streams of requests replayed on the RTL of a DRAM controller: what it issued, accepted and completed, and in which cycles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from amaranth.lib import data

from accel.base.rtl import verilog
from accel.base.simulation import play
from memsys.controller import LATENCY, ChannelController
from memsys.controller.ports import command_layout, data_layout, request_layout
from memsys.part import COLUMN_COMMANDS, Command
from memsys.reference.controller import Issued, Requests

TIMEOUT_S = 900


class Seen(NamedTuple):
    """What became of a stream: commands as the reference gives them, and for each request when it was accepted and done."""

    commands: list[Issued]
    entered: list[int]
    done: list[int]
    bursts: list[tuple[int, int, bool, int]]
    """(pseudo channel, first cycle on the data bus, whether written, request)."""


def replay(hardware: ChannelController, cases: Sequence[tuple[Requests, int]], simulator: str = "icarus") -> list[Seen]:
    """Offer the requests of each case from their cycles on, and watch for the second number of cycles at least."""
    job = [{"requests": _words(hardware, requests), "until": until + LATENCY} for requests, until in cases]
    results = play(
        verilog(hardware), harness(hardware), "channel_bench", {"cases": job}, simulator=simulator, timeout_s=TIMEOUT_S
    )
    return [_seen(hardware, requests, result) for (requests, _), result in zip(cases, results, strict=True)]


def harness(hardware: ChannelController) -> str:
    """Verilog around the controller (module ``top``): its clock and inputs, and a register of what each rising edge saw.

    ``seen``: the acceptance of a request lowest, then the command buses, then the data buses; ``active``: something is seen;
    ``done``: how many bursts have ended.
    """
    part, id_bits = hardware.part, hardware.id_bits
    connected, active, done, low = [], ["fired"], [], 1
    command, bus = command_layout(part, id_bits), data_layout(id_bits)
    for name, layout, count, valids in (
        ("commands", command, 2 if part.organisation.split_command_bus else 1, [command["valid"].offset]),
        ("data", bus, part.organisation.pseudo_channels, [bus["start"].offset, bus["done"].offset]),
    ):
        for i in range(count):
            connected.append(f".{name}__{i}(now[{low + layout.size - 1}:{low}])")
            active += [f"now[{low + valid}]" for valid in valids]
            done += [f"now[{low + bus['done'].offset}]"] if layout is bus else []
            low += layout.size
    return f"""`timescale 1ns/1ps
module bench;
  reg clk = 0;
  reg rst = 1;
  reg valid = 0;
  reg [{request_layout(part, id_bits).size - 1}:0] request = 0;
  wire ready;
  wire fired = valid & ready;
  wire [{low - 1}:0] now;
  reg [{low - 1}:0] seen = 0;
  reg active = 0;
  reg [7:0] done = 0;
  assign now[0] = fired;
  top dut(.clk(clk), .rst(rst), .requests__payload(request), .requests__valid(valid), .requests__ready(ready),
    {", ".join(connected)});
  always #1 clk = !clk;
  always @(posedge clk) begin
    seen <= now;
    active <= {" | ".join(active)};
    done <= {" + ".join(done)};
  end
endmodule
"""


def _words(hardware: ChannelController, requests: Requests) -> list[tuple[int, str]]:
    """(first cycle, payload) of each request; its id is its number, as far as the id has bits."""
    place, fields = requests.location, request_layout(hardware.part, hardware.id_bits)
    values = {
        "id": np.arange(requests.write.size) % (1 << hardware.id_bits),
        "column": place.column,
        "row": place.row,
        "place": place.bank,
        "write": requests.write.astype(np.int64),
    }
    arrival = np.zeros(requests.write.size, np.int64) if requests.arrival is None else requests.arrival
    words = sum(values[name].astype(object) << fields[name].offset for name in values)
    return [(int(cycle), f"{word:x}") for cycle, word in zip(arrival, words, strict=True)]


def _seen(hardware: ChannelController, requests: Requests, result: dict) -> Seen:
    part, id_bits = hardware.part, hardware.id_bits
    command, bus = command_layout(part, id_bits), data_layout(id_bits)
    buses = 2 if part.organisation.split_command_bus else 1
    waiting: list[int] = []  # accepted, data to come
    commands, entered, bursts = [], [], []
    done = [-1] * requests.write.size
    place = requests.location
    for cycle, text in result["seen"]:
        word = int(text, 16)
        at = 1
        for _ in range(buses):
            issued = _fields(command, word >> at)
            at += command.size
            if issued["valid"]:
                kind, request, row = Command(issued["command"]), -1, -1
                if kind in (Command.ACT, *COLUMN_COMMANDS):
                    request = _request(waiting, issued["id"], id_bits, done)
                    row = issued["row"] if kind is Command.ACT else int(place.row[request])
                    if kind in COLUMN_COMMANDS:
                        assert issued["column"] == place.column[request], f"cycle {cycle}: {kind.name} of another column"
                commands.append(Issued(cycle - LATENCY, kind, issued["place"], row, request))
        for channel in range(part.organisation.pseudo_channels):
            for name in ("start", "done"):
                event = _fields(bus[name].shape, word >> at + bus[name].offset)
                if event["valid"]:
                    request = _request(waiting, event["id"], id_bits, done)
                    assert bool(event["write"]) == bool(requests.write[request]), f"cycle {cycle}: data of the other direction"
                    if name == "start":
                        bursts.append((channel, cycle - LATENCY, bool(event["write"]), request))
                    else:
                        done[request] = cycle - LATENCY
                        waiting.remove(request)
            at += bus.size
        if word & 1:
            waiting.append(len(entered))
            entered.append(cycle)
    assert not result["late"], f"after {result['late']} cycles {len(entered)} were accepted, and these not done: {waiting[:9]}"
    return Seen(commands, entered, done, bursts)


def _fields(layout: data.StructLayout, word: int) -> dict[str, int]:
    return {name: word >> field.offset & (1 << field.width) - 1 for name, field in layout}


def _request(waiting: list[int], number: int, id_bits: int, done: list[int]) -> int:
    """The request that is meant by an id: the one of those accepted and not done."""
    [request] = [request for request in waiting if request % (1 << id_bits) == number]
    return request
