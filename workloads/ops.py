"""The vocabulary of work: what a model asks hardware to do, free of how it is done.

An op is a frozen record of shapes and formats. Extents are Python ints, or int64 arrays of one
broadcast shape (a sweep, or a batch priced at once); every formula here is written once for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from workloads.formats import FORMATS, Format

FP16 = FORMATS["fp16"]
INT8 = FORMATS["int8"]
Extent = Any  # int or numpy int64 array


@dataclass(frozen=True, eq=False, kw_only=True)
class Op:
    """Base of all ops. ``role`` names the op inside its block ("qkv", "gate", "lm_head")."""

    kind: ClassVar[str] = "op"
    dimensions: ClassVar[tuple[str, ...]] = ()  # extents that tiling may cut
    reductions: ClassVar[tuple[str, ...]] = ()  # those of them that are summed over
    role: str = ""

    def extents(self) -> dict[str, Extent]:
        """The extents that tiling may cut, by name."""
        return {name: getattr(self, name) for name in self.dimensions}

    def resized(self, **extents: Extent) -> Op:
        """The same op with other extents."""
        return replace(self, **extents)

    def describe(self) -> str:
        """One line for messages and reports: ``linear gate m=1 n=8640 k=3200 ...``."""
        parts = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if f.name != "role"]
        return " ".join(filter(None, [self.kind, self.role, *parts]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Op):
    """O[m, n] = sum_k A[m, k] * W[n, k], W stored as PyTorch does (out_features, in_features).

    With grouped weights (``weights.group = g``) the scales apply per (n, k // g) after the integer sum of the group.
    """

    kind = "linear"
    dimensions = ("m", "n", "k")
    reductions = ("k",)
    m: Extent
    n: Extent
    k: Extent
    weights: Format = FP16
    activations: Format = FP16
    output: Format = FP16

    @property
    def macs(self) -> Extent:
        return self.m * self.n * self.k

    @property
    def input_bytes(self) -> Extent:
        return self.activations.nbytes(self.m * self.k)

    @property
    def weight_bytes(self) -> Extent:
        return self.weights.nbytes(self.n * self.k)

    @property
    def output_bytes(self) -> Extent:
        return self.output.nbytes(self.m * self.n)

    def take(self, part: Mapping[str, slice], activations, weights):
        """The slices of A[m, k] and W[n, k] that the tile ``part`` (a slice per dimension) works on."""
        return activations[part["m"], part["k"]], weights[part["n"], part["k"]]


@dataclass(frozen=True, eq=False, kw_only=True)
class TablePrecompute(Op):
    """T[m, g, i] = -A[m, gK] + sum_{j=1..K-1} (2 bit_{j-1}(i) - 1) A[m, gK + j], i < 2^(K-1), g < ceil(k / K).

    The symmetrised half table of the LUT tensor core (LUT Tensor Core, ISCA'25); K is ``group``. Rows are padded with zeros.
    """

    kind = "table_precompute"
    dimensions = ("m", "k")
    m: Extent
    k: Extent
    group: int = 4
    entry_bits: int | None = None
    """Bits that an entry is rounded to; None keeps it exact."""
    activations: Format = INT8

    @property
    def tables(self) -> Extent:
        return self.m * -(-self.k // self.group)

    def take(self, part: Mapping[str, slice], activations):
        return (activations[part["m"], part["k"]],)


@dataclass(frozen=True, eq=False, kw_only=True)
class Attention(Op):
    """softmax(Q K^T / sqrt(head_dim)) V over a batch, by its sufficient sums.

    ``requests`` requests with ``tokens`` query tokens in all read ``context`` cached tokens in all and score ``pairs``
    (query, key) pairs in all, causal: a chunk of c tokens after p cached ones has context p + c and pairs c p + c (c + 1) / 2.
    A unit whose price needs each request's length gets one op per request, as arrays.
    """

    kind = "attention"
    requests: Extent
    tokens: Extent
    context: Extent
    pairs: Extent
    heads: int
    kv_heads: int
    head_dim: int
    activations: Format = FP16
    kv: Format = FP16
    output: Format = FP16

    @classmethod
    def decode(cls, requests: Extent, context: Extent, **shape) -> Attention:
        """One new token for each of ``requests`` requests that hold ``context`` tokens in all (the new ones included)."""
        return cls(requests=requests, tokens=requests, context=context, pairs=context, **shape)

    @classmethod
    def prefill(cls, chunk: Extent, past: Extent = 0, **shape) -> Attention:
        """One request's ``chunk`` new tokens after ``past`` cached ones."""
        pairs = chunk * past + chunk * (chunk + 1) // 2
        return cls(requests=1, tokens=chunk, context=past + chunk, pairs=pairs, **shape)

    @property
    def macs(self) -> Extent:
        return 2 * self.pairs * self.heads * self.head_dim

    @property
    def kv_bytes(self) -> Extent:
        """Bytes of cached keys and values read once."""
        return self.kv.nbytes(2 * self.context * self.kv_heads * self.head_dim)

    @property
    def io_bytes(self) -> Extent:
        """Bytes of queries read and outputs written."""
        elements = self.tokens * self.heads * self.head_dim
        return self.activations.nbytes(elements) + self.output.nbytes(elements)


@dataclass(frozen=True, eq=False, kw_only=True)
class Pointwise(Op):
    """An element-wise or row-wise operator: ``function`` over ``elements`` results.

    ``read_bytes`` and ``write_bytes`` are the traffic of one pass; ``row`` is the number of results of one token, over which a
    row-wise function (norm, softmax) reduces; 1 where rows do not matter. Functions: embedding, rms_norm, layer_norm, rope, add,
    silu_mul, gelu, relu, quantize, dequantize, bias.
    """

    kind = "pointwise"
    dimensions = ("elements",)
    function: str
    elements: Extent
    read_bytes: Extent
    write_bytes: Extent
    row: int = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Collective(Op):
    """A collective exchange of ``nbytes`` per participant among ``participants`` devices ("all_reduce", "all_gather", "send")."""

    kind = "collective"
    function: str
    nbytes: Extent
    participants: int


def op_kinds() -> dict[str, type[Op]]:
    """Every op class by its kind."""
    return {c.kind: c for c in _subclasses(Op)}


def _subclasses(cls: type[Op]) -> Iterator[type[Op]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)
