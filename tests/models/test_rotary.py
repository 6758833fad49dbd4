"""Rotary tables against transformers' own rotary embedding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rustinfer.models.config import ModelConfig
from rustinfer.models.errors import CheckpointError
from rustinfer.models.rotary import rotary_table

transformers = pytest.importorskip("transformers")
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding  # noqa: E402

POSITIONS = 3000
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
SCALINGS: dict[str, dict[str, Any]] = {
    "plain": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "llama3": LLAMA3,
    "yarn": YARN,
    "yarn, other ramp": {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False},
    "yarn, given factor": {**YARN, "attention_factor": 1.3},
    "yarn, mscale": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.1},
}


def shape(scaling: dict[str, Any], head_dim: int, theta: float) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4 * head_dim,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "head_dim": head_dim,
        "vocab_size": 10,
        "max_position_embeddings": 4096,
        "rope_parameters": {**scaling, "rope_theta": theta},
    }


@pytest.mark.parametrize(("head_dim", "theta"), [(64, 500000.0), (128, 10000.0), (16, 100.0)])
@pytest.mark.parametrize("name", SCALINGS)
def test_tables_equal_transformers(name: str, head_dim: int, theta: float) -> None:
    raw = shape(SCALINGS[name], head_dim, theta)
    embedding = LlamaRotaryEmbedding(transformers.LlamaConfig(**raw))
    cos, sin = embedding(torch.zeros(1), torch.arange(POSITIONS)[None])
    ours = rotary_table(ModelConfig.from_dict(raw), POSITIONS)
    for mine, theirs in zip(ours, (cos, sin), strict=True):
        assert mine.shape == (POSITIONS, head_dim // 2)
        assert mine.dtype == torch.float32
        # a frequency may differ in its last bit, which 3000 positions make 3000 times as large
        torch.testing.assert_close(mine, theirs[0, :, : head_dim // 2], rtol=0, atol=5e-4)
        torch.testing.assert_close(mine[:8], theirs[0, :8, : head_dim // 2], rtol=0, atol=2e-6)


def test_given_factors_divide_the_frequencies() -> None:
    raw = shape({"rope_type": "factors", "factors": [1.0, 2.0, 4.0, 8.0]}, 8, 10000.0)
    plain = rotary_table(ModelConfig.from_dict(shape({}, 8, 10000.0)), 9)[0]
    cos = rotary_table(ModelConfig.from_dict(raw), 9)[0]
    assert torch.equal(cos[:, 0], plain[:, 0])
    torch.testing.assert_close(cos[8, 3], plain[1, 3])
    raw["rope_parameters"]["factors"] = [1.0]
    with pytest.raises(CheckpointError, match="1 rotary factors for 4"):
        rotary_table(ModelConfig.from_dict(raw), 9)
