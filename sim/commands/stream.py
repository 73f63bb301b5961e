"""`rtloom stream`: a stream of bursts on the command-level reference of a DRAM part: bandwidth, row hits, latency, energy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from accel.base.quantity import parse
from memsys.address_map import MAPPINGS, address_map
from memsys.dram_energy import energy
from memsys.part import Command
from memsys.reference.controller import Controller, Requests, Run, run
from memsys.reference.streams import PATTERNS, addresses
from memsys.standard import load_part, parts
from sim.commands.catalogue import named
from sim.commands.emit import emit
from sim.commands.output import figure, table
from sim.errors import BadInput

SPAN = 1 << 30
PAGES = ("open", "closed")
REFRESHES = ("all_bank", "per_bank", "none")


def main(
    *,
    part: str,
    mapping: str,
    pattern: str,
    requests: int,
    channels: int | None,
    reads: float,
    depth: int,
    page: str,
    refresh: str,
    block: int | None,
    stride: int | None,
    span: str | None,
    seed: int,
    out: Path | None,
    json: bool,
) -> None:
    """Play ``requests`` bursts on ``channels`` channels of ``part``."""
    for name, known, what in (
        (part, parts(), "DRAM part"),
        (mapping, MAPPINGS, "address map"),
        (pattern, PATTERNS, "pattern"),
        (page, PAGES, "page policy"),
        (refresh, REFRESHES, "refresh"),
    ):
        named(name, dict.fromkeys(known, True), what)
    dram = load_part(part)
    channels = channels or dram.organisation.channels
    capacity = dram.capacity // dram.organisation.channels * channels
    shape = {"block": block or dram.burst_bytes, "stride": stride or dram.row_bytes, "span": _span(span, capacity)}
    try:
        played = Controller.from_data({"page": page, "refresh": refresh, "depth": depth})
        # mypy cannot tell that the pattern is one of the names that were looked up.
        bursts = addresses(pattern, requests, dram.burst_bytes, **shape, seed=seed)  # type: ignore[arg-type]
        write = np.random.default_rng(seed).random(requests) >= reads
        done = run(dram, Requests.at(bursts, dram, address_map(mapping, dram), channels, write), played)
    except ValueError as error:
        raise BadInput(f"{part}: {error}") from None
    asked = {"part": part, "mapping": mapping, "pattern": pattern, "requests": requests, "channels": channels, "reads": reads}
    asked |= {"page": page, "refresh": refresh, "depth": depth, **shape, "seed": seed}
    data = {**asked, **_speed(done, channels), "energy": _energy(done)}
    emit("stream", data, _text(data), json, out)


def _span(text: str | None, capacity: int) -> int:
    """Bytes within which the stream stays: 1 GiB where the channels hold as much."""
    if text is None:
        return min(SPAN, capacity)
    try:
        span = parse(text, "capacity")
    except ValueError as error:
        raise BadInput(f"--span: {error}") from None
    if span.denominator != 1 or not 0 < span <= capacity:
        raise BadInput(f"--span: wanted up to the {capacity} B of the channels, got {text}")
    return int(span)


def _speed(done: Run, channels: int) -> dict[str, Any]:
    part = done.part
    peak = float(channels * part.channel_peak_mb_per_s) / 1000
    cycle = float(part.timing.tck) / 1000
    issued = done.counts.sum(axis=(0, 1))
    return {
        "cycles": done.cycles,
        "time_ns": done.cycles * cycle,
        "bandwidth_gb_per_s": done.gb_per_s,
        "peak_gb_per_s": peak,
        "share_of_peak": done.gb_per_s / peak,
        "row_hit_rate": done.hit_rate,
        "latency_ns": done.latency * cycle,
        "commands": {command.name: int(issued[command]) for command in Command if issued[command]},
    }


def _energy(done: Run) -> dict[str, Any] | None:
    """Joules by event and by kind; None where no source gives the currents of the part."""
    part = done.part
    if not part.currents:
        return None
    account = energy(part, done.activity)
    kinds = {
        "array": account.of("activate", "read", "write"),
        "pins": account.io if part.io else None,
        "refresh": account.refresh,
        "background": account.background,
    }
    return {
        "joules": kinds,
        "pj_per_bit": {
            **{kind: joules if joules is None else account.pj_per_bit(joules) for kind, joules in kinds.items()},
            "without_pins": account.pj_per_bit(account.array),
            "with_pins": account.pj_per_bit(account.joules) if part.io else None,
        },
        "events": [
            {"event": row.event, "count": row.count, "joules": row.joules, "class": row.source_class, "source": row.source}
            for row in account.rows
        ],
    }


def _text(data: dict[str, Any]) -> str:
    reads = f"{data['reads']:.0%} reads" if data["reads"] else "writes"
    gb_per_s, share = figure(data["bandwidth_gb_per_s"]), f"{data['share_of_peak']:.1%}"
    lines = [
        f"{data['part']}, channels: {data['channels']}, {data['mapping']}",
        f"stream        {data['requests']:,} bursts, {data['pattern']}, {reads}",
        f"bandwidth     {gb_per_s} GB/s, {share} of the peak of {figure(data['peak_gb_per_s'])} GB/s",
        f"row hit rate  {data['row_hit_rate']:.1%}",
        f"mean latency  {figure(data['latency_ns'])} ns",
        f"time          {figure(data['time_ns'])} ns, {data['cycles']:,} cycles",
        "",
        table(list(data["commands"].items()), ("command", "count")),
        "",
    ]
    account = data["energy"]
    if account is None:
        return "\n".join([*lines, "no energy: no source gives the currents of this part"])
    bits = account["pj_per_bit"]
    kinds = [(kind, None if j is None else j * 1e6, bits[kind]) for kind, j in account["joules"].items()]
    total = sum(j or 0.0 for _, j, _ in kinds)
    kinds += [("all without pins", total - (account["joules"]["pins"] or 0.0) * 1e6, bits["without_pins"])]
    kinds += [("all", total, bits["with_pins"])] if bits["with_pins"] is not None else []
    events = [(row["event"], row["count"], row["joules"] * 1e6, row["class"]) for row in account["events"]]
    return "\n".join(
        [*lines, table(kinds, ("energy", "uJ", "pJ/bit")), "", table(events, ("event", "count", "uJ", "class of source"))]
    )
