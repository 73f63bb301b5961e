"""The command ``rtloom``: its verbs, their options, and how a failure becomes a message and an exit code.

Only what the help needs is imported here; each verb loads its module of `sim.commands` when it is used.
Exit codes: 0 ok, 1 a check failed, 2 usage or bad input, 3 infeasible, 4 could not read or write, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

INTERRUPTED = 130

app = typer.Typer(
    name="rtloom",
    help="Weaves RTL kernels into whole LLM inference traces: latency, throughput and energy from units proved in RTL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout; messages go to stderr.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for the files that the verb writes.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override key.path=value; repeatable.")]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", envvar="RTLOOM_RUNS", help="Folder of the stored results.")]
Model = Annotated[str | None, typer.Option("--model", help="A model by name, or the path of its config.json.")]
TraceFile = Annotated[
    Path | None, typer.Option("--trace", metavar="FILE", help="Trace: Azure, Vidur or own CSV, Mooncake JSONL.")
]
Profile = Annotated[str | None, typer.Option(help="Generate the trace from these statistics, such as azure_conversation.")]
Requests = Annotated[int | None, typer.Option(min=1, help="How many requests: generated, or the first of the file.")]
Rate = Annotated[float | None, typer.Option(help="Mean arrivals per second of a generated trace.")]
PolicyName = Annotated[str | None, typer.Option("--policy", help="Scheduling policy, such as chunked_prefill.")]
Replicas = Annotated[int | None, typer.Option(min=1, max=4096, help="Replicas of every system.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")]
Precision = Annotated[str | None, typer.Option(metavar="CLASS=FORMAT,...", help="Such as weights=ternary,activations=int8.")]


class Overlong(StrEnum):
    """What to do with requests beyond the model's context."""

    error = "error"
    reject = "reject"
    clip = "clip"


class Simulator(StrEnum):
    """The HDL simulator behind conformance."""

    auto = "auto"
    icarus = "icarus"
    verilator = "verilator"


OverlongMode = Annotated[Overlong | None, typer.Option(help="Requests beyond the model's context (default: the experiment's).")]


def verb(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function that declares the options of a verb; `sim.commands.NAME.main` gets them as keywords."""

    def register(declared: Callable[..., None]) -> Callable[..., None]:
        @wraps(declared)
        def perform(**options: Any) -> None:
            code = guarded(lambda: importlib.import_module(f"sim.commands.{name}").main(**options))
            if code:
                raise typer.Exit(code)

        return app.command(name)(perform)

    return register


def guarded(action: Callable[[], None]) -> int:
    """Run ``action``; a handled failure is printed without a traceback. Returns the exit code."""
    from sim.errors import RtloomError

    try:
        action()
        sys.stdout.flush()
        return 0
    except RtloomError as error:
        _print_error(*error.lines)
        return error.exit_code
    except KeyboardInterrupt:
        _print_error("interrupted; nothing half-written was kept")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        _abandon_stdout()
        return 0
    except OverflowError as error:
        _print_error(f"a number is too large: {error}")
        return 2
    except MemoryError:
        _print_error("out of memory; ask for fewer requests (--requests)")
        return 4
    except OSError as error:
        _abandon_stdout()
        where = f"{error.filename}: " if error.filename else ""
        _print_error(f"{where}{os.strerror(error.errno) if error.errno else error}")
        return 4


def _abandon_stdout() -> None:
    """Drop what is left to print: Python would fail once more, and change the exit code, when it flushes at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_error(*lines: str) -> None:
    from sim.commands.output import log

    for line in lines:
        for part in line.splitlines():
            log(part)


@verb("run")
def run(
    experiment: Annotated[str, typer.Argument(help="An experiment by name or path, or a design with --model and a trace.")],
    trace: TraceFile = None,
    profile: Profile = None,
    requests: Requests = None,
    rate: Rate = None,
    model: Model = None,
    precision: Precision = None,
    policy: PolicyName = None,
    replicas: Replicas = None,
    overlong: OverlongMode = None,
    seed: Seed = None,
    settings: Set = None,
    runs: Runs = Path("runs"),
    out: Out = None,
    json: Json = False,
) -> None:
    """Serve a trace on the systems of an experiment.

    Prints throughput, latency percentiles and energy, and stores the result under runs/.
    """


@verb("compare")
def compare(
    subjects: Annotated[list[str], typer.Argument(metavar="A B ...", help="Experiments or designs; the first is the base.")],
    trace: TraceFile = None,
    profile: Profile = None,
    requests: Requests = None,
    rate: Rate = None,
    model: Model = None,
    precision: Precision = None,
    policy: PolicyName = None,
    replicas: Replicas = None,
    overlong: OverlongMode = None,
    seed: Seed = None,
    settings: Set = None,
    runs: Runs = Path("runs"),
    out: Out = Path("out"),
    json: Json = False,
) -> None:
    """Serve one trace on several systems.

    Writes report.html, report.md and report.json; the path of the HTML report is the last line printed.
    """


@verb("price")
def price(
    design: Annotated[str, typer.Argument(help="A design by name or path.")],
    model: Annotated[str, typer.Option("--model", help="A model by name, or the path of its config.json.")],
    prefill: Annotated[str | None, typer.Option(metavar="[BATCHx]TOKENS[+PAST]", help="New tokens of each prompt.")] = None,
    decode: Annotated[
        str | None, typer.Option(metavar="BATCHxCONTEXT", help="Tokens attended by each, the new one included.")
    ] = None,
    precision: Precision = None,
    weights: Annotated[str | None, typer.Option(help="Format of the weights, such as ternary.")] = None,
    activations: Annotated[str | None, typer.Option(help="Format of the activations, such as int8.")] = None,
    kv: Annotated[str | None, typer.Option(help="Format of the KV cache.")] = None,
    settings: Set = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Price one step of a model on a device.

    Latency, energy, bound and bytes, in all and per op. No trace is served.
    """


@verb("report")
def report(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of stored runs, or their first digits.")],
    runs: Runs = Path("runs"),
    out: Out = Path("out"),
    json: Json = False,
) -> None:
    """Write the report of stored runs again."""


@verb("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(
            help="units, memories, parts (DRAM, NAND), links, policies, offloads, models, designs, experiments or technologies."
        ),
    ],
    out: Out = None,
    json: Json = False,
) -> None:
    """List units, designs, models, ... by name."""


@verb("show")
def show(
    names: Annotated[list[str], typer.Argument(metavar="[KIND] NAME", help="Such as: units lut_tensor_core, or a100_80gb.")],
    settings: Set = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Show one of them: fields, units, defaults."""


@verb("cost")
def cost(
    unit: Annotated[str, typer.Argument(help="A unit by kind; 'rtloom list units' names them.")],
    op: Annotated[str, typer.Option("--op", help="Kind of op: linear, attention, pointwise, ...")],
    shape: Annotated[str, typer.Option("--shape", metavar="NAME=N,...", help="Its extents, such as m=1,n=4096,k=4096.")],
    weights: Annotated[str | None, typer.Option(help="Format of the weights.")] = None,
    activations: Annotated[str | None, typer.Option(help="Format of the activations.")] = None,
    kv: Annotated[str | None, typer.Option(help="Format of keys and values.")] = None,
    output: Annotated[str | None, typer.Option("--output", help="Format of the results.")] = None,
    settings: Set = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Price one op on one unit.

    Cycles, events, and the runs of equal invocations that the op is cut into.
    """


@verb("stream")
def stream(
    part: Annotated[str, typer.Argument(help="A DRAM part; 'rtloom list parts' names them.")],
    mapping: Annotated[str, typer.Option(help="Address map, such as RoBaRaCoCh.")] = "MOP4CLXOR",
    pattern: Annotated[str, typer.Option(help="sequential, strided or random.")] = "sequential",
    requests: Annotated[int, typer.Option(min=1, max=10_000_000, help="Bursts in all.")] = 200_000,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels, a power of two (default: all of a device).")] = None,
    reads: Annotated[float, typer.Option(min=0, max=1, help="Share of the bursts that is read; the others are written.")] = 1.0,
    depth: Annotated[int, typer.Option(min=1, max=256, help="Requests in each of the two queues of a channel.")] = 32,
    page: Annotated[str, typer.Option(help="open or closed.")] = "open",
    refresh: Annotated[str, typer.Option(help="all_bank, per_bank or none.")] = "all_bank",
    block: Annotated[int | None, typer.Option(metavar="BYTES", min=1, help="Block of random (default: a burst).")] = None,
    stride: Annotated[int | None, typer.Option(metavar="BYTES", min=1, help="Stride of strided (default: a row).")] = None,
    span: Annotated[str | None, typer.Option(metavar="SIZE", help="Such as '1 GiB' (default: that, or all there is).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of random addresses and of what is written.")] = 0,
    out: Out = None,
    json: Json = False,
) -> None:
    """Play a stream of bursts on a DRAM part.

    Bandwidth, row hits, latency, commands and energy, by the command-level reference.
    """


@verb("rtl")
def rtl(
    unit: Annotated[str, typer.Argument(help="A unit with RTL, by kind.")],
    settings: Set = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR|FILE.v", help="Where to write it (default: stdout).")] = None,
    json: Json = False,
) -> None:
    """Write the Verilog of a unit."""


@verb("verify")
def verify(
    unit: Annotated[str | None, typer.Argument(help="A unit with RTL, by kind; all of them where it is not given.")] = None,
    random: Annotated[int, typer.Option(min=0, help="Random parameter sets beside the examples; with --set, random ops.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of parameters, operands and stalls.")] = 0,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the cases as JUnit XML.")] = None,
    simulator: Annotated[Simulator, typer.Option(help="auto: Icarus for short runs, Verilator for long ones.")] = Simulator.auto,
    record: Annotated[bool, typer.Option(help="Write what was proved into accel/proofs.")] = True,
    settings: Set = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Prove units against their RTL.

    Values against the golden kernel, cycles and events against the cost; what was proved is recorded.
    """


@verb("characterize")
def characterize(
    unit: Annotated[str, typer.Argument(help="A unit with RTL, by kind.")],
    liberty: Annotated[
        list[Path] | None, typer.Option("--liberty", metavar="FILE", help="Liberty file; repeatable. Without: committed figures.")
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE ...]", help="Further Liberty files.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of operands, stalls and idle times.")] = 0,
    settings: Set = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Synthesise a unit for area and energy.

    Area, leakage and joules per event, as entries of a technology.
    """


@verb("reproduce")
def reproduce(
    system: Annotated[str | None, typer.Argument(help="A published system; all of them where it is not given.")] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Compare simulated with published figures."""


@verb("bench")
def bench(
    name: Annotated[str | None, typer.Argument(help="One row; all of them where it is not given.")] = None,
    trace: TraceFile = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Measure the tool itself.

    CPU-seconds and memory of its main jobs, beside their goals.
    """


def main() -> None:
    """Entry point of the command."""
    signal.signal(signal.SIGTERM, _terminate)
    app()


def _terminate(signum: int, frame: FrameType | None) -> None:
    """A polite kill unwinds like an interrupt, so that half-written files are removed."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
