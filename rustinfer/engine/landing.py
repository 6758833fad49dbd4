"""Taking in what a step brought: tokens to whoever they belong to, and the cache's state as it now is for sure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import replace

from ..protocol.messages import Output, TokenLogprob
from .book import Book, could_not_run
from .launch import check_alive
from .plan import Chunk, Plan
from .sampled import Flight, Sampled
from .scheduler import Scheduler
from .sequence import Sequence, State

log = logging.getLogger(__name__)


class Landing:
    """Whatever goes wrong with one request fails that request alone. Raises only EngineDead."""

    def __init__(self, book: Book, scheduler: Scheduler, clear: Callable[[Items[int]], None]) -> None:
        self._book, self._scheduler, self._clear = book, scheduler, clear

    def read(self, plan: Plan, flight: Flight) -> Sampled:
        """A flight's results; where they cannot be had, its requests fail."""
        try:
            return flight.result()
        except Exception as error:
            check_alive(error, plan)
            log.exception("the results of %d sequences could not be read", len(plan))
            self._book.fail_all(plan, error)
            return Sampled([0] * len(plan.sampling()), unsound=range(len(plan)))

    def land(self, plan: Plan, result: Sampled) -> None:
        """Take in what a plan brought."""
        self._land_decodes(plan.decodes, result)
        row = len(plan.decodes)
        for number, chunk in enumerate(plan.chunks):
            sequence = chunk.sequence
            if number in result.prompts and sequence.state is not State.DONE:
                self._scanned(sequence, chunk.start, result.prompts[number])
            if chunk.guess:
                self._verified(sequence, chunk, result.verified.get(number, []))
                continue
            if number in result.pooled:
                _add(sequence, chunk.start, result.pooled[number])
            count = chunk.count - (chunk.samples and self._again(sequence, row, result))
            self.landed(sequence, chunk.start + count, not chunk.samples or row not in result.unsound)
            if not sequence.published:
                self._book.totals.computed_tokens += count
            if chunk.samples:
                if sequence.state is not State.DONE and row not in result.late:
                    self._commit(sequence, result.tokens[row], row, result)
                row += 1

    def _land_decodes(self, decodes: list[Sequence], result: Sampled) -> None:
        # This loop runs for every token that anybody gets: nothing in it that most of them do not need.
        news, running = self._book.news, State.RUNNING
        eventful = bool(result.unsound or result.stuck or result.logprobs or result.undrawn)
        for row, (sequence, token) in enumerate(zip(decodes, result.tokens, strict=False)):
            if eventful or sequence.state is not running or not sequence.published or sequence.matcher is not None:
                self._land_decode(sequence, token, row, result)
                continue
            sequence.settled += 1
            sequence.tokens.append(token)
            if token in sequence.ends or len(sequence.tokens) > sequence.last:
                self._book.tell(sequence, token)
                continue
            request = sequence.request
            output = Output(request.id, sequence.index, [token], None, None, None, sequence.prompt, sequence.cached)
            news.append((request.owner, output))
            self._book.totals.generated_tokens += 1

    def _again(self, sequence: Sequence, row: int, result: Sampled) -> bool:
        """Whether its step does not count, and it is to compute its newest token once more."""
        if row not in result.late or sequence.state is not State.RUNNING:
            return False
        self._scheduler.again(sequence)
        return True

    def _land_decode(self, sequence: Sequence, token: int, row: int, result: Sampled) -> None:
        if row in result.undrawn and sequence.state is not State.DONE:
            self._scheduler.again(sequence)
            self.landed(sequence, sequence.settled, sound=True)
            return
        if sequence.state is State.DONE:
            # Whether it was computed at all nobody needs to know: a launch of several tokens may have ended early.
            sequence.computed -= 1
            self.landed(sequence, sequence.settled, row not in result.unsound)
            return
        if self._again(sequence, row, result):
            return
        self.landed(sequence, sequence.settled + 1, row not in result.unsound)
        if not sequence.published:  # the last token of a prompt, left over by a chunk
            self._book.totals.computed_tokens += 1
        if row not in result.late:
            self._commit(sequence, token, row, result)

    def landed(self, sequence: Sequence, settled: int, sound: bool) -> None:
        """So many of a sequence's tokens are in the cache, or hold numbers that are not finite."""
        if lost := self._scheduler.landed(sequence, settled, sound):
            self._clear(lost)

    def _commit(self, sequence: Sequence, token: int, row: int, result: Sampled) -> None:
        try:
            self._take_in(sequence, token, row, result)
        except Exception as error:
            log.exception("a token of request %s could not be taken in", sequence.request.id)
            if sequence.state is not State.DONE:
                self._book.fail(sequence, "internal_error", could_not_run(error))

    def _take_in(self, sequence: Sequence, token: int, row: int, result: Sampled) -> None:
        if row in result.unsound:
            self._book.fail(sequence, "numerical_error", "the model's numbers for this request are not finite")
            return
        if row in result.stuck:
            self._book.fail(sequence, "no_token_allowed", result.stuck[row])
            return
        if not sequence.published:
            self._book.measures.began(sequence, self._book.now)
            self._scheduler.settle(sequence)
            self._book.totals.cached_tokens += sequence.cached if sequence.index == 0 else 0
        if sequence.limit == 0:
            output = replace(self._book.output(sequence, [], "length"), embedding=_embedding(sequence))
            self._book.news.append((sequence.request.owner, output))
            self._book.finish(sequence)
            return
        sequence.tokens.append(token)
        self._book.tell(sequence, token, [result.logprobs[row]] if row in result.logprobs else None)
        if sequence.matcher is not None and sequence.state is not State.DONE:
            sequence.matcher.take(token)

    def _verified(self, sequence: Sequence, chunk: Chunk, told: list[int]) -> None:
        """A guess stands as far as the sequence itself drew the same, and the token after that is its own."""
        agreed = 0
        while agreed < len(chunk.guess) and told[agreed : agreed + 1] == [chunk.guess[agreed]]:
            agreed += 1
        new = told[: agreed + 1]
        self._book.totals.drafts += 1
        self._book.totals.draft_tokens += len(chunk.guess)
        self._book.totals.accepted_tokens += agreed
        # Beyond it the cache holds what was guessed wrongly: not computed, as far as anybody knows.
        sequence.computed = chunk.start + len(new)
        self.landed(sequence, sequence.computed, -1 not in new)
        for token in new:
            if sequence.state is State.DONE:
                return
            if token < 0:
                self._book.fail(sequence, "numerical_error", "the model's numbers for this request are not finite")
                return
            sequence.tokens.append(token)
            self._book.tell(sequence, token)

    def _scanned(self, sequence: Sequence, start: int, scores: list[TokenLogprob]) -> None:
        """Tell what is new of the prompt's log-probabilities: after a preemption they come again."""
        known = sequence.scanned or 0
        if new := scores[max(known - start, 0) :]:
            sequence.scanned = start + len(scores)
            output = self._book.output(sequence, [], None)
            self._book.news.append((sequence.request.owner, replace(output, prompt_logprobs=new)))


def _add(sequence: Sequence, start: int, vector: list[float]) -> None:
    # After a preemption the prompt is computed from its beginning again.
    before = sequence.pooled if start else None
    sequence.pooled = [a + b for a, b in zip(before, vector, strict=True)] if before else vector


def _embedding(sequence: Sequence) -> list[float] | None:
    if sequence.pooled is None or sequence.request.pool == "last":
        return sequence.pooled
    return [value / sequence.prompt for value in sequence.pooled]
