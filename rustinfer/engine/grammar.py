"""Grammars of structured output: compiled beside the engine's loop, kept for the next request, one place a sequence."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from ..protocol.structured import Structured
from ..text import Tokenizer
from . import guidance
from .errors import RequestRefused
from .grammar_check import GrammarCheck
from .guidance import GrammarError

ENTRIES, BYTES = 256, 256 << 20
THREADS = 2
PENDING = 64
"""Grammars that may wait to be compiled."""
AT_ONCE = 2 * guidance.MASK_SECONDS
EACH = 0.002
"""Processor seconds that the masks of one sequence may take from the others: at once, and for each token."""


class Matcher:
    """Where a sequence stands in its grammar, and how much time its masks may still take. For one thread at a time."""

    def __init__(self, place: LLMatcher, grammar: Grammar | None = None) -> None:
        self._place, self._grammar, self._left = place, grammar, AT_ONCE

    def fill(self, bits: np.ndarray) -> bool:
        """Write the mask of the next token, a bit each, into a row of int32.

        False where the grammar gives up, or costs others too much.
        """
        start = time.thread_time()
        self._place.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
        self._left = min(self._left + EACH, AT_ONCE) - (time.thread_time() - start)
        return self._is_sound() and self._left > 0

    def take(self, token: int) -> bool:
        """Go on by one token. False where it does not fit, or the grammar gives up."""
        taken = self._place.consume_token(token)
        return self._is_sound() and taken

    def _is_sound(self) -> bool:
        if not self._place.is_error():
            return True
        if self._grammar is not None:
            self._grammar.worn = True
        return False


class Grammar:
    """A compiled grammar, from which any number of sequences start. `size` is in bytes, roughly.

    All of them add to one automaton. `worn` says that it has reached its bounds, and would fail whoever starts next.
    """

    def __init__(self, compiled: LLMatcher, size: int) -> None:
        self._compiled, self.size, self.worn = compiled, size, False

    def start(self) -> Matcher:
        """At its beginning."""
        return Matcher(self._compiled.deep_copy(), self)


class Grammars:
    """All grammars of an engine. Refusals are kept too: a bad grammar costs once.

    `words` makes llguidance's vocabulary, at the first grammar; `check` is called in one thread at a time.
    """

    def __init__(
        self, words: Callable[[], LLTokenizer], checks: Iterable[Callable[[Structured], tuple[str, int]]]
    ) -> None:
        self._words = words
        self._known: LLTokenizer | None = None
        self._checks: SimpleQueue[Callable[[Structured], tuple[str, int]]] = SimpleQueue()
        for check in checks:
            self._checks.put(check)
        self._threads = ThreadPoolExecutor(max(self._checks.qsize(), 1), "grammar")
        self._kept: OrderedDict[Structured, Future[Grammar]] = OrderedDict()

    @classmethod
    def of(cls, tokenizer: Tokenizer, vocab: int, ends: Iterable[int]) -> Grammars:
        """For a model of this vocabulary, whose outputs end with one of these tokens."""
        ending = list(ends)
        setup = {"tokenizer": tokenizer.source, "vocab": vocab, "ends": ending}
        return cls(lambda: guidance.vocabulary(tokenizer, vocab, ending), [GrammarCheck(setup) for _ in range(THREADS)])

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes of all grammars that are kept, roughly."""
        return sum(_size(form, future) for form, future in self._kept.items())

    def compile(self, form: Structured) -> Future[Grammar]:
        """The grammar, now or later; its exception is a RequestRefused. Raises RequestRefused where too many wait."""
        found = self._kept.get(form)
        if found is None or _worn(found):
            if sum(not future.done() for future in self._kept.values()) >= PENDING:
                raise RequestRefused("overloaded", f"{PENDING} grammars wait to be compiled: try again later")
            found = self._kept[form] = self._threads.submit(self._compile, form)
        self._kept.move_to_end(form)
        self._trim()
        return found

    def _trim(self) -> None:
        """Forget what was not used for longest; what is being compiled stays."""
        size = self.size
        for form in [form for form, future in self._kept.items() if future.done()]:
            if (len(self._kept) <= ENTRIES and size <= BYTES) or len(self._kept) == 1:
                return
            size -= _size(form, self._kept.pop(form))

    def _compile(self, form: Structured) -> Grammar:
        check = self._checks.get()
        try:
            grammar, size = check(form)
            self._known = self._known or self._words()
            return Grammar(guidance.matcher(self._known, form, grammar), size)
        except GrammarError as error:
            raise RequestRefused(error.code, str(error)) from None
        finally:
            self._checks.put(check)


def _worn(future: Future[Grammar]) -> bool:
    return future.done() and future.exception() is None and future.result().worn


def _size(form: Structured, future: Future[Grammar]) -> int:
    known = future.done() and future.exception() is None
    return len(form.text) + 4096 + (future.result().size if known else 0)
