"""Readers of measured GPU kernels, for `sim.calibrate` and the reproduction of an A100: rows of shapes with their time.

Check points (1 or 2048 tokens, context or chunk 2048) are marked here, once, so that no fit can use them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from accel.base.clock import PS_PER_MS

if TYPE_CHECKING:
    import pandas as pd

MLP_FILE, ATTENTION_FILE = "a100_llama2_7b_mlp.csv", "a800_llama2_7b_attention.csv"
CHECK_TOKENS, CHECK_CONTEXT = (1, 2048), 2048
HIDDEN, FFN, BYTES = 4096, 11008, 2  # Llama-2-7B in FP16


@dataclass(frozen=True)
class Rows:
    """Measured rows of one part: extents by name (int64), picoseconds, the size they are weighed by, and the check points."""

    extents: dict[str, np.ndarray]
    ps: np.ndarray
    size: np.ndarray
    check: np.ndarray

    def of(self, name: str) -> np.ndarray:
        return self.extents[name]

    def where(self, chosen: np.ndarray) -> Rows:
        return Rows({k: v[chosen] for k, v in self.extents.items()}, self.ps[chosen], self.size[chosen], self.check[chosen])


def _medians(path: Path, keys: list[str]) -> pd.DataFrame:
    """Medians of the rows that agree in ``keys``; columns ``time_stats.X.median`` become X, in ms."""
    import pandas as pd

    table = pd.read_csv(path)
    times = {c: c.removeprefix("time_stats.").removesuffix(".median") for c in table.columns if c.endswith(".median")}
    table = table[[*keys, *times]].rename(columns=times)
    return table.groupby(keys).median().reset_index()


def _int(values: object) -> np.ndarray:
    return np.asarray(values, dtype=np.int64)


def mlp_rows(folder: Path) -> dict[str, Rows]:
    """Rows of "gemm" (all four projections) and of each pointwise function, over tensor parallel degrees."""
    table = _medians(folder / MLP_FILE, ["num_tensor_parallel_workers", "num_tokens"])
    tokens, split = _int(table.num_tokens), _int(table.num_tensor_parallel_workers)
    check = np.isin(tokens, CHECK_TOKENS)

    def rows(column: str, **extents: object) -> Rows:
        full = {k: _int(np.broadcast_to(_int(v), tokens.shape)) for k, v in extents.items()}
        return Rows(full | {"tokens": tokens, "split": split}, table[column].to_numpy() * PS_PER_MS, tokens, check)

    def moved(elements: object, passes: int) -> np.ndarray:
        return passes * BYTES * _int(elements)

    gemms = [
        rows("attn_pre_proj", m=tokens, n=3 * HIDDEN // split, k=HIDDEN),
        rows("attn_post_proj", m=tokens, n=HIDDEN, k=HIDDEN // split),
        rows("mlp_up_proj", m=tokens, n=2 * FFN // split, k=HIDDEN),
        rows("mlp_down_proj", m=tokens, n=HIDDEN, k=FFN // split),
    ]
    rotated, gated = 2 * HIDDEN // split, FFN // split
    return {
        "gemm": _joined(gemms),
        "rms_norm": rows("input_layernorm", bytes=moved(tokens * HIDDEN, 2), row=HIDDEN),
        "rope": rows("attn_rope", bytes=moved(tokens * rotated, 2), row=rotated),
        "silu_mul": rows("mlp_act", bytes=moved(tokens * gated, 3), row=gated),
        "add": rows("add", bytes=moved(tokens * HIDDEN, 3), row=1),
        "embedding": rows("emb", bytes=moved(tokens * HIDDEN, 2), row=HIDDEN),
    }


def _joined(parts: list[Rows]) -> Rows:
    extents = {name: np.concatenate([p.of(name) for p in parts]) for name in parts[0].extents}
    ps, size, check = (np.concatenate([getattr(p, name) for p in parts]) for name in ("ps", "size", "check"))
    return Rows(extents, ps, size, check)


def attention_rows(folder: Path) -> tuple[Rows, Rows]:
    """(decode rows: requests, context of each; prefill rows: chunk, past)."""
    keys = ["is_prefill", "kv_cache_size", "batch_size", "prefill_chunk_size"]
    table = _medians(folder / ATTENTION_FILE, keys)
    decode, prefill = table[~table.is_prefill], table[table.is_prefill]
    context, requests = _int(decode.kv_cache_size), _int(decode.batch_size)
    past, chunk = _int(prefill.kv_cache_size), _int(prefill.prefill_chunk_size)
    decode_ps, prefill_ps = decode.attn_decode.to_numpy() * PS_PER_MS, prefill.attn_prefill.to_numpy() * PS_PER_MS
    checked = (past == CHECK_CONTEXT) | (chunk == CHECK_CONTEXT) | (past + chunk == CHECK_CONTEXT)
    return (
        Rows({"requests": requests, "context": context}, decode_ps, requests, context == CHECK_CONTEXT),
        Rows({"chunk": chunk, "past": past}, prefill_ps, chunk, checked),
    )


def single_kernel_rows(folder: Path) -> dict[str, Rows]:
    """LLMCompass rows: "gelu" and "layer_norm" (bytes, row), "matmul" (m, n, k), which no fit uses."""

    def read(name: str) -> list[list[float]]:
        text = (folder / name).read_text().replace("ms", "").replace("Tflops", "")
        return [[float(v) for v in line.split(",")] for line in text.splitlines() if line.strip()]

    def passes(elements: np.ndarray, rate: np.ndarray) -> Rows:
        """A pass that reads and writes FP16 at ``rate`` 10^9 elements per second."""
        extents = {"bytes": 2 * BYTES * elements, "row": np.ones_like(elements)}
        return Rows(extents, elements / rate * 1000, elements, np.zeros(len(elements), dtype=bool))

    gelu, norm, matmul = (np.array(read(f"a100_{name}.csv")) for name in ("gelu", "layernorm", "matmul"))
    m, n, k = (_int(matmul[:, i]) for i in (0, 1, 2))
    return {
        "gelu": passes(_int(gelu[:, 0]), gelu[:, 1]),
        "layer_norm": passes(_int(norm[:, 0] * norm[:, 1]), norm[:, 2]),
        "matmul": Rows({"m": m, "n": n, "k": k}, matmul[:, 3] * PS_PER_MS, m, np.ones(len(m), dtype=bool)),
    }
