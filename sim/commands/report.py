"""`rtloom report`: the report of stored runs, written again."""

from __future__ import annotations

from pathlib import Path

from sim.commands.compare import write
from sim.commands.serving import merge
from sim.errors import StorageError
from sim.experiment import Experiment
from sim.files import parse_toml, validate
from sim.provenance import code_digest
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
    results = [StoredResult.load(folder) for folder in folders]
    try:
        write(results, merge(experiments), out, json)
    except (KeyError, TypeError, AttributeError) as error:
        stale = [str(r.folder) for r in results if r.provenance.get("code") != code_digest()]
        if not stale:
            raise
        what = "cannot be reported, as another version of rtloom stored it; run it again"
        raise StorageError(f"{', '.join(stale)}: {what} ({error!r})") from error
