"""A tiny Llama on disk, whose numbers break for one token: whoever says byte 1 gets logits that are not finite."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.engine.tiny import TEMPLATE, talking, tokenizer_json

POISON = "\x01"
CONTEXT = 2048
NAME = "tiny"


def save(directory: Path) -> Path:
    """A checkpoint that any engine can open."""
    made = talking(tie_word_embeddings=False, max_position_embeddings=CONTEXT)
    weights = {name: weight.clone() for name, weight in made.weights.items()}
    embedding = weights["model.embed_tokens.weight"]
    weights["lm_head.weight"] = embedding.clone()
    token = ord(POISON) + 1
    weights["lm_head.weight"][token] = 0.0
    embedding[token] = torch.nan
    directory.mkdir(exist_ok=True)
    save_file(weights, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps({**made.config.raw, "eos_token_id": 0, "torch_dtype": "float32"}))
    (directory / "tokenizer.json").write_text(tokenizer_json())
    settings = {"eos_token": "<end>", "chat_template": TEMPLATE}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return directory
