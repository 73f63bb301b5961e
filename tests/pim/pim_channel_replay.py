"""Operations and requests replayed on the RTL of a PIM controller: what it sent, and in which cycles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from accel.base.rtl import verilog
from accel.base.simulation import play
from memsys.part import Command
from pim.commands import Issued, PimCommand
from pim.pim_controller import PimController
from pim.pim_controller.rtl import command_layout, operation_layout, request_layout
from pim.tiles import Operation, Tile
from pim.traffic import Access

TIMEOUT_S = 900


class Seen(NamedTuple):
    """What became of a case: the commands, and for each operation and request when it was taken; column commands by request."""

    commands: list[Issued]
    taken: list[int]
    entered: list[int]
    served: dict[int, Issued]


def replay(
    hardware: PimController, cases: Sequence[tuple[Sequence[Operation], Sequence[Access]]], cycles: int, simulator: str = "icarus"
) -> list[Seen]:
    """Offer the operations of each case one after the other, and its accesses from their cycles on, for ``cycles`` at most."""
    job = [
        {
            "operations": [_operation(hardware, each) for each in operations],
            "requests": [(a.arrival, _request(hardware, i, a)) for i, a in enumerate(accesses)],
            "cycles": cycles,
        }
        for operations, accesses in cases
    ]
    results = play(
        verilog(hardware), harness(hardware), "pim_channel_bench", {"cases": job}, simulator=simulator, timeout_s=TIMEOUT_S
    )
    return [_seen(hardware, accesses, result) for (_, accesses), result in zip(cases, results, strict=True)]


def harness(hardware: PimController) -> str:
    """Verilog around the controller (module ``top``); ``seen``: operation taken, request taken, the command, of each cycle."""
    op, request, command = (f(hardware).size for f in (operation_layout, request_layout, command_layout))
    return f"""`timescale 1ns/1ps
module bench;
  reg clk = 0;
  reg rst = 1;
  reg op_valid = 0, rq_valid = 0;
  reg [{op - 1}:0] op = 0;
  reg [{request - 1}:0] rq = 0;
  wire op_ready, rq_ready;
  wire [{command - 1}:0] command;
  reg [{command + 1}:0] seen = 0;
  top dut(.clk(clk), .rst(rst), .operations__payload(op), .operations__valid(op_valid), .operations__ready(op_ready),
    .requests__payload(rq), .requests__valid(rq_valid), .requests__ready(rq_ready), .command(command));
  always #1 clk = !clk;
  always @(posedge clk) seen <= {{command, rq_valid & rq_ready, op_valid & op_ready}};
endmodule
"""


def _operation(hardware: PimController, operation: Operation) -> str:
    tile = isinstance(operation, Tile)
    fields = {"bursts": operation.bursts, "results": operation.results} if tile else {"bank": operation.bank}
    return f"{operation_layout(hardware).const({'tile': tile, 'row': operation.row, **fields}).as_bits():x}"


def _request(hardware: PimController, number: int, access: Access) -> str:
    word = {"write": access.write, "bank": access.bank, "row": access.row, "id": number % (1 << hardware.id_bits)}
    return f"{request_layout(hardware).const(word).as_bits():x}"


def _seen(hardware: PimController, accesses: Sequence[Access], result: dict) -> Seen:
    layout = command_layout(hardware)
    commands, served = [], {}
    for cycle, text in result["commands"]:
        word = int(text, 16)
        got = {name: word >> field.offset & (1 << field.width) - 1 for name, field in layout}
        kind = Command(got["command"]) if got["command"] < len(Command) else PimCommand(got["command"])
        rowless = kind in (Command.PRE, Command.REFAB, PimCommand.PPRE)
        issued = Issued(cycle, kind, got["bank"], -1 if rowless else got["row"], got["bursts"])
        commands.append(issued)
        if kind in (Command.RD, Command.WR):
            entered = (i for i, at in enumerate(result["entered"]) if at < cycle and i not in served)
            served[next(i for i in entered if i % (1 << hardware.id_bits) == got["id"])] = issued
    return Seen(commands, result["taken"], result["entered"], served)
