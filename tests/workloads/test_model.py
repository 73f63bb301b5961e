"""How large is a model? Parameter counts against the published ones, bytes against counts by hand."""

import pytest

from workloads.model import ModelError, Precision, Transformer, available

# Exact counts: elements of the published checkpoints' tensors, as their Hugging Face pages and loaders report them.
EXACT = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-3.1-8b": 8_030_261_248,
    "mistral-7b": 7_241_732_096,
    "qwen2.5-7b": 7_615_616_512,
    "opt-6.7b": 6_658_473_984,
}
# Rounded counts in millions. GPT-3: arXiv 2005.14165 table D.1, which rounds to 10 or 100 million.
ROUNDED = {"gpt3-7b": (6_660, 5), "gpt3-13b": (12_850, 5), "gpt3-175b": (174_600, 50)}


@pytest.mark.parametrize("name", EXACT)
def test_published_parameter_count_is_met_exactly(name):
    assert Transformer.load(name).parameters == EXACT[name]


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_parameter_count_is_met_within_its_rounding(name):
    millions, half_a_digit = ROUNDED[name]
    assert Transformer.load(name).parameters / 1e6 == pytest.approx(millions, abs=half_a_digit)


@pytest.mark.parametrize(
    ("name", "depth", "width", "vocab", "positions"),
    [
        ("opt-13b", 40, 5120, 50272, 2050),
        ("opt-30b", 48, 7168, 50272, 2050),
        ("opt-66b", 64, 9216, 50272, 2050),
        ("opt-175b", 96, 12288, 50272, 2050),
        ("gpt3-30b", 48, 7168, 50257, 2048),
    ],
)
def test_plain_models_without_an_exact_published_count(name, depth, width, vocab, positions):
    """12 width^2 + 13 width per block (4 + 8 squares of weights; biases 4 + 4 + 1, two norms 4), tables, final norm.

    Depths and widths: OPT, arXiv 2205.01068 table 1; NeuPIMs, arXiv 2403.00579.
    """
    by_hand = depth * (12 * width**2 + 13 * width) + (vocab + positions) * width + 2 * width
    assert Transformer.load(name).parameters == by_hand


def test_bitnet_has_the_stated_shape_and_3_32_billion_parameters():
    """Shape: facts of LUT Tensor Core; 3.32 B: Hugging Face page of 1bitLLM/bitnet_b1_58-3B (tied embeddings)."""
    model = Transformer.load("bitnet-b1.58-3b")
    assert (model.hidden, model.layers, model.ffn, model.heads, model.vocab) == (3200, 26, 8640, 32, 32002)
    assert model.parameters / 1e9 == pytest.approx(3.32, abs=0.005)


def test_every_shipped_model_loads_and_says_where_its_shape_is_from():
    import json
    from importlib.resources import files

    assert len(available()) == 18
    for name in available():
        model = Transformer.load(name)
        assert model.name == name
        assert model.heads * model.head_dim == model.hidden
        assert json.loads((files("workloads") / "models" / f"{name}.json").read_text())["_source"]


def test_weight_bytes_at_fp16_are_two_per_parameter():
    for name in ("llama-2-7b", "opt-6.7b", "qwen2.5-7b"):
        model = Transformer.load(name)
        assert model.weight_bytes() == 2 * model.parameters


def test_quantised_weights_leave_tables_and_vectors_at_fp16():
    model = Transformer.load("llama-2-7b")
    block = 4 * 4096 * 4096 + 3 * 4096 * 11008
    norms = 65 * 4096
    tables = 2 * 32000 * 4096
    precision = Precision.from_data({"weights": "uint4:128", "activations": "int8"})
    assert model.block_weight_bytes(precision) == block // 2 + block // 128 * 2
    assert model.weight_bytes(precision) == 32 * (block // 2 + block // 64) + 2 * (tables + norms)


def test_a_tied_table_in_two_formats_is_stored_twice():
    model = Transformer.load("opt-6.7b")
    table = model.vocab * model.hidden
    assert model.weight_bytes(Precision.from_data({"lm_head": "int8"})) == model.weight_bytes() + table


def test_kv_bytes_per_token_follow_the_kv_heads_and_format():
    assert Transformer.load("llama-2-7b").kv_bytes_per_token() == 2 * 32 * 4096 * 2  # keys and values, layers, width, bytes
    assert Transformer.load("llama-3-8b").kv_bytes_per_token() == 2 * 32 * 1024 * 2
    assert Transformer.load("llama-3-8b").kv_bytes_per_token(Precision.from_data({"kv": "int8"})) == 2 * 32 * 1024


def test_a_mistyped_name_is_answered_with_the_nearest():
    with pytest.raises(ModelError, match="unknown model 'Lama-2-7B'; did you mean 'llama-2-7b'"):
        Transformer.load("Lama-2-7B")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 0}, "hidden: wanted a positive integer, got 0"),
        ({"kv_heads": 3}, "kv_heads: wanted a divisor of the 4 heads, got 3"),
        ({"norm": "batch_norm"}, "norm: wanted one of rms_norm, layer_norm, got 'batch_norm'"),
        ({"biases": ("gate",)}, "biases: wanted some of qkv, o, up, down, got 'gate'"),
        ({"activation": "gelu"}, "activation: wanted silu in a gated FFN, got 'gelu'"),
    ],
)
def test_an_impossible_shape_is_refused(change, message):
    shape = {"hidden": 64, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 16, "ffn": 128, "vocab": 100, "max_context": 8}
    assert Transformer(name="t", **shape).parameters > 0
    with pytest.raises(ModelError, match=f"t: {message}"):
        Transformer(name="t", **(shape | change))


def test_precision_is_validated_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown tensor class 'weight'; did you mean 'weights'"):
        Precision.from_data({"weight": "int8"})
    with pytest.raises(ValueError, match="precision of kv: unknown number format 'int9'"):
        Precision.from_data({"kv": "int9"})
    with pytest.raises(ValueError, match="precision of kv: wanted the name of a format, got 8"):
        Precision.from_data({"kv": 8})
    with pytest.raises(ValueError, match="int8 activations need integer or ternary weights, got weights fp16"):
        Precision.from_data({"activations": "int8"})
    given = {"weights": "uint2:128", "activations": "int8", "kv": "fp8_e4m3", "lm_head": "fp16", "embeddings": "fp16"}
    assert Precision.from_data(given).to_data() == given
