"""A whole decoder as one op: one token for each of a few sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from rustinfer.registry import Binder, Target, Weight, op
from rustinfer.registry.op import Function

from .attention import attention
from .embedding import embedding
from .fused import norm_gate_up_silu, norm_qkv_rope_write
from .linear import linear, lm_head
from .norm import add_rms_norm

Caches = Sequence[tuple[Tensor, Tensor]]


class LayerWeights(TypedDict):
    """One layer's weights. qkv and gate_up are stacked by rows: q, k, v, and gate, up."""

    norm: Tensor
    qkv: Weight
    qkv_bias: Tensor | None
    out: Weight
    out_bias: Tensor | None
    mlp_norm: Tensor
    gate_up: Weight
    down: Weight


class Decoder(TypedDict):
    """All that is bound: embedding and head [vocab, width], norm [width]; cos, sin: [max_positions, D / 2] fp32."""

    embedding: Weight
    layers: Sequence[LayerWeights]
    norm: Tensor
    head: Weight
    eps: float
    cos: Tensor
    sin: Tensor
    heads: int
    kv_heads: int
    window: int


@op(mutates=("caches",))
def decode_step(
    tokens: Tensor,
    positions: Tensor,
    slots: Tensor,
    query_starts: Tensor,
    lengths: Tensor,
    pages: Tensor,
    caches: Caches,
    *,
    decoder: Decoder,
) -> Tensor:
    """Embed one token of each sequence, run all layers around a residual stream, normalise, project to the vocabulary.

    tokens, positions, slots: [S] int64; query_starts: [S + 1] int32, 0, 1, 2 and so on; lengths: [S] int32; pages:
    [S, P] int32, as in `attention`: a row's position is its length - 1. caches: a layer's keys and values, each
    [pages, kv_heads, page_size, D], written at the slots, which are those of the positions (or negative: not written).
    Returns logits [S, vocab] float32.
    """
    residual, eps = embedding(tokens, weight=decoder["embedding"]), decoder["eps"]
    x, scale = torch.zeros_like(residual), (2 * decoder["cos"].shape[1]) ** -0.5
    for w, cache in zip(decoder["layers"], caches, strict=True):
        q, residual = norm_qkv_rope_write(x, residual, positions, slots, *cache, **projection(decoder, w))
        mixed = attention(q, *cache, query_starts, lengths, pages, scale=scale, window=decoder["window"])
        x = linear(mixed.flatten(1), weight=w["out"], bias=w["out_bias"])
        hidden, residual = norm_gate_up_silu(x, residual, norm=w["mlp_norm"], eps=eps, weight=w["gate_up"])
        x = linear(hidden, weight=w["down"])
    normed = add_rms_norm(x, residual, weight=decoder["norm"], eps=eps)[0]
    logits: Tensor = lm_head(normed, torch.arange(len(normed), device=normed.device), weight=decoder["head"])
    return logits


@decode_step.compose
def _(ops: Binder, *, decoder: Decoder) -> Function:
    at, eps = ops.site, decoder["eps"]
    ops.site = f"{at}.embed_tokens"
    embed = ops.embedding(weight=decoder["embedding"])
    dim = 2 * decoder["cos"].shape[1]
    scale, sizes = dim**-0.5, {"heads": decoder["heads"], "kv_heads": decoder["kv_heads"], "dim": dim}
    layers, bound = decoder["layers"], []
    for i, w in enumerate(layers):
        ops.site = f"{at}.layers.{i}.self_attn"
        before = {"first": layers[i - 1]["down"]} if i else {}
        project = ops.linear_norm_qkv_rope_write if i else ops.norm_qkv_rope_write
        qkv = project(**before, **projection(decoder, w))
        attend = ops.attention(scale=scale, window=decoder["window"], **sizes)
        ops.site = f"{at}.layers.{i}.mlp"
        first = {"first": w["out"], "first_bias": w["out_bias"]}
        gate_up = ops.linear_norm_gate_up_silu(**first, norm=w["mlp_norm"], eps=eps, weight=w["gate_up"])
        bound.append((qkv, attend, gate_up))
    down = ops.linear(weight=layers[-1]["down"])
    ops.site = f"{at}.norm"
    last = ops.add_rms_norm(weight=decoder["norm"], eps=eps)
    ops.site = "lm_head"
    head, picks = ops.lm_head(weight=decoder["head"]), row_numbers(ops.target)
    ops.site = at

    def call(
        tokens: Tensor,
        positions: Tensor,
        slots: Tensor,
        query_starts: Tensor,
        lengths: Tensor,
        pages: Tensor,
        caches: Caches,
    ) -> Tensor:
        residual = embed(tokens)
        x = torch.zeros_like(residual)  # an ordinary launch: behind it attend.cu need not wait for lengths and pages
        for (qkv, attend, gate_up), cache in zip(bound, caches, strict=True):
            q, residual = qkv(x, residual, positions, slots, *cache)
            x, residual = gate_up(attend(q, *cache, query_starts, lengths, pages).flatten(1), residual)
        logits: Tensor = head(last(down(x), residual)[0], picks(len(tokens)))
        return logits

    return call


def row_numbers(target: Target) -> Callable[[int], Tensor]:
    """The numbers of so many rows, int64: made once for as many as the target is bound for."""
    numbers = torch.arange(target.rows or 0, device=target.device)
    return lambda count: numbers[:count] if count <= len(numbers) else torch.arange(count, device=numbers.device)


def projection(decoder: Decoder, w: LayerWeights) -> dict[str, Any]:
    """What a layer's `norm_qkv_rope_write` binds."""
    rotary = {name: decoder[name] for name in ("cos", "sin", "heads", "kv_heads")}
    return {"norm": w["norm"], "eps": decoder["eps"], "weight": w["qkv"], "bias": w["qkv_bias"], **rotary}
