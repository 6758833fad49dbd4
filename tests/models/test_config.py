from __future__ import annotations

from typing import Any

import pytest

from rustinfer.models.config import ModelConfig, RopeScaling
from rustinfer.models.errors import CheckpointError
from rustinfer.models.shapes import SHAPES

PLAIN: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 256,
}


def test_what_is_left_out_has_the_usual_defaults() -> None:
    config = ModelConfig.from_dict(PLAIN)
    assert (config.kv_heads, config.head_dim, config.eps, config.window) == (4, 16, 1e-6, 0)
    assert (config.rope.theta, config.rope.scaling) == (10000.0, None)
    assert (config.tied, config.attention_bias, config.mlp_bias) == (False, False, False)
    assert (config.eos_ids, config.bos_id, config.activation) == ((), None, "silu")
    assert config.raw is PLAIN


def test_every_field_is_read() -> None:
    config = ModelConfig.from_dict(
        PLAIN
        | {
            "num_key_value_heads": 2,
            "head_dim": 32,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000,
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
            "hidden_act": "gelu",
            "sliding_window": 64,
            "eos_token_id": [7, 9],
            "bos_token_id": 1,
        }
    )
    assert (config.kv_heads, config.head_dim, config.eps, config.rope.theta) == (2, 32, 1e-5, 500000.0)
    assert config.tied
    assert config.attention_bias
    assert config.mlp_bias
    assert (config.activation, config.window, config.eos_ids, config.bos_id) == ("gelu", 64, (7, 9), 1)
    assert ModelConfig.from_dict({**PLAIN, "sliding_window": 64, "use_sliding_window": False}).window == 0


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"rope_type": "default"}, None),
        ({"type": "linear", "factor": 2.0}, RopeScaling("linear", 2.0)),
        ({"rope_type": "llama3", **LLAMA3}, RopeScaling("llama3", 8.0, 1.0, 4.0, 64)),
        ({"type": "yarn", "factor": 4}, RopeScaling("yarn", 4.0, original_context=256)),
        ({"type": "yarn", "original_max_position_embeddings": 64}, RopeScaling("yarn", 4.0, original_context=64)),
    ],
)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_rope_scaling_in_either_spelling(key: str, table: dict[str, Any], expected: RopeScaling | None) -> None:
    rope = ModelConfig.from_dict({**PLAIN, key: {**table, "rope_theta": 5e5}}).rope
    assert (rope.scaling, rope.theta) == (expected, 5e5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "x.json: hidden_size is missing"),
        ({"vocab_size": -1}, "vocab_size is -1, not a positive whole number"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"vocab_size": True}, "vocab_size is True"),
        ({"vocab_size": 1 << 40}, "vocab_size is 1099511627776"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers is '2'"),
        ({"num_hidden_layers": 5000}, "num_hidden_layers is 5000, more than 4096"),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers is 2.5"),
        ({"num_key_value_heads": 3}, "4 heads cannot share 3 key-value heads"),
        ({"head_dim": 15}, "head_dim is 15"),
        ({"hidden_size": 3}, "head_dim is 0"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps is 1000"),
        ({"rope_theta": 1, "rope_scaling": {"type": "yarn", "factor": 2}}, "rope_theta is 1.0, which yarn"),
        ({"rope_scaling": {"type": "factors"}}, "factors is missing"),
        ({"rope_scaling": {"type": "factors", "factors": 5}}, "factors is not a list"),
        ({"rope_scaling": {"type": "factors", "factors": [1, "x"]}}, "factors is 'x', not a positive number"),
        ({"rope_theta": "10000"}, "rope_theta is '10000', not a positive number"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes', not true or false"),
        ({"eos_token_id": "2"}, "eos_token_id is '2', not token ids"),
        ({"eos_token_id": [1, -1]}, "not token ids"),
        ({"architectures": []}, "architectures names no model"),
        ({"architectures": None}, "architectures names no model"),
        ({"rope_scaling": "linear"}, "rope_scaling is not a table"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling: factor is missing"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "low_freq_factor is missing"),
        ({"rope_scaling": {"rope_type": "llama3", **LLAMA3, "low_freq_factor": 4.0}}, "is not below"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "rope_type 'longrope' is not supported, only default, linear"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5 is not supported"),
    ],
)
def test_what_cannot_be_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        ModelConfig.from_dict({**PLAIN, **change}, "x.json")
    assert str(error.value).startswith("x.json")


@pytest.mark.parametrize("name", SHAPES)
def test_built_in_shapes(name: str) -> None:
    config = ModelConfig.from_dict(SHAPES[name], name)
    assert config.vocab == 128256
    assert config.rope.scaling is not None
    assert config.rope.scaling.kind == "llama3"
