"""Drives the RTL of a DRAM controller inside the simulator and reports what it saw. Run by cocotb for `channel_replay`."""

import json
import os

import cocotb
from cocotb.triggers import FallingEdge

PATIENCE = 40_000  # cycles without anything but refresh, after which a request is taken to be lost


@cocotb.test()
async def replay(dut):
    with open(os.environ["RTLOOM_JOB"]) as file:
        cases = json.load(file)["cases"]
    results = [await play(dut, case["requests"], case["until"]) for case in cases]
    with open(os.environ["RTLOOM_RESULTS"], "w") as file:
        json.dump(results, file)


async def play(dut, requests, until):
    """Offer each request from its cycle on until it is accepted; end when all data have come. Cycle 0 follows the reset."""
    edge, seen, active = FallingEdge(dut.clk), dut.seen, dut.active
    dut.valid.value, dut.rst.value = 0, 1
    for _ in range(2):
        await edge
    dut.rst.value = 0
    found, cycle, following, offered, last = [], 0, 0, False, 0
    left = len(requests)
    while (left or cycle < until) and cycle - last < PATIENCE + until:
        if not offered and following < len(requests) and requests[following][0] <= cycle:
            dut.request.value, dut.valid.value = int(requests[following][1], 16), 1
            offered = True
        await edge
        if active.value:
            word = int(seen.value)
            found.append((cycle, f"{word:x}"))
            if word & 1:
                dut.valid.value, offered, last = 0, False, cycle
                following += 1
            left -= int(dut.done.value)
        cycle += 1
    return {"seen": found, "late": cycle if left else 0}
