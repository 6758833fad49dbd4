"""Which tokens the next step computes. Pure bookkeeping: it never looks at a token's value, a clock or a tensor."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .kvcache import KVCache
from .plan import Chunk, Plan
from .sequence import Key, Sequence, State


@dataclass(frozen=True)
class Limits:
    """The budgets of a step: sequences and tokens; and the seconds after which waiting beats any priority."""

    sequences: int
    tokens: int
    age: float = 30.0


Guess = Callable[[Sequence, int], list[int]]
"""The tokens that may come next in a sequence, at most so many."""


def _rank(sequence: Sequence) -> tuple[float, int, int]:
    return sequence.rank


class Scheduler:
    """First come, first served, by priority; decoding goes before prompts; prompts go in chunks.

    Steps are planned while others are in flight, so it never needs to know what was drawn, only that something was.
    A sequence is admitted when its known tokens fit beside one more page for everybody running. When a running one
    needs a page and there is none, the youngest is preempted: it gives back its pages and computes them again later.
    Whoever leaves while a step of its own is in flight keeps its pages until that has landed.
    """

    def __init__(self, cache: KVCache, limits: Limits) -> None:
        self.cache, self.limits = cache, limits
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self.preemptions = 0
        self._priorities: set[int] = set()
        self._held: dict[Key, list[Sequence]] = {}
        self._leaving: dict[Sequence, bool] = {}
        self._decoding: list[Sequence] = []
        self._rows = list(range(limits.sequences - 1, -1, -1))
        self._gaps = False
        self.guess: Guess = lambda sequence, most: []

    def __len__(self) -> int:
        """Sequences that are not done."""
        return len(self.running) + len(self.waiting) + sum(map(len, self._held.values()))

    def sequences(self) -> Iterator[Sequence]:
        """Every sequence that is not done, and those that are but still hold pages."""
        yield from self.running
        yield from self.waiting
        for held in self._held.values():
            yield from held
        yield from (sequence for sequence in self._leaving if sequence.state is State.DONE)

    def add(self, sequences: list[Sequence]) -> None:
        """Queue the sequences of one request; all but the first are held until it has computed their prompt."""
        first, *others = sequences
        self._priorities.add(first.request.priority)
        insort(self.waiting, first, key=_rank)
        for sequence in others:
            sequence.state = State.HELD
        if others:
            self._held[first.request.key] = others

    def plan(self, now: float = 0.0) -> Plan:
        """The next step's work, to be launched or cancelled. Empty where there is none before a flight has landed."""
        plan = Plan()
        prompts: list[Sequence] = []
        budget = self._decodes(plan, prompts, self.limits.tokens)
        budget = self._prompts(plan.chunks, prompts, budget)
        self._promote(now)
        self._admit(plan.chunks, budget)
        if plan.decodes == self._decoding:
            plan.decodes = self._decoding
        self._decoding = plan.decodes
        if plan:
            self._close_ranks(plan)
            plan.touched, self.cache.touched = self.cache.touched, []
        return plan

    def _close_ranks(self, plan: Plan) -> None:
        """Let the running sequences have the first rows: a step's cost goes by its last row."""
        count = len(self.running)
        if not self._gaps:
            return
        self._gaps = False
        strays = [sequence for sequence in self.running if sequence.row >= count]
        holes = [row for row in self._rows if row < count]
        for sequence, row in zip(strays, holes, strict=True):
            plan.moves.append((sequence.row, row))
            sequence.row, sequence.tabled = row, 0
            self.cache.touched.append(sequence)
        self._rows = list(range(self.limits.sequences - 1, count - 1, -1))

    def landed(self, sequence: Sequence, settled: int, sound: bool = True) -> list[int]:
        """A step has come back: so many tokens are in the cache for sure, or not sound.

        Returns the pages of a sequence that left in between and that may hold numbers that are not finite.
        """
        sequence.settled = settled
        if sequence not in self._leaving:
            return []
        self._leaving[sequence] &= sound
        if sequence.flying:
            return []
        keep = self._leaving.pop(sequence)
        own = self.cache.release(sequence, keep)
        return [] if keep else own

    def settle(self, sequence: Sequence) -> None:
        """The prompt is computed, and found sound, for the first time: share it, and let the siblings come in."""
        sequence.published = True
        if self.cache.sharing or sequence.request.key in self._held:
            self.cache.publish(sequence)
        self._release_siblings(sequence.request.key)

    def finish(self, sequence: Sequence, keep: bool = True) -> list[int]:
        """Take a sequence out, wherever it stands; False for `keep` lets nobody share what it computed.

        Returns the pages it owned, where they were not kept and no flight writes to them any more. Finishing a finished
        sequence does nothing.
        """
        if sequence.state is State.DONE:
            return []
        self._leave(sequence)
        sequence.state = State.DONE
        self._release_siblings(sequence.request.key)
        return self._give_back(sequence, keep)

    def _give_back(self, sequence: Sequence, keep: bool) -> list[int]:
        if sequence.flying:
            self._leaving[sequence] = keep and self._leaving.get(sequence, True)
            return []
        own = self.cache.release(sequence, keep)
        return [] if keep else own

    def _leave(self, sequence: Sequence) -> None:
        if sequence.state is State.RUNNING:
            self.running.remove(sequence)
            self._rows.append(sequence.row)
            self._gaps = True
            sequence.row = -1
        elif sequence.state is State.WAITING:
            self.waiting.remove(sequence)
        else:
            held = self._held[sequence.request.key]
            held.remove(sequence)
            if not held:
                del self._held[sequence.request.key]

    def _release_siblings(self, request: Key) -> None:
        for sequence in self._held.pop(request, ()):
            sequence.state = State.WAITING
            insort(self.waiting, sequence, key=_rank)

    def _decodes(self, plan: Plan, prompts: list[Sequence], budget: int) -> int:
        """One more token of every sequence that decodes; those that do not are left in `prompts`."""
        size, decodes = self.cache.page_size, plan.decodes
        spare = budget - len(self.running)
        # Whoever is preempted on the way comes later in this list, or is the one being looked at.
        for sequence in self.running:
            done, known = sequence.computed, len(sequence.tokens)
            # A prompt that is pooled is computed by chunks to its last token: those have the hidden states.
            if known - done > 1 or (sequence.pooled is not None and done < sequence.last):
                prompts.append(sequence)
                continue
            if done >= sequence.last or not budget or (known <= done and sequence.needs_values):
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
        self._give_back(sequence, keep=True)
        sequence.state = State.WAITING
        insort(self.waiting, sequence, key=_rank)

    def _promote(self, now: float) -> None:
        """Age bound: whoever has waited too long goes before every priority."""
        if len(self._priorities) > 1:
            for sequence in self.waiting:
                if now - sequence.arrived > self.limits.age:
                    sequence.rank = (float("-inf"), *sequence.rank[1:])
            self.waiting.sort(key=_rank)

    def _admit(self, chunks: list[Chunk], budget: int) -> None:
        while budget and self.waiting and self._rows:
            sequence = self.waiting[0]
            if sequence in self._leaving or not self._enter(sequence):
                break
            budget -= self._chunk(chunks, sequence, budget)

    def _enter(self, sequence: Sequence) -> bool:
        cache = self.cache
        cache.attach(sequence)
        reserve = len(self.running)
        missing = cache.pages_for(len(sequence.tokens)) - len(sequence.pages)
        if missing + reserve > cache.available or not cache.grow(sequence, len(sequence.tokens)):
            cache.release(sequence, keep=False)
            return False
        del self.waiting[0]
        sequence.state, sequence.row = State.RUNNING, self._rows.pop()
        insort(self.running, sequence, key=_rank)
        return True
