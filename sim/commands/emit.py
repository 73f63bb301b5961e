"""How every verb ends: its result as JSON or as text on stdout, and as ``VERB.json`` in the folder of ``--out``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Any

from sim.commands.output import emit_json, finite, log, say
from sim.store import write_file


def emit(verb: str, data: Any, text: str, json: bool, out: Path | None) -> None:
    """Print ``data`` (with ``--json``) or ``text``; with a folder, write ``data`` there too."""
    if out is not None:
        path = out / f"{verb}.json"
        write_file(path, jsonlib.dumps(finite(data), indent=2, allow_nan=False) + "\n")
        log(f"wrote {path}")
    if json:
        emit_json(data)
    else:
        say(text)
