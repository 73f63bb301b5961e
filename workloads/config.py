"""Hugging Face ``config.json`` -> the fields of a Transformer.

A configuration is understood or refused, never guessed: each family (``model_type``) lists the fields that shape it, a short list
names those that change neither shapes nor traffic, and any other field that is switched on is a fault. All faults of a file are
reported at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from workloads.names import did_you_mean

LARGEST = 10**8  # no published model has a dimension near it; beyond, products could leave int64

# Fields without influence on shapes or traffic: training, tokens, numerics, bookkeeping.
_INERT_NAMES = """
    architectures attn_implementation auto_map dtype id2label init_std initializer_range input_bits label2id layer_types layerdrop
    max_window_layers model_type n_ctx output_attentions output_hidden_states prefix pretraining_tp problem_type return_dict
    rope_parameters rope_scaling rope_theta rms_norm_eps scale_attn_weights task_specific_params torch_dtype
    transformers_version use_cache weight_bits
    _* *_token_id *_token_ids *dropout* *pdrop *epsilon *_eps summary_*
"""
_INERT = _INERT_NAMES.split()

_ACTIVATIONS = {"silu": "silu", "swish": "silu", "relu": "relu"}
_ACTIVATIONS |= dict.fromkeys(["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu"], "gelu")


# Of each family, the heads that are priced; BitNet-b1.58 is Llama's shape with ternary weights.
_ARCHITECTURES = {
    "llama": ("LlamaForCausalLM", "BitnetForCausalLM", "LlamaModel"),
    "mistral": ("MistralForCausalLM", "MistralModel"),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Model"),
    "opt": ("OPTForCausalLM", "OPTModel"),
    "gpt2": ("GPT2LMHeadModel", "GPT2Model"),
}


class ModelError(ValueError):
    """A model that is unknown, or a configuration that is not understood: which field, what was wanted, what was got."""


def read_config(data: bytes, where: str) -> dict[str, Any]:
    """The fields of a `Transformer` (all but its name) from the bytes of a config.json; ``where`` names the file in messages.

    Raises `ModelError` with one line per fault.
    """
    try:
        config = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ModelError(f"{where}: wanted UTF-8 text, got the byte {data[error.start]:#04x} at offset {error.start}") from None
    except json.JSONDecodeError as error:
        raise ModelError(f"{where}:{error.lineno}: wanted JSON, got {error.msg.lower()}") from None
    except (ValueError, RecursionError) as error:  # integers of thousands of digits, brackets of thousands of levels
        raise ModelError(f"{where}: wanted JSON of sane size, got {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{where}: wanted a JSON object, got {_short(config)}")
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in _FAMILIES:
        got = "no such field" if kind is None else _short(kind)
        raise ModelError(
            f"{where}: field 'model_type': wanted one of {', '.join(_FAMILIES)}, got {got}{did_you_mean(kind, _FAMILIES)}"
        )
    named = config.get("architectures") or [_ARCHITECTURES[kind][0]]
    strange = [name for name in named if name not in _ARCHITECTURES[kind]] if isinstance(named, list) else [named]
    if strange:
        wanted = " or ".join(_ARCHITECTURES[kind])
        raise ModelError(f"{where}: field 'architectures': wanted {wanted} with model_type {kind!r}, got {_short(strange[0])}")
    fields = _Fields(config)
    shape = _FAMILIES[kind](fields)
    faults = fields.faults + fields.unknown()
    if not faults:
        faults = _inconsistent(shape)
    if faults:
        raise ModelError("\n".join(f"{where}: {fault}" for fault in faults))
    return shape


class _Fields:
    """Typed access to a configuration, which remembers what was asked for and what was wrong."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._asked: set[str] = set()
        self.faults: list[str] = []

    def _get(self, name: str) -> Any:
        self._asked.add(name)
        return self._config.get(name)

    def integer(self, name: str, default: int | None = None) -> int:
        value = self._get(name)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 1 <= value <= LARGEST:
            got = "no such field" if value is None else _short(value)
            self.faults.append(f"field {name!r}: wanted an integer from 1 to {LARGEST}, got {got}")
            return 1
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._get(name)
        if value is None:
            return default
        if type(value) is not bool:
            self.faults.append(f"field {name!r}: wanted true or false, got {_short(value)}")
        return bool(value)

    def activation(self, name: str, default: str, wanted: tuple[str, ...]) -> str:
        value = self._get(name)
        found = default if value is None else _ACTIVATIONS.get(value) if isinstance(value, str) else None
        if found not in wanted:
            names = [word for word, meaning in _ACTIVATIONS.items() if meaning in wanted]
            self.faults.append(
                f"field {name!r}: wanted one of {', '.join(names)}, got {_short(value)}{did_you_mean(value, names)}"
            )
        return found or default

    def must_be(self, name: str, wanted: Any, why: str) -> None:
        value = self._get(name)
        if value is not None and value != wanted:
            self.faults.append(f"field {name!r}: wanted {_short(wanted)}, got {_short(value)} ({why})")

    def unknown(self) -> list[str]:
        """A line for each field that is switched on (neither null nor false), not asked for and not known to be inert."""
        return [
            f"field {name!r} ({_short(value)}) is not understood{did_you_mean(name, self._asked)}"
            for name, value in self._config.items()
            if not (value is None or value is False or name in self._asked)
            and not any(fnmatchcase(name, pattern) for pattern in _INERT)
        ]


def _inconsistent(shape: Mapping[str, Any]) -> list[str]:
    if shape["heads"] % shape["kv_heads"]:
        return [f"field 'num_key_value_heads': wanted a divisor of the {shape['heads']} heads, got {shape['kv_heads']}"]
    if shape["head_dim"] < 1:
        return [f"field 'num_attention_heads': wanted a divisor of the hidden size, got {shape['heads']}"]
    return []


def _llama(fields: _Fields) -> dict[str, Any]:
    return _gated(
        fields,
        biases=[("attention_bias", ("qkv", "o")), ("mlp_bias", ("up", "down"))],
    )


def _mistral(fields: _Fields) -> dict[str, Any]:
    return _gated(fields, window=True)


def _qwen2(fields: _Fields) -> dict[str, Any]:
    return _gated(fields, always=("qkv",), window=fields.flag("use_sliding_window", False))


def _gated(
    fields: _Fields,
    *,
    biases: list[tuple[str, tuple[str, ...]]] | None = None,
    always: tuple[str, ...] = (),
    window: bool = False,
) -> dict[str, Any]:
    """The Llama lineage: RMS norm, rotary positions, grouped-query attention, gated FFN."""
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    context = fields.integer("max_position_embeddings")
    reach = fields.integer("sliding_window", context)
    return {
        "hidden": hidden,
        "layers": fields.integer("num_hidden_layers"),
        "heads": heads,
        "kv_heads": fields.integer("num_key_value_heads", heads),
        "head_dim": fields.integer("head_dim", _quotient(hidden, heads)),
        "ffn": fields.integer("intermediate_size"),
        "vocab": fields.integer("vocab_size"),
        # Attention over a window equals full attention as long as the context fits in it.
        "max_context": min(context, reach) if window else context,
        "activation": fields.activation("hidden_act", "silu", ("silu",)),
        "tied": fields.flag("tie_word_embeddings", False),
        "biases": always + tuple(role for name, roles in biases or () if fields.flag(name, False) for role in roles),
    }


def _opt(fields: _Fields) -> dict[str, Any]:
    """OPT: layer norm before each half, learned positions with two spare rows, plain FFN, biases."""
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    context = fields.integer("max_position_embeddings")
    fields.must_be("do_layer_norm_before", True, "blocks that normalise after the sum are not understood")
    fields.must_be("word_embed_proj_dim", hidden, "projected embeddings are not understood")
    fields.must_be("layer_norm_elementwise_affine", True, "norms without parameters are not understood")
    return {
        "hidden": hidden,
        "layers": fields.integer("num_hidden_layers"),
        "heads": heads,
        "kv_heads": heads,
        "head_dim": _quotient(hidden, heads),
        "ffn": fields.integer("ffn_dim"),
        "vocab": fields.integer("vocab_size"),
        "max_context": context,
        "gated": False,
        "activation": fields.activation("activation_function", "relu", ("relu", "gelu")),
        "norm": "layer_norm",
        "tied": fields.flag("tie_word_embeddings", True),
        "biases": ("qkv", "o", "up", "down") if fields.flag("enable_bias", True) else (),
        "learned_positions": context + 2,  # OPTLearnedPositionalEmbedding of transformers: an offset of 2
    }


def _gpt2(fields: _Fields) -> dict[str, Any]:
    """GPT-2 and GPT-3: layer norm before each half, learned positions, plain FFN, biases."""
    hidden, heads = fields.integer("n_embd"), fields.integer("n_head")
    context = fields.integer("n_positions")
    return {
        "hidden": hidden,
        "layers": fields.integer("n_layer"),
        "heads": heads,
        "kv_heads": heads,
        "head_dim": _quotient(hidden, heads),
        "ffn": fields.integer("n_inner", 4 * hidden),
        "vocab": fields.integer("vocab_size"),
        "max_context": context,
        "gated": False,
        "activation": fields.activation("activation_function", "gelu", ("relu", "gelu")),
        "norm": "layer_norm",
        "tied": fields.flag("tie_word_embeddings", True),
        "biases": ("qkv", "o", "up", "down"),
        "learned_positions": context,
    }


def _quotient(hidden: int, heads: int) -> int:
    """Width of a head, or 0 (a fault, unless the file gives the width itself) where the heads do not divide the hidden size."""
    return hidden // heads if hidden % heads == 0 else 0


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


_FAMILIES: dict[str, Callable[[_Fields], dict[str, Any]]] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "opt": _opt,
    "gpt2": _gpt2,
}
