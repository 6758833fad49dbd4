"""Which tokens the next step computes. Pure bookkeeping: it never looks at a token's value, a clock or a tensor."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from .kvcache import KVCache
from .leaving import Leaving
from .plan import Chunk, Plan
from .rows import Rows
from .sequence import Sequence, State
from .waiting import Waiting, rank


@dataclass(frozen=True)
class Limits:
    """The budgets of a step: sequences and tokens; and the seconds after which waiting beats any priority.

    Up to `few` sequences may decode `several` tokens in a step, one or two of them `longer` (where that is more), where
    nobody else has anything to do.
    """

    sequences: int
    tokens: int
    age: float = 30.0
    several: int = 1
    few: int = 0
    longer: int = 0


row, remaining = attrgetter("row"), attrgetter("remaining")
Guess = Callable[[Sequence, int], list[int]]
"""The tokens that may come next in a sequence, at most so many."""


class Scheduler:
    """First come, first served, by priority; decoding goes before prompts; prompts go in chunks.

    Where nobody who runs is streamed, a step in which prompts leave those who decode no room is the prompts' alone:
    more steps are full then. Between two turns of those who decode no more than `Limits.sequences` come in: whatever
    ends with its prompt, and frees its row, would keep them waiting for ever.

    Steps are planned while others are in flight, so it never needs to know what was drawn, only that something was.
    A sequence is admitted when its known tokens fit beside one more page for everybody running. When a running one
    needs a page and there is none, the youngest is preempted: it gives back its pages and computes them again later.
    Whoever leaves while a step of its own is in flight keeps its pages until that has landed.
    """

    def __init__(self, cache: KVCache, limits: Limits) -> None:
        self.cache, self.limits = cache, limits
        self.running: list[Sequence] = []
        self.waiting = Waiting()
        self.preemptions = 0
        self._leaving = Leaving(cache)
        self._planned: list[Sequence] = []
        self._decoding: list[Sequence] = []
        self._full = False  # the last step: a prompt may have been cut
        self._passed = 0  # who came in since those who decode had their turn
        self._rows = Rows(limits.sequences)
        self.guess: Guess = lambda sequence, most: []

    def __len__(self) -> int:
        """Sequences that are not done."""
        return len(self.running) + len(self.waiting) + self.waiting.held

    def sequences(self) -> Iterator[Sequence]:
        """Every sequence that is not done, and those that are but still hold pages."""
        yield from self.running
        yield from self.waiting
        yield from (sequence for sequence in self._leaving if sequence.state is State.DONE)

    def add(self, sequences: list[Sequence]) -> None:
        """Queue the sequences of one request; all but the first are held until it has computed their prompt."""
        self.waiting.add(sequences)

    def plan(self, now: float = 0.0) -> Plan:
        """The next step's work, to be launched or cancelled. Empty where there is none before a flight has landed."""
        plan = Plan()
        self.waiting.promote(now, self.limits.age)
        came: list[Sequence] = []
        if not self._fill(plan.chunks, came):
            self._share(plan, came)
        if plan:
            self._close_ranks(plan)
            plan.touched, self.cache.touched = self.cache.touched, []
        self._line_up(plan)
        return plan

    def _line_up(self, plan: Plan) -> None:
        """Put those who decode in the order of their rows, so that what is computed of them lies as it is read."""
        if plan.decodes != self._planned or plan.moves:
            self._planned, self._decoding = plan.decodes, sorted(plan.decodes, key=row)
        plan.decodes = self._decoding

    def _close_ranks(self, plan: Plan) -> None:
        for sequence, source in self._rows.close(self.running):
            plan.moves.append((source, sequence.row))
            sequence.tabled = 0
            self.cache.touched.append(sequence)

    def landed(self, sequence: Sequence, settled: int, sound: bool = True) -> list[int]:
        """A step has come back: so many tokens are in the cache for sure, or not sound.

        Returns the pages of a sequence that left in between and that may hold numbers that are not finite.
        """
        sequence.settled = settled
        return self._leaving.landed(sequence, sound)

    def again(self, sequence: Sequence) -> None:
        """The last token that a running sequence was to compute does not count: to whoever follows, it is a new one."""
        sequence.computed -= 1
        self._planned, self._decoding = [], []

    def settle(self, sequence: Sequence) -> None:
        """The prompt is computed, and found sound, for the first time: share it, and let the siblings come in."""
        sequence.published = True
        if self.cache.sharing or self.waiting.holds(sequence.request.key):
            self.cache.publish(sequence)
        self.waiting.release(sequence.request.key)

    def finish(self, sequence: Sequence, keep: bool = True) -> list[int]:
        """Take a sequence out, wherever it stands; False for `keep` lets nobody share what it computed.

        Returns the pages it owned, where they were not kept and no flight writes to them any more. Finishing a finished
        sequence does nothing.
        """
        if sequence.state is State.DONE:
            return []
        self._leave(sequence)
        sequence.state = State.DONE
        self.waiting.release(sequence.request.key)
        return self._leaving.give_back(sequence, keep)

    def _leave(self, sequence: Sequence) -> None:
        if sequence.state is not State.RUNNING:
            self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        self._rows.give(sequence.row)
        sequence.row = -1

    def _fill(self, chunks: list[Chunk], came: list[Sequence]) -> bool:
        """Plan prompts alone, where beside all who decode they had no room, and nobody reads what those say.

        Whether there was a plan or not, those who come in are in `came`.
        """
        if not (self._full or (self.waiting and self._rows)) or any(q.request.streamed for q in self.running):
            return False
        prompts = [sequence for sequence in self.running if sequence.behind]
        if not (decoding := len(self.running) - len(prompts)):
            return False
        left = self.limits.tokens - sum(sequence.remaining for sequence in prompts)
        while left > 0 and self._passed < self.limits.sequences and (sequence := self._next()):
            came.append(sequence)
            left -= sequence.remaining
            self._passed += 1
        if left >= decoding or not (prompts or came):
            return False
        self._full = True
        self._prompts(chunks, prompts + came, self.limits.tokens)
        return True

    def _share(self, plan: Plan, came: list[Sequence]) -> None:
        """Plan a step of all who decode, and of prompts as far as there is room beside them.

        Who came in begins with a chunk, be it one token: of its row nobody has told the device yet. Guesses leave room.
        """
        self._passed = 0
        prompts = sorted(came, key=remaining)
        running = [sequence for sequence in self.running if sequence not in came] if came else self.running
        budget = self._decodes(plan, running, prompts, self.limits.tokens)
        budget = self._prompts(plan.chunks, prompts, budget)
        while budget and (sequence := self._next()):
            budget -= self._chunk(plan.chunks, sequence, budget)
        self._full = not budget
        self._extend(plan)

    def _decodes(self, plan: Plan, running: list[Sequence], prompts: list[Sequence], budget: int) -> int:
        """One more token of every sequence that decodes; those that do not are left in `prompts`."""
        size, decodes = self.cache.page_size, plan.decodes
        spare = budget - len(self.running)
        # Whoever is preempted on the way comes later in this list, or is the one being looked at.
        for sequence in running:
            done, known = sequence.computed, len(sequence.tokens)
            # As `Sequence.behind`, which takes half as long again as all of this loop.
            if known - done > 1 or not done or (sequence.pooled is not None and done < sequence.last):
                prompts.append(sequence)
                continue
            if done >= sequence.last or not budget or (sequence.needs_values and not sequence.has_values):
                continue
            if sequence.guesses and known > done and spare > 0 and (count := self._guessed(plan, sequence, spare)):
                spare -= count - 1
                budget -= count
                continue
            # The last page has room most of the time.
            if done < len(sequence.pages) * size or self._make_room(sequence):
                sequence.computed = done + 1
                decodes.append(sequence)
                budget -= 1
        return budget

    def _extend(self, plan: Plan) -> None:
        """Let a plan that only decodes go on for several tokens, where all can, and nobody waits to come in."""
        limits = self.limits
        more = (max(limits.several, limits.longer) if len(plan.decodes) <= 2 else limits.several) - 1
        # Everybody who is not done decodes in it: whoever waits, or computes a prompt, need not wait longer.
        if not more or plan.chunks or not 0 < len(plan.decodes) == len(self) <= limits.few:
            return
        more = min(more, *(sequence.last - sequence.computed for sequence in plan.decodes))
        if more <= 0 or not all(sequence.steady for sequence in plan.decodes):
            return
        missing = [max(self.cache.pages_for(s.computed + more) - len(s.pages), 0) for s in plan.decodes]
        if sum(missing) > self.cache.available:
            return
        for sequence in plan.decodes:
            self.cache.grow(sequence, sequence.computed + more)
            sequence.computed += more
        for sequence, pages in zip(plan.decodes, missing, strict=True):
            if pages:
                self.cache.grow_ahead(sequence, sequence.last)
        plan.count += more

    def _guessed(self, plan: Plan, sequence: Sequence, most: int) -> int:
        """Plan a guess, at the most as long as asked for, where there is one and pages for it; how many rows it has."""
        done = sequence.computed
        guess = self.guess(sequence, min(most, sequence.last - 1 - done))
        pages = self.cache.pages_for(done + 1 + len(guess)) - len(sequence.pages)
        # Guesses take no page that a running sequence may need for its next token.
        if not guess or (pages > 0 and pages > self.cache.available - len(self.running)):
            return 0
        self.cache.grow(sequence, done + 1 + len(guess))
        plan.chunks.append(Chunk(sequence, done, 1 + len(guess), False, tuple(guess)))
        sequence.computed = done + 1 + len(guess)
        return 1 + len(guess)

    def _prompts(self, chunks: list[Chunk], prompts: list[Sequence], budget: int) -> int:
        for sequence in prompts:
            if not budget:
                break
            if sequence.state is State.RUNNING:
                budget -= self._chunk(chunks, sequence, budget)
        return budget

    def _chunk(self, chunks: list[Chunk], sequence: Sequence, budget: int) -> int:
        start = sequence.computed
        count = min(sequence.remaining, budget)
        chunks.append(Chunk(sequence, start, count, count == sequence.remaining))
        sequence.computed = start + count
        return count

    def _make_room(self, sequence: Sequence) -> bool:
        """Pages for one more token of a running sequence, preempting the youngest, at last itself.

        It sits out a step while pages are on their way back.
        """
        while not self.cache.grow(sequence, sequence.computed + 1):
            if self._leaving:
                return False
            youngest = self.running[-1]
            self._preempt(youngest)
            if youngest is sequence:
                return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.preemptions += 1
        self._leave(sequence)
        self._leaving.give_back(sequence, keep=True)
        self.waiting.insert(sequence)

    def _next(self) -> Sequence | None:
        """Whoever is first of those that wait, if there is room: it runs from here on."""
        if not self.waiting or not self._rows:
            return None
        sequence = self.waiting.first
        return sequence if sequence not in self._leaving and self._enter(sequence) else None

    def _enter(self, sequence: Sequence) -> bool:
        cache = self.cache
        cache.attach(sequence)
        reserve = len(self.running)
        missing = cache.pages_for(len(sequence.tokens)) - len(sequence.pages)
        if missing + reserve > cache.available or not cache.grow(sequence, len(sequence.tokens)):
            cache.release(sequence, keep=False)
            return False
        self.waiting.remove(sequence)
        sequence.state, sequence.row = State.RUNNING, self._rows.take()
        insort(self.running, sequence, key=rank)
        return True
