"""The engine: requests in, tokens out, step by step."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Items
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Protocol

from ..protocol.messages import Failed, FinishReason, Output, TokenLogprob
from ..protocol.structured import Structured
from .admission import Admission
from .errors import RequestRefused
from .grammar import Grammar
from .kvcache import KVCache
from .launch import Launcher, check_alive
from .measures import Measures
from .plain import is_plain
from .plan import Chunk, Plan
from .sampled import Flight, Sampled
from .scheduler import Limits, Scheduler
from .sequence import Key, Request, Sequence, State
from .speculation import Speculation

log = logging.getLogger(__name__)
GRAMMAR_SECONDS = 0.005
News = tuple[bytes, Output | Failed]
"""An output or a failure, and the owner of the request that it is about."""


class Runs(Protocol):
    """What runs a plan: `runner.Runner`, or a stand-in in tests.

    `depth` is how many steps may be in flight while another is planned and launched: 0 where a launch computes.
    """

    depth: int

    def launch(self, plan: Plan) -> Flight: ...

    def relieve(self) -> None: ...

    def clear(self, pages: Items[int]) -> None: ...


class Compiles(Protocol):
    """What makes grammars: `grammar.Grammars`. A form that is refused is a RequestRefused, now or as the future's."""

    def compile(self, form: Structured) -> Future[Grammar]: ...


@dataclass
class Totals:
    """Counts since the start. Prompt tokens are counted when they arrive, and as computed when they are.

    Each of `drafts` guessed some tokens ahead, of which those that the model would have drawn itself were accepted.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    computed_tokens: int = 0
    steps: int = 0
    drafts: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0


class Engine:
    """Not thread-safe: one loop calls everything. Knows tokens only, neither text nor sockets nor torch.

    Whatever goes wrong with one request fails that request alone. `step` raises only EngineDead.
    """

    def __init__(
        self,
        runner: Runs,
        cache: KVCache,
        limits: Limits,
        admission: Admission,
        *,
        seed: int = 0,
        speculation: Speculation | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runner, self.cache, self.admission = runner, cache, admission
        self._launcher = Launcher(runner, self._unlaunched)
        self.scheduler = Scheduler(cache, limits)
        self.speculation = speculation
        self.scheduler.guess = self._guess
        self.totals, self.measures = Totals(), Measures()
        self._clock, self._random, self._order = clock, Random(seed), count()
        self._requests: dict[Key, list[Sequence]] = {}
        self._news: list[News] = []
        self.grammars: Compiles | None = None
        self._compiling: dict[Key, tuple[Future[Grammar], list[Sequence]]] = {}
        self._flights: deque[tuple[float, list[tuple[Plan, Flight]]]] = deque()
        self._now = clock()

    @property
    def has_work(self) -> bool:
        """Whether `step` has anything to do or to tell."""
        return bool(self._news or self._flights or self._compiling) or len(self.scheduler) > 0

    @property
    def waiting(self) -> dict[str, int]:
        """Sequences that wait, by what for: room, the first of their siblings to compute the prompt, a grammar."""
        compiling = sum(len(sequences) for _, sequences in self._compiling.values())
        held = len(self.scheduler) - len(self.scheduler.running) - len(self.scheduler.waiting)
        return {"capacity": len(self.scheduler.waiting), "siblings": held, "grammar": compiling}

    @property
    def capacity(self) -> int:
        """Tokens that the cache holds."""
        return self.admission.capacity

    def add(self, request: Request) -> None:
        """Queue a request. Raises RequestRefused, with its reason."""
        if request.key in self._requests:
            raise RequestRefused("duplicate_id", f"a request with the id {request.id!r} is already running")
        waiting = len(self.scheduler) - len(self.scheduler.running)  # those held until a sibling is done count too
        limit = self.admission.check(request, waiting)
        params = request.sampling
        seed = params.seed if params.seed is not None else self._random.getrandbits(63)
        order, now = next(self._order), self._clock()
        ends = self.admission.ends(params)
        grammar = self._compile(params.structured_outputs)
        sequences = [Sequence(request, i, order, limit, _wrap(seed + i), now, ends) for i in range(params.sequences)]
        if self.speculation and is_plain(params):
            for sequence in sequences:
                sequence.guesses = sequence.needs_values = True
        self.totals.prompt_tokens += len(request.prompt)
        if limit == 0:
            # Nothing is to be computed but, perhaps, what is wanted of the prompt itself.
            scored = params.prompt_logprobs is not None and len(request.prompt) > 1
            kept = 1 if scored or request.pool else 0
            self._news += [(request.owner, self._output(s, [], "length")) for s in sequences[kept:]]
            sequences = sequences[:kept]
        if sequences:
            self._requests[request.key] = list(sequences)
            self._enter(request.key, sequences, grammar)

    def _compile(self, form: Structured | None) -> Future[Grammar] | None:
        if form is None:
            return None
        if self.grammars is None:
            raise RequestRefused(
                "no_tokenizer", "structured output needs a tokenizer and an end token: this model lacks one"
            )
        return self.grammars.compile(form)

    def _enter(self, key: Key, sequences: list[Sequence], grammar: Future[Grammar] | None) -> None:
        """Hand the sequences to the scheduler, now or once their grammar is compiled."""
        if grammar is None:
            self.scheduler.add(sequences)
            return
        for sequence in sequences:
            sequence.state = State.COMPILING
        self._compiling[key] = grammar, sequences

    def _compiled(self) -> None:
        """Let in those whose grammar is ready. Where there is nothing else to do, wait a moment for one."""
        if not (self._news or self._flights or len(self.scheduler)):
            wait([future for future, _ in self._compiling.values()], GRAMMAR_SECONDS, FIRST_COMPLETED)
        for key in [key for key, (future, _) in self._compiling.items() if future.done()]:
            future, sequences = self._compiling.pop(key)
            sequences = [sequence for sequence in sequences if sequence.state is State.COMPILING]
            if not sequences:
                continue
            if error := future.exception():
                self._refuse(sequences[0].request, error)
                continue
            for sequence in sequences:
                sequence.state, sequence.matcher = State.WAITING, future.result().start()
            self.scheduler.add(sequences)

    def abort(self, key: Key, index: int | None = None) -> None:
        """Forget a request, or one of its sequences. Unknown and finished ones are fine; nothing more comes of it."""
        for sequence in self._requests.get(key, ()):
            if index is None or sequence.index == index:
                self.measures.ended(sequence, "abort", self._now)
        self._forget(key, index)

    def _forget(self, key: Key, index: int | None = None) -> None:
        for sequence in list(self._requests.get(key, ())):
            if index is None or sequence.index == index:
                self._finish(sequence)
        self._news = [(o, n) for o, n in self._news if (o, n.id) != key or not _about(n, index)]

    def disown(self, owner: bytes) -> None:
        """Abort all that one owner asked for."""
        for key in [key for key in self._requests if key[0] == owner]:
            self.abort(key)

    def step(self) -> list[News]:
        """Launch a step and take in the oldest one in flight, which may be the same.

        Returns what that brought, each finished sequence with its reason exactly once.
        """
        if self._compiling:
            self._compiled()
        self._now = self._clock()
        plan = self.scheduler.plan(self._now)
        if plan:
            self.totals.steps += 1
            self.measures.launched(plan, self._now)
            self._flights.append((self._now, self._launcher(plan)))
        if self._flights and (len(self._flights) > self.runner.depth or not plan):
            self._land_oldest()
        news, self._news = self._news, []
        return news

    def _land_oldest(self) -> None:
        start, flights = self._flights.popleft()
        results = [(plan, self._read(plan, flight)) for plan, flight in flights]
        self._now = self._clock()
        self.measures.step.observe(self._now - start)
        for plan, result in results:
            self._land(plan, result)

    def _unlaunched(self, plan: Plan, error: Exception | None) -> None:
        """A plan of one sequence cannot be run, or (no error) need not be."""
        plan.cancel()
        for sequence in plan.sequences():
            self._landed(sequence, sequence.settled, sound=True)
        if error:
            self._fail_all(plan, error)

    def _read(self, plan: Plan, flight: Flight) -> Sampled:
        try:
            return flight.result()
        except Exception as error:
            check_alive(error, plan)
            log.exception("the results of %d sequences could not be read", len(plan))
            self._fail_all(plan, error)
            return Sampled([0] * len(plan.sampling()), unsound=range(len(plan)))

    def _land(self, plan: Plan, result: Sampled) -> None:
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
            self._landed(sequence, chunk.start + chunk.count, not chunk.samples or row not in result.unsound)
            if not sequence.published:
                self.totals.computed_tokens += chunk.count
            if chunk.samples:
                if sequence.state is not State.DONE:
                    self._commit(sequence, result.tokens[row], row, result)
                row += 1

    def _guess(self, sequence: Sequence, most: int) -> list[int]:
        return self.speculation.guess(sequence.tokens, most) if self.speculation and most > 0 else []

    def _verified(self, sequence: Sequence, chunk: Chunk, told: list[int]) -> None:
        """A guess stands as far as the sequence itself drew the same, and the token after that is its own."""
        agreed = 0
        while agreed < len(chunk.guess) and told[agreed : agreed + 1] == [chunk.guess[agreed]]:
            agreed += 1
        new = told[: agreed + 1]
        self.totals.drafts += 1
        self.totals.draft_tokens += len(chunk.guess)
        self.totals.accepted_tokens += agreed
        # Beyond it the cache holds what was guessed wrongly: not computed, as far as anybody knows.
        sequence.computed = chunk.start + len(new)
        self._landed(sequence, sequence.computed, -1 not in new)
        for token in new:
            if sequence.state is State.DONE:
                return
            if token < 0:
                self._fail(sequence, "numerical_error", "the model's numbers for this request are not finite")
                return
            sequence.tokens.append(token)
            self._tell(sequence, token)

    def _land_decodes(self, decodes: list[Sequence], result: Sampled) -> None:
        # This loop runs for every token that anybody gets: nothing in it that most of them do not need.
        news, running = self._news, State.RUNNING
        eventful = bool(result.unsound or result.stuck or result.logprobs)
        for row, (sequence, token) in enumerate(zip(decodes, result.tokens, strict=False)):
            if eventful or sequence.state is not running or not sequence.published or sequence.matcher is not None:
                self._land_decode(sequence, token, row, result)
                continue
            sequence.settled += 1
            sequence.tokens.append(token)
            if token in sequence.ends or len(sequence.tokens) > sequence.last:
                self._tell(sequence, token)
                continue
            request = sequence.request
            output = Output(request.id, sequence.index, [token], None, None, None, sequence.prompt, sequence.cached)
            news.append((request.owner, output))
            self.totals.generated_tokens += 1

    def _land_decode(self, sequence: Sequence, token: int, row: int, result: Sampled) -> None:
        self._landed(sequence, sequence.settled + 1, row not in result.unsound)
        if not sequence.published:  # the last token of a prompt, left over by a chunk
            self.totals.computed_tokens += 1
        if sequence.state is not State.DONE:
            self._commit(sequence, token, row, result)

    def _landed(self, sequence: Sequence, settled: int, sound: bool) -> None:
        if lost := self.scheduler.landed(sequence, settled, sound):
            self.runner.clear(lost)

    def _commit(self, sequence: Sequence, token: int, row: int, result: Sampled) -> None:
        if row in result.unsound:
            self._fail(sequence, "numerical_error", "the model's numbers for this request are not finite")
            return
        if row in result.stuck:
            self._fail(sequence, "no_token_allowed", result.stuck[row])
            return
        if not sequence.published:
            self.measures.began(sequence, self._now)
            self.scheduler.settle(sequence)
            self.totals.cached_tokens += sequence.cached if sequence.index == 0 else 0
        if sequence.limit == 0:
            output = replace(self._output(sequence, [], "length"), embedding=_embedding(sequence))
            self._news.append((sequence.request.owner, output))
            self._finish(sequence)
            return
        sequence.tokens.append(token)
        if sequence.matcher is not None and not sequence.matcher.take(token):
            self._fail(sequence, "no_token_allowed", "the grammar led to where nothing can follow")
            return
        self._tell(sequence, token, [result.logprobs[row]] if row in result.logprobs else None)

    def _tell(self, sequence: Sequence, token: int, logprobs: list[TokenLogprob] | None = None) -> None:
        """Give out a sequence's newest token, and end it where that does."""
        self.totals.generated_tokens += 1
        reason, stop = None, None
        if token in sequence.ends or len(sequence.tokens) > sequence.last:
            reason, stop = self.admission.end(sequence, token)
        self._news.append((sequence.request.owner, self._output(sequence, [token], reason, stop, logprobs)))
        if reason:
            self.measures.ended(sequence, reason, self._now)
            self._finish(sequence)

    def _scanned(self, sequence: Sequence, start: int, scores: list[TokenLogprob]) -> None:
        """Tell what is new of the prompt's log-probabilities: after a preemption they come again."""
        known = sequence.scanned or 0
        if new := scores[max(known - start, 0) :]:
            sequence.scanned = start + len(scores)
            output = self._output(sequence, [], None)
            self._news.append((sequence.request.owner, replace(output, prompt_logprobs=new)))

    def _output(
        self,
        sequence: Sequence,
        tokens: list[int],
        reason: FinishReason | None,
        stop: int | None = None,
        logprobs: list[TokenLogprob] | None = None,
    ) -> Output:
        prompt, cached = sequence.prompt, sequence.cached
        return Output(sequence.request.id, sequence.index, tokens, logprobs, reason, stop, prompt, cached)

    def _finish(self, sequence: Sequence, keep: bool = True) -> list[int]:
        key = sequence.request.key
        siblings = self._requests.get(key, [])
        if sequence in siblings:
            siblings.remove(sequence)
            if not siblings:
                del self._requests[key]
        if sequence.state is State.COMPILING:
            sequence.state = State.DONE
            return []
        return self.scheduler.finish(sequence, keep)

    def _refuse(self, request: Request, error: BaseException) -> None:
        """Its grammar cannot be had: the user's mistake, mostly, so that the log is silent."""
        self._forget(request.key)
        if isinstance(error, RequestRefused):
            self.measures.refused += 1
            self._news.append((request.owner, Failed(request.id, error.code, str(error))))
            return
        log.error("the grammar of request %s could not be compiled", request.id, exc_info=error)
        self._news.append((request.owner, Failed(request.id, "internal_error", "the grammar could not be compiled")))

    def _fail_all(self, plan: Plan, error: Exception) -> None:
        message = f"the engine could not run this request ({type(error).__name__})"
        for sequence in plan.sequences():
            if sequence.state is not State.DONE:
                self._fail(sequence, "internal_error", message)

    def _fail(self, sequence: Sequence, code: str, message: str) -> None:
        """End the whole request: an answer with one choice missing is none. Other requests do not notice."""
        request = sequence.request
        log.warning("request %s failed: %s", request.id, message)
        for each in self._requests.get(request.key, ()):
            self.measures.ended(each, "error", self._now)
        if lost := self._finish(sequence, keep=False):
            self.runner.clear(lost)
        self._forget(request.key)
        self._news.append((request.owner, Failed(request.id, code, message)))


def _about(news: Output | Failed, index: int | None) -> bool:
    return index is None or (isinstance(news, Output) and news.index == index)


def _add(sequence: Sequence, start: int, vector: list[float]) -> None:
    # After a preemption the prompt is computed from its beginning again.
    before = sequence.pooled if start else None
    sequence.pooled = [a + b for a, b in zip(before, vector, strict=True)] if before else vector


def _embedding(sequence: Sequence) -> list[float] | None:
    if sequence.pooled is None or sequence.request.pool == "last":
        return sequence.pooled
    return [value / sequence.prompt for value in sequence.pooled]


def _wrap(seed: int) -> int:
    return (seed + 2**63) % 2**64 - 2**63
