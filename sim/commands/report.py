"""`rtloom report`: the report of stored runs, written again."""

from __future__ import annotations

from pathlib import Path

from sim.commands.compare import write
from sim.commands.serving import merge
from sim.experiment import Experiment
from sim.files import parse_toml, validate
from sim.store import Store, read_bytes
from sim.stored import StoredResult


def main(*, names: list[str], runs: Path, out: Path, json: bool) -> None:
    """Write the report of the runs ``names``, in their order."""
    store = Store(runs)
    folders = [store.resolve(name) for name in names]
    experiments = []
    for folder in folders:
        label = str(folder / "experiment.toml")
        text = read_bytes(folder, "experiment.toml").decode(errors="replace")
        experiments.append(validate(Experiment, parse_toml(text, label), label))
    write([StoredResult.load(folder) for folder in folders], merge(experiments), out, json)
