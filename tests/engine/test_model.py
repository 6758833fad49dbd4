"""The engine against an oracle: thousands of random steps of adding, sharing, forking, preempting, aborting, evicting.

The oracle knows what every sequence must say (`fakes.alone`) and nothing of pages. After every step each page has one
owner and the counts agree; a sequence ends within a number of steps that follows from the work before it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from rustinfer.engine import kvcache
from rustinfer.engine.admission import Admission
from rustinfer.engine.engine import Engine
from rustinfer.engine.errors import RequestRefused
from rustinfer.engine.kvcache import KVCache
from rustinfer.engine.plan import Plan
from rustinfer.engine.sampled import Flight
from rustinfer.engine.scheduler import Limits
from rustinfer.engine.sequence import Key, Request, Sequence, State
from rustinfer.protocol.messages import Failed, Output
from rustinfer.protocol.sampling import SamplingParams

from .fakes import EOS, PAGE, VOCAB, FakeRunner, alone

CONTEXT, AGE = 60, 40
SEEN: Counter[str] = Counter()
"""What happened in all runs of the machine together."""
STEMS = [[1 + (7 * s + i) % (VOCAB - 1) for i in range(40)] for s in range(4)]


@dataclass
class Expected:
    """One request as the oracle sees it: what each of its sequences has yet to say, and when it must be over."""

    born: int
    work: int
    left: dict[int, list[int]]
    ends: dict[int, bool] = field(default_factory=dict)  # whether the last token ends it by itself
    ahead: int = 0  # work of every request that may go before it


class Machine(RuleBasedStateMachine):
    """Requests of two owners, with shared stems, forks, priorities and salts, in a cache that is too small for them."""

    requests = Bundle("requests")

    @initialize(
        pages=st.integers(15, 30),
        seqs=st.integers(2, 8),
        budget=st.integers(6, 24),
        sharing=st.booleans(),
        depth=st.integers(0, 1),
        several=st.sampled_from([1, 2, 4]),
        share=st.sampled_from([3, kvcache.SHARE]),
    )
    def start(self, pages: int, seqs: int, budget: int, sharing: bool, depth: int, several: int, share: int) -> None:
        self.plenty = patch.object(kvcache, "SHARE", share)
        self.plenty.start()
        self.now, self.count, self.depth, self.stalled = 0, 0, depth, 0
        self.longest = 2 * several - 1  # of one or two sequences
        self.expected: dict[Key, Expected] = {}
        self.engine = Engine(
            FakeRunner(pages, depth),
            KVCache(pages, PAGE, sharing),
            Limits(seqs, max(budget, seqs), age=AGE, several=several, few=3, longer=self.longest),
            Admission(VOCAB, CONTEXT, pages * PAGE, (EOS,)),
            clock=lambda: self.now,
        )
        self.forked = self.evicted = self.launches = 0
        launch = self.engine.runner.launch

        def watched(plan: Plan) -> Flight:
            self.launches += plan.count > 1
            return launch(plan)

        self.engine.runner.launch = watched  # type: ignore[method-assign]
        evict = self.engine.cache.tree.evict

        def counted(count: int) -> list[int]:
            pages = evict(count)
            self.evicted += len(pages)
            return pages

        self.engine.cache.tree.evict = counted  # type: ignore[method-assign]

    @rule(
        target=requests,
        stem=st.sampled_from(STEMS),
        length=st.integers(1, 20),
        tail=st.lists(st.integers(1, VOCAB - 1), max_size=3),
        tokens=st.integers(5, 35),
        n=st.integers(1, 3),
        seed=st.none() | st.integers(0, 5),
        owner=st.sampled_from([b"x", b"y"]),
        priority=st.integers(0, 2),
        salt=st.sampled_from(["", "", "other"]),
    )
    def add(
        self,
        stem: list[int],
        length: int,
        tail: list[int],
        tokens: int,
        n: int,
        seed: int | None,
        owner: bytes,
        priority: int,
        salt: str,
    ) -> object:
        self.count += 1
        prompt = stem[:length] + tail
        drawn = {"temperature": 0.0} if seed is None else {"temperature": 1.0, "seed": seed}
        request = Request(
            str(self.count), prompt, SamplingParams(max_tokens=tokens, n=n, **drawn), priority, owner, salt
        )
        try:
            self.engine.add(request)
        except RequestRefused:
            assert len(prompt) + tokens - 1 > self.engine.admission.capacity
            return multiple()
        self.forked += n - 1
        said = {i: alone(prompt, tokens, 0 if seed is None else seed + i) for i in range(n)}
        new = Expected(self.now, n * (len(prompt) + tokens), said, {i: s[-1] == EOS for i, s in said.items()})
        new.ahead = new.work + sum(other.work for other in self.expected.values())
        for other in self.expected.values():
            if self.now - other.born <= AGE:
                other.ahead += new.work
        self.expected[request.key] = new
        return request.key

    @rule(times=st.integers(1, 8))
    def step(self, times: int) -> None:
        for _ in range(times):
            self._step()

    @rule(key=requests, index=st.none() | st.integers(0, 2), times=st.integers(1, 2))
    def abort(self, key: Key, index: int | None, times: int) -> None:
        for _ in range(times):
            self.engine.abort(key, index)
        if (expected := self.expected.get(key)) is None:
            return
        if index is None:
            expected.left.clear()
        expected.left.pop(-1 if index is None else index, None)
        if not expected.left:
            del self.expected[key]

    @rule(owner=st.sampled_from([b"x", b"y"]))
    def disown(self, owner: bytes) -> None:
        self.engine.disown(owner)
        self.expected = {key: e for key, e in self.expected.items() if key[0] != owner}

    @rule(key=requests)
    def break_down(self, key: Key) -> None:
        """The next step that computes this request fails, and takes the request with it alone."""
        runner = self.engine.runner
        assert isinstance(runner, FakeRunner)
        runner.broken = lambda chunk: chunk.sequence.request.key == key
        heard = {(owner, news.id) for owner, news in self._step() if isinstance(news, Failed)}
        runner.broken = lambda chunk: False
        assert heard <= {key}

    def _step(self) -> list[tuple[bytes, Output | Failed]]:
        self.now += 1
        first = min(self._running(), key=lambda sequence: sequence.rank, default=None)
        before = first.computed if first else 0
        news = self.engine.step()
        if first is not None and first.state is not State.DONE and first.computed <= before:
            self.stalled += 1
        else:
            self.stalled = 0
        for owner, each in news:
            self._hear((owner, each.id), each)
        self.conserved()
        self.nobody_starves()
        return news

    def _running(self) -> list[Sequence]:
        return [s for s in self.engine.scheduler.sequences() if s.state is State.RUNNING]

    def _hear(self, key: Key, news: Output | Failed) -> None:
        if isinstance(news, Failed):
            assert news.code == "internal_error"
            del self.expected[key]
            return
        expected = self.expected[key]
        left = expected.left[news.index]
        assert left[: len(news.token_ids)] == news.token_ids
        del left[: len(news.token_ids)]
        assert bool(left) == (news.finish_reason is None)
        if not left:
            assert news.finish_reason == ("stop" if expected.ends[news.index] else "length")
            del expected.left[news.index]
        if not expected.left:
            del self.expected[key]

    @invariant()
    def conserved(self) -> None:
        sequences = list(self.engine.scheduler.sequences())
        self.engine.cache.check(sequences)
        if not self.expected and not self.engine.has_work:
            assert self.engine.cache.available == self.engine.cache.pool.total

    @invariant()
    def nobody_starves(self) -> None:
        # Whoever goes first computes in every step; where steps overlap it may have to wait for the one in flight, and
        # a launch of several tokens is over after as many steps.
        assert self.stalled <= 2 * self.depth + (self.longest > 1) * (1 + self.depth) * self.longest
        for key, expected in self.expected.items():
            bound = AGE + (1 + self.depth) * (expected.ahead + 5 + self.longest - 1)
            assert self.now - expected.born <= bound, f"{key} has waited {self.now - expected.born} steps"

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        self._finish()
        self.plenty.stop()
        engine, ends = self.engine, self.engine.measures.finished
        SEEN["steps"] += engine.totals.steps
        SEEN["launches of several"] += self.launches
        SEEN["shared"] += engine.totals.cached_tokens
        SEEN["preempted"] += engine.scheduler.preemptions
        SEEN["evicted"] += self.evicted
        SEEN["forked"] += self.forked
        SEEN["aborted"] += ends["abort"]
        SEEN["finished"] += ends["stop"] + ends["length"]
        SEEN["failed"] += ends["error"]

    def _finish(self) -> None:
        for _ in range(5000):
            if not self.engine.has_work:
                break
            self._step()
        assert not self.expected
        self.conserved()


HARD = settings(max_examples=150, stateful_step_count=60, suppress_health_check=list(HealthCheck))


def test_the_engine_does_what_the_oracle_says() -> None:
    SEEN.clear()
    run_state_machine_as_test(Machine, settings=HARD)
    assert SEEN["steps"] > 3000
    rare = [
        name
        for name in ("shared", "forked", "preempted", "evicted", "aborted", "finished", "failed", "launches of several")
        if SEEN[name] < 20
    ]
    assert not rare, f"too seldom: {rare} of {SEEN}"
