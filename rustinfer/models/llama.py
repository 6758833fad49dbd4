"""The Llama family: Llama 2, 3, 3.1, 3.2, SmolLM2, TinyLlama and Mistral, told apart by configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..graph import cut
from ..registry import Binder, Weight
from .config import ModelConfig
from .errors import CheckpointError
from .model import Cache, CacheSpec, Step
from .parameters import Parameters
from .rotary import rotary_table

Pair = tuple[Tensor, Tensor]
LayerWeights = Mapping[str, Any]
FEW = 8
"""Sequences of which several tokens may be asked for at once."""


class Attention:
    """Norm, projections, rotation and cache write; then attention over the pages; then the output projection."""

    def __init__(self, config: ModelConfig, ops: Binder, w: LayerWeights, cache: Pair, table: Pair) -> None:
        self.cache = cache
        self.qkv = ops.norm_qkv_rope_write(
            norm=w["norm"],
            eps=config.eps,
            weight=w["qkv"],
            bias=w["qkv_bias"],
            cos=table[0],
            sin=table[1],
            heads=config.heads,
            kv_heads=config.kv_heads,
        )
        sizes = {"heads": config.heads, "kv_heads": config.kv_heads, "dim": config.head_dim}
        self.attend = ops.attention(scale=config.head_dim**-0.5, window=config.window, **sizes)
        self.out = ops.linear(weight=w["out"], bias=w["out_bias"])

    def __call__(self, x: Tensor, residual: Tensor, step: Step, last: Tensor | None = None) -> Pair:
        q, residual = self.qkv(x, residual, step.positions, step.slots, *self.cache)
        starts = step.query_starts
        if last is not None:  # nobody reads what the other rows would come to
            starts = torch.arange(len(starts), dtype=torch.int32, device=q.device)
            q, residual = q[last], residual[last]
        mixed = self.attend(q, *self.cache, starts, step.lengths, step.pages)
        return self.out(mixed.flatten(1)), residual


class MLP:
    """Norm, gate and up projections, SiLU; then the down projection."""

    def __init__(self, config: ModelConfig, ops: Binder, w: LayerWeights) -> None:
        self.gate_up = ops.norm_gate_up_silu(norm=w["mlp_norm"], eps=config.eps, weight=w["gate_up"])
        self.down = ops.linear(weight=w["down"])

    def __call__(self, x: Tensor, residual: Tensor) -> Pair:
        hidden, residual = self.gate_up(x, residual)
        return self.down(hidden), residual


class Layer:
    """Attention and MLP. Each takes the last block's output and the residual that it is yet to be added to."""

    def __init__(self, config: ModelConfig, ops: Binder, w: Parameters, at: str, cache: Pair, table: Pair) -> None:
        weights = layer_weights(w, at)
        ops.site = f"{at}.self_attn"
        self.attention = Attention(config, ops, weights, cache, table)
        ops.site = f"{at}.mlp"
        self.mlp = MLP(config, ops, weights)

    def __call__(self, x: Tensor, residual: Tensor, step: Step, last: Tensor | None = None) -> Pair:
        return self.mlp(*self.attention(x, residual, step, last))


class Stack:
    """Embed, the layers around a residual stream, and a last norm."""

    def __init__(self, config: ModelConfig, ops: Binder, w: Parameters, cache: Cache) -> None:
        table = rotary_table(config, config.context, ops.target.device)
        ops.site = "model.embed_tokens"
        self.embed = ops.embedding(weight=w["model.embed_tokens.weight"])
        self.layers = [Layer(config, ops, w, f"model.layers.{i}", pair, table) for i, pair in enumerate(cache)]
        ops.site = "model.norm"
        self.norm = ops.add_rms_norm(weight=w.dense("model.norm.weight"), eps=config.eps)

    def __call__(self, step: Step) -> Tensor:
        residual = self.embed(step.tokens)
        x = torch.zeros_like(residual)
        for number, layer in enumerate(self.layers[:-1]):
            if number == 1:
                cut()
            x, residual = layer(x, residual, step)
        x, residual = self.layers[-1](x, residual, step, step.last)
        hidden: Tensor = self.norm(x, residual)[0]
        return hidden


class DecodeStack:
    """The same and the projection to the vocabulary as one op, for steps with one row a sequence."""

    def __init__(self, config: ModelConfig, ops: Binder, w: Parameters, cache: Cache) -> None:
        ops.site, self.cache = "model", cache
        bound, page_size = decoder(config, w, ops.target.device), cache[0][0].shape[2]
        self.step = ops.decode_step(decoder=bound)
        few = ops.target.rows is not None and ops.target.rows <= FEW
        self.several = ops.whole("decode_tokens", decoder=bound, page_size=page_size) if few else None

    def __call__(self, step: Step) -> Tensor:
        places = (step.query_starts, step.lengths, step.pages)
        logits: Tensor = self.step(step.tokens, step.positions, step.slots, *places, self.cache)
        return logits


def decoder(config: ModelConfig, w: Parameters, device: torch.device) -> dict[str, object]:
    """What `decode_step` binds: the very tensors that a Stack binds."""
    cos, sin = rotary_table(config, config.context, device)
    return {
        "embedding": w["model.embed_tokens.weight"],
        "layers": [layer_weights(w, f"model.layers.{i}") for i in range(config.layers)],
        "norm": w.dense("model.norm.weight"),
        "head": head(config, w),
        "eps": config.eps,
        "cos": cos,
        "sin": sin,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
        "window": config.window,
    }


def head(config: ModelConfig, w: Parameters) -> Weight:
    """The projection to the vocabulary, which may be the embedding."""
    return w["model.embed_tokens.weight" if config.tied else "lm_head.weight"]


def layer_weights(w: Parameters, at: str) -> LayerWeights:
    """One layer's weights as `decode_step` names them; a bias is None where the checkpoint has none."""
    parts, out = [f"{at}.self_attn.{name}_proj" for name in "qkv"], f"{at}.self_attn.o_proj"
    return {
        "norm": w.dense(f"{at}.input_layernorm.weight"),
        "qkv": w.stacked([f"{part}.weight" for part in parts]),
        "qkv_bias": w.stacked_vector([f"{part}.bias" for part in parts]),
        "out": w[f"{out}.weight"],
        "out_bias": w.stacked_vector([f"{out}.bias"]),
        "mlp_norm": w.dense(f"{at}.post_attention_layernorm.weight"),
        "gate_up": w.stacked([f"{at}.mlp.{name}_proj.weight" for name in ("gate", "up")]),
        "down": w[f"{at}.mlp.down_proj.weight"],
    }


class Llama:
    """A stack of layers, and the projection to the vocabulary.

    `forward` gives normed hidden states [T, width] of a step's rows, or [S, width] of its `last`, and writes all rows'
    keys and values to the cache;
    `logits`, of hidden states and row numbers, float32 logits [R, vocab]. Bound for decoding there is `decode` instead,
    and `decode_tokens` where that is more than `decode` again and again.
    """

    def __init__(self, config: ModelConfig, ops: Binder, weights: Parameters, cache: Cache) -> None:
        _check(config)
        if ops.target.decode:
            self.decode = stack = DecodeStack(config, ops, weights, cache)
            if several := stack.several:
                self.decode_tokens = lambda *flow: several(*flow, cache)
            return
        self.forward = Stack(config, ops, weights, cache)
        ops.site = "lm_head"
        self.logits = ops.lm_head(weight=head(config, weights))

    @staticmethod
    def cache_spec(config: ModelConfig) -> CacheSpec:
        """One pair of cache tensors a layer."""
        return CacheSpec(config.layers, config.kv_heads, config.head_dim)


def _check(config: ModelConfig) -> None:
    """Raise CheckpointError for what this wiring would get wrong without a word."""
    if config.activation not in ("silu", "swish"):
        raise CheckpointError(f"hidden_act is {config.activation}, but {config.architecture} is wired for silu")
    if config.mlp_bias:
        raise CheckpointError(f"mlp_bias is set, but {config.architecture} is wired without biases in its MLP")
