"""The verdict: what the comparison says, in words that an architect can act on, and what to beware of.

Under one offered load, systems that keep up have one throughput, whatever they could do at most: then load limits it, and the
verdict ranks by latency and energy alone. Only where a system is at its capacity does throughput rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from memsys.ssd import Ssd
from sim.report.capacity import EQUAL_RATES, at_capacity, offline
from sim.report.comparison import resource
from sim.report.energy import class_shares
from sim.report.evidence import is_analytical, scheduling
from sim.report.figures import figure, joined, percent, quantity, times

TIE = 0.005
"""Relative: values nearer than this count as equal."""

Systems = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """One headline, what supports it, and cautions for its reader."""

    headline: str
    points: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Criterion:
    key: str
    best: str  # "lowest P99 TTFT"
    short: str  # "P99 TTFT"
    unit: str
    words: tuple[str, str] = ("lower", "higher")  # what a smaller value is than a larger one, and the other way round
    higher: bool = False


_THROUGHPUT = _Criterion(
    "output_throughput", "most output tokens per second", "output throughput", "tokens/s", ("less", "more"), True
)
_ALWAYS = (
    _Criterion("p99_ttft_ms", "lowest P99 TTFT", "P99 TTFT", "ms"),
    _Criterion("mean_tpot_ms", "lowest mean TPOT", "mean TPOT", "ms"),
    _Criterion("energy_per_output_token_j", "least energy per output token", "energy per output token", "J", ("less", "more")),
)


def verdict(systems: Systems) -> Verdict:
    """The verdict on ``systems``, the first of which is the base."""
    full = at_capacity(systems)
    points = [_on_load(systems, full), _on_use(systems)]
    return Verdict(_headline(systems, full), [p for p in points if p], list(_cautions(systems)))


def _headline(systems: Systems, full: Sequence[str]) -> str:
    if len(systems) == 1:
        name, metrics = systems[0]["name"], systems[0]["metrics"]
        rate, ttft = figure(metrics["output_throughput"], 3), quantity(metrics["p99_ttft_ms"], "ms")
        joules = quantity(metrics["energy_per_output_token_j"], "J")
        return f"{name} serves {rate} output tokens per second with a P99 TTFT of {ttft} and {joules} per output token."
    criteria = [_THROUGHPUT, *_ALWAYS] if len(full) == len(systems) else list(_ALWAYS)
    by_winners: dict[tuple[str, ...], list[str]] = {}
    for criterion in criteria:
        winners, phrase = _judge(criterion, systems)
        if winners:
            by_winners.setdefault(winners, []).append(phrase)
    if not by_winners:
        return "No system completed enough requests to be compared."
    sentences = [_behind(systems, full)] if 0 < len(full) < len(systems) else []
    for winners, phrases in by_winners.items():
        everyone = len(winners) == len(systems)
        subject = ("Both" if len(systems) == 2 else "All systems") if everyone else joined(winners)
        verb = "have the same" if everyone else "has the" if len(winners) == 1 else "have the"
        sentences.append(f"{subject} {verb} {joined(phrases)}.")
    return " ".join(sentences)


def _behind(systems: Systems, full: Sequence[str]) -> str:
    """Who cannot serve the load. The others are not ranked: the load sets their rates."""
    rates = {s["name"]: s["metrics"]["output_throughput"] or 0.0 for s in systems}
    most = max(rates.values())
    behind = joined(f"{name} ({figure(rates[name])} of {figure(most)} output tokens/s)" for name in full)
    return f"{behind} cannot keep up with the load."


def _judge(criterion: _Criterion, systems: Systems) -> tuple[tuple[str, ...], str]:
    """The systems that are best, and what is said of them: the value, and its ratio to the first system's."""
    key, base = criterion.key, systems[0]
    known = [(s["metrics"].get(key), s["name"]) for s in systems]
    values = {name: value for value, name in known if value is not None}
    if len(values) < 2:
        return (), ""
    best = max(values.values()) if criterion.higher else min(values.values())
    winners = tuple(name for name, value in values.items() if abs(value - best) <= TIE * abs(best))
    value = quantity(best, criterion.unit)
    if len(winners) == len(systems):
        return winners, f"{criterion.short} ({value})"
    if base["name"] in winners:
        others = {name: v for name, v in values.items() if name not in winners}
        after = (max if criterion.higher else min)(others, key=lambda name: others[name])
        return winners, f"{criterion.best} ({value}{_next(criterion, others[after], best, after)})"
    return winners, f"{criterion.best} ({value}{_against(criterion, best, values.get(base['name']), base['name'])})"


def _against(criterion: _Criterion, best: float, base: float | None, name: str) -> str:
    return f", {_apart(best, base)} {criterion.words[best > base]} than {name}" if best and base else ""


def _next(criterion: _Criterion, other: float, best: float, name: str) -> str:
    return f"; next is {name}, {_apart(other, best)} {criterion.words[other > best]}" if best and other else ""


def _apart(value: float, other: float) -> str:
    return times(max(value, other) / min(value, other))


def _on_load(systems: Systems, full: Sequence[str]) -> str:
    """What limits throughput: the load, or the systems."""
    if offline(systems):
        return (
            "All requests were there from the start: throughput is the most that a system gets out of them, and TTFT holds the "
            "wait behind the others."
        )
    rates = [s["metrics"]["output_throughput"] or 0.0 for s in systems]
    equal = min(rates) > 0 and max(rates) <= min(rates) * (1 + EQUAL_RATES)
    keeping = [s["name"] for s in systems if s["name"] not in full]
    if full:
        waits = joined(quantity(s["metrics"]["mean_queue_ms"], "ms") for s in systems if s["name"] in full)
        text = (
            f"{joined(full)} {'is' if len(full) == 1 else 'are'} at capacity: requests wait {waits} on average before they are "
            "admitted, so throughput is the most that this load gets out of it, and latency measures the backlog."
        )
        return f"{text} {joined(keeping)} {'keeps' if len(keeping) == 1 else 'keep'} up with the load." if keeping else text
    if len(systems) == 1:
        return "Load, not capacity, limits throughput: requests hardly wait. The system can serve more than this trace asks."
    if equal:
        return (
            f"Load, not capacity, limits throughput: every system keeps up with the {figure(max(rates))} output tokens/s that "
            "the trace asks for. Compare latency, energy and utilisation; throughput does not rank these systems."
        )
    return (
        "No system is at capacity: requests hardly wait. Throughput differs by what was completed and by when the last request "
        "ended, and does not rank these systems."
    )


def _on_use(systems: Systems) -> str:
    """The resource that each system uses most, of its peak."""
    parts: dict[str, list[str]] = {}
    for system in systems:
        used = {key: value for key, value in system["metrics"].items() if key.endswith("_utilization") and value is not None}
        if used:
            key = max(used, key=lambda k: used[k])
            parts.setdefault(resource(key), []).append(f"{percent(used[key])} ({system['name']})")
    found = (f"{name}, at {joined(shares)} of its peak" for name, shares in parts.items())
    return f"Busiest resource: {'; '.join(found)}." if parts else ""


def _cautions(systems: Systems) -> Iterable[str]:
    """What a reader may overlook."""
    if len({s["trace"]["digest"] for s in systems}) > 1:
        yield "The systems served different traces: their differences are also those of the load."
    if len({s["system"]["model"] for s in systems}) > 1:
        yield f"Models differ: {_by((s['system']['model'], s['name']) for s in systems)}."
    if len({tuple(s["system"]["precision"].items()) for s in systems}) > 1:
        formats = _by((_formats(s), s["name"]) for s in systems)
        yield f"Number formats differ, so the quality of the answers may too: {formats}."
    if len({tuple(scheduling(s).values()) for s in systems}) > 1:
        yield f"Scheduling differs: {_by((', routed '.join(scheduling(s).values()), s['name']) for s in systems)}."
    for system in systems:
        metrics = system["metrics"]
        rejected = metrics["rejected_context"] + metrics["rejected_kv_cache"]
        if rejected:
            asked = system["trace"]["requests"]
            yield f"{system['name']} rejected {rejected:,} of {asked:,} requests; latencies and rates are those of the others."
        if metrics["preempted"]:
            yield f"{system['name']} preempted {metrics['preempted']:,} requests for lack of KV cache and computed them again."
        for key in (key for key in metrics if key.endswith("_outliers_uncorrectable") and metrics[key] >= 1):
            unit = key.removesuffix("_outliers_uncorrectable")
            share = percent(metrics[key] / metrics[f"{unit}_outliers_read"])
            yield (
                f"{system['name']}: {share} of the outliers that {unit} works with ({figure(metrics[key], 3)}) are beyond its "
                f"code, with {metrics[f'{unit}_bit_error_rate']:g} of the bits wrong; smaller values have none."
            )
    clipped = {s["metrics"].get("clipped", 0) for s in systems}
    if max(clipped):
        count = f"{max(clipped):,}" if len(clipped) == 1 else f"up to {max(clipped):,}"
        yield f"{count} requests were clipped to the context of the model."
    yield from _trust(systems)


def _formats(system: dict[str, Any]) -> str:
    precision = system["system"]["precision"]
    return f"{precision['weights']} weights, {precision['activations']} activations, {precision['kv']} KV cache"


def _trust(systems: Systems) -> Iterable[str]:
    assumed = [(s["name"], class_shares(s)["assumed"]) for s in systems]
    assumed = [(name, share) for name, share in assumed if share >= TIE]
    if assumed:
        parts = (f"{percent(share)} of the energy of {name}" for name, share in assumed)
        yield f"Assumed figures make up {joined(parts)}."
    for system in systems:
        limit, drawn = system["system"].get("power_limit_w"), _board_power(system)
        if limit and drawn and drawn > limit:
            yield (
                f"{system['name']} draws {drawn:.0f} W on average, above the {limit:.0f} W its boards may: real ones would slow "
                "down, or its energies are too high."
            )
    slow = {
        f"{unit['name']} is clocked at {unit['clock_hz'] / 1e9:.3g} GHz, and its netlist meets {met / 1e9:.3g} GHz before layout"
        for system in systems
        for unit in system["system"]["units"]
        if (met := unit.get("synthesized_clock_hz")) and met < unit["clock_hz"]
    }
    yield from (f"{found}." for found in sorted(slow))
    unproved = [
        (unit["name"], system["name"])
        for system in systems
        for unit in system["system"]["units"]
        if not is_analytical(unit) and unit["proof"] != "proved"
    ]
    if unproved:
        yield f"Not proved against the RTL at these parameters: {_by(unproved)}."


def _board_power(system: dict[str, Any]) -> float:
    """Mean power in W without that of drives, which have a supply of their own."""
    drawn, joules = system["metrics"].get("average_power_w") or 0.0, system["metrics"].get("total_energy_j")
    drives = sum(row["joules"] for row in system["energy"] if row["kind"] == Ssd.kind())
    return drawn * (1 - drives / joules) if joules else drawn


def _by(facts: Iterable[tuple[str, str]]) -> str:
    """What holds of whom: "ternary weights (A and B); fp16 weights (C)"."""
    owners: dict[str, list[str]] = {}
    for fact, name in facts:
        owners.setdefault(fact, []).append(name)
    return "; ".join(f"{fact} ({joined(names)})" for fact, names in owners.items())
