"""The scheduler and the page accounting, driven at random against a simple oracle, with no model at all."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rustinfer.engine.kvcache import KVCache
from rustinfer.engine.scheduler import Chunk, Limits, Scheduler
from rustinfer.engine.sequence import Request, Sequence, State
from rustinfer.protocol.sampling import SamplingParams

PAGE = 4


def sequences(
    name: str, prompt: list[int], order: int = 0, n: int = 1, limit: int = 8, priority: int = 0
) -> list[Sequence]:
    request = Request(name, prompt, SamplingParams(n=n), priority)
    return [Sequence(request, index, order, limit, 0) for index in range(n)]


def scheduler(pages: int = 64, seqs: int = 4, tokens: int = 16, sharing: bool = True) -> Scheduler:
    return Scheduler(KVCache(pages, PAGE, sharing), Limits(seqs, tokens))


def run(s: Scheduler, chunks: list[Chunk], token: int = 7) -> None:
    """What the engine does after a step, with one token for everybody."""
    for chunk in chunks:
        s.computed(chunk)
        if chunk.samples:
            if not chunk.sequence.published:
                s.settle(chunk.sequence)
            chunk.sequence.tokens.append(token)
            if chunk.sequence.generated >= chunk.sequence.limit:
                s.finish(chunk.sequence)


def brief(chunks: list[Chunk]) -> list[tuple[str, int, int, bool]]:
    return [(c.sequence.request.id, c.start, c.count, c.samples) for c in chunks]


def test_prompts_go_in_chunks_and_decoding_goes_first() -> None:
    s = scheduler(tokens=6)
    s.add(sequences("a", [1, 2, 3], 0))
    run(s, s.plan())
    s.add(sequences("b", list(range(10, 20)), 1))
    plans = []
    for _ in range(3):
        plans.append(brief(chunks := s.plan()))
        run(s, chunks)
    assert plans[0] == [("a", 3, 1, True), ("b", 0, 5, False)]
    assert plans[1] == [("a", 4, 1, True), ("b", 5, 5, True)]
    assert plans[2] == [("a", 5, 1, True), ("b", 10, 1, True)]


def test_priority_goes_before_arrival_and_age_before_priority() -> None:
    s = scheduler(seqs=1)
    old, urgent = sequences("old", [1], 0, priority=5)[0], sequences("urgent", [2], 1, priority=0)[0]
    old.arrived, urgent.arrived = 0.0, 100.0
    s.add([old])
    s.add([urgent])
    assert brief(s.plan(now=10.0))[0][0] == "urgent"
    s.finish(urgent)
    s.add(sequences("urgent too", [3], 2, priority=0))
    assert brief(s.plan(now=100.0))[0][0] == "old"


def test_the_youngest_is_preempted_and_starts_again_from_what_it_has() -> None:
    s = scheduler(pages=6)
    s.add(sequences("a", [1] * 8, 0))
    s.add(sequences("b", [2] * 8, 1))
    run(s, s.plan())
    seen = []
    for _ in range(40):
        chunks = s.plan()
        s.cache.check(list(s.sequences()))
        seen += brief(chunks)
        run(s, chunks)
    assert s.preemptions >= 1
    assert len(s) == 0
    assert s.cache.available == 6
    b = [c for c in seen if c[0] == "b"]
    assert any(count > 1 for _, _, count, _ in b[1:]) or any(b[i][1] <= b[i - 1][1] for i in range(1, len(b)))


def test_siblings_share_the_full_pages_of_the_prompt() -> None:
    for sharing in (True, False):
        s = scheduler(sharing=sharing)
        group = sequences("a", list(range(9)), n=3)
        s.add(group)
        assert brief(s.plan()) == [("a", 0, 9, True)]
        run(s, [Chunk(group[0], 0, 9, True)])
        chunks = s.plan()
        assert [(c.sequence.index, c.start, c.count) for c in chunks] == [(0, 9, 1), (1, 8, 1), (2, 8, 1)]
        assert group[1].pages[:2] == group[0].pages[:2]
        assert len({g.pages[2] for g in group}) == 3
        for g in group:
            s.finish(g)
        s.cache.check([])
        assert len(s.cache.pool) == (64 - 2 if sharing else 64)


def test_an_exact_repeat_computes_its_last_block_again() -> None:
    s = scheduler()
    for order in range(2):
        s.add(sequences(f"r{order}", list(range(8)), order, limit=1))
        chunks = s.plan()
        assert (chunks[0].start, chunks[0].count) == ((0, 8) if order == 0 else (4, 4))
        run(s, chunks)


def test_finishing_twice_does_nothing_and_unsound_pages_are_not_shared() -> None:
    s = scheduler()
    a = sequences("a", list(range(9)))[0]
    s.add([a])
    for chunk in s.plan():
        s.computed(chunk)
    assert len(s.finish(a, keep=False)) == 3
    assert s.finish(a) == []
    assert len(s.cache.pool) == 64
    assert not s.cache.tree.pages()


class Machine(RuleBasedStateMachine):
    """Admit, fork, compute, preempt, share, abort, finish, evict: at random, in a pool that is always too small."""

    @initialize(pages=st.integers(10, 24), seqs=st.integers(1, 5), tokens=st.integers(5, 20), sharing=st.booleans())
    def start(self, pages: int, seqs: int, tokens: int, sharing: bool) -> None:
        self.s = scheduler(pages, seqs, max(tokens, seqs), sharing)
        self.pages, self.order, self.clock = pages, 0, 0
        self.idle: dict[int, int] = {}
        self.alive: list[Sequence] = []
        self.started = True

    @rule(
        stem=st.integers(0, 2),
        length=st.integers(1, 24),
        n=st.integers(1, 3),
        limit=st.integers(1, 12),
        p=st.integers(0, 1),
    )
    def admit(self, stem: int, length: int, n: int, limit: int, p: int) -> None:
        group = sequences(f"{self.order}", [stem] * length, self.order, n, min(limit, self.pages * PAGE - length), p)
        for member in group:
            member.arrived = self.clock
        self.order += 1
        self.alive += group
        self.s.add(group)

    @rule(fail=st.integers(0, 9), token=st.integers(0, 2))
    def step(self, fail: int, token: int) -> None:
        self.clock += 1
        chunks = self.s.plan(now=float(self.clock))
        assert bool(chunks) == bool(len(self.s))
        assert sum(c.count for c in chunks) <= self.s.limits.tokens
        assert len({id(c.sequence) for c in chunks}) == len(chunks) <= self.s.limits.sequences
        for chunk in chunks:
            q = chunk.sequence
            assert q.state is State.RUNNING
            assert chunk.start == q.computed
            assert chunk.count >= 1
            assert len(q.pages) * PAGE >= chunk.start + chunk.count
        rows = [q.row for q in self.s.running]
        assert len(set(rows)) == len(rows)
        if fail == 0 and chunks:
            self.s.computed(chunks[0])
            self.s.finish(chunks[0].sequence, keep=False)
            chunks = chunks[1:]
        run(self.s, chunks, token)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        self.s.finish(data.draw(st.sampled_from(self.alive)))

    @rule()
    def drain(self) -> None:
        """Nobody starves: everything ends within as many steps as it has tokens, many times over."""
        for _ in range(2000):
            if not len(self.s):
                break
            self.step(fail=1, token=1)
        assert not len(self.s)
        assert self.s.cache.available == self.pages

    @invariant()
    def conservation(self) -> None:
        if hasattr(self, "started"):
            self.alive = [q for q in self.alive if q.state is not State.DONE]
            assert sorted(map(id, self.alive)) == sorted(map(id, self.s.sequences()))
            self.s.cache.check(self.alive)


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_random_life = Machine.TestCase
