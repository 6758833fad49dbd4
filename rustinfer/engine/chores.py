"""What a start may leave for when there is nothing else to do, cut into pieces of a few hundredths of a second."""

from __future__ import annotations

from functools import partial

from ..graph import Pool
from ..text import Tokenizer
from .engine import Chore
from .mixed import SHORT, Mixed, crowds, shapes
from .options import Options

SPELLED = 8192
"""Tokens at a time, in about 15 ms."""


def recording(mixed: Mixed, pool: Pool, options: Options, context: int) -> list[Chore]:
    """Record the graphs of steps with prompts, the smallest first, and run the sizes of those that have none."""
    graphs = [
        partial(mixed.record, shape, pool) for shape in reversed(shapes(options.tokens, options.sequences, context))
    ]
    fitting = [crowd for crowd in crowds(options.sequences) if crowd * SHORT <= options.tokens]
    return [*graphs[:1], *(partial(mixed.touch, crowd) for crowd in fitting), *graphs[1:]]


def ends(chores: list[Chore]) -> list[Chore]:
    """The last, from whose memory the others' can be taken, and the first, which the first request needs."""
    return chores[-1:] + chores[:-1][:1]


def spelling(tokenizer: Tokenizer, vocab: int) -> list[Chore]:
    """Learn what each token is in bytes: else the first grammar asks, in Python, beside the steps of others."""

    def spell(first: int) -> None:
        for token in range(first, min(first + SPELLED, vocab)):
            tokenizer.token_bytes(token)

    return [partial(spell, first) for first in range(0, vocab, SPELLED)]
