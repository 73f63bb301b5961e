"""What in a part contradicts itself: each rule one line, with the figures that break it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memsys.part import Part


def contradictions(part: Part) -> list[str]:
    """Everything in ``part`` that no DRAM can be, as sentences that name the rule and both sides. Empty where all is well."""
    return [*_organisation(part), *_orders(part), *_refresh(part), *_currents(part), *_notes(part)]


def _organisation(part: Part) -> Iterator[str]:
    org, tck = part.organisation, part.timing.tck
    if org.burst % org.beats:
        yield f"a burst of {org.burst} beats is not a whole number of cycles at {org.beats} beats per tCK"
    if org.columns % org.burst:
        yield f"a row of {org.columns} columns does not hold whole bursts of {org.burst}"
    if org.width % org.device_width:
        yield f"width: wanted a multiple of device_width {org.device_width}, got {org.width}"
    if org.width % 8:
        yield f"width: wanted whole bytes, got {org.width} pins"
    actual = org.beats * 10**6 / tck
    if abs(actual - part.speed) > part.speed / 50:
        yield f"speed: {part.speed} MT/s contradicts tCK {float(tck):g} ps, which makes {float(actual):.0f} MT/s"
    if org.ranks > 1:
        name, got = ("tccd_r", part.timing.tccd_r) if org.stack_ids else ("trtrs", part.timing.trtrs)
        if got is None:
            yield f"timing: wanted {name!r}, which commands to several {'stack ids' if org.stack_ids else 'ranks'} need"


def _orders(part: Part) -> Iterator[str]:
    t = part.timing
    for small, large, why in (
        ("tccd_s", "tccd_l", "the same bank group is never faster"),
        ("tccd_l", "tccd_l_wr", "it stands where writes are slower"),
        ("trrd_s", "trrd_l", "the same bank group is never faster"),
        ("twtr_s", "twtr_l", "the same bank group is never faster"),
        ("trp", "trp_ab", "closing all banks is never faster than closing one"),
        ("trrd_s", "tfaw", "the window of four ACT holds the distance of two"),
        ("trcd_rd", "tras", "a row stays open until it can be read"),
        ("trcd_wr", "tras", "a row stays open until it can be written"),
        ("trfc", "trefi", "a rank would do nothing but refresh"),
    ):
        less, more = getattr(t, small), getattr(t, large)
        if more is not None and (less > more or (less == more and large == "trefi")):
            yield f"timing: {small} {less} contradicts {large} {more}: {why}"
    if t.trc < t.tras + t.trp:
        yield f"timing: trc {t.trc} contradicts tras {t.tras} + trp {t.trp}: a bank is open for tRAS and closes in tRP"
    if part.read_to_write < 1:
        yield f"timing: cl {t.cl} contradicts cwl {t.cwl}: a write after a read would have to come before it"


def _refresh(part: Part) -> Iterator[str]:
    t = part.timing
    per_bank = {"trfc_pb": t.trfc_pb, "trefi_pb": t.trefi_pb, "trrefd": t.trrefd}
    missing = [name for name, value in per_bank.items() if value is None]
    if 0 < len(missing) < len(per_bank):
        yield f"timing: wanted {' and '.join(map(repr, missing))}, which REFPB needs beside the others"
    if t.trfc_pb is None or t.trefi_pb is None or t.trrefd is None:
        return
    if t.trfc_pb > t.trfc:
        yield f"timing: trfc_pb {t.trfc_pb} contradicts trfc {t.trfc}: one bank is not slower than all"
    for name, apart in (("trrefd", t.trrefd), ("tpbr2pbr", t.tpbr2pbr or 0)):
        if apart > t.trefi_pb:
            yield f"timing: {name} {apart} contradicts trefi_pb {t.trefi_pb}: the banks could not be refreshed in time"
    if t.trefi_pb * part.banks_per_rank > t.trefi:
        yield f"timing: trefi_pb {t.trefi_pb} contradicts trefi {t.trefi}: {part.banks_per_rank} banks take longer than that"


def _currents(part: Part) -> Iterator[str]:
    """A state draws no more than what contains it: else an event would give energy back."""
    t = part.timing
    for supply in part.currents:
        for small, large in (
            ("idd2p", "idd2n"),
            ("idd3p", "idd3n"),
            ("idd2n", "idd3n"),
            ("idd3n", "idd4r"),
            ("idd3n", "idd4w"),
            ("idd3n", "idd5ab"),
            ("idd3n", "idd5pb"),
        ):
            less, more = getattr(supply, small), getattr(supply, large)
            if more is not None and less > more:
                yield f"currents at {supply.vdd} V: {small} {less} contradicts {large} {more}"
        standby = (supply.idd3n * t.tras + supply.idd2n * t.trp) / t.trc
        if supply.idd0 < standby:
            yield f"currents at {supply.vdd} V: idd0 {supply.idd0} contradicts the {standby:.1f} of standby over tRC"


def _notes(part: Part) -> Iterator[str]:
    """``scaled`` and ``assumed`` speak of entries that are there."""
    known = {name for table in (part.organisation, part.timing) for name in type(table).model_fields}
    for kind, notes in (("scaled", part.scaled), ("assumed", part.assumed)):
        yield from (f"{kind}: no entry is named {name!r}" for name in notes if name not in known)
