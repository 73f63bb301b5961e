"""Lowering: one decoder block, the embedding and the head as ops, with exact traffic.

Every point-wise op reads its operands and writes its result once, in the formats of `Precision`. Not counted are what one row
shares (norm weights, biases, rotary tables: held on chip) and token ids. A result that the next op could take from a register is
still written and read here: what is fused is decided by placement, not by the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.formats import Format
from workloads.ops import Extent, Linear, Op, Pointwise
from workloads.precision import Precision

if TYPE_CHECKING:
    from workloads.model import Transformer


def embed(model: Transformer, tokens: Extent, precision: Precision) -> list[Op]:
    """Row look-up in the token table; learned positions are added to it."""
    elements, stream = tokens * model.hidden, precision.stream
    lookup = Pointwise(
        role="embedding",
        function="embedding",
        rows=tokens,
        row=model.hidden,
        read_bytes=precision.embeddings.nbytes(elements),
        write_bytes=stream.nbytes(elements),
        output=stream,
    )
    if not model.learned_positions:
        return [lookup]
    return [lookup, _pointwise("position_embedding", "add", tokens, model.hidden, stream, reads=2)]


def block(model: Transformer, tokens: Extent, precision: Precision, fused: bool) -> tuple[list[Op], list[Op]]:
    """See `Transformer.block`."""
    stream, narrow = precision.stream, precision.weights
    shapes = model.projections(fused)

    def linears(entry: str, roles: tuple[str, ...]) -> list[Op]:
        """The projections among ``roles``, after the quantisation of their common input."""
        found = {role: shapes[role] for role in roles if role in shapes}
        k = next(iter(found.values()))[1]
        ops = _quantize(entry, tokens, k, stream, precision.input_of(narrow))
        return ops + [_linear(role, tokens, shape, narrow, precision) for role, shape in found.items()]

    def norm(role: str) -> Op:
        return _pointwise(role, model.norm, tokens, model.hidden, stream)

    before = [norm("input_norm"), *linears("qkv", ("qkv", "q", "k", "v"))]
    rotated = (model.heads + model.kv_heads) * model.head_dim
    if not model.learned_positions:
        before.append(_pointwise("rope", "rope", tokens, rotated, stream, head_dim=model.head_dim))
    if precision.kv.bits < 16:
        before += _quantize("kv", tokens, 2 * model.kv_heads * model.head_dim, stream, precision.kv)

    entry, function = ("gate_up", "silu_mul") if model.gated else ("up", model.activation)
    after = [
        *linears("o", ("o",)),
        _pointwise("attention_residual", "add", tokens, model.hidden, stream, reads=2),
        norm("post_norm"),
        *linears(entry, ("gate_up", "gate", "up")),
        _pointwise(function, function, tokens, model.ffn, stream, reads=2 if model.gated else 1),
        *linears("down", ("down",)),
        _pointwise("ffn_residual", "add", tokens, model.hidden, stream, reads=2),
    ]
    return before, after


def attention_shape(model: Transformer, precision: Precision) -> dict[str, Any]:
    """See `Transformer.attention_shape`."""
    return {
        "role": "attention",
        "heads": model.heads,
        "kv_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "activations": precision.stream,
        "kv": precision.kv,
        "output": precision.stream,
    }


def head(model: Transformer, sequences: Extent, precision: Precision) -> list[Op]:
    """See `Transformer.head`."""
    taken = precision.input_of(precision.lm_head)
    return [
        _pointwise("final_norm", model.norm, sequences, model.hidden, precision.stream),
        *_quantize("lm_head", sequences, model.hidden, precision.stream, taken),
        _linear("lm_head", sequences, (model.vocab, model.hidden), precision.lm_head, precision),
    ]


def _linear(role: str, tokens: Extent, shape: tuple[int, int], weights: Format, precision: Precision) -> Linear:
    n, k = shape
    taken = precision.input_of(weights)
    return Linear(role=role, m=tokens, n=n, k=k, weights=weights, activations=taken, output=precision.stream)


def _pointwise(
    role: str, function: str, rows: Extent, row: int, stream: Format, *, reads: int = 1, head_dim: int | None = None
) -> Pointwise:
    size = stream.nbytes(rows * row)
    return Pointwise(
        role=role,
        function=function,
        rows=rows,
        row=row,
        read_bytes=reads * size,
        write_bytes=size,
        head_dim=head_dim,
        activations=stream,
        output=stream,
    )


def _quantize(entry: str, rows: Extent, row: int, stream: Format, target: Format) -> list[Op]:
    """The explicit conversion of a linear operator's input (or of new keys and values); none where the formats agree."""
    if target == stream:
        return []
    return [
        Pointwise(
            role=f"quantize_{entry}",
            function="quantize",
            rows=rows,
            row=row,
            read_bytes=stream.nbytes(rows * row),
            write_bytes=target.nbytes(rows * row),
            activations=stream,
            output=target,
        )
    ]
