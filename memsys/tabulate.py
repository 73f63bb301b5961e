"""``python -m memsys.tabulate``: write ``efficiency.csv`` again, from the command-level reference. Takes a minute."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields
from importlib.metadata import version
from pathlib import Path

import numpy as np

from memsys.address_map import address_map
from memsys.efficiency import Row
from memsys.reference.controller import Controller, Requests, run
from memsys.reference.streams import Pattern, addresses
from memsys.standard import load_part, parts

FILE = Path(__file__).parent / "efficiency.csv"
SEED = 1
REQUESTS = 20_000
SPAN = 1 << 28
MAPPINGS = ("RoBaRaCoCh", "MOP4CLXOR")
STREAMS: tuple[tuple[Pattern, int], ...] = (
    ("sequential", 0),
    ("strided", 0),
    ("random", 64),
    ("random", 256),
    ("random", 1024),
    ("random", 4096),
)
READS = (1.0, 0.75, 0.5)
DEPTHS = (8, 32, 128)


def measured(name: str, mapping: str, pattern: Pattern, block: int, reads: float, depth: int) -> Row:
    """One row: a stream of `REQUESTS` bursts on one channel, open page, all-bank refresh. The stride is a row."""
    part = load_part(name)
    stream = addresses(pattern, REQUESTS, part.burst_bytes, SPAN, stride=part.row_bytes, block=block, seed=SEED)
    write = np.random.default_rng(SEED).random(REQUESTS) >= reads
    done = run(part, Requests.at(stream, part, address_map(mapping, part), 1, write), Controller(depth=depth))
    share = done.gb_per_s * 1000 / float(part.channel_peak_mb_per_s)
    latency = done.latency * float(part.timing.tck) / 1000
    return Row(name, mapping, pattern, block, reads, depth, round(share, 4), round(done.hit_rate, 4), round(latency, 1))


def keys(names: Iterable[str]) -> Iterator[tuple[str, str, Pattern, int, float, int]]:
    """What is tabulated of the parts ``names``. A block below a burst of the part is left out."""
    for name, mapping, (pattern, block), reads, depth in itertools.product(names, MAPPINGS, STREAMS, READS, DEPTHS):
        if block % load_part(name).burst_bytes == 0:
            yield name, mapping, pattern, block, reads, depth


def digest() -> str:
    """SHA-256 of the files that the rows follow from, shortened."""
    folder = FILE.parent
    sources = [
        *folder.glob("standards/*.toml"),
        *(folder / "reference" / f"{name}.py" for name in ("controller", "engine", "streams")),
    ]
    sources += [folder / f"{name}.py" for name in ("address_map", "constraints", "part", "tabulate")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources))).hexdigest()[:16]


def written(rows: Iterable[Row]) -> str:
    """The text of the file."""
    out = io.StringIO()
    head = {
        "made by": f"python -m memsys.tabulate, numba {version('numba')}, numpy {version('numpy')}",
        "date": datetime.date.today().isoformat(),
        "code and parts": digest(),
        "seed": str(SEED),
        "streams": f"{REQUESTS} bursts of one channel within {SPAN >> 20} MiB; open page, all-bank refresh; the stride is a row",
    }
    out.writelines(f"# {name}: {value}\n" for name, value in head.items())
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    writer.writerows(astuple(row) for row in rows)
    return out.getvalue()


def main() -> None:
    rows = []
    for name in parts():
        print(name, file=sys.stderr)
        rows += [measured(*key) for key in keys([name])]
    FILE.write_text(written(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
