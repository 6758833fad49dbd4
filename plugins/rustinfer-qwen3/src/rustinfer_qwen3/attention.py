"""Qwen3's attention: each query head and each key head is normalised before it is rotated."""

from __future__ import annotations

from torch import Tensor

from rustinfer import Binder
from rustinfer.models import Parameters, Step
from rustinfer.models.config import ModelConfig
from rustinfer.models.llama import layer_weights

Pair = tuple[Tensor, Tensor]


class Attention:
    """Norm, projections, norms of heads, rotation, cache write, attention over the pages, output projection."""

    def __init__(
        self, config: ModelConfig, ops: Binder, w: Parameters, at: str, cache: Pair, table: Pair, window: int
    ) -> None:
        own, layer = f"{at}.self_attn", layer_weights(w, at)
        self.heads, self.kv_heads, self.cache = config.heads, config.kv_heads, cache
        self.norm = ops.add_rms_norm(weight=layer["norm"], eps=config.eps)
        self.project = ops.linear(weight=layer["qkv"], bias=layer["qkv_bias"])
        self.q_norm = ops.rms_norm(weight=w.dense(f"{own}.q_norm.weight"), eps=config.eps)
        self.k_norm = ops.rms_norm(weight=w.dense(f"{own}.k_norm.weight"), eps=config.eps)
        self.rotate = ops.rope(cos=table[0], sin=table[1])
        self.write = ops.write_kv()
        sizes = {"heads": config.heads, "kv_heads": config.kv_heads, "dim": config.head_dim}
        self.attend = ops.attention(scale=config.head_dim**-0.5, window=window, **sizes)
        self.out = ops.linear(weight=layer["out"], bias=layer["out_bias"])

    def __call__(self, x: Tensor, residual: Tensor, step: Step) -> Pair:
        normed, residual = self.norm(x, residual)
        heads = self.project(normed).unflatten(1, (self.heads + 2 * self.kv_heads, -1))
        q, k, v = heads.split((self.heads, self.kv_heads, self.kv_heads), 1)
        self.write(self.rotate(self.k_norm(k), step.positions), v, *self.cache, step.slots)
        q = self.rotate(self.q_norm(q), step.positions)
        mixed = self.attend(q, *self.cache, step.query_starts, step.lengths, step.pages)
        return self.out(mixed.flatten(1)), residual
