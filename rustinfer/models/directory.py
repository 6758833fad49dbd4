"""A checkpoint in a directory, as Hugging Face lays it out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from . import fp8
from .checked import CheckedWeights, Stored
from .checkpoint import ChatTemplateSource, Checkpoint, choose_dtype
from .config import ModelConfig
from .dummy import DummyWeights
from .errors import CheckpointError
from .fields import Fields
from .files import read_json, read_text
from .shards import Shards

_DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def open_directory(
    path: Path, name: str, dtype: torch.dtype | str, device: torch.device, dummy: bool = False
) -> Checkpoint:
    """Open a directory with config.json; with `dummy` its weights are not read but random.

    Code that the checkpoint brings along (`auto_map`) is never run.
    """
    raw = read_json(path, "config.json")
    if not raw:
        raise CheckpointError(f"{path}: there is no config.json")
    packed = raw.get("quantization_config")
    if packed is not None and not dummy and (refusal := fp8.readable(packed)):
        raise CheckpointError(f"{path}: {refusal}; use fp8, a GGUF or unquantised weights")
    config = ModelConfig.from_dict(raw, str(path / "config.json"))
    generation = read_json(path, "generation_config.json")
    weights: Mapping[str, Any]
    if dummy:
        chosen = choose_dtype(dtype, named_dtype(raw) or torch.bfloat16, device)
        weights = DummyWeights(config, chosen, device)
    else:
        shards = Shards(path)
        chosen = choose_dtype(dtype, shards.stored_dtype if packed is None else named_dtype(raw), device)
        placed = shards.to(chosen, device)
        files: Stored = placed if packed is None else fp8.Fp8Weights(placed, fp8.block_of(packed))
        weights = CheckedWeights(files, config, str(path))
    return Checkpoint(
        name=name,
        root=str(path),
        config=config,
        weights=weights,
        dtype=chosen,
        tokenizer_json=read_text(path, "tokenizer.json"),
        template=template_of(path),
        eos_ids=tuple(sorted({*config.eos_ids, *Fields(generation, "generation_config.json").ids("eos_token_id")})),
        defaults={key: generation[key] for key in _DEFAULTS if type(generation.get(key)) in (int, float)},
    )


def named_dtype(raw: Mapping[str, Any]) -> torch.dtype | None:
    """What config.json says that the weights are, or were before they were packed; None where it does not say."""
    found = getattr(torch, str(raw.get("dtype") or raw.get("torch_dtype")), None)
    return found if isinstance(found, torch.dtype) else None


def template_of(path: Path) -> ChatTemplateSource:
    """chat_template.jinja, else what tokenizer_config.json holds: a template, or a list of them by name."""
    table = read_json(path, "special_tokens_map.json") | read_json(path, "tokenizer_config.json")
    tokens = {key: text for key in table if key.endswith("_token") and (text := _text(table[key])) is not None}
    source = read_text(path, "chat_template.jinja") or table.get("chat_template")
    if isinstance(source, list):
        source = {str(item.get("name")): str(item.get("template")) for item in source if isinstance(item, dict)}
    if source is not None and not isinstance(source, (str, dict)):
        raise CheckpointError(f"{path / 'tokenizer_config.json'}: chat_template is neither a text nor a list")
    return ChatTemplateSource(source, tokens)


def _text(token: object) -> str | None:
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None
