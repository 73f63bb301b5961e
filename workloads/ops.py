"""The vocabulary of work: what a model asks hardware to do, free of how it is done.

An op is a frozen record of shapes and formats. Extents are Python ints, or int64 arrays of one
broadcast shape (a sweep, or a batch priced at once); every formula here is written once for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple

from workloads.formats import FORMATS, Format

FP16 = FORMATS["fp16"]
INT8 = FORMATS["int8"]
INT32 = FORMATS["int32"]
FP32 = FORMATS["fp32"]
Extent = Any  # int or numpy int64 array


class Operand(NamedTuple):
    """An array that an op reads."""

    name: str
    format: Format
    axes: tuple[str, ...]
    """The extents of its shape, by the names that the op has for them."""


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

    def operands(self) -> tuple[Operand, ...]:
        """The arrays that the op reads, in the order that its golden kernel and `RtlUnit.encode` take them."""
        raise TypeError(f"ops of kind {self.kind!r} do not say which arrays they read; define operands()")

    def shape(self, operand: Operand) -> tuple[int, ...]:
        """The extents of ``operand``."""
        return tuple(getattr(self, axis) for axis in operand.axes)

    def take(self, part: Mapping[str, slice], *arrays: Any) -> tuple[Any, ...]:
        """The slices of ``arrays`` (in the order of `operands`) that the tile ``part`` (a slice per dimension) works on."""
        every = slice(None)
        return tuple(
            array[tuple(part.get(axis, every) for axis in operand.axes)]
            for operand, array in zip(self.operands(), arrays, strict=True)
        )

    def describe(self) -> str:
        """One line for messages and reports: ``linear gate m=1 n=8640 k=3200 ...``; flags only where they are set."""
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "role"}
        parts = [f"{name}={value}" for name, value in shown.items() if value is not False and value is not None]
        return " ".join(filter(None, [self.kind, self.role, *parts]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Op):
    """O[m, n] = sum_k A[m, k] * W[n, k], W stored as PyTorch does (out_features, in_features).

    With grouped weights (``weights.group = g``) the scales apply per (n, k // g) after the integer sum of the group. With
    ``accumulate`` the sum starts from partial sums C[m, n] in place of zero, as for all but the first part of a cut reduction.
    With ``dequantized`` the scales s and zero points z are operands too, and the results are numbers in FP32,
    O[m, n] = sum_g s[n, g] sum_{k in g} A[m, k] (q[n, k] - z[n, g]); without, whoever takes the results applies them.
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
    accumulate: bool = False
    dequantized: bool = False

    @property
    def accumulator(self) -> Format:
        """The format of partial sums: INT32 where both operands are integers and no scale is applied, else FP32."""
        return FP32 if self.dequantized or "float" in (self.weights.kind, self.activations.kind) else INT32

    @property
    def groups(self) -> Extent:
        """Scales per output channel: 1 unless the weights are grouped."""
        return 1 if self.weights.group is None else -(-self.k // self.weights.group)

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

    def operands(self) -> tuple[Operand, ...]:
        found = [Operand("activations", self.activations, ("m", "k")), Operand("weights", self.weights, ("n", "k"))]
        if self.dequantized:
            found += [Operand("scale", FP16, ("n", "groups")), Operand("zero", self.weights.grouped(None), ("n", "groups"))]
        if self.accumulate:
            found.append(Operand("partial", self.accumulator, ("m", "n")))
        return tuple(found)


@dataclass(frozen=True, eq=False, kw_only=True)
class TablePrecompute(Op):
    """T[m, g, i] = -A[m, gK] + sum_{j=1..K-1} (2 bit_{j-1}(i) - 1) A[m, gK + j], i < 2^(K-1), g < ceil(k / K).

    The symmetrised half table of the LUT tensor core (LUT Tensor Core, ISCA'25); K is ``group``. Rows are padded with zeros.
    FP16 activations give FP16 sums, or with ``entry_bits`` = 8 INT8 codes and an exponent per table.
    """

    kind = "table_precompute"
    dimensions = ("m", "k")
    m: Extent
    k: Extent
    group: int = 4
    entry_bits: int | None = None
    """Bits that an entry is rounded to; None keeps it exact, or in the format of the activations."""
    activations: Format = INT8

    @property
    def tables(self) -> Extent:
        return self.m * -(-self.k // self.group)

    def operands(self) -> tuple[Operand, ...]:
        return (Operand("activations", self.activations, ("m", "k")),)


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


BOTH, ROW, ROWS, HALF_HEAD = ("rows", "row"), ("row",), ("rows",), ("rows", "half_head")
POINTWISE_OPERANDS: dict[str, dict[str, tuple[str, ...]]] = {
    "embedding": {"x": BOTH},
    "add": {"x": BOTH, "y": BOTH},
    "multiply": {"x": BOTH, "y": BOTH},
    "multiply_add": {"x": BOTH, "y": BOTH, "z": BOTH},
    "convert": {"x": BOTH},
    "bias": {"x": BOTH, "bias": ROW},
    "relu": {"x": BOTH},
    "gelu": {"x": BOTH},
    "silu": {"x": BOTH},
    "silu_mul": {"x": BOTH, "y": BOTH},
    "softmax": {"x": BOTH},
    "rms_norm": {"x": BOTH, "gain": ROW},
    "layer_norm": {"x": BOTH, "gain": ROW, "bias": ROW},
    "rope": {"x": BOTH, "cos": HALF_HEAD, "sin": HALF_HEAD},
    "quantize": {"x": BOTH},
    "dequantize": {"x": BOTH, "sums": ROWS, "row_scale": ROWS, "zero": ROW, "scale": ROW},
}
"""What each point-wise function reads: the axes of every operand."""
POINTWISE_FORMATS = {"row_scale": FP32, "zero": FP16, "scale": FP16}
"""The formats of operands that are not in ``activations``, the format of ``x``: scales and zero points are FP16 per column, as
Linear's scales are, and scales FP32 per row, as ``quantize`` makes them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pointwise(Op):
    """An element-wise or row-wise operator: ``function`` over ``rows`` rows of ``row`` results each.

    Norms, softmax and quantisation reduce over a row. ``read_bytes`` and ``write_bytes`` are the traffic of one pass over the
    whole op (0: not counted). ``head_dim`` is the length of the vectors that ``rope`` rotates. ``dequantize`` is the epilogue of
    an integer product, row_scale scale (x - zero sums), where sums are those of the product's activations.
    """

    kind = "pointwise"
    dimensions = ("rows", "row")
    function: str
    rows: Extent
    row: Extent
    read_bytes: Extent = 0
    write_bytes: Extent = 0
    head_dim: int | None = None
    activations: Format = FP16
    output: Format = FP16

    @property
    def elements(self) -> Extent:
        """Results in all."""
        return self.rows * self.row

    @property
    def half_head(self) -> int:
        """Angles that ``rope`` rotates a vector by."""
        return (self.head_dim or 0) // 2

    def operands(self) -> tuple[Operand, ...]:
        if self.function not in POINTWISE_OPERANDS:
            raise TypeError(f"unknown point-wise function {self.function!r} (known: {', '.join(POINTWISE_OPERANDS)})")
        axes = POINTWISE_OPERANDS[self.function]
        return tuple(Operand(name, POINTWISE_FORMATS.get(name, self.activations), a) for name, a in axes.items())


@dataclass(frozen=True, eq=False, kw_only=True)
class BankGemv(Op):
    """O[r, s] = sum_j x[s, j] W[r, s, j] over ``rows`` rows of one memory bank, while other rows of it are read and written.

    Each of the rows holds ``slots`` vectors of ``length`` elements: the keys of a token's heads, say, or with one slot the values
    of many tokens. Meanwhile ``pages`` rows are opened one after the other; from each ``reads`` bursts are read and ``writes``
    bursts written, one read and one write in turn until either runs out. A row has ``columns`` bursts of ``burst`` elements.
    Results: O, what was read [pages, reads, burst], and the pages as they are at last [pages, row].
    """

    kind = "bank_gemv"
    dimensions = ("rows", "slots", "length", "pages", "reads", "writes")
    rows: Extent
    slots: Extent
    length: Extent
    pages: Extent = 0
    reads: Extent = 0
    writes: Extent = 0
    burst: int = 16
    columns: int = 32
    activations: Format = FP16
    """The format of everything: of x, of the rows and of the pages."""

    @property
    def macs(self) -> Extent:
        return self.rows * self.slots * self.length

    @property
    def row(self) -> int:
        """Elements of a row."""
        return self.burst * self.columns

    @property
    def accumulator(self) -> Format:
        """The format of O."""
        return FP32 if self.activations.kind == "float" else INT32

    def operands(self) -> tuple[Operand, ...]:
        column = FORMATS[f"uint{(self.columns - 1).bit_length()}"]
        return (
            Operand("vector", self.activations, ("slots", "length")),
            Operand("matrix", self.activations, ("rows", "slots", "length")),
            Operand("memory", self.activations, ("pages", "row")),
            Operand("read_columns", column, ("pages", "reads")),
            Operand("write_columns", column, ("pages", "writes")),
            Operand("written", self.activations, ("pages", "writes", "burst")),
        )


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
