"""DRAM: bandwidth and energy of single streams, beside DRAMsim3 and Ramulator 2.1 on the same parts (facts, memories, section 8).

What is simulated is the controller of `memsys.reference`, not theirs, and in some rows DRAMsim3's choice of commands as well
(`memsys.reference.bank_queues`). Nothing is fitted: queues are as long as theirs. Ramulator 2.1 takes a request while at most 32
wait, so that 33 do, and fills a place that falls free in the next cycle, where ours takes two: one place more. Its HBM2 preset
has 32 columns, of which its address maps take a burst of four as one step, so that rows are 8 bursts long (its issue 116); our
part has the 32 bursts of JESD235. DRAMsim3 has 32 transactions before 8 commands of each bank: a stream through one bank after
the other has 40 requests waiting.

Two of these were settled after the figures had been compared: that the published run of HBM2 had rows of 8 bursts is inferred
(the figure that differs is shown with both), and with 33 requests in place of 34 Ramulator's rows are within 3.5 % too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from memsys.address_map import address_map
from memsys.dram_energy import energy
from memsys.part import Part
from memsys.reference.controller import Controller, Requests, Run, run
from memsys.reference.streams import Pattern, addresses
from memsys.standard import load_part
from sim.reproductions.base import Row

TOLERANCE = 0.05
SEED = 1
SPAN = 1 << 30
RAMULATOR = Controller(depth=34)
DRAMSIM3 = Controller(depth=40)
RAMULATOR_SOURCE = "Ramulator 2.1 (2026-06), FR-FCFS, all-bank refresh, open row: facts on memories, section 8"
DRAMSIM3_SOURCE = "DRAMsim3 (2021-04): facts on memories, section 8"
ORDER = (
    "by the choice of our controller. DRAMsim3 looks at the banks in turn and takes the first that has anything ready, so that "
    "neighbours of one bank group follow each other and wait for tCCD_L; oldest first mixes groups and ranks, and is bound by "
    "tFAW and refresh alone. With DRAMsim3's choice on the same rules of time, the row below gives its figure"
)
SHORT_ROWS = (
    "rows of 8 bursts are inferred: issue 116 of Ramulator reports that its address maps divide this preset's 32 columns by the "
    "burst of four; that the published run did so follows from its figures alone"
)
JEDEC_ROWS = (
    "with the 32 bursts per row of JESD235, as our part has them: a stream stays in a bank four times as long and waits for "
    "tCCD_L. With rows of 8 bursts the row below gives the figure"
)
LPDDR4 = Part.from_data(
    {
        "standard": "lpddr4",
        "name": "dramsim3_8gb_x16_2400",
        "about": "LPDDR4-2400, 8 Gb x16, two ranks of 64 bit",
        "speed": "2400 MT/s",
        "source": "DRAMsim3 (2021-04), LPDDR4_8Gb_x16_2400: facts on memories, section 1, column J",
        "scaled": {
            "columns": "8 Gb by 8 banks, 65536 rows and 16 bit",
            "turnaround": "tRTRS",
            "tccd_s": "below the burst of 8 cycles",
        },
        "assumed": {
            "ranks": "the random figure is above what one rank can give between refreshes, 1 - 392/8660 of 19.3 GB/s",
            "trtrs": "1, as in its DDR4 file",
        },
        "organisation": {
            "channels": 1,
            "ranks": 2,
            "bank_groups": 2,
            "banks": 4,
            "rows": 65536,
            "columns": 1024,
            "width": 64,
            "device_width": 16,
            "burst": 16,
        },
        "timing": {
            "tck": "0.83 ns",
            **{"cl": 17, "cwl": 14, "trcd_rd": 15, "trcd_wr": 15, "trp": 15, "tras": 32, "trc": 47, "tccd_s": 4, "tccd_l": 6},
            **{
                "trrd_s": 8,
                "trrd_l": 8,
                "tfaw": 32,
                "twr": 30,
                "twtr_s": 8,
                "twtr_l": 16,
                "trtp": 12,
                "trfc": 392,
                "trefi": 8660,
            },
            **{"turnaround": 1, "trtrs": 1},
        },
    }
)
"""Not among the standards: of this file only the timings are of LPDDR4, the currents are a copy of DDR4's."""


@dataclass(frozen=True)
class Stream:
    """One measurement: a part under an address map and a pattern, with what was published of it."""

    part: Part
    mapping: str
    pattern: Pattern
    published: float
    controller: Controller
    source: str
    channels: int = 1
    requests: int = 200_000
    pj_per_bit: float | None = None
    note: str = ""
    about: str = ""

    bank_queues: bool = False
    """Commands are chosen as DRAMsim3 does, not by our controller."""

    def play(self) -> Run:
        # Compiled code takes a second to load, and other systems are reproduced without it.
        from memsys.reference.bank_queues import run_reads

        capacity = self.part.capacity // self.part.organisation.channels * self.channels
        bursts = addresses(self.pattern, self.requests, self.part.burst_bytes, min(SPAN, capacity), seed=SEED)
        requests = Requests.at(bursts, self.part, address_map(self.mapping, self.part), self.channels)
        return run_reads(self.part, requests) if self.bank_queues else run(self.part, requests, self.controller)


def short_rows(part: Part) -> Part:
    """``part`` with rows of 8 bursts, as Ramulator 2.1's presets had them."""
    return part.model_copy(update={"organisation": part.organisation.model_copy(update={"columns": 8 * part.organisation.burst})})


def streams() -> Iterable[Stream]:
    """All that is published of single streams."""
    hbm2, ddr4 = load_part("hbm2/dramsim3_8gb_2000"), load_part("ddr4/dramsim3_8gb_x8_3200")
    stream = partial(Stream, controller=DRAMSIM3, source=DRAMSIM3_SOURCE)
    yield stream(hbm2, "rorabgbachco", "sequential", 235.8, channels=8, requests=1_000_000, pj_per_bit=1.96)
    yield stream(ddr4, "rochrababgco", "sequential", 16.9, pj_per_bit=13.6)
    yield stream(ddr4, "rochrababgco", "random", 20.4, pj_per_bit=20.8, note=ORDER)
    yield stream(LPDDR4, "rochrababgco", "sequential", 18.3)
    yield stream(LPDDR4, "rochrababgco", "random", 19.0)
    theirs = partial(stream, bank_queues=True, about=", command queues of DRAMsim3")
    yield theirs(ddr4, "rochrababgco", "sequential", 16.9)
    yield theirs(ddr4, "rochrababgco", "random", 20.4, pj_per_bit=20.8)
    yield theirs(LPDDR4, "rochrababgco", "sequential", 18.3)
    yield theirs(LPDDR4, "rochrababgco", "random", 19.0)
    stack = load_part("hbm2/ramulator_8gb_2000")
    ramulator = partial(Stream, controller=RAMULATOR, source=RAMULATOR_SOURCE)
    yield ramulator(stack, "RoBaRaCoCh", "sequential", 25.8, about=", rows of 32 bursts", note=JEDEC_ROWS)
    for part, about, note, published in (
        (short_rows(stack), ", rows of 8 bursts", SHORT_ROWS, (25.8, 28.6, 9.65)),
        (load_part("ddr4/ramulator_8gb_x8_3200aa"), "", "", (15.7, 24.3, 11.1)),
    ):
        stream = partial(ramulator, part, about=about, note=note)
        yield stream("RoBaRaCoCh", "sequential", published[0])
        yield stream("MOP4CLXOR", "sequential", published[1])
        yield stream("RoBaRaCoCh", "random", published[2])


def rows() -> Iterable[Row]:
    for stream in streams():
        played = stream.play()
        channels = f", {stream.channels} channels" if stream.channels > 1 else ""
        setup = f"{stream.part}{channels}{stream.about}, {stream.mapping}, {stream.pattern} reads"
        yield Row(
            system="dram",
            setup=setup,
            metric="bandwidth",
            unit="GB/s",
            published=stream.published,
            simulated=played.gb_per_s,
            source=stream.source,
            note=stream.note,
            tolerance=TOLERANCE,
        )
        if stream.pj_per_bit is not None:
            account = energy(stream.part, played.activity)
            yield Row(
                system="dram",
                setup=setup,
                metric="energy without pins",
                unit="pJ/bit",
                published=stream.pj_per_bit,
                simulated=account.pj_per_bit(account.array),
                source=f"{stream.source}; as printed, times tCK",
                tolerance=TOLERANCE,
            )
