"""The HTML page: one file that loads nothing. Its scripts are named by their hashes, so that a browser runs no other."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sim.report.charts import COLOURS, SHOWN, Panel
from sim.report.table import Table
from sim.report.verdict import Verdict

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; script-src"
DRAW = """for (const item of JSON.parse(document.getElementById("charts").textContent)) Bokeh.embed.embed_item(item);"""


@dataclass(frozen=True)
class Section:
    """A heading with its charts, then its tables."""

    key: str
    title: str
    tables: Sequence[Table]
    panels: Sequence[Panel] = field(default_factory=list)


def page(title: str, about: str, verdict: Verdict, sections: Sequence[Section], systems: Sequence[str]) -> str:
    """The page as text. Every string from a file is escaped by the template, or as JSON by `script_json`; only ours are safe."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("sim.report")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    library = bokeh_script()
    return environment.get_template("page.html").render(
        title=title,
        about=about,
        verdict=verdict,
        sections=sections,
        systems=systems[:SHOWN],
        hidden=max(0, len(systems) - SHOWN),
        colours=COLOURS,
        style=loader.get_source(environment, "style.css")[0],
        policy=f"{POLICY} {_hash(library)} {_hash(DRAW)}",
        library=library,
        draw=DRAW,
        items=script_json([panel.item for section in sections for panel in section.panels]),
    )


def bokeh_script() -> str:
    """The charts' library, from the installed package; the part that draws plots, without widgets and tables."""
    from bokeh.resources import Resources

    return "\n".join(Resources(mode="inline", components=["bokeh"], log_level="error").js_raw).replace("\r\n", "\n")


def script_json(data: Any) -> str:
    """``data`` as JSON that is safe within a script element: nothing in it can end the element or open a comment."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
