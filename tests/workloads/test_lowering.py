"""Does a block ask for the work and the traffic that the architecture implies?"""

import numpy as np
import pytest

from workloads.model import Precision, Transformer, available
from workloads.ops import Attention, Linear, Pointwise

W2A8 = Precision.from_data({"weights": "ternary", "activations": "int8"})


def roles(ops):
    return [op.role for op in ops]


def whole_block(model, *args, **kwargs):
    before, after = model.block(*args, **kwargs)
    return before + after


def traffic(ops):
    return sum(op.read_bytes + op.write_bytes for op in ops if isinstance(op, Pointwise))


def test_vector_traffic_of_the_3b_model_is_that_of_the_published_mapping():
    """171 MB per layer for FP16 at 1,024 sequences of one token; source: facts on LUT Tensor Core."""
    model = Transformer.load("bitnet-b1.58-3b")
    before, after = model.block(1024)
    attention = Attention.decode(1024, 1024, **model.attention_shape())
    parts = {op.role: (op.read_bytes + op.write_bytes) / 1e6 for op in before + after if isinstance(op, Pointwise)}
    expected = {"input_norm": 13.1, "rope": 26.2, "attention_residual": 19.66, "post_norm": 13.1, "silu_mul": 53.1}
    assert parts == pytest.approx(expected | {"ffn_residual": 19.66}, abs=0.05)
    moved = attention.io_bytes + attention.kv_bytes
    assert moved / 1e6 == pytest.approx(26.2, abs=0.05)
    assert (traffic(before + after) + moved) / 1e6 == pytest.approx(171.0, abs=0.1)


def test_order_of_a_gated_block():
    model = Transformer.load("llama-3-8b")
    before, after = model.block(7)
    assert roles(before) == ["input_norm", "qkv", "rope"]
    assert roles(after) == ["o", "attention_residual", "post_norm", "gate_up", "silu_mul", "down", "ffn_residual"]
    linear = {op.role: (op.m, op.n, op.k) for op in before + after if isinstance(op, Linear)}
    assert linear == {"qkv": (7, 6144, 4096), "o": (7, 4096, 4096), "gate_up": (7, 28672, 4096), "down": (7, 4096, 14336)}


def test_order_of_a_plain_block():
    before, after = Transformer.load("opt-6.7b").block(7)
    assert roles(before) == ["input_norm", "qkv"]
    assert roles(after) == ["o", "attention_residual", "post_norm", "up", "relu", "down", "ffn_residual"]
    assert before[0].function == "layer_norm"
    relu = next(op for op in after if op.role == "relu")
    assert relu.read_bytes == relu.write_bytes == 2 * 7 * 16384


def test_projections_apart_ask_for_the_same_work_as_fused_ones():
    model = Transformer.load("llama-3-8b")
    fused, apart = (whole_block(model, 3, W2A8, fused_projections=f) for f in (True, False))
    assert roles(apart)[1:5] == ["quantize_qkv", "q", "k", "v"]
    assert [r for r in roles(apart) if r in ("quantize_gate_up", "gate", "up")] == ["quantize_gate_up", "gate", "up"]
    assert traffic(fused) == traffic(apart)
    macs, weights = (
        [sum(getattr(op, name) for op in ops if isinstance(op, Linear)) for ops in (fused, apart)]
        for name in ("macs", "weight_bytes")
    )
    assert macs[0] == macs[1]
    assert weights[0] == weights[1] == model.block_weight_bytes(W2A8)


@pytest.mark.parametrize("name", available())
def test_weights_read_by_all_blocks_and_the_head_are_the_models_matrices(name):
    model = Transformer.load(name)
    linears = [op for op in whole_block(model, 1) if isinstance(op, Linear)]
    head = model.head(1)[-1]
    vectors = model.parameters - model.layers * sum(op.n * op.k for op in linears) - head.n * head.k
    tables = (0 if model.tied else model.vocab) + model.learned_positions
    assert 0 <= vectors - tables * model.hidden < 0.001 * model.parameters


def test_integer_activations_are_quantised_once_per_input():
    before, after = Transformer.load("bitnet-b1.58-3b").block(10, W2A8)
    assert roles(before) == ["input_norm", "quantize_qkv", "qkv", "rope"]
    assert [r for r in roles(after) if "quantize" in r] == ["quantize_o", "quantize_gate_up", "quantize_down"]
    quantize = after[0]
    assert (quantize.read_bytes, quantize.write_bytes) == (2 * 10 * 3200, 10 * 3200)
    for op in before + after:
        if isinstance(op, Linear):
            assert (op.activations.name, op.weights.name, op.output.name) == ("int8", "ternary", "fp16")


def test_a_narrow_cache_is_quantised_into():
    model = Transformer.load("llama-3-8b")
    precision = Precision.from_data({"kv": "int8"})
    before, _ = model.block(10, precision)
    assert roles(before)[-1] == "quantize_kv"
    assert before[-1].write_bytes * model.layers == 10 * model.kv_bytes_per_token(precision)
    assert Attention.decode(4, 400, **model.attention_shape(precision)).kv_bytes * 32 == 400 * model.kv_bytes_per_token(precision)


def test_the_head_works_on_one_row_per_sequence():
    model = Transformer.load("llama-2-7b")
    norm, logits = model.head(3, W2A8)
    assert (norm.role, norm.elements, norm.row) == ("final_norm", 3 * 4096, 4096)
    assert (logits.role, logits.m, logits.n, logits.k, logits.weights.name) == ("lm_head", 3, 32000, 4096, "fp16")
    narrow = Precision.from_data({"weights": "int8", "activations": "int8", "lm_head": "int8"})
    assert roles(model.head(3, narrow)) == ["final_norm", "quantize_lm_head", "lm_head"]


def test_the_embedding_reads_a_row_per_token():
    (lookup,) = Transformer.load("llama-2-7b").embed(5)
    assert (lookup.function, lookup.read_bytes, lookup.write_bytes) == ("embedding", 5 * 8192, 5 * 8192)
    assert roles(Transformer.load("opt-6.7b").embed(5)) == ["embedding", "position_embedding"]


@pytest.mark.parametrize("name", ["llama-3-8b", "opt-6.7b"])
def test_arrays_of_tokens_give_what_each_token_count_gives(name):
    model, tokens = Transformer.load(name), np.array([1, 17, 4096])

    def every_op(count):
        return [*model.embed(count, W2A8), *whole_block(model, count, W2A8), *model.head(count, W2A8)]

    for index, count in enumerate(tokens.tolist()):
        for batch, single in zip(every_op(tokens), every_op(count), strict=True):
            for field in ("m", "elements", "read_bytes", "write_bytes"):
                if hasattr(single, field):
                    assert getattr(batch, field)[index] == getattr(single, field)
                    assert type(getattr(single, field)) is int
