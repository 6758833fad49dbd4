"""llguidance as the engine uses it: the vocabulary as bytes, forms of output as grammars, and limits on both.

Free of torch, since grammars are tried out in a process of their own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from random import Random

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper, grammar_from

from ..protocol.structural import Tag, tags
from ..protocol.structured import Structured
from ..text import Tokenizer
from .schema import narrowed

LIMITS = LLParserLimits(
    step_lexer_fuel=50_000,
    step_max_items=20_000,
    max_lexer_states=20_000,
    max_grammar_size=200_000,
    verbose_errors=False,
)
FIRST_SECONDS = 0.3
"""Processor time that the first mask may take, which is made beside the steps, once for all who use the grammar."""
MASK_SECONDS = 0.02
"""Processor time that another mask may take: the sequence waits for it, and whoever shares the cores has less."""
WALK = 32
WALK_SECONDS = 0.3
SHOWN = 200


class GrammarError(Exception):
    """This form of output cannot be had; `code` is a word for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Words:
    """The vocabulary as llguidance asks for it: the bytes that each token adds to the text."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, size: int, end: int) -> None:
        self.eos_token_id = end
        self.tokens = [tokenizer.token_bytes(token) for token in range(size)]
        self.special_token_ids = sorted(token for token in tokenizer.special_ids if token < size)
        self._encode = tokenizer.encode

    def __call__(self, text: str | bytes) -> list[int]:
        words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        return self._encode(words, add_special_tokens=False)


def vocabulary(tokenizer: Tokenizer, size: int, ends: Iterable[int]) -> LLTokenizer:
    """The tokenizer's tokens, up to the model's vocabulary of `size`; `ends` end a complete output."""
    ends = list(ends)
    return LLTokenizer(TokenizerWrapper(Words(tokenizer, size, ends[0])), n_vocab=size, eos_token=ends)


def written(form: Structured) -> str:
    """The form as llguidance writes grammars. Raises GrammarError; may take long, and hold the interpreter's lock."""
    try:
        if form.kind == "json_object":
            return LLMatcher.grammar_from_json_schema(narrowed('{"type": "object"}'))
        if form.kind == "json_schema":
            return str(grammar_from(form.kind, narrowed(form.text)))
        if form.kind == "structural_tag":
            return LLMatcher.grammar_from_lark(tagged(tags(form.text)))
        if form.kind == "regex":
            return LLMatcher.grammar_from_regex(form.text)
        return str(grammar_from(form.kind, form.text))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise refused(form, str(error)) from None


def tagged(found: list[Tag]) -> str:
    """Any text, in which each tag's trigger is the beginning of what it demands."""
    lines = [f"start: ({' | '.join(f'tag_{i}' for i in range(len(found)))})* end", "end: TEXT", r"TEXT: /(.|\n)*/"]
    for i, tag in enumerate(found):
        parts = [json.dumps(part) for part in (tag.begin.removeprefix(tag.trigger), tag.end)]
        begin, end = ("" if part == '""' else part for part in parts)
        # Lazy: the trigger ends the text in front of it wherever it first stands.
        lines += [f"head_{i}[lazy]: TEXT {json.dumps(tag.trigger)}"]
        lines += [f"tag_{i}: head_{i} {begin} %json {narrowed(json.dumps(tag.schema))} {end}"]
    return "\n".join(lines)


def matcher(words: LLTokenizer, form: Structured, grammar: str) -> LLMatcher:
    """The compiled grammar, with its first mask made: places that start from it begin at no cost.

    Raises GrammarError. Lets other threads run meanwhile.
    """
    made = LLMatcher(words, grammar, limits=LIMITS, log_level=0)
    if made.is_error():
        raise refused(form, made.get_error())
    start = time.thread_time()
    made.compute_bitmask()
    if made.is_error() or time.thread_time() - start > FIRST_SECONDS:
        raise exploded(form, made)
    return made


def walk(made: LLMatcher, form: Structured, vocab: int) -> None:
    """Take some random tokens. Raises GrammarError where a mask costs too much: many explode only in use."""
    luck, until = Random(0), time.thread_time() + WALK_SECONDS
    for _ in range(WALK):
        start = time.thread_time()
        bits = np.frombuffer(made.compute_bitmask(), np.uint8)
        now = time.thread_time()
        if made.is_error() or now - start > MASK_SECONDS:
            raise exploded(form, made)
        tokens = np.flatnonzero(np.unpackbits(bits, bitorder="little")[:vocab])
        if not len(tokens):
            raise GrammarError("invalid_grammar", f"the {form.kind} allows nothing that this model can write")
        if not made.consume_token(int(luck.choice(tokens))):
            raise GrammarError("invalid_grammar", f"the {form.kind} comes to no end: {_line(made.get_error())}")
        if made.is_stopped() or now > until:
            return


def refused(form: Structured, why: str) -> GrammarError:
    """A grammar that is none, with the parser's first line of complaint."""
    return GrammarError("invalid_grammar", f"the {form.kind} cannot be used: {_line(why)}")


def exploded(form: Structured, made: LLMatcher) -> GrammarError:
    """A grammar whose masks cost too much."""
    return GrammarError("grammar_too_complex", f"the {form.kind} is too complex: {_line(made.get_error())}")


def _line(why: str) -> str:
    return " ".join(why.split())[:SHOWN] or "a token takes too long"
