"""The engine: requests in, tokens out, step by step."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Protocol

from ..protocol.messages import Failed, FinishReason, Output, TokenLogprob
from .admission import Admission
from .errors import EngineDead, RequestRefused
from .kvcache import KVCache
from .plan import Plan
from .sampled import Flight, Sampled
from .scheduler import Limits, Scheduler
from .sequence import Key, Request, Sequence, State

log = logging.getLogger(__name__)
News = tuple[bytes, Output | Failed]
"""An output or a failure, and the owner of the request that it is about."""


class Runs(Protocol):
    """What runs a plan: `runner.Runner`, or a stand-in in tests.

    `depth` is how many steps may be in flight while another is planned and launched: 0 where a launch computes.
    """

    depth: int

    def launch(self, plan: Plan) -> Flight: ...

    def clear(self, pages: Items[int]) -> None: ...


@dataclass
class Totals:
    """Counts since the start. Prompt tokens are counted when they arrive, and as computed when they are."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    computed_tokens: int = 0
    steps: int = 0


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runner, self.cache, self.admission = runner, cache, admission
        self.scheduler = Scheduler(cache, limits)
        self.totals = Totals()
        self._clock, self._random, self._order = clock, Random(seed), count()
        self._requests: dict[Key, list[Sequence]] = {}
        self._news: list[News] = []
        self._flights: deque[list[tuple[Plan, Flight]]] = deque()

    @property
    def has_work(self) -> bool:
        """Whether `step` has anything to do or to tell."""
        return bool(self._news or self._flights) or len(self.scheduler) > 0

    @property
    def capacity(self) -> int:
        """Tokens that the cache holds."""
        return self.admission.capacity

    def add(self, request: Request) -> None:
        """Queue a request. Raises RequestRefused, with its reason."""
        if request.key in self._requests:
            raise RequestRefused("duplicate_id", f"a request with the id {request.id!r} is already running")
        limit = self.admission.check(request, len(self.scheduler.waiting))
        params = request.sampling
        seed = params.seed if params.seed is not None else self._random.getrandbits(63)
        order, now = next(self._order), self._clock()
        ends = self.admission.ends(params)
        sequences = [Sequence(request, i, order, limit, _wrap(seed + i), now, ends) for i in range(params.n)]
        self.totals.prompt_tokens += len(request.prompt)
        if limit == 0:
            self._news += [(request.owner, self._output(s, [], "length")) for s in sequences]
            return
        self._requests[request.key] = sequences
        self.scheduler.add(sequences)

    def abort(self, key: Key, index: int | None = None) -> None:
        """Forget a request, or one of its sequences. Unknown and finished ones are fine; nothing more comes of it."""
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
        plan = self.scheduler.plan(self._clock())
        if plan:
            self.totals.steps += 1
            self._flights.append(self._launch(plan))
        if self._flights and (len(self._flights) > self.runner.depth or not plan):
            for launched, flight in self._flights.popleft():
                self._land(launched, flight)
        news, self._news = self._news, []
        return news

    def _launch(self, plan: Plan) -> list[tuple[Plan, Flight]]:
        try:
            return [(plan, self.runner.launch(plan))]
        except Exception as error:
            _check_alive(error)
            log.exception("a step of %d sequences failed, trying them one by one", len(plan))
            return [(alone, flight) for alone in plan.alone() if (flight := self._launch_alone(alone))]

    def _launch_alone(self, plan: Plan) -> Flight | None:
        try:
            return self.runner.launch(plan)
        except Exception as error:
            _check_alive(error)
            plan.cancel()
            self._fail_all(plan, error)
            return None

    def _land(self, plan: Plan, flight: Flight) -> None:
        try:
            result = flight.result()
        except Exception as error:
            _check_alive(error)
            log.exception("the results of %d sequences could not be read", len(plan))
            result = Sampled([0] * len(plan.sampling()), unsound=range(len(plan)))
            self._fail_all(plan, error)
        for row, (sequence, token) in enumerate(zip(plan.decodes, result.tokens, strict=False)):
            self._landed(sequence, sequence.settled + 1, row not in result.unsound)
            if sequence.state is not State.DONE:
                self._commit(sequence, token, row, result)
        row = len(plan.decodes)
        for chunk in plan.chunks:
            sequence = chunk.sequence
            self._landed(sequence, chunk.start + chunk.count, not chunk.samples or row not in result.unsound)
            if not sequence.published:
                self.totals.computed_tokens += chunk.count
            if chunk.samples:
                if sequence.state is not State.DONE:
                    self._commit(sequence, result.tokens[row], row, result)
                row += 1

    def _landed(self, sequence: Sequence, settled: int, sound: bool) -> None:
        if lost := self.scheduler.landed(sequence, settled, sound):
            self.runner.clear(lost)

    def _commit(self, sequence: Sequence, token: int, row: int, result: Sampled) -> None:
        if row in result.unsound:
            self._fail(sequence, "numerical_error", "the model's numbers for this request are not finite")
            return
        if not sequence.published:
            self.scheduler.settle(sequence)
            self.totals.cached_tokens += sequence.cached if sequence.index == 0 else 0
        sequence.tokens.append(token)
        self.totals.generated_tokens += 1
        reason, stop = None, None
        if token in sequence.ends or len(sequence.tokens) > sequence.last:
            reason, stop = self.admission.end(sequence, token)
        logprobs = [result.logprobs[row]] if row in result.logprobs else None
        self._news.append((sequence.request.owner, self._output(sequence, [token], reason, stop, logprobs)))
        if reason:
            self._finish(sequence)

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
        return self.scheduler.finish(sequence, keep)

    def _fail_all(self, plan: Plan, error: Exception) -> None:
        message = f"the engine could not run this request ({type(error).__name__})"
        for sequence in plan.sequences():
            if sequence.state is not State.DONE:
                self._fail(sequence, "internal_error", message)

    def _fail(self, sequence: Sequence, code: str, message: str) -> None:
        """End the whole request: an answer with one choice missing is none. Other requests do not notice."""
        request = sequence.request
        log.warning("request %s failed: %s", request.id, message)
        if lost := self._finish(sequence, keep=False):
            self.runner.clear(lost)
        self.abort(request.key)
        self._news.append((request.owner, Failed(request.id, code, message)))


def _about(news: Output | Failed, index: int | None) -> bool:
    return index is None or (isinstance(news, Output) and news.index == index)


def _wrap(seed: int) -> int:
    return (seed + 2**63) % 2**64 - 2**63


def _check_alive(error: Exception) -> None:
    # By name: this module does not import torch. A device error of this kind is sticky.
    if type(error).__name__ == "AcceleratorError":
        raise EngineDead(f"the device failed: {error}") from error
