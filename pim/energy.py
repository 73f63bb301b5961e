"""Energy of the commands of a PIM channel, from that of its part's reads and activations (`memsys.dram_energy`).

Joules of one event, with ACT and RD of the part (array and device current), tCK included:

================================  ====================================================================
grouped_act (PACT and its PPREs)  ACT x banks of a bank group: four in the source
comp (COMP, all banks)            4 RD
gwrite (GWRITE)                   RD x bursts of a page: it reads as much as so many reads
read_result (READRES)             RD x 16 bit x banks of the channel x devices of a rank / bits of a burst
activate                          ACT: of the vector's row
refresh, active                   REFAB, and a cycle of a rank with a row open, as `memsys.dram_energy`
pim_active                        with two row buffers a second standby, again ``active``
read_result_io                    the bits of a READRES on the pins x J per bit, where a source gives it
================================  ====================================================================

Source of the rules: the NeuPIMs simulator (2024-06), `configuration.cc`, which multiplies without tCK and is right at 1 ns only,
and rounds the share of READRES down to whole reads; 4 RD for a COMP is Newton's figure, as it says. With several devices in a
rank its GWRITE reads the page of one device, ours that of the rank. A figure is as trusted as the least trusted of its parts.
HEADER has no energy, and multipliers and the global vector buffer none of their own: the source has no figure for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from accel.base.cost import Cost
from accel.base.tech import SourceClass
from memsys import dram_energy
from memsys.dram_energy import BY_TRUST, Figure, Row
from memsys.part import Part
from pim.checks import whole
from pim.rules import check

RULES = "rules of the NeuPIMs simulator (2024-06), configuration.cc"
RULES_CLASS: SourceClass = "published"
RESULT_BITS = 16
"""FP16 sums of every bank."""
COMP_READS = 4
"""RD per COMP, which works on all banks: Newton, as the source quotes it."""
STANDBY = ("active", "pim_active")


@dataclass(frozen=True)
class PimEnergy:
    """An account by event of one channel. ``joules`` is its total; the rows add up to it."""

    part: Part
    rows: tuple[Row, ...]

    @property
    def joules(self) -> float:
        """All rows, J."""
        return self.of(*(row.event for row in self.rows))

    @property
    def background(self) -> float:
        """Rows of standby, J."""
        return self.of(*STANDBY)

    def of(self, *events: str) -> float:
        """The rows of ``events``, J."""
        return sum(row.joules for row in self.rows if row.event in events)


def figures(part: Part) -> dict[str, Figure]:
    """Joules of every event of a PIM channel of ``part``; that of the pins is missing where no source gives it.

    Raises ValueError where the part has no currents, or cannot be a PIM channel.
    """
    check(part)
    known = dram_energy.figures(part)
    read = known["read"]
    result = RESULT_BITS * part.banks_per_channel * part.devices_per_rank / (part.burst_bytes * 8)
    found = {
        "gwrite": _times(part.bursts_per_row, read),
        "grouped_act": _times(part.organisation.banks, known["activate"]),
        "comp": _times(COMP_READS, read),
        "read_result": _times(result, read),
        "activate": known["activate"],
        "refresh": known["refresh"],
        "active": known["active"],
        "pim_active": _times(1, known["active"]),
    }
    if "read_io" in known:
        found["read_result_io"] = _times(result, known["read_io"])
    return found


def energy(part: Part, cost: Cost, cycles: int, *, dual: bool = True, refreshes: int = 0) -> PimEnergy:
    """The account of one channel: the events of ``cost`` (`pim.price.PimPrice`), over ``cycles`` of tCK with ``refreshes``.

    ``cycles`` and ``refreshes`` are those of the cost, or of a schedule (`pim.schedule`). Standby takes every rank to have a row
    open in each of its row buffers all the time, which is its most. Reads and writes of others are not in it.

    Raises ValueError where a count is no whole number, as with the cost of an array of contexts.
    """
    cycles, ranks = whole("cycles", cycles, 0), part.organisation.ranks
    counts = {name: whole(name, count, 0) for name, count in cost.events.items()}
    if arrays := [name for name, count in counts.items() if not isinstance(count, int)]:
        raise ValueError(f"{arrays[0]}: wanted the cost of one context, got an array; energy takes them one by one")
    counts["refresh"] = whole("refreshes", refreshes, 0)
    counts["active"] = ranks * cycles
    counts["pim_active"] = ranks * cycles * dual
    counts["read_result_io"] = counts.get("read_result", 0)
    return PimEnergy(part, tuple(_rows(figures(part), counts)))


def _rows(known: dict[str, Figure], counts: dict[str, int]) -> Iterable[Row]:
    for event, figure in known.items():
        if count := counts.get(event, 0):
            yield Row(event, count, count * figure.joules, figure.source_class, figure.source)


def _times(factor: float, figure: Figure) -> Figure:
    """By a rule of the source, which the figure is then no more trusted than."""
    least = max(figure.source_class, RULES_CLASS, key=BY_TRUST.index)
    return Figure(factor * figure.joules, least, f"{RULES}; {figure.source}")
