"""Requests that wait for their grammar to be compiled, beside the steps."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from ..protocol.structured import Structured
from .book import Book
from .errors import RequestRefused
from .grammar import Grammar
from .masks import Masks
from .scheduler import Scheduler
from .sequence import Key, Sequence, State

GRAMMAR_SECONDS = 0.005
THREADS = 2
"""That make masks: one that takes long holds up no other."""


class Compiles(Protocol):
    """What makes grammars: `grammar.Grammars`. A form that is refused is a RequestRefused, now or as the future's."""

    def compile(self, form: Structured) -> Future[Grammar]: ...


class Compiling:
    """Hands sequences to the scheduler once their grammar is there; without `grammars`, forms are refused."""

    def __init__(self, book: Book, scheduler: Scheduler) -> None:
        self._book, self._scheduler = book, scheduler
        self.grammars: Compiles | None = None
        self._threads = ThreadPoolExecutor(THREADS, "mask")
        self._waiting: dict[Key, tuple[Future[Grammar], list[Sequence]]] = {}

    def __len__(self) -> int:
        """Sequences that wait."""
        return sum(len(sequences) for _, sequences in self._waiting.values())

    def compile(self, form: Structured | None) -> Future[Grammar] | None:
        """The grammar of a form, in time. Raises RequestRefused."""
        if form is None:
            return None
        if self.grammars is None:
            raise RequestRefused(
                "no_tokenizer", "structured output needs a tokenizer and an end token: this model lacks one"
            )
        return self.grammars.compile(form)

    def enter(self, key: Key, sequences: list[Sequence], grammar: Future[Grammar] | None) -> None:
        """Hand the sequences to the scheduler, now or once their grammar is compiled."""
        if grammar is None:
            self._scheduler.add(sequences)
            return
        for sequence in sequences:
            sequence.state = State.COMPILING
        self._waiting[key] = grammar, sequences

    def admit(self, idle: bool) -> None:
        """Let in those whose grammar is ready. Where the engine is `idle`, wait a moment for one."""
        if idle:
            wait([future for future, _ in self._waiting.values()], GRAMMAR_SECONDS, FIRST_COMPLETED)
        for key in [key for key, (future, _) in self._waiting.items() if future.done()]:
            future, sequences = self._waiting.pop(key)
            sequences = [sequence for sequence in sequences if sequence.state is State.COMPILING]
            if not sequences:
                continue
            try:
                grammar = future.result()
                for sequence in sequences:
                    sequence.matcher = Masks(grammar.start(), self._threads, self._book.admission.vocab)
            except Exception as error:
                self._book.refuse(sequences[0].request, error)
                continue
            for sequence in sequences:
                sequence.state = State.WAITING
            self._scheduler.add(sequences)
