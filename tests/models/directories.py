"""Writes small checkpoints as directories for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from rustinfer.models.config import ModelConfig
from rustinfer.models.dummy import byte_tokenizer
from rustinfer.models.shapes import weight_shapes

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 128,
    "eos_token_id": 299,
    "bos_token_id": 298,
}


def random_weights(config: dict[str, Any], dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """A weight for each name of the shape."""
    torch.manual_seed(0)
    return {name: torch.randn(shape).to(dtype) for name, shape in weight_shapes(ModelConfig.from_dict(config)).items()}


def write(path: Path, *, dtype: torch.dtype = torch.float32, shards: int = 1, **change: Any) -> Path:
    """A small Llama with a tokenizer of bytes; keyword arguments change its config.json."""
    path.mkdir(parents=True, exist_ok=True)
    config = {**CONFIG, **change}
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.json").write_text(byte_tokenizer(300, {298: "<s>", 299: "</s>"}))
    weights = random_weights({**CONFIG}, dtype)
    names = list(weights)
    if shards == 1:
        save_file(weights, path / "model.safetensors")
        return path
    places = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: weights[name] for name in names if places[name] == file}, path / file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return path
