"""Stored results: what a run's folder holds, and a result as it is read back. Reports are made of these alone.

=====================  ============================================================================================
``experiment.toml``    the experiment of this one system; `rtloom run` takes it, and finds this run again
``design.toml``        the device with every default filled in, as a design file
``result.json``        metrics, energy ledger, system, proofs, provenance
``requests.parquet``   one row per request: times, tokens, replica, status
``ops.parquet``        one row per op and unit: executions, time, bytes, energy
``timeline.json.gz``   iterations by replica, for ui.perfetto.dev
=====================  ============================================================================================
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.errors import StorageError
from sim.store import read_bytes
from sim.toml_text import to_toml

if TYPE_CHECKING:
    import numpy as np

    from sim.result import Result

ABSENT = {"admitted_ps": -1, "first_token_ps": -1, "finish_ps": -1, "replica": -1}


@dataclass(frozen=True, eq=False)
class StoredResult:
    """A run as it lies in the store: the same members as `sim.result.Result`, but the arrays only by `requests`."""

    folder: Path
    name: str
    metrics: dict[str, Any]
    energy: list[dict[str, Any]]
    provenance: dict[str, Any]
    about: dict[str, Any]
    _replicas: list[dict[str, Any]] = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> StoredResult:
        """The result in a run's folder. Raises StorageError where it is not one."""
        data = read_json(folder, "result.json")
        try:
            known = {key: data.pop(key) for key in ("name", "metrics", "energy", "provenance")}
            return cls(folder=folder, **known, _replicas=data.pop("replicas"), about=data)
        except (KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{folder / 'result.json'}: wanted a stored result, got one without {error}") from None

    def requests(self) -> dict[str, np.ndarray]:
        """Columns by request, as `Result.requests` gives them."""
        import numpy as np
        import pyarrow as pa

        from sim.engine import STATUS

        columns = {}
        for name, column in _parquet(self.folder, "requests.parquet").items():
            if pa.types.is_dictionary(column.type):
                places = {text: STATUS.index(text) for text in column.dictionary.to_pylist()}
                columns[name] = np.array([places[text] for text in column.to_pylist()], np.int64)
            elif pa.types.is_floating(column.type):
                columns[name] = column.to_numpy(zero_copy_only=False)
            else:
                columns[name] = column.fill_null(ABSENT.get(name, 0)).to_numpy(zero_copy_only=False)
        return columns

    def ops(self) -> list[dict[str, Any]]:
        """Rows of `sim.op_totals.op_totals`."""
        columns = {name: column.to_pylist() for name, column in _parquet(self.folder, "ops.parquet").items()}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def replicas(self) -> list[dict[str, Any]]:
        """What each replica executed."""
        return self._replicas

    def as_dict(self) -> dict[str, Any]:
        """Everything but the arrays, as plain data."""
        parts = {"name": self.name, "metrics": self.metrics, "energy": self.energy, "replicas": self._replicas}
        return parts | self.about | {"provenance": self.provenance}


def write_run(
    folder: Path, result: Result, experiment: Mapping[str, Any], design: Mapping[str, Any], ops: Sequence[Mapping[str, Any]]
) -> None:
    """Fill a run's folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "experiment.toml").write_text(to_toml(experiment), encoding="utf-8")
    (folder / "design.toml").write_text(to_toml(design), encoding="utf-8")
    result.write(folder)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in ops]), folder / "ops.parquet")


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object of a run. Raises StorageError."""
    try:
        data = json.loads(read_bytes(folder, name))
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{folder / name}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise StorageError(f"{folder / name}: wanted a JSON object, got {type(data).__name__}")
    return data


def _parquet(folder: Path, name: str) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(read_bytes(folder, name)))
    except pa.ArrowException as error:
        raise StorageError(f"{folder / name}: not Parquet: {error}") from None
    return {column: table.column(column).combine_chunks() for column in table.column_names}
