"""Result: what one system did with a trace, with its energy ledger and provenance, and the files that hold it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.base.clock import PS_PER_MS
from sim.engine import COMPLETED, STATUS
from sim.metrics import Metrics

if TYPE_CHECKING:
    from sim.engine import Served
    from sim.timeline import Timeline


@dataclass(frozen=True, eq=False)
class Result:
    """One system's run. ``served`` has the arrays by request; the other fields are plain data."""

    name: str
    served: Served
    metrics: Metrics
    energy: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the energy ledger (`sim.energy.Row.as_dict`)."""
    provenance: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    """Further sections of the JSON form: the system, its proofs, areas, assumptions."""
    timeline: Timeline | None = None

    def requests(self) -> dict[str, np.ndarray]:
        """Columns by request of the trace, in its order.

        Exact times in ps (int64), -1 where a rejected request has none, and the latencies of `sim.metrics` in ms (float64, nan
        where there is none). ``status`` is an index into `sim.engine.STATUS`.
        """
        served = self.served
        done = served.status == COMPLETED
        later_tokens = np.where(done & (served.output > 1), served.output - 1, 0)
        decoding = served.finish_ps - served.first_token_ps
        return {
            "request": np.arange(len(done)),
            "arrival_ps": served.arrival_ps,
            "admitted_ps": served.admitted_ps,
            "first_token_ps": served.first_token_ps,
            "finish_ps": served.finish_ps,
            "prompt_tokens": served.prompt,
            "output_tokens": served.output,
            "preemptions": served.preemptions,
            "replica": served.replica,
            "status": served.status,
            "queue_ms": _ms(served.admitted_ps - served.arrival_ps, done),
            "ttft_ms": _ms(served.first_token_ps - served.arrival_ps, done),
            "tpot_ms": _ms(decoding, later_tokens > 0) / np.maximum(later_tokens, 1),
            "e2el_ms": _ms(served.finish_ps - served.arrival_ps, done),
        }

    def replicas(self) -> list[dict[str, int]]:
        """What each replica executed: the sums of its `Tally`, its longest queue and most KV blocks in use."""
        names = ("decode_iterations", "decode_tokens", "decode_context", "chunks", "chunk_tokens", "chunk_context", "chunk_pairs")
        return [
            {"replica": index, "iterations": tally.iterations, "busy_ps": tally.busy_ps}
            | {name: getattr(tally, name) for name in names}
            | {"max_waiting": waiting, "max_kv_blocks": blocks, "kv_blocks": self.served.kv_blocks}
            for index, (tally, waiting, blocks) in enumerate(
                zip(self.served.tallies, self.served.most_waiting, self.served.most_kv_blocks, strict=True)
            )
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything but the arrays, as plain data."""
        parts = {"name": self.name, "metrics": self.metrics, "energy": self.energy, "replicas": self.replicas()}
        return parts | self.about | {"provenance": self.provenance}

    def to_json(self) -> str:
        """`as_dict` as JSON text. Raises ValueError rather than write NaN or infinity, which JSON does not have."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n"

    def write(self, folder: Path) -> None:
        """``result.json``, ``requests.parquet`` and, where one was recorded, ``timeline.json.gz`` in ``folder``."""
        (folder / "result.json").write_text(self.to_json(), encoding="utf-8")
        self.write_requests(folder / "requests.parquet")
        if self.timeline is not None:
            self.timeline.write(folder / "timeline.json.gz", self.name)

    def write_requests(self, path: Path) -> None:
        """`requests` as Parquet, null where a request has no value."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rejected = self.served.status != COMPLETED
        columns = {}
        for name, values in self.requests().items():
            if name == "status":
                columns[name] = pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int8)), pa.array(STATUS))
            elif values.dtype.kind == "f":
                columns[name] = pa.array(values, mask=np.isnan(values))
            elif name in ("admitted_ps", "first_token_ps", "finish_ps", "replica"):
                columns[name] = pa.array(values, mask=rejected)
            else:
                columns[name] = pa.array(values)

        pq.write_table(pa.table(columns), path)


def _ms(values_ps: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.where(known, values_ps / PS_PER_MS, np.nan)
