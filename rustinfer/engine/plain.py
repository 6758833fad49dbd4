"""Requests that ask for nothing but temperature, top-k, top-p, min-p and a seed; and those that ask for even less."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter

from ..protocol.sampling import SamplingParams

PLAIN = frozenset({
    "bad_words", "detokenize", "ignore_eos", "include_stop_str_in_output", "max_tokens", "min_p", "n",
    "seed", "skip_special_tokens", "stop", "stop_token_ids", "temperature", "top_k", "top_p",
})  # fmt: skip
"""Parameters that `Draw` honours or that do not touch the logits. (Bad words do as `bad_words_token_ids`.)"""
OTHERS = {f.name: f.default for f in fields(SamplingParams) if f.name not in PLAIN}
others, USUAL = attrgetter(*OTHERS), tuple(OTHERS.values())


def is_plain(params: SamplingParams) -> bool:
    """Whether `Draw` is all that these parameters need."""
    return others(params) == USUAL


def is_simple(params: SamplingParams) -> bool:
    """Whether nothing is cut off, either: temperature and seed are all there is."""
    uncut = params.top_k <= 0 and params.top_p == 1 and params.min_p == 0
    return is_plain(params) and (uncut or params.temperature == 0)
