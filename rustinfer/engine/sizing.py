"""How long a context, and how large a key-value cache."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UserError
from .options import Options

MODEST = 384 << 20
"""Bytes of cache that are taken without being asked for."""


@dataclass(frozen=True)
class Size:
    """`context` tokens for one sequence, and `pages` of the cache for all of them."""

    context: int
    pages: int


def choose_size(options: Options, model_context: int, token_bytes: int, free_bytes: int) -> Size:
    """What was asked for; or else on a GPU all of `free_bytes`, which is the cache's then; or on a CPU enough for
    `max_num_seqs` contexts within a modest part of them.

    Without a wish the context is cut down to what fits the cache. Raises UserError where a wish cannot be granted.
    """
    page = options.block_size
    if options.max_model_len is not None and options.max_model_len > model_context:
        raise UserError(
            f"max_model_len {options.max_model_len} is more than the model's context of {model_context} tokens"
        )
    context = options.max_model_len or model_context
    gpu = options.device == "cuda"
    most = int(free_bytes * (1.0 if gpu else 0.8)) // token_bytes
    modest = most // page * page if gpu else min(options.sequences * context, max(MODEST // token_bytes, page))
    tokens = options.kv_cache_tokens or max(modest, 1)
    if options.kv_cache_tokens is None:
        # One whole context should fit, within half of the memory, or as an order whatever it takes.
        tokens = max(tokens, context if options.max_model_len else min(context, most // 2))
    if tokens > max(most, page):
        raise UserError(
            f"a cache of {tokens} tokens takes {tokens * token_bytes >> 20} MiB and {free_bytes >> 20} MiB are free: "
            f"lower --kv-cache-tokens or --max-model-len to {most} or less"
        )
    pages = -(-tokens // page)
    if options.max_model_len is None:
        context = min(context, pages * page)
    if context > pages * page:
        raise UserError(
            f"a context of {context} tokens does not fit into a cache of {pages * page}: "
            "lower --max-model-len or raise --kv-cache-tokens"
        )
    return Size(context, pages)
