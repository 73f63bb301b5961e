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
        elements=elements,
        read_bytes=precision.embeddings.nbytes(elements),
        write_bytes=stream.nbytes(elements),
        row=model.hidden,
    )
    if not model.learned_positions:
        return [lookup]
    return [lookup, _pointwise("position_embedding", "add", elements, stream, reads=2)]


def block(model: Transformer, tokens: Extent, precision: Precision, fused: bool) -> tuple[list[Op], list[Op]]:
    """See `Transformer.block`."""
    stream, narrow = precision.stream, precision.weights
    hidden, ffn = tokens * model.hidden, tokens * model.ffn
    shapes = model.projections(fused)

    def linears(entry: str, roles: tuple[str, ...]) -> list[Op]:
        """The projections among ``roles``, after the quantisation of their common input."""
        found = {role: shapes[role] for role in roles if role in shapes}
        k = next(iter(found.values()))[1]
        ops = _quantize(entry, tokens * k, stream, precision.input_of(narrow))
        return ops + [_linear(role, tokens, shape, narrow, precision) for role, shape in found.items()]

    def norm(role: str) -> Op:
        return _pointwise(role, model.norm, hidden, stream, row=model.hidden)

    before = [norm("input_norm"), *linears("qkv", ("qkv", "q", "k", "v"))]
    rotated = (model.heads + model.kv_heads) * model.head_dim
    if not model.learned_positions:
        before.append(_pointwise("rope", "rope", tokens * rotated, stream, row=rotated))
    if precision.kv.bits < 16:
        before += _quantize("kv", tokens * 2 * model.kv_heads * model.head_dim, stream, precision.kv)

    entry, function = ("gate_up", "silu_mul") if model.gated else ("up", model.activation)
    after = [
        *linears("o", ("o",)),
        _pointwise("attention_residual", "add", hidden, stream, reads=2),
        norm("post_norm"),
        *linears(entry, ("gate_up", "gate", "up")),
        _pointwise(function, function, ffn, stream, reads=2 if model.gated else 1, row=model.ffn),
        *linears("down", ("down",)),
        _pointwise("ffn_residual", "add", hidden, stream, reads=2),
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
    elements, taken = sequences * model.hidden, precision.input_of(precision.lm_head)
    return [
        _pointwise("final_norm", model.norm, elements, precision.stream, row=model.hidden),
        *_quantize("lm_head", elements, precision.stream, taken),
        _linear("lm_head", sequences, (model.vocab, model.hidden), precision.lm_head, precision),
    ]


def _linear(role: str, tokens: Extent, shape: tuple[int, int], weights: Format, precision: Precision) -> Linear:
    n, k = shape
    taken = precision.input_of(weights)
    return Linear(role=role, m=tokens, n=n, k=k, weights=weights, activations=taken, output=precision.stream)


def _pointwise(role: str, function: str, elements: Extent, stream: Format, *, reads: int = 1, row: int = 1) -> Pointwise:
    size = stream.nbytes(elements)
    return Pointwise(role=role, function=function, elements=elements, read_bytes=reads * size, write_bytes=size, row=row)


def _quantize(entry: str, elements: Extent, stream: Format, target: Format) -> list[Op]:
    """The explicit conversion of a linear operator's input (or of new keys and values); none where the formats agree."""
    if target == stream:
        return []
    return [
        Pointwise(
            role=f"quantize_{entry}",
            function="quantize",
            elements=elements,
            read_bytes=stream.nbytes(elements),
            write_bytes=target.nbytes(elements),
        )
    ]
