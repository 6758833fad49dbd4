"""What the benchmarks share: prompts, and one request with a clock beside it."""

from __future__ import annotations

import random
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .. import LLM, SamplingParams
from ..engine.options import Options
from ..errors import Refused
from .local import open_llm


@dataclass(frozen=True)
class Timing:
    """One request: seconds to its first token, seconds per token after that, and the tokens made."""

    first: float
    each: float
    tokens: int


def open_for_measuring(args: Namespace) -> LLM:
    """The LLM that the flags ask for, without the prefix cache: a repeated prompt has to be computed again."""
    return open_llm(args.model, replace(Options.of(args), enable_prefix_caching=False))


def prompt(llm: LLM, length: int, seed: int = 0) -> list[int]:
    """Token ids drawn at random, the same for the same seed; none of the first hundred, where special tokens are."""
    vocabulary = llm.get_tokenizer().vocab_size
    source = random.Random(seed)
    return [source.randrange(min(100, vocabulary // 2), vocabulary) for _ in range(length)]


def greedy(tokens: int) -> SamplingParams:
    """Parameters that make exactly so many tokens."""
    return SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True)


def require(made: int, asked: int) -> None:
    """Raise Refused where requests ended early: what was measured would be something else than was asked for."""
    if made != asked:
        raise Refused(f"{made} of {asked} tokens were made: more than that the context may not hold")


def time_one(llm: LLM, ids: Sequence[int], tokens: int) -> Timing:
    """Run one request alone."""
    start = time.perf_counter()
    first = last = 0.0
    made = 0
    for delta in llm.stream({"prompt_token_ids": list(ids)}, greedy(tokens)):
        last = time.perf_counter()
        if not made:
            first, early = last, len(delta.token_ids)
        made += len(delta.token_ids)
    require(made, tokens)
    each = (last - first) / (made - early) if made > early else 0.0
    return Timing(first - start, each, made)
