"""What the report's tests look at: two real results, systems made by hand, and HTML as a browser sees it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from typing import Any

from sim import simulate
from sim.experiment import load_experiment, load_trace, resolve
from sim.report.data import gather
from sim.result import Result

HOSTILE = "</script><img src=x onerror=alert(1)>"
HOSTILE_CELL = "a|b`c`\n# *d* [e](http://f) <g> &amp; @someone $$x$$ \\[y\\]"


@cache
def served() -> tuple[Any, tuple[Result, ...]]:
    """An experiment, and what its first two systems did with its first 60 requests."""
    experiment, base = load_experiment("azure_llama2_7b", ["trace.requests=60"])
    trace = load_trace(experiment.trace, experiment.seed, base)
    results = []
    for case in resolve(experiment, base)[:2]:
        options = {"seed": experiment.seed, "precision": case.precision, "overlong": experiment.trace.overlong, "name": case.name}
        results.append(simulate(case.system, case.model, trace, experiment.policy, **options))
    return experiment, tuple(results)


def data() -> dict[str, Any]:
    """The data of a report on `served`, free to be changed."""
    experiment, results = served()
    return copy.deepcopy(gather(results, experiment))


def system(name: str, **metrics: Any) -> dict[str, Any]:
    """A system at moderate load, with the metrics given in place of its own."""
    own = {
        "completed": 100,
        "rejected_context": 0,
        "rejected_kv_cache": 0,
        "preempted": 0,
        "clipped": 0,
        "output_throughput": 1000.0,
        "p99_ttft_ms": 200.0,
        "mean_tpot_ms": 20.0,
        "energy_per_output_token_j": 2.0,
        "mean_queue_ms": 5.0,
        "mean_e2el_ms": 4000.0,
        "total_output_tokens": 10_000,
    }
    return {
        "name": name,
        "metrics": own | metrics,
        "energy": [energy_row(joules=20_000.0)],
        "system": {
            "name": name,
            "model": "m",
            "precision": {"weights": "fp16", "activations": "fp16", "kv": "fp16"},
            "units": [unit("lut", proof="proved")],
        },
        "serving": {"policy": {"kind": "fcfs"}, "router": "round_robin", "overlong": "clip"},
        "trace": {"digest": "d", "requests": 100, "name": "t", "source": "s"},
        "area": [],
        "provenance": {},
    }


def unit(name: str, proof: str, unit_class: str = "rtl", **more: Any) -> dict[str, Any]:
    """A unit as a result describes it."""
    given = {"name": name, "kind": "lut_tensor_core", "count": 4, "clock_hz": 10**9, "class": unit_class}
    return given | {"proof": proof, "proof_detail": f"{proof}, it says"} | more


def energy_row(component: str = "hbm", event: str = "read_byte", joules: float = 1.0, **more: Any) -> dict[str, Any]:
    """A row of the ledger: one million events."""
    row = {"component": component, "kind": "dram", "event": event, "count": 10**6, "joules_per_event": joules / 1e6}
    return row | {"joules": joules, "source_class": "published", "source": "a paper"} | more


@dataclass
class Element:
    """A start tag with its attributes, and the text directly inside."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Seen(HTMLParser):
    """All elements of a page in order, and its tables as rows of text."""

    elements: list[Element] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)
    _void = frozenset({"meta", "img", "br", "link", "input", "hr", "base", "source"})

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    @classmethod
    def of(cls, page: str) -> Seen:
        """What a parser sees in ``page``."""
        seen = cls()
        seen.feed(page)
        seen.close()
        assert not seen._open, f"not closed: {[e.tag for e in seen._open]}"
        return seen

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag not in self._void:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        innermost = self._open[-1].tag if self._open else "nothing"
        assert innermost == tag, f"</{tag}> closes {innermost}"
        self._open.pop()

    def handle_data(self, text: str) -> None:
        if self._open:
            self._open[-1].text += text
            if any(e.tag in ("th", "td") for e in self._open):
                self.rows[-1][-1] += text

    def tags(self, tag: str) -> list[Element]:
        """The elements of this kind."""
        return [element for element in self.elements if element.tag == tag]

    def line(self, first: str) -> list[str]:
        """The first table row whose heading is ``first``, each cell with single spaces."""
        return next([" ".join(cell.split()) for cell in row] for row in self.rows if row and " ".join(row[0].split()) == first)
