"""The systems side by side: each metric, and how far it lies from the first system's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sim.metrics import STORED, unit_of
from sim.report.capacity import at_capacity
from sim.report.figures import MINUS, MISSING, change, figure, scale
from sim.report.table import Cell, Column, Group, Table, plain

SAME = 0.005  # relative: what is nearer is no news, and gets no colour
LATENCIES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "E2EL"}
GLOSSARY = (
    "TTFT: time to first token, queueing included. TPOT: time per output token after the first, by request. "
    "ITL: gap between two tokens of a request. E2EL: end-to-end latency."
)


@dataclass(frozen=True)
class Measure:
    """One row: a metric, its name for readers, and the sense in which it is better ("" where neither is)."""

    key: str
    label: str
    better: str = ""
    share: bool = False
    count: bool = False
    beside: tuple[str, ...] = ()
    """Metrics that are shown in the same unit, so that a reader can compare them."""


def measures(systems: Sequence[dict[str, Any]]) -> dict[str, list[Measure]]:
    """The rows by group: those that every run has, and the utilisation of each unit and memory that any system has."""
    latency = [
        Measure(f"{prefix}_{key}_ms", f"{name}, {word}", "lower", beside=(f"p99_{key}_ms",))
        for key, name in LATENCIES.items()
        for prefix, word in (("mean", "mean"), ("p99", "P99"))
    ]
    keys = dict.fromkeys(key for system in systems for key in system["metrics"] if key.endswith("_utilization"))
    rate = "higher" if at_capacity(systems) else ""  # else the load sets the rates, and a higher one is no merit
    used = [Measure(key, f"{resource(key)}, share of peak", share=True) for key in keys]
    storage = [
        Measure(key, f"{key.removesuffix(f'_{suffix}')}: {suffix.replace('_', ' ')}", share=suffix == "endurance_share")
        for suffix in STORED
        for key in dict.fromkeys(key for system in systems for key in system["metrics"] if key.endswith(f"_{suffix}"))
    ]
    return {
        "Throughput": [
            Measure("output_throughput", "Output", rate),
            Measure("total_token_throughput", "Input and output", rate),
            Measure("request_throughput", "Requests", rate),
        ],
        "Latency": [*latency, Measure("mean_queue_ms", "Wait for admission, mean", "lower")],
        "Energy": [
            Measure("energy_per_output_token_j", "Energy per output token", "lower"),
            Measure("total_energy_j", "Energy in all"),
            Measure("average_power_w", "Power, mean"),
        ],
        "Load": [
            Measure("busy_fraction", "Busy, share of time", share=True),
            *used,
            Measure("kv_cache_peak_fraction", "KV cache, most in use", share=True),
            Measure("mean_decode_batch", "Decode batch, mean"),
            Measure("max_waiting", "Longest queue of a replica", count=True),
        ],
        "Storage": storage,
        "Requests": [
            Measure("completed", "Completed", "higher", count=True),
            Measure("rejected_context", "Rejected, beyond the context", "lower", count=True),
            Measure("rejected_kv_cache", "Rejected, beyond the KV cache", "lower", count=True),
            Measure("clipped", "Clipped to the context", count=True),
            Measure("preempted", "Preempted at least once", "lower", count=True),
        ],
    }


def resource(key: str) -> str:
    """The unit or memory behind a metric of utilisation: "hbm bandwidth", "tensor"."""
    return key.removesuffix("_utilization").replace("_bandwidth", " bandwidth")


def heads(systems: Sequence[dict[str, Any]]) -> list[Column]:
    """A numeric column for each system, in its colour."""
    return [Column(system["name"], numeric=True, system=place) for place, system in enumerate(systems)]


def comparison(systems: Sequence[dict[str, Any]]) -> Table:
    """All metrics by system, with the change against the first."""
    groups = []
    for label, rows in measures(systems).items():
        lines = [_line(measure, systems) for measure in rows if any(measure.key in s["metrics"] for s in systems)]
        if lines:
            groups.append(Group(label, lines))
    columns = [Column("Metric"), Column("Unit"), *heads(systems)]
    note = GLOSSARY if len(systems) == 1 else f"Changes are against {systems[0]['name']}. {GLOSSARY}"
    return Table("Metrics", columns, groups, note)


def _line(measure: Measure, systems: Sequence[dict[str, Any]]) -> list[Cell]:
    values = [system["metrics"].get(measure.key) for system in systems]
    sizes = values + [system["metrics"].get(key) for key in measure.beside for system in systems]
    factor, unit = (100.0, "%") if measure.share else scale(unit_of(measure.key), sizes)
    if measure.count:
        factor, unit = 1, unit or "requests"
    cells = [Cell(measure.label), Cell(unit)]
    for place, value in enumerate(values):
        text = MISSING if value is None else figure(value * factor, 3 if measure.share else 4)
        note, tone = ("", "") if place == 0 or value is None or values[0] is None else _news(measure, value, values[0])
        cells.append(Cell(text, note, tone))
    return cells


def _news(measure: Measure, value: float, base: float) -> tuple[str, str]:
    """The change as text, and whether it is good."""
    if measure.count:
        gap = value - base
        text = "=" if not gap else f"{'+' if gap > 0 else ''}{figure(gap)}"
        notable = bool(gap)
    elif measure.share:
        text, notable = _points(value - base), False
    else:
        text = change(value, base)
        notable = abs(value - base) > SAME * abs(base)
    if not measure.better or not notable:
        return text, ""
    return text, "good" if (value > base) == (measure.better == "higher") else "bad"


def _points(gap: float) -> str:
    """The difference of two shares in percentage points: percent of percent would mislead."""
    return "=" if abs(gap) < 0.0005 else f"{'+' if gap > 0 else MINUS}{abs(gap) * 100:.1f} pp"


def deltas(systems: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """By system and metric: ``difference`` from the first system's value, and ``ratio`` to it (None where that is zero)."""
    first = systems[0]["metrics"]
    return {
        system["name"]: {
            key: {"difference": value - first[key], "ratio": value / first[key] if first[key] else None}
            for key, value in system["metrics"].items()
            if _is_number(value) and _is_number(first.get(key))
        }
        for system in systems
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def percentiles(systems: Sequence[dict[str, Any]]) -> Table:
    """Median, P90 and P99 of each latency by system."""
    groups = []
    for key, name in (LATENCIES | {"queue": "Wait for admission"}).items():
        rows = [
            Measure(f"{prefix}_{key}_ms", word, "lower", beside=(f"p99_{key}_ms",))
            for prefix, word in (("median", "median"), ("p90", "P90"), ("p99", "P99"))
        ]
        groups.append(Group(name, [_line(row, systems) for row in rows]))
    return Table("Percentiles", [Column("Percentile"), Column("Unit"), *heads(systems)], groups)


def configurations(systems: Sequence[dict[str, Any]]) -> Table:
    """What each system is: device, model, formats, capacity, units."""
    rows = [
        ("Device", [f"{s['system']['replicas']} x {s['system']['device']}" for s in systems]),
        ("Model", [s["system"]["model"] for s in systems]),
        ("Weights, activations, KV cache", [_formats(s["system"]["precision"]) for s in systems]),
        ("Weights per replica", [quantity_bytes(s["system"]["weight_bytes"]) for s in systems]),
        ("KV cache per replica", [f"{s['system']['kv_tokens']:,} tokens" for s in systems]),
        ("Units", [_units(s["system"]["units"]) for s in systems]),
        ("Area of units, where known", [_area(s) for s in systems]),
        ("Mapping", [s["system"]["mapping"] for s in systems]),
    ]
    columns = [Column("System"), *(Column(s["name"], system=place) for place, s in enumerate(systems))]
    return plain("Systems", columns, [[label, *map(str, values)] for label, values in rows])


def quantity_bytes(count: int) -> str:
    """Bytes in GB (1e9) or MB."""
    return f"{figure(count / 1e9)} GB" if count >= 1e9 else f"{figure(count / 1e6)} MB"


def _formats(precision: dict[str, str]) -> str:
    names = [str(precision[key]) for key in ("weights", "activations", "kv")]
    return names[0] if len(set(names)) == 1 else ", ".join(names)


def _units(units: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{unit['count']:,} {unit['kind']}" for unit in units)


def _area(system: dict[str, Any]) -> str:
    known, units = system["area"], system["system"]["units"]
    if not known:
        return "not known"
    return f"{figure(sum(row['total_mm2'] for row in known))} mm² ({len(known)} of {len(units)} kinds of unit)"
