"""The engine: requests in, tokens out, step by step."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Items
from itertools import count
from random import Random
from typing import Protocol

from .admission import Admission
from .book import Book, News
from .compiling import GRAMMAR_SECONDS, Compiling
from .errors import RequestRefused
from .kvcache import KVCache
from .landing import Landing
from .launch import Launched, Launcher, Launches
from .masks import await_one
from .plain import is_plain
from .plan import Plan
from .scheduler import Limits, Scheduler
from .sequence import Key, Request, Sequence, State
from .speculation import Speculation

log = logging.getLogger(__name__)
Chore = Callable[[], None]


class Runs(Launches, Protocol):
    """What runs a plan: `runner.Runner`, or a stand-in in tests.

    `depth` is how many steps may be in flight while another is planned and launched: 0 where a launch computes.
    """

    depth: int

    def clear(self, pages: Items[int]) -> None: ...


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
        self.runner, self.cache, self.admission, self.speculation = runner, cache, admission, speculation
        self.scheduler = Scheduler(cache, limits)
        self.scheduler.guess = self._guess
        self._book = Book(self.scheduler, admission, runner.clear)
        self.totals, self.measures = self._book.totals, self._book.measures
        self.compiling = Compiling(self._book, self.scheduler)
        self._launcher = Launcher(runner, self._unlaunched, self._land_all)
        self._landing = Landing(self._book, self.scheduler, runner.clear)
        self._clock, self._random, self._order = clock, Random(seed), count()
        self._flights: deque[tuple[float, Launched]] = deque()
        self._landed = 0  # tokens of the oldest flight
        self.chores: deque[Chore] = deque()
        """What a start has left for when there is nothing else to do, each in a few hundredths of a second."""
        self._book.now = clock()

    @property
    def has_work(self) -> bool:
        """Whether `step` has anything to do or to tell."""
        return bool(self._book.news or self._flights or self.compiling or len(self.scheduler))

    @property
    def waiting(self) -> dict[str, int]:
        """Sequences that wait, by what for: room, the first of their siblings to compute the prompt, a grammar."""
        waiting = self.scheduler.waiting
        return {"capacity": len(waiting), "siblings": waiting.held, "grammar": len(self.compiling)}

    def add(self, request: Request) -> None:
        """Queue a request. Raises RequestRefused, with its reason."""
        if request.key in self._book.open:
            raise RequestRefused("duplicate_id", f"a request with the id {request.id!r} is already running")
        limit = self.admission.check(request, len(self.scheduler.waiting) + self.scheduler.waiting.held)
        grammar = self.compiling.compile(request.sampling.structured_outputs)
        sequences = self._sequences(request, limit)
        self.totals.prompt_tokens += len(request.prompt)
        if limit == 0:
            sequences = self._nothing_to_say(request, sequences)
        if sequences:
            self._book.open[request.key] = list(sequences)
            self.compiling.enter(request.key, sequences, grammar)

    def _sequences(self, request: Request, limit: int) -> list[Sequence]:
        params = request.sampling
        seed = params.seed if params.seed is not None else self._random.getrandbits(63)
        order, now, ends = next(self._order), self._clock(), self.admission.ends(params)
        made = [Sequence(request, i, order, limit, _wrap(seed + i), now, ends) for i in range(params.sequences)]
        if self.speculation and is_plain(params):
            for sequence in made:
                sequence.guesses = sequence.needs_values = True
                sequence.steady = False
        return made

    def _nothing_to_say(self, request: Request, sequences: list[Sequence]) -> list[Sequence]:
        """Answer at once; those that are left compute what is wanted of the prompt itself."""
        scored = request.sampling.prompt_logprobs is not None and len(request.prompt) > 1
        kept = 1 if scored or request.pool else 0
        self._book.news += [(request.owner, self._book.output(s, [], "length")) for s in sequences[kept:]]
        return sequences[:kept]

    def abort(self, key: Key, index: int | None = None) -> None:
        """Forget a request, or one of its sequences. Unknown and finished ones are fine; nothing more comes of it."""
        for sequence in self._book.open.get(key, ()):
            if index is None or sequence.index == index:
                self.measures.ended(sequence, "abort", self._book.now)
        self._book.forget(key, index)
        self._stop_idle()

    def disown(self, owner: bytes) -> None:
        """Abort all that one owner asked for."""
        for key in [key for key in self._book.open if key[0] == owner]:
            self.abort(key)

    def step(self) -> list[News]:
        """Launch a step and take in the oldest one in flight, which may be the same: its next token, where it has more.

        Returns what that brought, each finished sequence with its reason exactly once.
        """
        if self.compiling:
            self.compiling.admit(idle=not (self._book.news or self._flights or len(self.scheduler)))
        self._book.now = self._clock()
        if self.scheduler.waiting:
            self._cut_short()
        plan = self.scheduler.plan(self._book.now) if len(self._flights) <= self.runner.depth else Plan()
        if plan:
            start = self._book.now
            self._flights.append((start, self._launcher(plan)))
            self.totals.steps += 1  # and all that is only counted once the device is at work
            self.measures.launched(plan, start)
        if self._flights and (len(self._flights) > self.runner.depth or not plan):
            self._land_oldest()
        elif not plan and not self._book.news:
            await_one(self.scheduler.running, GRAMMAR_SECONDS)
        if not self._flights and not len(self.scheduler):
            self.cache.pool.tidy()
        return self._book.take()

    def do_chore(self) -> bool:
        """Do one of the chores; whether there was one. One that fails is left: all go without."""
        if not self.chores:
            return False
        try:
            self.chores.popleft()()
        except Exception:
            log.exception("something that was left for later could not be done")
        return True

    def _land_oldest(self) -> None:
        start, flights = self._flights[0]
        results = [(plan, self._landing.read(plan, flight)) for plan, flight in flights]
        self._book.now = self._clock()
        self._landed += 1
        if self._landed >= max((plan.count for plan, _ in flights), default=1):
            self._flights.popleft()
            self._landed = 0
            if not any(plan.cut for _, later in self._flights for plan, _ in later):
                for sequence in (q for plan, _ in flights if plan.cut for q in plan.decodes):
                    sequence.needs_values = False
            self.measures.step.observe(self._book.now - start)
        for plan, result in results:
            self._landing.land(plan, result)
        self._stop_idle()

    def _land_all(self) -> None:
        while self._flights:
            self._land_oldest()

    def _stop_idle(self) -> None:
        """A launch of several tokens need not go on where all of its sequences are done."""
        for _, flights in self._flights:
            for plan, flight in flights:
                if plan.count > 1 and all(sequence.state is State.DONE for sequence in plan.decodes):
                    flight.stop()

    def _cut_short(self) -> None:
        """Whoever waits to come in waits for what a launch of several is about to say, and one token of the next.

        A launch goes on where the device was told, before the next one, where its sequences would be after all of it.
        """
        later: list[Plan] = []
        for _, flights in reversed(self._flights):
            decodes = flights[0][0].decodes if flights else []
            if any(plan.count == 1 or plan.touched or plan.decodes is not decodes for plan in later):
                break
            later = [plan for plan, _ in flights]
            for plan, flight in flights:
                if plan.count > 1:
                    flight.stop()
                    plan.cut = True
                    for sequence in plan.decodes:
                        sequence.needs_values = True

    def _unlaunched(self, plan: Plan, error: Exception | None) -> None:
        """A plan of one sequence cannot be run, or (no error) need not be."""
        plan.cancel()
        for sequence in plan.sequences():
            self._landing.landed(sequence, sequence.settled, sound=True)
        if error:
            self._book.fail_all(plan, error)

    def _guess(self, sequence: Sequence, most: int) -> list[int]:
        return self.speculation.guess(sequence.tokens, most) if self.speculation and most > 0 else []


def _wrap(seed: int) -> int:
    return (seed + 2**63) % 2**64 - 2**63
