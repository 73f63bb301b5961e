"""Charts of the page, by Bokeh: latency, energy per token, roofline. Every figure in them is also in a table."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sim.report.energy import stacks
from sim.report.figures import figure, scale

COLOURS = (
    "#64748b", "#2563eb", "#0f9f6e", "#e08600", "#9333ea", "#dc2626",
    "#0891b2", "#b45309", "#be185d", "#4d7c0f", "#4338ca", "#0f766e",
)  # fmt: skip
"""By system; the base, in grey, is what the others are seen against."""
PARTS = ("#1d4ed8", "#38bdf8", "#0d9488", "#86d7a7", "#a855f7", "#f472b6", "#f59e0b", "#d6d34a")
STATIC = ("#94a3b8", "#cbd5e1", "#64748b", "#e2e8f0")
STEPS = (("circle", "#2563eb"), ("square", "#e08600"), ("triangle", "#0f9f6e"), ("diamond", "#9333ea"))
SHOWN = 12
"""Systems in charts; beyond, only the tables show them, and a page stays small."""
LABEL = 30
MOST_TICKS = 6
LATENCIES = {"ttft": "Time to first token (TTFT)", "tpot": "Time per output token (TPOT)", "e2el": "End-to-end latency (E2EL)"}
INK, RULE = "#475569", "#e2e8f0"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"

Systems = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Panel:
    """A chart's place in the page: its element, heading, height, share of the width, its own legend, and Bokeh's data."""

    key: str
    title: str
    height: int
    width: str
    legend: list[tuple[str, str]]
    item: dict[str, Any]


def latency(systems: Systems) -> list[Panel]:
    """For each latency its median, P90 and P99 by system, and where known its distribution over requests."""
    drawn = systems[:SHOWN]
    panels = [_bars(key, title, drawn) for key, title in LATENCIES.items()]
    return panels + [_distribution(key, drawn) for key in LATENCIES if any(s.get("curves", {}).get(f"{key}_ms") for s in drawn)]


def _bars(key: str, title: str, systems: Systems) -> Panel:
    values = [[system["metrics"].get(f"{p}_{key}_ms") for p in ("median", "p90", "p99")] for system in systems]
    factor, unit = scale("ms", [v for row in values for v in row])
    plot = _plot(280, x_range=(-0.5, 2.5), y_axis_label=unit, tooltips=[("system", "@system"), ("latency", "@label")])
    plot.y_range.start = 0
    width = 0.8 / len(systems)
    for place, (system, row) in enumerate(zip(systems, values, strict=True)):
        known = [(i, v * factor) for i, v in enumerate(row) if v is not None]
        source = {
            "x": [i + width * (place - (len(systems) - 1) / 2) for i, _ in known],
            "top": [v for _, v in known],
            "system": [shown(system["name"])] * len(known),
            "label": [f"{figure(v)} {unit}" for _, v in known],
        }
        plot.vbar(x="x", top="top", width=width * 0.92, color=COLOURS[place], source=source)
    plot.xaxis.ticker = [0, 1, 2]
    plot.xaxis.major_label_overrides = {0: "median", 1: "P90", 2: "P99"}
    plot.xgrid.visible = False
    return _panel(f"chart-{key}", title, 280, "third", plot)


def _distribution(key: str, systems: Systems) -> Panel:
    """The share of requests within a latency."""
    curves = [system.get("curves", {}).get(f"{key}_ms") or [] for system in systems]
    factor, unit = scale("ms", [v for curve in curves for v in curve])
    name = LATENCIES[key].partition("(")[2].rstrip(")")
    axis = f"{name} ({unit})"
    log = all(value > 0 for curve in curves for value in curve)
    plot = _plot(240, x_axis_label=axis, y_axis_label="% of requests", x_axis_type="log" if log else "linear", y_range=(0, 100))
    if log:
        _decimal_ticks(plot, [v * factor for curve in curves for v in curve])
    for place, curve in enumerate(curves):
        if curve:
            shares = [round(100 * i / (len(curve) - 1), 2) for i in range(len(curve))]
            plot.line([_short(v * factor) for v in curve], shares, color=COLOURS[place], line_width=2)
    return _panel(f"chart-{key}-shares", f"Requests within this {name}", 240, "third", plot)


def _decimal_ticks(plot: Any, values: Sequence[float]) -> None:
    """Ticks at round values of a logarithmic axis, as many as can be read beside each other."""
    low, high = min(values), max(values)
    for steps in (range(1, 10), (1, 2, 5), (1, 3), (1,)):
        ticks = [
            step * 10.0**decade
            for decade in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for step in steps
        ]
        ticks = [tick for tick in ticks if low / 1.2 <= tick <= high * 1.2]
        if len(ticks) <= MOST_TICKS:
            break
    plot.xaxis.ticker = ticks
    plot.xaxis.major_label_overrides = {tick: f"{tick:,g}" for tick in ticks}


def energy(systems: Systems) -> list[Panel]:
    """Energy per output token by component, stacked."""
    drawn = systems[:SHOWN]
    parts = {label: values[:SHOWN] for label, values in stacks(systems).items()}
    totals = [math.fsum(values) for values in zip(*parts.values(), strict=True)]
    factor, unit = scale("J", totals)
    names = labels([system["name"] for system in drawn])
    height = 90 + 44 * len(names)
    tips = [("system", "@system"), ("component", "@part"), ("energy", "@label")]
    plot = _plot(height, y_range=names[::-1], x_axis_label=f"{unit} per output token", tooltips=tips)
    plot.x_range.start = 0
    left = [0.0] * len(names)
    legend = []
    dynamic, static = itertools.cycle(PARTS), itertools.cycle(STATIC)
    for label, values in parts.items():
        colour = next(static if label.endswith(", static") else dynamic)
        legend.append((label, colour))
        right = [a + b * factor for a, b in zip(left, values, strict=True)]
        source = {"y": names, "left": left, "right": right, "system": [shown(s["name"]) for s in drawn]}
        source |= {"part": [shown(label)] * len(names), "label": [f"{figure(v * factor)} {unit}" for v in values]}
        plot.hbar(y="y", left="left", right="right", height=0.62, color=colour, source=source)
        left = right
    _totals(plot, names, left)
    plot.ygrid.visible = False
    plot.yaxis.major_label_text_font_size = "12px"
    return [_panel("chart-energy", "Energy per output token", height, "whole", plot, legend)]


def _totals(plot: Any, names: Sequence[str], ends: Sequence[float]) -> None:
    place = {"x": list(ends), "y": list(names), "text": [figure(end) for end in ends], "x_offset": 6, "text_baseline": "middle"}
    plot.text(**place, text_font_size="12px", text_color=INK, text_font=_font())
    plot.x_range.end = 1.12 * max(ends, default=1.0) or 1.0


def roofline(systems: Systems) -> list[Panel]:
    """Each system's roofs and the ops of its typical steps, all to one scale."""
    drawn = systems[:SHOWN]
    xs = [p["ops_per_byte"] for s in drawn for p in s["roofline"]["points"] if p["ops_per_byte"] > 0]
    ys = [p["tops"] for s in drawn for p in s["roofline"]["points"] if p["tops"] > 0]
    peaks = [tops for s in drawn for tops in s["roofline"]["peaks_tops"].values()]
    ridges = [tops * 1e3 / s["roofline"]["bandwidth_gb_s"] for s in drawn for tops in s["roofline"]["peaks_tops"].values()]
    if not xs or not ys or not peaks:
        return []
    x_range = (min(xs) / 2, max(*xs, *ridges) * 10)
    y_range = (min(ys) / 2, max(*ys, *peaks) * 2.5)
    width = "whole" if len(drawn) == 1 else "half" if len(drawn) in (2, 4) else "third"
    return [_roof(place, system, x_range, y_range, width) for place, system in enumerate(drawn)]


def _roof(place: int, system: dict[str, Any], x_range: tuple[float, float], y_range: tuple[float, float], width: str) -> Panel:
    roof = system["roofline"]
    tips = [("op", "@op"), ("step", "@step"), ("unit", "@unit"), ("ops/byte", "@x{0.0}"), ("TOPS", "@y{0.00}")]
    plot = _plot(
        320, x_range=x_range, y_range=y_range, x_axis_type="log", y_axis_type="log",
        x_axis_label="operations per byte", y_axis_label="TOPS",
    )  # fmt: skip
    slope = roof["bandwidth_gb_s"] / 1e3
    top = max(roof["peaks_tops"].values(), default=y_range[1])
    plot.line([x_range[0], top / slope], [x_range[0] * slope, top], color=INK, line_width=1.5)
    for label, tops in roof["peaks_tops"].items():
        plot.line([tops / slope, x_range[1]], [tops, tops], color=INK, line_width=1.5)
        _note(plot, x_range[1], tops, f"{shown(label)}: {figure(tops, 3)} TOPS", below=tops < top)
    _note(plot, x_range[1], y_range[0], f"memory: {figure(roof['bandwidth_gb_s'])} GB/s")
    legend, glyphs = [], []
    for (step, rows), (marker, colour) in zip(_by_step(roof["points"]).items(), itertools.cycle(STEPS)):
        source = {"x": [r["ops_per_byte"] for r in rows], "y": [r["tops"] for r in rows]}
        source |= {key: [shown(r[key]) for r in rows] for key in ("op", "step", "unit")}
        options = {"marker": marker, "fill_color": colour, "line_color": "white", "fill_alpha": 0.85, "source": source}
        glyphs.append(plot.scatter(x="x", y="y", size=9, **options))
        legend.append((step, colour))
    _hover(plot, tips, glyphs)
    return _panel(f"chart-roofline-{place}", system["name"], 320, width, plot, legend)


def _by_step(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["ops_per_byte"] > 0 and row["tops"] > 0:
            found.setdefault(row["step"], []).append(row)
    return found


def _note(plot: Any, x: float, y: float, text: str, below: bool = False) -> None:
    """Text that ends at the right edge of the plot, above ``y`` or below it, where it does not cross the roof of the memory."""
    place = {"x": [x], "y": [y], "text": [text], "x_offset": -6, "y_offset": 15 if below else -4, "text_align": "right"}
    plot.text(**place, text_font_size="10px", text_color=INK, text_font=_font())


def _font() -> Any:
    """`FONT` as a constant: to the text of a glyph, a bare string would be the name of a column."""
    from bokeh.core.properties import value

    return value(FONT)


def _plot(height: int, **options: Any) -> Any:
    from bokeh.plotting import figure as new

    tooltips = options.pop("tooltips", None)
    plot = new(height=height, sizing_mode="stretch_width", tools="", toolbar_location=None, min_width=200, **options)
    plot.toolbar.logo = None
    plot.outline_line_color = None
    plot.background_fill_color = plot.border_fill_color = "white"
    plot.grid.grid_line_color = RULE
    for axis in (plot.xaxis, plot.yaxis):
        axis.axis_line_color = axis.major_tick_line_color = "#cbd5e1"
        axis.minor_tick_line_color = None
        axis.major_label_text_color = axis.axis_label_text_color = INK
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font = axis.axis_label_text_font = FONT
        axis.major_label_text_font_size = axis.axis_label_text_font_size = "11px"
    if tooltips:
        _hover(plot, tooltips)
    return plot


def _hover(plot: Any, tooltips: list[tuple[str, str]], renderers: Any = "auto") -> None:
    from bokeh.models import HoverTool

    plot.add_tools(HoverTool(tooltips=tooltips, renderers=renderers))


def _panel(key: str, title: str, height: int, width: str, plot: Any, legend: Sequence[tuple[str, str]] = ()) -> Panel:
    from bokeh.embed import json_item

    item: Any = json_item(plot, key)  # type: ignore[arg-type]  # an id is a string to Bokeh too
    return Panel(key, title, height, width, list(legend), _renumbered(item, key))


def _renumbered(item: dict[str, Any], key: str) -> dict[str, Any]:
    """Bokeh's ids count the models that a process has made; numbered within the chart, equal charts are equal text."""
    ids: dict[str, str] = {}

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {k: fresh(v) if k == "id" and isinstance(v, str) else walk(v) for k, v in node.items()}
        return [walk(v) for v in node] if isinstance(node, list) else node

    def fresh(old: str) -> str:
        return ids.setdefault(old, f"{key}-{len(ids)}")

    walked = walk(dict(item))
    return {**walked, "root_id": fresh(item["root_id"])}


def shown(text: object) -> str:
    """Text that Bokeh shows as it is: its delimiters of TeX, for which it would look for a library, are broken up."""
    return re.sub(r"(\$)(?=\$)|(\\)(?=[()\[\]])", lambda m: f"{m[0]}\u200b", str(text))


def labels(names: Sequence[str]) -> list[str]:
    """Short forms of ``names`` for an axis, still distinct."""
    short = [name if len(name) <= LABEL else f"{name[: LABEL - 1]}…" for name in map(shown, names)]
    return [name if short.count(name) == 1 else f"{place}: {name}" for place, name in enumerate(short, 1)]


def _short(value: float) -> float:
    return float(f"{value:.5g}")
