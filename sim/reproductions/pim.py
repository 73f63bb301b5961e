"""PIM channel of NeuPIMs (ASPLOS'24, arXiv 2403.00579): its simulator's cycles for the attention of a batch, from commands.

GPT3-7B on four devices: 8 heads of 128 elements here, 512 requests with 153,548 tokens on 32 channels, one decoding step of one
layer. An operator takes as long as its slowest channel, and a channel the schedule of its requests one after the other, refresh
included (`pim.schedule`). No constant is fitted: all cycles come from the timings of the part, the commands of `pim.tiles` and
the refresh of one rank every tREFI / 2.

Each operator is there twice. "As the simulator does": the rules of a GEMV count from its first COMP, so that a row may close
while it is being read, and refreshes are reserved against by the simulator's estimate. "With its rules kept": they hold for every
COMP.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from memsys.standard import load_part
from pim.channel import Practice
from pim.price import PimPrice
from pim.rules import gwrite_cycles
from pim.schedule import Schedule, play
from pim.tiles import Operation, Tile, attend, layout_on, logits
from sim.errors import BadInput
from sim.files import shared_file
from sim.reproductions.base import LeftOut, Row

PART = load_part("hbm2/neupims_8gb_2000")
LAYOUT = layout_on(PART, heads=8, head_dim=128)
BATCH = Path("traces") / "neupims_sharegpt_bs512_gpt3_7b_tp4.csv"
"""Tokens and channel of each request of the simulator's run (ShareGPT, batch 512), which is not shipped."""
STARTS = 87268
"""Cycle in which the run's first stage ends, as it printed: it decides how the first refresh falls."""
BUSIEST = 4
"""Channels played: those that take longest but for refresh, which takes its share of every channel."""
SOURCE = "NeuPIMs simulator (2024-06), GPT3-7B TP4, 512 requests, sub-batches off, run of 619,227 cycles"
ESTIMATES = "NeuPIMs simulator (2024-06), latency constants of its scheduler"
LOGITS = "logits and softmax"
PUBLISHED = {LOGITS: 127_081, "attend": 139_157}
PRACTICES = {Practice.NEUPIMS: "as the simulator does", Practice.SOUND: "with its rules kept during a GEMV"}
KEPT = (
    "the simulator lets a row close 5 cycles after its GEMV starts, while bursts of it are still to be read; a bank cannot. "
    "Kept open until the result is there, a tile whose last GEMV has n bursts takes 2 max(n, 6) cycles more"
)


def channels() -> list[list[int]]:
    """Tokens of the requests of each channel. Raises BadInput where the batch is not there."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    batch = shared_file(BATCH)
    if batch is None:
        raise BadInput(f"wanted the batch of NeuPIMs' run: RTLOOM_SHARED with {BATCH} in it")
    with batch.open() as lines:
        for line in csv.DictReader(lines):
            found[int(line["ch_idx"])].append(int(line["seq_len"]))
    return [found[channel] for channel in sorted(found)]


def busiest(operator: str, count: int = BUSIEST) -> list[list[int]]:
    """The ``count`` channels that take longest without refresh."""
    price = PimPrice(PART, LAYOUT)
    of = price.logits if operator == LOGITS else price.attend
    return sorted(channels(), key=lambda requests: sum(int(of(tokens).interval) for tokens in requests))[-count:]


@cache
def slowest(operator: str, practice: Practice, count: int = BUSIEST) -> Schedule:
    """The schedule, without its commands, of the channel that takes longest."""
    operations: Callable[..., Iterable[Operation]] = logits if operator == LOGITS else attend
    played = (
        play(
            PART,
            (operation for tokens in requests for operation in operations(LAYOUT, tokens)),
            practice=practice,
            start=STARTS,
            keep=False,
        )
        for requests in busiest(operator, count)
    )
    return max(played, key=lambda schedule: schedule.cycles)


def operator_rows() -> Iterable[Row]:
    for practice, words in PRACTICES.items():
        for operator, published in PUBLISHED.items():
            found = slowest(operator, practice)
            yield Row(
                system="pim",
                setup=f"{operator}, {words}",
                metric="cycles",
                unit="cycles",
                published=published,
                simulated=found.cycles,
                source=SOURCE,
                note=KEPT if practice is Practice.SOUND else "",
            )


def estimate_rows() -> Iterable[Row]:
    """What the scheduler of the simulator takes a GWRITE and a tile for, when it deals requests to channels."""
    tile = play(PART, [Tile(LAYOUT.head_dim // LAYOUT.multipliers, LAYOUT.slots)], practice=Practice.NEUPIMS, refresh=False)
    for setup, published, simulated in (("GWRITE", 100, gwrite_cycles(PART)), ("tile of logits, rows closed", 184, tile.cycles)):
        yield Row(
            system="pim",
            setup=setup,
            metric="cycles",
            unit="cycles",
            published=published,
            simulated=simulated,
            source=ESTIMATES,
        )


def rows() -> Iterable[Row | LeftOut]:
    if shared_file(BATCH) is None:
        yield LeftOut("cycles of a batch", f"RTLOOM_SHARED with {BATCH} in it")
    else:
        yield from operator_rows()
    yield from estimate_rows()
