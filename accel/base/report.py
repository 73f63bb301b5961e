"""What conformance has shown: one row per case, and the rows as JUnit XML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree


@dataclass(frozen=True)
class Row:
    """What one case has shown. Cycles and events are those of the whole op, unstalled: of the RTL, and of `Unit.cost`."""

    unit: str
    parameters: dict[str, Any]
    op: str
    seed: int
    cycles_rtl: int
    cycles_cost: int
    events_rtl: dict[str, int]
    events_cost: dict[str, int]
    invocations: int
    simulated_cycles: int
    simulator: str
    failure: str | None = None
    reproduce: str | None = None

    def told(self) -> str:
        """The failure, and the command that repeats it where its case was saved."""
        return "\n".join(filter(None, [self.failure, self.reproduce and f"repeat with: {self.reproduce}"]))


@dataclass
class Report:
    """The rows of all cases; ``notes`` say which simulator was taken and why, ``rejected`` counts draws that were no case."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    drawn: int = 0
    rejected: int = 0

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.failure]

    def assert_passed(self) -> None:
        """Raise AssertionError with every failure and its command."""
        if self.failures:
            raise AssertionError("\n\n".join(row.told() for row in self.failures))

    def junit(self, path: Path) -> None:
        """Write the rows as JUnit XML, one test case each."""
        suite = ElementTree.Element("testsuite", name="conformance", tests=str(len(self.rows)), failures=str(len(self.failures)))
        for row in self.rows:
            parameters = ",".join(f"{k}={v}" for k, v in row.parameters.items())
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"conformance.{row.unit}", name=f"{parameters} | {row.op} | seed {row.seed}"
            )
            if row.failure:
                failure = ElementTree.SubElement(case, "failure", message=row.failure.partition("\n")[0])
                failure.text = row.told()
        ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
