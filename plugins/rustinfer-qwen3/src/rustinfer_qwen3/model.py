"""Qwen3 as a wiring of rustinfer's ops."""

from __future__ import annotations

import torch
from torch import Tensor

from rustinfer import Binder
from rustinfer.models import CacheSpec, Parameters, Step
from rustinfer.models.config import ModelConfig
from rustinfer.models.errors import CheckpointError
from rustinfer.models.llama import MLP, head, layer_weights
from rustinfer.models.model import Cache
from rustinfer.models.rotary import rotary_table

from .attention import Attention, Pair


def windows(config: ModelConfig) -> list[int]:
    """Each layer's sliding window, 0 where it attends to everything.

    `layer_types` names the layers that slide; without it they are those from `max_window_layers` on. Raises
    CheckpointError where neither can be.
    """
    if not config.raw.get("use_sliding_window"):
        return [0] * config.layers
    kinds, start = config.raw.get("layer_types"), config.raw.get("max_window_layers", config.layers)
    if not kinds and isinstance(start, int):
        return [0 if i < start else config.window for i in range(config.layers)]
    if not isinstance(kinds, list) or len(kinds) != config.layers:
        raise CheckpointError(f"{config.architecture}: layer_types and max_window_layers fit no {config.layers} layers")
    return [config.window if kind == "sliding_attention" else 0 for kind in kinds]


class Layer:
    """Attention and MLP. Each takes the last block's output and the residual that it is yet to be added to."""

    def __init__(
        self, config: ModelConfig, ops: Binder, w: Parameters, at: str, cache: Pair, table: Pair, window: int
    ) -> None:
        ops.site = f"{at}.self_attn"
        self.attention = Attention(config, ops, w, at, cache, table, window)
        ops.site = f"{at}.mlp"
        self.mlp = MLP(config, ops, layer_weights(w, at))

    def __call__(self, x: Tensor, residual: Tensor, step: Step) -> Pair:
        return self.mlp(*self.attention(x, residual, step))


class Qwen3:
    """Embed, the layers around a residual stream, a last norm, and the projection to the vocabulary."""

    def __init__(self, config: ModelConfig, ops: Binder, weights: Parameters, cache: Cache) -> None:
        if config.activation != "silu":
            raise CheckpointError(f"Qwen3 with hidden_act {config.activation!r} is not supported, only silu")
        table = rotary_table(config, config.context, ops.target.device)
        ops.site = "model.embed_tokens"
        self.embed = ops.embedding(weight=weights["model.embed_tokens.weight"])
        self.layers = [
            Layer(config, ops, weights, f"model.layers.{i}", pair, table, window)
            for i, (pair, window) in enumerate(zip(cache, windows(config), strict=True))
        ]
        ops.site = "model.norm"
        self.norm = ops.add_rms_norm(weight=weights.dense("model.norm.weight"), eps=config.eps)
        ops.site = "lm_head"
        self.head = ops.lm_head(weight=head(config, weights))

    @staticmethod
    def cache_spec(config: ModelConfig) -> CacheSpec:
        return CacheSpec(config.layers, config.kv_heads, config.head_dim)

    def forward(self, step: Step) -> Tensor:
        """Normed hidden states of the step's rows, or of its `last`; writes all rows' keys and values to the cache."""
        residual = self.embed(step.tokens)
        x = torch.zeros_like(residual)
        for layer in self.layers:
            x, residual = layer(x, residual, step)
        if step.last is not None:
            x, residual = x[step.last], residual[step.last]
        hidden: Tensor = self.norm(x, residual)[0]
        return hidden

    def logits(self, hidden: Tensor, rows: Tensor) -> Tensor:
        logits: Tensor = self.head(hidden, rows)
        return logits

    def decode(self, step: Step) -> Tensor:
        return self.logits(self.forward(step), torch.arange(len(step.tokens), device=step.tokens.device))
