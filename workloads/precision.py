"""Precision: the number format of each class of tensor of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from workloads.formats import FORMATS, Format, parse_format
from workloads.names import did_you_mean

FP16 = FORMATS["fp16"]


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Formats by tensor class, each given as a `Format` or by its name (``Precision(weights="uint2:128", activations="int8")``).

    ``weights`` are the matrices of the decoder blocks and ``activations`` what enters them; ``kv`` is the cached keys and values;
    ``lm_head`` and ``embeddings`` are the tables at both ends, left at FP16 by nearly all published quantised models. Biases and
    norms, and everything between two linear operators, are in `stream`. Raises ValueError on an unknown format, and on integer
    activations into weights that are not quantised.
    """

    weights: Format = FP16
    activations: Format = FP16
    kv: Format = FP16
    lm_head: Format = FP16
    embeddings: Format = FP16

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, Format):
                if not isinstance(value, str):
                    raise ValueError(f"precision of {field.name}: wanted the name of a format, got {value!r}")
                try:
                    object.__setattr__(self, field.name, parse_format(value))
                except ValueError as error:
                    raise ValueError(f"precision of {field.name}: {error}") from None
        if self.activations.kind == "int" and self.weights.kind == "float":
            raise ValueError(
                f"precision: {self.activations} activations need integer or ternary weights, got weights {self.weights}"
            )

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Precision:
        """A precision from a table of a file. Raises ValueError on a key that is no tensor class."""
        known = [field.name for field in fields(cls)]
        for key in data:
            if key not in known:
                raise ValueError(f"precision: unknown tensor class {key!r}{did_you_mean(key, known)} (known: {', '.join(known)})")
        return cls(**data)

    def to_data(self) -> dict[str, str]:
        """The table that `from_data` reads: format names by tensor class."""
        return {field.name: str(getattr(self, field.name)) for field in fields(self)}

    @property
    def stream(self) -> Format:
        """Format of the residual stream and of linear results: the activations', or FP16 where those are narrow."""
        return self.activations if self.activations.bits >= 16 else FP16

    def input_of(self, weights: Format) -> Format:
        """Format in which a linear operator with ``weights`` takes its input: 16-bit weights take the stream as it is."""
        return self.activations if weights.bits < 16 else self.stream


ALL_FP16 = Precision()
