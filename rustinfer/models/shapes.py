"""Shapes: the built-in ones of well-known models, and the shape that each weight of a configuration must have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .config import ModelConfig


def _llama(
    width: int, hidden: int, layers: int, heads: int, factor: float, tied: bool, head_dim: int
) -> dict[str, Any]:
    scaling = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": head_dim,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": scaling,
        "max_position_embeddings": 131072,
        "vocab_size": 128256,
        "tie_word_embeddings": tied,
        "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009],
        "hidden_act": "silu",
        "dtype": "bfloat16",
    }


SHAPES: Mapping[str, Mapping[str, Any]] = {
    "llama-3.2-1b": _llama(2048, 8192, 16, 32, 32.0, True, 64),
    "llama-3.2-3b": _llama(3072, 8192, 28, 24, 32.0, True, 128),
    "llama-3.1-8b": _llama(4096, 14336, 32, 32, 8.0, False, 128),
    "llama-3.1-70b": _llama(8192, 28672, 80, 64, 8.0, False, 128),
}
"""A config.json for each built-in shape."""


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The weights of a Llama-like decoder and their shapes, rows first, in the order of the computation."""
    width, inner, cached = config.width, config.heads * config.head_dim, config.kv_heads * config.head_dim
    attention = {
        "q_proj": (inner, width),
        "k_proj": (cached, width),
        "v_proj": (cached, width),
        "o_proj": (width, inner),
    }
    mlp = {"gate_proj": (config.hidden, width), "up_proj": (config.hidden, width), "down_proj": (width, config.hidden)}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab, width)}
    for i in range(config.layers):
        at = f"model.layers.{i}"
        shapes[f"{at}.input_layernorm.weight"] = (width,)
        shapes |= _linear(f"{at}.self_attn", attention, config.attention_bias)
        shapes[f"{at}.post_attention_layernorm.weight"] = (width,)
        shapes |= _linear(f"{at}.mlp", mlp, config.mlp_bias)
    shapes["model.norm.weight"] = (width,)
    return shapes if config.tied else shapes | {"lm_head.weight": (config.vocab, width)}


def _linear(at: str, parts: Mapping[str, tuple[int, int]], bias: bool) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in parts.items():
        shapes[f"{at}.{name}.weight"] = shape
        if bias:
            shapes[f"{at}.{name}.bias"] = shape[:1]
    return shapes
