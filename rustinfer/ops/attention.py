"""Causal attention over the paged key-value cache."""

from __future__ import annotations

import torch
from torch import Tensor

from rustinfer.registry import op

from .precision import wide


@op(batch_invariant=False)
def attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    query_starts: Tensor,
    lengths: Tensor,
    pages: Tensor,
    *,
    scale: float,
    window: int = 0,
    heads: int = 0,
    kv_heads: int = 0,
    dim: int = 0,
) -> Tensor:
    """Each query attends to the cached positions up to its own, and to the last `window` of them if that is not 0.

    q: [T, H, D], sequences one after the other; caches: [pages, G, page_size, D], query head h reads head h // (H / G);
    query_starts: [S + 1] int32, where each sequence's rows start; lengths: [S] int32, positions cached so far, these
    rows included, so that a sequence's last row sits at position length - 1; pages: [S, P] int32, the page of each
    block of positions, entries past the length being any valid page. Length 0 marks padding: its rows become zero.
    heads, kv_heads, dim: H, G and D of every call, or 0 where they are not known beforehand.
    Softmax in fp32, rounded once. Returns [T, H, D] in q's dtype.
    """
    out = torch.zeros_like(q)
    starts = query_starts.tolist()
    for first, last, length, table in zip(starts[:-1], starts[1:], lengths.tolist(), pages, strict=True):
        if length > 0 and last > first:
            keys, values = gather(k_cache, table, length), gather(v_cache, table, length)
            out[first:last] = attend(q[first:last], keys, values, scale, window)
    return out


def gather(cache: Tensor, table: Tensor, length: int) -> Tensor:
    """One sequence's first `length` positions out of its pages: [G, length, D]."""
    used = table[: -(-length // cache.shape[2])].long()
    return cache[used].transpose(0, 1).flatten(1, 2)[:, :length]


def attend(q: Tensor, keys: Tensor, values: Tensor, scale: float, window: int) -> Tensor:
    """Attention of one sequence's newest rows q [t, H, D] over its keys and values [G, length, D]."""
    length = keys.shape[1]
    grouped = wide(q).reshape(len(q), keys.shape[0], -1, q.shape[-1])
    scores = torch.einsum("tghd,gsd->ghts", grouped, wide(keys)) * scale
    distance = torch.arange(length - len(q), length, device=q.device)[:, None] - torch.arange(length, device=q.device)
    hidden = (distance < 0) | (distance >= (window or length))
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    return torch.einsum("ghts,gsd->tghd", weights, wide(values)).flatten(1, 2).to(q.dtype)
