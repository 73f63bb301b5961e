"""Transformer: the shape of a decoder-only language model, its size, and its work as ops.

The shape comes from a Hugging Face ``config.json`` (`workloads.config`), shipped in ``workloads/models`` or given by path; the
ops of a token batch come from `workloads.lowering`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from workloads import lowering
from workloads.config import ModelError, read_config
from workloads.names import did_you_mean
from workloads.ops import Extent, Op
from workloads.precision import ALL_FP16, Precision

__all__ = ["ModelError", "Precision", "Transformer", "available"]

ACTIVATIONS = ("silu", "gelu", "relu")
NORMS = ("rms_norm", "layer_norm")
BIASED = ("qkv", "o", "up", "down")
MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """A stack of ``layers`` equal pre-norm decoder blocks between an embedding and an output table.

    ``gated`` FFNs compute down(activation(gate(x)) * up(x)), plain ones down(activation(up(x))). ``biases`` names the linear
    operators that have one: of "qkv", "o", "up" (gate included) and "down". ``learned_positions`` is the number of rows of the
    learned position table, 0 where positions are rotary. Raises `ModelError` where the shape is impossible.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    max_context: int
    gated: bool = True
    activation: str = "silu"
    norm: str = "rms_norm"
    tied: bool = False
    biases: tuple[str, ...] = ()
    learned_positions: int = 0

    def __post_init__(self) -> None:
        faults = []
        for name in ("hidden", "layers", "heads", "kv_heads", "head_dim", "ffn", "vocab", "max_context"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                faults.append(f"{name}: wanted a positive integer, got {value!r}")
        if not faults and self.heads % self.kv_heads:
            faults.append(f"kv_heads: wanted a divisor of the {self.heads} heads, got {self.kv_heads}")
        for name, known in (("activation", ACTIVATIONS), ("norm", NORMS)):
            if getattr(self, name) not in known:
                faults.append(f"{name}: wanted one of {', '.join(known)}, got {getattr(self, name)!r}")
        faults += [f"biases: wanted some of {', '.join(BIASED)}, got {bias!r}" for bias in self.biases if bias not in BIASED]
        if self.gated and self.activation != "silu":
            faults.append(f"activation: wanted silu in a gated FFN, got {self.activation!r}")
        if faults:
            raise ModelError("\n".join(f"{self.name}: {fault}" for fault in faults))

    @classmethod
    def load(cls, name: str | PathLike[str]) -> Transformer:
        """The shipped model ``name``, or the one described by a ``config.json`` (its path, or that of the folder it is in).

        Raises `ModelError` (a ValueError) on an unknown name or a configuration that is not understood, naming the field, and
        OSError where a file cannot be read.
        """
        text = fspath(name)
        if text in available():
            where = files("workloads") / "models" / f"{text}.json"
            return cls(name=text, **read_config(where.read_bytes(), f"{text}.json"))
        path = Path(text)
        is_path = isinstance(name, PathLike) or "/" in text or text.endswith(".json") or path.is_dir()
        if not is_path:
            hint = did_you_mean(text, available())
            known = ", ".join(available())
            raise ModelError(f"unknown model {text!r}{hint} (known: {known}; or give the path of a config.json)")
        if path.is_dir():
            path = path / "config.json"
        label = path.resolve().parent.name if path.name == "config.json" else path.stem
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise ModelError(f"{path}: wanted a config.json of at most {MAX_CONFIG_BYTES} bytes, got a larger file")
        return cls(name=label or "model", **read_config(data, str(path)))

    # --- size ---------------------------------------------------------------------------------------------------------

    def projections(self, fused: bool = True) -> dict[str, tuple[int, int]]:
        """(out_features, in_features) of one block's linear operators by role.

        Fused: qkv, o, gate_up (or up), down. Apart: q, k, v, o, gate, up, down.
        """
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        if fused:
            shapes = {"qkv": (q + 2 * kv, self.hidden)}
        else:
            shapes = {"q": (q, self.hidden), "k": (kv, self.hidden), "v": (kv, self.hidden)}
        shapes["o"] = (self.hidden, q)
        if not self.gated:
            shapes["up"] = (self.ffn, self.hidden)
        elif fused:
            shapes["gate_up"] = (2 * self.ffn, self.hidden)
        else:
            shapes |= {"gate": (self.ffn, self.hidden), "up": (self.ffn, self.hidden)}
        shapes["down"] = (self.hidden, self.ffn)
        return shapes

    @cached_property
    def _vectors(self) -> int:
        """Parameters that are neither in a linear operator's matrix nor in an embedding: biases and norms."""
        per_norm = self.hidden * (2 if self.norm == "layer_norm" else 1)
        roles = {"gate_up": "up"}
        biases = sum(n for role, (n, _) in self.projections().items() if roles.get(role, role) in self.biases)
        return self.layers * (biases + 2 * per_norm) + per_norm

    @property
    def parameters(self) -> int:
        """Number of parameters, a tied table counted once."""
        matrices = sum(n * k for n, k in self.projections().values())
        tables = (1 if self.tied else 2) * self.vocab + self.learned_positions
        return self.layers * matrices + tables * self.hidden + self._vectors

    def block_weight_bytes(self, precision: Precision = ALL_FP16) -> int:
        """Bytes of the matrices of one decoder block, scales included: what its linear operators read."""
        return sum(precision.weights.nbytes(n * k) for n, k in self.projections().values())

    def weight_bytes(self, precision: Precision = ALL_FP16) -> int:
        """Bytes that all parameters take. A tied table in two formats is stored twice."""
        table = self.vocab * self.hidden
        tables = precision.embeddings.nbytes(table)
        if not self.tied or precision.lm_head != precision.embeddings:
            tables += precision.lm_head.nbytes(table)
        rest = precision.stream.nbytes(self.learned_positions * self.hidden + self._vectors)
        return self.layers * self.block_weight_bytes(precision) + tables + rest

    def kv_bytes_per_token(self, precision: Precision = ALL_FP16) -> int:
        """Bytes of cached keys and values per token over all layers."""
        return self.layers * precision.kv.nbytes(2 * self.kv_heads * self.head_dim)

    # --- work ---------------------------------------------------------------------------------------------------------

    def embed(self, tokens: Extent, precision: Precision = ALL_FP16) -> list[Op]:
        """The ops that turn ``tokens`` token ids into the residual stream."""
        return lowering.embed(self, tokens, precision)

    def block(
        self,
        tokens: Extent,
        precision: Precision = ALL_FP16,
        *,
        fused_projections: bool = True,
    ) -> tuple[list[Op], list[Op]]:
        """The ops of one decoder block over ``tokens`` new tokens, in order: those before the attention, and those after it.

        Roles before: input_norm, [quantize_qkv], qkv (or q, k, v), [rope], [quantize_kv]. After: [quantize_o], o,
        attention_residual, post_norm, [quantize_gate_up], gate_up (or gate, up), silu_mul, [quantize_down], down, ffn_residual;
        a plain FFN has up, gelu (or relu) instead. Those in brackets appear where positions are rotary or formats are narrow.
        """
        return lowering.block(self, tokens, precision, fused_projections)

    def attention_shape(self, precision: Precision = ALL_FP16) -> dict[str, Any]:
        """Keyword arguments for ``Attention.decode(...)`` and ``Attention.prefill(...)``."""
        return lowering.attention_shape(self, precision)

    def head(self, sequences: Extent, precision: Precision = ALL_FP16) -> list[Op]:
        """Final norm and logits of the last token of each of ``sequences`` sequences: final_norm, [quantize_lm_head], lm_head."""
        return lowering.head(self, sequences, precision)


def available() -> Sequence[str]:
    """Names of the shipped models, in alphabetical order."""
    folder = files("workloads") / "models"
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
