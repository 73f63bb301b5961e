"""Is the page one file that loads nothing, and is a hostile name only a name?"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_systems import HOSTILE, HOSTILE_CELL, Seen, data

from sim.report.charts import labels, shown
from sim.report.markdown import escaped
from sim.report.page import script_json
from sim.report.render import render

LOADS = {"src", "href", "srcset", "data", "poster", "action", "background", "xlink:href"}


@pytest.fixture(scope="module", params=[HOSTILE, HOSTILE_CELL], ids=["script", "cell"])
def hostile(request) -> tuple[str, dict[str, str]]:
    """A name in every place that a user's file or a stored result can fill, and the report."""
    name = request.param
    content = data()
    content["experiment"] |= {"name": name, "about": name}
    for place, system in enumerate(content["systems"]):
        system["name"] = f"{place} {name}"
        system["system"] |= {
            "device": name,
            "model": name,
            "mapping": name,
            "precision": dict.fromkeys(("weights", "activations", "kv"), name),
        }
        system["system"]["units"][0] |= {"name": name, "kind": name, "proof": name, "proof_detail": name}
        system["system"]["units"][1] |= {"class": f"analytical ({name})"}
        system["serving"] = {"policy": {"kind": name, name: name}, "router": name}
        system["trace"] |= {"name": name, "source": name, "digest": name}
        system["provenance"] = {"hash": name, "code": name, "seed": name, "versions": {name: name}}
        system["energy"][0] |= {"component": name, "kind": name, "event": name, "source": name, "source_class": name}
        system["metrics"][f"{name}_utilization"] = 0.99
        known = {"component": name, "kind": name, "area_um2": 1.0, "copies": 1, "total_mm2": 1e-6}
        system["area"] = [known | {"source_class": name, "source": name}]
        system["roofline"]["peaks_tops"] = {name: 100.0}
        for point in system["roofline"]["points"]:
            point |= {"step": name, "op": name, "unit": name}
    return name, render(content)


def test_the_page_loads_nothing() -> None:
    page = Seen.of(render(data())["report.html"])
    assert not [e for e in page.elements if e.tag in ("link", "img", "iframe", "object", "embed", "base", "audio", "video")]
    references = [value for e in page.elements for name, value in e.attributes.items() if name in LOADS]
    assert references
    assert all(value.startswith("#") for value in references)
    assert "url(" not in page.tags("style")[0].text
    assert "@import" not in page.tags("style")[0].text


def test_the_page_is_small_enough_to_attach() -> None:
    assert len(render(data())["report.html"].encode()) <= 2_500_000


def test_a_browser_is_told_to_load_nothing_and_to_run_our_scripts_alone() -> None:
    page = Seen.of(render(data())["report.html"])
    policy = next(
        e.attributes["content"] for e in page.tags("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    scripts = [e.text for e in page.tags("script") if e.attributes.get("type") != "application/json"]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts]
    assert rules["script-src"] == hashes
    assert not [name for e in page.elements for name in e.attributes if name.startswith("on")]


def test_a_hostile_name_is_only_text_in_the_page(hostile) -> None:
    name, report = hostile
    clean, page = Seen.of(render(data())["report.html"]), Seen.of(report["report.html"])
    kinds = {e.tag for e in page.elements}
    assert kinds <= {e.tag for e in clean.elements}
    assert len(page.tags("script")) == 3
    assert page.tags("h1")[0].text == name
    assert any(name in cell for row in page.rows for cell in row)
    assert page.tags("meta")[1].attributes == clean.tags("meta")[1].attributes
    charts = next(e.text for e in page.tags("script") if e.attributes.get("id") == "charts")
    assert "<" not in charts
    texts = list(strings(json.loads(charts)))
    assert shown(name) in texts
    assert not [text for text in texts if re.search(r"\$\$|\\[\[\](){}]", text)]


def strings(node: Any) -> Iterator[str]:
    """Every string in plain data."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, list | dict):
        for value in node.values() if isinstance(node, dict) else node:
            yield from strings(value)


def test_a_hostile_name_ends_no_row_of_markdown(hostile) -> None:
    _, report = hostile
    text = report["report.md"]
    tables = [block for block in re.split(r"\n\n", text) if block.startswith("|")]
    assert len(tables) >= 9
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
    prose = text.replace("<details>", "").replace("</details>", "").replace("<summary>", "").replace("</summary>", "")
    assert "<" not in prose
    assert not re.search(r"(?<!\\)`", prose)
    assert not re.search(r"@(?!\u200b)", prose)
    assert not re.search(r"(?<!\\)!?\[", prose)


def test_json_gives_names_back_as_they_were(hostile) -> None:
    name, report = hostile
    found = json.loads(report["report.json"])
    assert (found["title"], found["systems"][0]["system"]["model"]) == (name, name)


@given(st.text())
def test_markdown_shows_any_text_on_one_line_without_markup(text: str) -> None:
    line = escaped(text)
    assert "\n" not in line
    assert "\r" not in line
    assert not re.search(r"(?<!\\)(\\\\)*[|`*\[\]~#]", line)
    assert "<" not in line
    assert ">" not in line


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [
        ("4 x A100 80GB", "4 x A100 80GB"),
        ("mac_fp16", "mac_fp16"),
        ("_a_", "\\_a\\_"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("-5", "-5"),
        ("a\n\n# b", "a \\# b"),
        ("a & b < c", "a &amp; b &lt; c"),
        ("\\|", "\\\\\\|"),
    ],
)
def test_markdown_is_escaped_no_more_than_needed(text: str, shown_as: str) -> None:
    assert escaped(text) == shown_as


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_in_a_script_is_the_same_data_and_cannot_end_it(content) -> None:
    text = script_json(content)
    assert json.loads(text) == content
    assert not set("<>&\u2028\u2029") & set(text)


@pytest.mark.parametrize("text", ["$$x$$", "\\(x\\)", "\\[x\\]", "a$$$b"])
def test_charts_see_no_delimiter_of_tex(text: str) -> None:
    assert not re.search(r"\$\$|\\[\[\](){}]", shown(text))
    assert shown(text).replace("\u200b", "") == text


def test_short_labels_stay_distinct() -> None:
    names = ["x" * 50, "x" * 51, "short"]
    found = labels(names)
    assert len(set(found)) == 3
    assert found[2] == "short"
    assert all(len(label) <= 35 for label in found)
