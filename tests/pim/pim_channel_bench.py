"""Drives the RTL of a PIM controller inside the simulator and reports its commands. Run by cocotb for `pim_channel_replay`."""

import json
import os

import cocotb
from cocotb.triggers import FallingEdge

IDLE = 600  # cycles without a command, after which all is done


@cocotb.test()
async def replay(dut):
    with open(os.environ["RTLOOM_JOB"]) as file:
        cases = json.load(file)["cases"]
    results = [await play(dut, case["operations"], case["requests"], case["cycles"]) for case in cases]
    with open(os.environ["RTLOOM_RESULTS"], "w") as file:
        json.dump(results, file)


async def play(dut, operations, requests, cycles):
    """Offer each operation, and each request from its cycle on, until it is taken. Cycle 0 follows the reset."""
    edge = FallingEdge(dut.clk)
    dut.op_valid.value, dut.rq_valid.value, dut.rst.value = 0, 0, 1
    for _ in range(2):
        await edge
    dut.rst.value = 0
    commands, taken, entered = [], [], []
    following = at = 0
    for cycle in range(cycles):
        if following == len(taken) and following < len(operations):
            dut.op.value, dut.op_valid.value = int(operations[following], 16), 1
            following += 1
        elif following == len(taken):
            dut.op_valid.value = 0
        if at == len(entered) and at < len(requests) and requests[at][0] <= cycle:
            dut.rq.value, dut.rq_valid.value = int(requests[at][1], 16), 1
            at += 1
        elif at == len(entered):
            dut.rq_valid.value = 0
        await edge
        word = int(dut.seen.value)
        if word & 1:
            taken.append(cycle)
        if word & 2:
            entered.append(cycle)
        if word & 4:
            commands.append((cycle, f"{word >> 2:x}"))
        if len(taken) == len(operations) and len(entered) == len(requests) and len(commands) and cycle - commands[-1][0] > IDLE:
            break
    return {"commands": commands, "taken": taken, "entered": entered}
