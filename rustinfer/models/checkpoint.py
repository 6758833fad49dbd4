"""An opened checkpoint: everything that a model, its server and its users need from the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from ..registry import Weight
from .config import ModelConfig


@dataclass(frozen=True)
class ChatTemplateSource:
    """A chat template as the checkpoint has it: one, several by name, or None; and the texts of special tokens."""

    source: str | Mapping[str, str] | None = None
    special_tokens: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A model that can be built. `weights` are read when looked up; a tied head has no lm_head.weight.

    `name` is what a server calls the model, `root` where it came from, `dtype` what the weights come in. `eos_ids` end
    a text; `defaults` are the sampling defaults of generation_config.json, under vLLM's names.
    """

    name: str
    root: str
    config: ModelConfig
    weights: Mapping[str, Weight]
    dtype: torch.dtype
    tokenizer_json: str | None
    template: ChatTemplateSource
    eos_ids: tuple[int, ...]
    defaults: Mapping[str, int | float] = field(default_factory=dict)


def choose_dtype(asked: torch.dtype | str, stored: torch.dtype | None, device: torch.device) -> torch.dtype:
    """What "auto" means: the stored dtype, but bfloat16 for packed weights, and on a CPU for float16 too.

    `stored` is None for packed weights. A dtype that is asked for is taken as it is.
    """
    if isinstance(asked, torch.dtype):
        return asked
    if asked != "auto":
        raise ValueError(f"dtype is {asked!r}, not a torch.dtype and not 'auto'")
    if stored is None or not stored.is_floating_point or stored.itemsize == 1:
        return torch.bfloat16
    return torch.bfloat16 if stored is torch.float16 and device.type == "cpu" else stored
