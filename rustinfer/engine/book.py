"""The requests that are open, and what there is to tell of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as Items

from ..protocol.messages import Failed, FinishReason, Output, TokenLogprob
from .admission import Admission
from .errors import RequestRefused
from .measures import Measures, Totals
from .plan import Plan
from .scheduler import Scheduler
from .sequence import Key, Request, Sequence, State

log = logging.getLogger(__name__)
News = tuple[bytes, Output | Failed]
"""An output or a failure, and the owner of the request that it is about."""


class Book:
    """Gives out tokens, ends sequences and fails requests. `open` has the sequences of each request that are not done.

    `clear` makes pages clean that may hold numbers that are not finite. `now` is the time of the last step.
    """

    def __init__(self, scheduler: Scheduler, admission: Admission, clear: Callable[[Items[int]], None]) -> None:
        self.scheduler, self.admission, self._clear = scheduler, admission, clear
        self.totals, self.measures = Totals(), Measures()
        self.open: dict[Key, list[Sequence]] = {}
        self.news: list[News] = []
        self.now = 0.0

    def take(self) -> list[News]:
        """The news since they were last taken."""
        news, self.news = self.news, []
        return news

    def forget(self, key: Key, index: int | None = None) -> None:
        """End a request, or one of its sequences, without a word; what was to be told of it is not told either."""
        for sequence in list(self.open.get(key, ())):
            if index is None or sequence.index == index:
                self.finish(sequence)
        # In place: whoever is adding news right now holds the list.
        self.news[:] = [(o, n) for o, n in self.news if (o, n.id) != key or not _about(n, index)]

    def tell(self, sequence: Sequence, token: int, logprobs: list[TokenLogprob] | None = None) -> None:
        """Give out a sequence's newest token, and end it where that does."""
        self.totals.generated_tokens += 1
        reason, stop = None, None
        if token in sequence.ends or len(sequence.tokens) > sequence.last:
            reason, stop = self.admission.end(sequence, token)
        self.news.append((sequence.request.owner, self.output(sequence, [token], reason, stop, logprobs)))
        if reason:
            self.measures.ended(sequence, reason, self.now)
            self.finish(sequence)

    def output(
        self,
        sequence: Sequence,
        tokens: list[int],
        reason: FinishReason | None,
        stop: int | None = None,
        logprobs: list[TokenLogprob] | None = None,
    ) -> Output:
        """What there is to tell of a sequence."""
        prompt, cached = sequence.prompt, sequence.cached
        return Output(sequence.request.id, sequence.index, tokens, logprobs, reason, stop, prompt, cached)

    def finish(self, sequence: Sequence, keep: bool = True) -> list[int]:
        """Take a sequence out. Returns pages as `Scheduler.finish` does."""
        key = sequence.request.key
        siblings = self.open.get(key, [])
        if sequence in siblings:
            siblings.remove(sequence)
            if not siblings:
                del self.open[key]
        if sequence.state is State.COMPILING:
            sequence.state = State.DONE
            return []
        return self.scheduler.finish(sequence, keep)

    def refuse(self, request: Request, error: BaseException) -> None:
        """Its grammar cannot be had: the user's mistake, mostly, so that the log is silent."""
        self.forget(request.key)
        if isinstance(error, RequestRefused):
            self.measures.refused += 1
            self.news.append((request.owner, Failed(request.id, error.code, str(error))))
            return
        log.error("the grammar of request %s could not be compiled", request.id, exc_info=error)
        self.news.append((request.owner, Failed(request.id, "internal_error", "the grammar could not be compiled")))

    def fail_all(self, plan: Plan, error: Exception) -> None:
        """Fail every request of a plan."""
        for sequence in plan.sequences():
            if sequence.state is not State.DONE:
                self.fail(sequence, "internal_error", could_not_run(error))

    def fail(self, sequence: Sequence, code: str, message: str) -> None:
        """End the whole request: an answer with one choice missing is none. Other requests do not notice."""
        request = sequence.request
        log.warning("request %s failed: %s", request.id, message)
        for each in self.open.get(request.key, ()):
            self.measures.ended(each, "error", self.now)
        if lost := self.finish(sequence, keep=False):
            self._clear(lost)
        self.forget(request.key)
        self.news.append((request.owner, Failed(request.id, code, message)))


def could_not_run(error: Exception) -> str:
    """What a client is told: nothing of the inside."""
    return f"the engine could not run this request ({type(error).__name__})"


def _about(news: Output | Failed, index: int | None) -> bool:
    return index is None or (isinstance(news, Output) and news.index == index)
