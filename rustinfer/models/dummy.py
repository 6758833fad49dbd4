"""Models of random weights: for measuring speed, and for tests of everything but sense."""

from __future__ import annotations

import json
from collections.abc import Mapping
from zlib import crc32

import torch

from ..registry import Weight
from ..text.tokenizer import byte_characters
from .checkpoint import ChatTemplateSource, Checkpoint, choose_dtype
from .config import ModelConfig
from .errors import MissingTensorError
from .named import Named
from .shapes import SHAPES, weight_shapes

TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


class DummyWeights(Named):
    """Random weights of a configuration, made on the device when looked up. A name always gives the same values."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> None:
        self.names = self.shapes = weight_shapes(config)
        self.dtype = dtype
        self.device = device

    def __getitem__(self, name: str) -> Weight:
        if name not in self.shapes:
            raise MissingTensorError(f"random weights: there is no {name} in this shape")
        shape = self.shapes[name]
        if len(shape) == 1 and name.endswith("norm.weight"):
            return torch.ones(shape, dtype=self.dtype, device=self.device)
        generator = torch.Generator(self.device).manual_seed(crc32(name.encode()))
        weight = torch.empty(shape, dtype=self.dtype, device=self.device)
        return weight.normal_(0, 0.02, generator=generator)


def open_shape(name: str, dtype: torch.dtype | str, device: torch.device) -> Checkpoint:
    """A built-in shape with random weights and a vocabulary of bytes."""
    config = ModelConfig.from_dict(SHAPES[name], name)
    chosen = choose_dtype(dtype, torch.bfloat16, device)
    special = {i: f"<|{i}|>" for i in (config.bos_id, *config.eos_ids) if i is not None}
    tokens = {"bos_token": special[config.bos_id or 0], "eos_token": special[config.eos_ids[0]]}
    return Checkpoint(
        name=name,
        root=name,
        config=config,
        weights=DummyWeights(config, chosen, device),
        dtype=chosen,
        tokenizer_json=byte_tokenizer(config.vocab, special),
        template=ChatTemplateSource(TEMPLATE, tokens),
        eos_ids=config.eos_ids,
    )


def byte_tokenizer(vocab: int, special: Mapping[int, str]) -> str:
    """A tokenizers JSON in which each byte is a token; every other id decodes to a space and its number."""
    names = {i: f"\u0120{i}" for i in range(vocab)} | byte_characters() | dict(special)
    frame = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": text, **frame} for i, text in special.items()],
        "pre_tokenizer": step,
        "decoder": step,
        "model": {"type": "BPE", "vocab": {name: i for i, name in names.items()}, "merges": []},
    }
    return json.dumps(tokenizer, ensure_ascii=False)
