"""Is a config.json understood, or refused with the field that is not?"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.config import read_config
from workloads.model import ModelError, Transformer

LLAMA = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
    "hidden_act": "silu",
    # without influence on shapes:
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "torch_dtype": "bfloat16",
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
    "attention_dropout": 0.1,
    "rms_norm_eps": 1e-5,
    "_name_or_path": "somewhere",
    "some_future_feature": False,
}
OPT = {
    "model_type": "opt",
    "hidden_size": 256,
    "ffn_dim": 1024,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
}


def read(config, **change):
    return read_config(json.dumps(config | change).encode(), "c.json")


def test_grouped_queries_ties_and_biases_are_read(tmp_path):
    path = tmp_path / "my-model" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(LLAMA | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}))
    for given_path in (path, str(path), str(path.parent), path.parent):
        model = Transformer.load(given_path)
        assert model.name == "my-model"
        qkv, ffn = 256 + 2 * 64, 512
        weights = qkv * 256 + 256 * 256 + 3 * 256 * ffn
        biases = qkv + 256 + 2 * ffn + 256
        assert model.parameters == 2 * (weights + biases + 2 * 256) + 1000 * 256 + 256


def test_a_width_of_heads_apart_from_the_hidden_size_is_read():
    shape = read(LLAMA, head_dim=64)
    assert shape["head_dim"] == 64
    assert Transformer(name="t", **shape).projections()["qkv"] == ((8 + 2 * 2) * 64, 256)


def test_a_sliding_window_limits_the_context():
    mistral = {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    qwen = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    assert read(LLAMA, **mistral, sliding_window=512)["max_context"] == 512
    assert read(LLAMA, **mistral, sliding_window=None)["max_context"] == 2048
    assert read(LLAMA, **qwen, sliding_window=512, use_sliding_window=False)["max_context"] == 2048
    assert read(LLAMA, **qwen, sliding_window=512, use_sliding_window=True)["max_context"] == 512


@pytest.mark.parametrize("named", [["MambaForCausalLM"], ["LlamaForCausalLM", "MambaForCausalLM"], ["MistralForCausalLM"], "x"])
def test_an_architecture_that_is_not_the_family_s_is_refused(named):
    with pytest.raises(ModelError, match=r"field 'architectures': wanted LlamaForCausalLM or .* with model_type 'llama', got"):
        read(LLAMA, architectures=named)


def test_plain_models_have_learned_positions_and_biases():
    assert read(OPT)["learned_positions"] == 2050
    assert read(OPT)["biases"] == ("qkv", "o", "up", "down")
    assert read(OPT, enable_bias=False)["biases"] == ()
    gpt = {"model_type": "gpt2", "n_embd": 256, "n_layer": 2, "n_head": 8, "n_positions": 1024, "vocab_size": 1000}
    assert read(gpt)["ffn"] == 1024
    assert read(gpt)["learned_positions"] == 1024


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (LLAMA, {"model_type": "mixtral"}, "field 'model_type': wanted one of llama, .*, got \"mixtral\""),
        (LLAMA, {"model_type": "lama"}, "did you mean 'llama'"),
        (LLAMA, {"model_type": None}, "field 'model_type': .*got no such field"),
        (LLAMA, {"num_local_experts": 8}, "field 'num_local_experts' \\(8\\) is not understood"),
        (LLAMA, {"num_kv_heads": 8}, "'num_kv_heads' .*did you mean 'num_key_value_heads'"),
        (LLAMA, {"quantization_config": {"bits": 4}}, "field 'quantization_config' .* is not understood"),
        (LLAMA, {"hidden_act": "gelu"}, "field 'hidden_act': wanted one of silu, swish, got \"gelu\""),
        (LLAMA, {"hidden_size": -1}, "field 'hidden_size': wanted an integer from 1 to .*, got -1"),
        (LLAMA, {"hidden_size": 1e3}, "field 'hidden_size': .*got 1000.0"),
        (LLAMA, {"hidden_size": True}, "field 'hidden_size': .*got true"),
        (LLAMA, {"hidden_size": 10**30}, "field 'hidden_size': .*got 1000"),
        (LLAMA, {"hidden_size": None}, "field 'hidden_size': .*got no such field"),
        (LLAMA, {"num_key_value_heads": 3}, "field 'num_key_value_heads': wanted a divisor of the 8 heads, got 3"),
        (LLAMA, {"num_attention_heads": 7, "num_key_value_heads": 7}, "field 'num_attention_heads': wanted a divisor"),
        (LLAMA, {"tie_word_embeddings": "yes"}, "field 'tie_word_embeddings': wanted true or false, got \"yes\""),
        (OPT, {"do_layer_norm_before": False}, "field 'do_layer_norm_before': wanted true, got false"),
        (OPT, {"word_embed_proj_dim": 128}, "field 'word_embed_proj_dim': wanted 256, got 128"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(config, change, message):
    with pytest.raises(ModelError, match=f"c.json: .*{message}"):
        read(config, **change)


def test_all_faults_are_reported_at_once():
    with pytest.raises(ModelError) as error:
        read(LLAMA, hidden_size=0, vocab_size="many", num_local_experts=8)
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1,\n b}', "c.json:2: wanted JSON"),
        (b"[1]", "wanted a JSON object, got "),
        (b"\xff\xfe{", "wanted UTF-8 text, got the byte 0xff"),
        (b"[" * 100_000, "wanted JSON of sane size"),
        (b'{"hidden_size": ' + b"1" * 5000 + b"}", "wanted JSON of sane size"),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(data, message):
    with pytest.raises(ModelError, match=message):
        read_config(data, "c.json")


def test_an_oversized_file_is_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(ModelError, match="at most 1048576 bytes"):
        Transformer.load(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*LLAMA, "head_dim", "sliding_window", "x"]), json_values, max_size=4), st.booleans())
def test_any_configuration_is_read_or_refused(change, is_opt):
    config = (OPT if is_opt else LLAMA) | change
    message = "c.json"
    try:
        shape = read_config(json.dumps(config).encode(), "c.json")
        assert Transformer(name="t", **shape).parameters > 0
    except ModelError as error:
        message = str(error)
    assert message.startswith("c.json")
