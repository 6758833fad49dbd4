"""Architectures wired from registered ops, and where their weights come from."""

from __future__ import annotations

from collections.abc import Mapping

from ..registry import hookimpl
from .llama import Llama
from .model import CacheSpec, Model, ModelBuilder, Step
from .parameters import Parameters

__all__ = ["CacheSpec", "Model", "ModelBuilder", "Parameters", "Step", "rustinfer_models"]


@hookimpl
def rustinfer_models() -> Mapping[str, ModelBuilder]:
    """The built-in architectures, by their name in config.json."""
    return {"LlamaForCausalLM": Llama, "MistralForCausalLM": Llama}
