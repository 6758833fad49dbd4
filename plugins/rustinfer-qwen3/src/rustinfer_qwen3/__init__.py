"""Qwen3 for rustinfer: the dense models, not the mixtures of experts."""

from __future__ import annotations

from collections.abc import Mapping

from rustinfer import hookimpl
from rustinfer.models import ModelBuilder

from .model import Qwen3

__all__ = ["Qwen3", "rustinfer_models"]


@hookimpl
def rustinfer_models() -> Mapping[str, ModelBuilder]:
    """The architecture, by its name in config.json."""
    return {"Qwen3ForCausalLM": Qwen3}
