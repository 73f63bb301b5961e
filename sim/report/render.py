"""From plain data to the three forms of a report."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sim.report import charts, comparison, energy, evidence
from sim.report.markdown import markdown
from sim.report.page import Section, page
from sim.report.verdict import verdict

UNTITLED = "Comparison"


def render(data: dict[str, Any]) -> dict[str, str]:
    """The content of ``report.html``, ``report.md`` and ``report.json`` by name.

    ``data`` is what `sim.report.data.gather` makes, or what ``report.json`` holds: "experiment" and "systems" are read.
    """
    experiment, systems = data["experiment"], data["systems"]
    title, about = str(experiment.get("name") or UNTITLED), str(experiment.get("about") or "")
    judged = verdict(systems)
    sections = [
        Section("systems", "Systems", [comparison.configurations(systems), comparison.comparison(systems)]),
        Section("latency", "Latency", [comparison.percentiles(systems)], charts.latency(systems)),
        Section("energy", "Energy", [energy.stack_table(systems), energy.class_table(systems)], charts.energy(systems)),
        Section("roofline", "Roofline", [evidence.roofs(systems), evidence.points(systems)], charts.roofline(systems)),
        Section("area", "Area", [evidence.areas(systems)]),
        Section("proofs", "Proofs", [evidence.proofs(systems)]),
        Section(
            "assumptions",
            "Assumptions",
            [evidence.timing_table(systems), *evidence.activity_tables(systems), evidence.assumption_table(systems)],
        ),
        Section("provenance", "Provenance", [evidence.provenance(experiment, systems)]),
    ]
    derived = {
        "verdict": asdict(judged),
        "deltas": comparison.deltas(systems),
        "energy_per_output_token_j": energy.stacks(systems),
        "assumptions": evidence.assumptions(systems),
    }
    whole = {"title": title, **derived, "experiment": experiment, "systems": systems}
    return {
        "report.html": page(title, about, judged, sections, [system["name"] for system in systems]),
        "report.md": markdown(title, about, judged, [table for section in sections for table in section.tables]),
        "report.json": json.dumps(whole, indent=1, allow_nan=False) + "\n",
    }
