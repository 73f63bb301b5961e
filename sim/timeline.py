"""Timeline of a run for Perfetto (ui.perfetto.dev): one slice per committed iteration or run of iterations."""

from __future__ import annotations

import gzip
import json
from array import array
from collections.abc import Iterator
from pathlib import Path

FIELDS = 6  # replica, start_ps, end_ps, tokens, decodes, iterations


class Timeline:
    """Records the first ``limit`` slices in 48 bytes each, and counts the others."""

    __slots__ = ("_slices", "dropped", "limit")

    def __init__(self, limit: int = 100_000) -> None:
        self.limit = limit
        self.dropped = 0
        self._slices = array("q")

    def __len__(self) -> int:
        return len(self._slices) // FIELDS

    def add(self, replica: int, start_ps: int, end_ps: int, tokens: int, decodes: int, iterations: int) -> None:
        """``iterations`` iterations of ``tokens`` new tokens each, ``decodes`` of which are decodes."""
        if len(self) < self.limit:
            self._slices.extend((replica, start_ps, end_ps, tokens, decodes, iterations))
        else:
            self.dropped += 1

    def slices(self) -> Iterator[tuple[int, ...]]:
        """(replica, start_ps, end_ps, tokens, decodes, iterations), in order of their ends."""
        fields = self._slices
        return zip(*(fields[i::FIELDS] for i in range(FIELDS)), strict=True)

    def write(self, path: Path, name: str) -> None:
        """Chrome's trace event format, gzipped; times in microseconds with all digits. ``name`` labels the system."""
        with gzip.GzipFile(path, "wb", mtime=0) as file:
            file.write(b'{"displayTimeUnit":"ms","otherData":%s,"traceEvents":[\n' % json.dumps(self._note(name)).encode())
            seen = sorted(set(self._slices[0::FIELDS]))
            events = [
                _label("process_name", 0, name),
                *(_label("thread_name", replica, f"replica {replica}") for replica in seen),
            ]
            file.write(",\n".join(events).encode())
            for replica, start, end, tokens, decodes, iterations in self.slices():
                kind = "decode" if tokens == decodes else "mixed" if decodes else "prefill"
                counts = (
                    f'{{"tokens":{tokens},"decodes":{decodes},"prefill_tokens":{tokens - decodes},"iterations":{iterations}}}'
                )
                times = f'"ts":{_us(start)},"dur":{_us(end - start)}'
                file.write(f',\n{{"name":"{kind}","ph":"X","pid":0,"tid":{replica},{times},"args":{counts}}}'.encode())
            file.write(b"\n]}\n")

    def _note(self, name: str) -> dict[str, str | int]:
        note: dict[str, str | int] = {"system": name, "slices": len(self)}
        if self.dropped:
            note["note"] = f"the first {len(self)} slices; {self.dropped} later ones were left out to bound the file"
        return note


def _label(what: str, thread: int, name: str) -> str:
    return json.dumps({"name": what, "ph": "M", "pid": 0, "tid": thread, "args": {"name": name}})


def _us(ps: int) -> str:
    return f"{ps // 10**6}.{ps % 10**6:06d}"
