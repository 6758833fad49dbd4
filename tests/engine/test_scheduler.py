"""The scheduler and the page accounting, driven at random against a simple oracle, with no model at all."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rustinfer.engine.kvcache import KVCache
from rustinfer.engine.plan import Plan
from rustinfer.engine.scheduler import Limits, Scheduler
from rustinfer.engine.sequence import Request, Sequence, State
from rustinfer.protocol.sampling import SamplingParams

PAGE = 4


def sequences(
    name: str,
    prompt: list[int],
    order: int = 0,
    n: int = 1,
    limit: int = 8,
    priority: int = 0,
    streamed: bool = True,
) -> list[Sequence]:
    request = Request(name, prompt, SamplingParams(n=n), priority, streamed=streamed)
    return [Sequence(request, index, order, limit, 0) for index in range(n)]


def scheduler(pages: int = 64, seqs: int = 4, tokens: int = 16, sharing: bool = True) -> Scheduler:
    return Scheduler(KVCache(pages, PAGE, sharing), Limits(seqs, tokens))


def run(s: Scheduler, plan: Plan, token: int = 7) -> None:
    """What the engine does when a step has landed, with one token for everybody."""
    ends = [(q, q.settled + 1, True) for q in plan.decodes]
    ends += [(c.sequence, c.start + c.count, c.samples) for c in plan.chunks]
    for sequence, settled, samples in ends:
        s.landed(sequence, settled)
        if samples and sequence.state is not State.DONE:
            if not sequence.published:
                s.settle(sequence)
            sequence.tokens.append(token)
            if sequence.generated >= sequence.limit:
                s.finish(sequence)


def brief(plan: Plan) -> list[tuple[str, int, int, bool]]:
    decodes = [(q.request.id, q.computed - 1, 1, True) for q in plan.decodes]
    return decodes + [(c.sequence.request.id, c.start, c.count, c.samples) for c in plan.chunks]


def test_prompts_go_in_chunks_and_decoding_goes_first() -> None:
    s = scheduler(tokens=6)
    s.add(sequences("a", [1, 2, 3], 0))
    run(s, s.plan())
    s.add(sequences("b", list(range(10, 20)), 1))
    plans = []
    for _ in range(3):
        plans.append(brief(plan := s.plan()))
        run(s, plan)
    assert plans[0] == [("a", 3, 1, True), ("b", 0, 5, False)]
    assert plans[1] == [("a", 4, 1, True), ("b", 5, 5, True)]
    assert plans[2] == [("a", 5, 1, True), ("b", 10, 1, True)]


def rows(s: Scheduler, steps: int = 100) -> list[tuple[int, int]]:
    """What each step has until nobody is left: sequences that decode, and rows of prompts."""
    found = []
    while len(s) and len(found) < steps:
        run(s, plan := s.plan())
        found.append((len(plan.decodes), sum(chunk.count for chunk in plan.chunks)))
    return found


def test_where_nobody_reads_before_the_end_prompts_have_their_steps_to_themselves() -> None:
    for streamed in (True, False):
        s = scheduler(seqs=8, tokens=16)
        for i in range(8):
            s.add(sequences(f"{i}", [i + 1] * 8, i, limit=5, streamed=streamed))
        first, *others = rows(s)
        assert first == (0, 16)
        if streamed:
            assert others == [(2, 14), (3, 13), (5, 11), (6, 10), (6, 0), (5, 0), (3, 0), (2, 0)]
        else:
            assert others == [(0, 16)] * 3 + [(8, 0)] * 4


def test_256_prompts_at_once_decode_in_full_steps_alone() -> None:
    for streamed in (True, False):
        s = scheduler(pages=256 * 160, seqs=256, tokens=16384, sharing=False)
        for i in range(256):
            s.add(sequences(f"{i}", [i] * 512, i, limit=129, streamed=streamed))
        steps = rows(s, 200)
        if streamed:
            assert len(steps) == 137
            assert steps.count((256, 0)) == 120
        else:
            assert steps == [(0, 16384)] * 8 + [(256, 0)] * 128


def test_who_decodes_takes_part_where_prompts_leave_room_for_all_of_them() -> None:
    for length, wanted in ((13, (3, 13)), (14, (0, 14)), (17, (0, 16))):
        s = scheduler(tokens=16)
        for i in range(3):
            s.add(sequences(f"{i}", [i + 1] * 4, i, streamed=False))
        run(s, s.plan())
        s.add(sequences("long", [9] * length, 3, streamed=False))
        assert rows(s, 2)[0] == wanted


def test_one_who_is_read_as_it_comes_waits_for_no_prompt() -> None:
    for streamed in (True, False):
        s = scheduler(tokens=16)
        for i in range(2):
            s.add(sequences(f"{i}", [i + 1] * 4, i, streamed=streamed and i == 1))
        run(s, s.plan())
        s.add(sequences("long", [9] * 40, 2, streamed=False))
        assert rows(s, 2) == ([(2, 14)] * 2 if streamed else [(0, 16)] * 2)


def test_prompts_without_end_keep_nobody_from_decoding() -> None:
    s = scheduler(seqs=3, tokens=8, sharing=False)
    (a,) = sequences("a", [1], limit=6, streamed=False)
    s.add([a])
    run(s, s.plan())
    decoding = []
    for i in range(1, 100):
        s.add(sequences(f"{i}", [2, i] * 5, i, limit=1, streamed=False))
        run(s, plan := s.plan())
        decoding += [i] if a in plan.decodes else []
    assert len(decoding) == 5
    assert 2 < max(later - sooner for sooner, later in itertools.pairwise(decoding)) < 6


def test_whoever_comes_in_begins_with_a_chunk_even_of_one_token() -> None:
    s = scheduler()
    for i in range(2):
        s.add(sequences(f"{i}", list(range(9)), i, streamed=False))
        run(s, plan := s.plan())
    assert [(c.sequence.request.id, c.start, c.count) for c in plan.chunks] == [("1", 8, 1)]
    assert [q.request.id for q in plan.decodes] == ["0"]


def test_nobody_comes_in_to_be_put_out_again() -> None:
    s = scheduler(pages=12, seqs=8, tokens=8)
    for i in range(8):
        s.add(sequences(f"{i}", [i + 1] * 8, i, limit=4, streamed=False))
    assert max(decoding for decoding, _ in rows(s)) > 2
    assert not s.preemptions


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
        plan = s.plan()
        s.cache.check(list(s.sequences()))
        seen += brief(plan)
        run(s, plan)
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
        plan = s.plan()
        assert brief(plan) == [("a", 0, 9, True)]
        run(s, plan)
        plan = s.plan()
        assert [(q.index, q.computed) for q in plan.decodes] == [(0, 10)]
        assert [(c.sequence.index, c.start, c.count) for c in plan.chunks] == [(1, 8, 1), (2, 8, 1)]
        assert group[1].pages[:2] == group[0].pages[:2]
        assert len({g.pages[2] for g in group}) == 3
        run(s, plan)
        for g in group:
            s.finish(g)
        s.cache.check([])
        assert len(s.cache.pool) == (64 - 2 if sharing else 64)


def test_an_exact_repeat_computes_its_last_block_again() -> None:
    s = scheduler()
    for order in range(2):
        s.add(sequences(f"r{order}", list(range(8)), order, limit=1))
        plan = s.plan()
        assert (plan.chunks[0].start, plan.chunks[0].count) == ((0, 8) if order == 0 else (4, 4))
        run(s, plan)


def test_steps_are_planned_ahead_up_to_the_last_token() -> None:
    s = scheduler()
    a = sequences("a", [1, 2, 3], limit=3)[0]
    s.add([a])
    plans = [s.plan() for _ in range(4)]
    assert [brief(plan) for plan in plans] == [[("a", 0, 3, True)], [("a", 4, 1, True)], [("a", 4, 1, True)], []]
    for plan in plans:
        run(s, plan)
    assert a.tokens[a.prompt :].tolist() == [7, 7, 7]
    assert len(s) == 0


def test_the_list_of_those_who_decode_is_the_same_while_nobody_comes_or_goes() -> None:
    s = scheduler()
    s.add(sequences("a", [1, 2, 3]))
    run(s, s.plan())
    first, second = s.plan(), s.plan()
    assert first.decodes is second.decodes
    s.add(sequences("b", [1, 2, 3], 1))
    s.plan()
    assert s.plan().decodes is not first.decodes


def test_those_who_decode_stand_in_the_order_of_their_rows() -> None:
    s = scheduler()
    for i, limit in enumerate((1, 8, 1, 8)):
        s.add(sequences(f"{i}", [i + 1], i, limit=limit))
    run(s, s.plan())
    s.add(sequences("new", [9], 4))
    run(s, s.plan())
    rows = [q.row for q in s.plan().decodes]
    assert rows == sorted(rows) == [0, 1, 2]
    assert [q.row for q in s.running] != rows


def test_a_step_that_does_not_count_is_planned_again_as_a_new_one() -> None:
    s = scheduler()
    s.add(sequences("a", [1], 0))
    s.add(sequences("b", [2], 1))
    run(s, s.plan())
    first = s.plan()
    one, late = first.decodes
    s.landed(one, one.settled + 1)
    one.tokens.append(7)
    s.again(late)
    second = s.plan()
    assert brief(first)[1] == brief(second)[1] == ("b", 1, 1, True)
    assert second.decodes == first.decodes
    assert second.decodes is not first.decodes  # or the device would go on from where it is


def test_whoever_leaves_in_flight_keeps_its_pages_until_it_lands() -> None:
    for keep in (True, False):
        s = scheduler()
        a = sequences("a", list(range(9)))[0]
        s.add([a])
        s.plan()
        assert s.finish(a, keep) == []
        assert len(s.cache.pool) == 64 - 3
        s.cache.check(list(s.sequences()))
        assert len(s.landed(a, 9)) == (0 if keep else 3)
        assert s.cache.available == 64
        assert len(s.cache.tree.pages()) == (2 if keep else 0)
        s.cache.check(list(s.sequences()))


def test_finishing_twice_does_nothing_and_unsound_pages_are_not_shared() -> None:
    s = scheduler()
    a = sequences("a", list(range(9)))[0]
    s.add([a])
    s.plan()
    s.landed(a, 9)
    assert len(s.finish(a, keep=False)) == 3
    assert s.finish(a) == []
    assert len(s.cache.pool) == 64
    assert not s.cache.tree.pages()


class Machine(RuleBasedStateMachine):
    """Admit, fork, compute, preempt, share, abort, finish, evict: at random, in a pool that is always too small."""

    @initialize(
        pages=st.integers(10, 24),
        seqs=st.integers(1, 5),
        tokens=st.integers(5, 20),
        sharing=st.booleans(),
        streamed=st.booleans(),
    )
    def start(self, pages: int, seqs: int, tokens: int, sharing: bool, streamed: bool) -> None:
        self.s, self.streamed = scheduler(pages, seqs, max(tokens, seqs), sharing), streamed
        self.pages, self.order, self.clock = pages, 0, 0
        self.idle: dict[int, int] = {}
        self.alive: list[Sequence] = []
        self.flights: list[Plan] = []
        self.started = True

    @rule(
        stem=st.integers(0, 2),
        length=st.integers(1, 24),
        n=st.integers(1, 3),
        limit=st.integers(1, 12),
        p=st.integers(0, 1),
    )
    def admit(self, stem: int, length: int, n: int, limit: int, p: int) -> None:
        limit = min(limit, self.pages * PAGE - length)
        group = sequences(f"{self.order}", [stem] * length, self.order, n, limit, p, self.streamed)
        for member in group:
            member.arrived = self.clock
        self.order += 1
        self.alive += group
        self.s.add(group)

    @rule(fail=st.integers(0, 9), token=st.integers(0, 2), depth=st.integers(0, 2))
    def step(self, fail: int, token: int, depth: int) -> None:
        self.clock += 1
        plan = self.s.plan(now=float(self.clock))
        if plan:
            self.flights.append(plan)
        assert self.flights or not len(self.s)
        assert plan.tokens <= self.s.limits.tokens
        assert len(set(plan.sequences())) == len(plan) <= self.s.limits.sequences
        for q in plan.decodes:
            assert q.state is State.RUNNING
            assert len(q.pages) * PAGE >= q.computed
            assert q.computed <= q.last
        for chunk in plan.chunks:
            q = chunk.sequence
            assert q.state is State.RUNNING
            assert chunk.start + chunk.count == q.computed <= len(q.tokens)
            assert chunk.count >= 1
            assert len(q.pages) * PAGE >= q.computed
        rows = [q.row for q in self.s.running]
        assert len(set(rows)) == len(rows)
        if fail == 0 and plan:
            one = next(iter(plan.alone()))
            one.cancel()
            self.s.finish(one.sequences()[0], keep=False)
            plan.decodes, plan.chunks = (plan.decodes[1:], plan.chunks) if plan.decodes else ([], plan.chunks[1:])
        while len(self.flights) > depth or (self.flights and not plan):
            run(self.s, self.flights.pop(0), token)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        self.s.finish(data.draw(st.sampled_from(self.alive)))

    @rule()
    def drain(self) -> None:
        """Nobody starves: everything ends within as many steps as it has tokens, many times over."""
        for _ in range(2000):
            if not len(self.s) and not self.flights:
                break
            self.step(fail=1, token=1, depth=self.clock % 2)
        assert not len(self.s)
        assert self.s.cache.available == self.pages

    @invariant()
    def conservation(self) -> None:
        if hasattr(self, "started"):
            self.alive = [q for q in self.alive if q.state is not State.DONE]
            there = list(self.s.sequences())
            assert sorted(map(id, self.alive)) == sorted(id(q) for q in there if q.state is not State.DONE)
            assert len(set(there)) == len(there)
            self.s.cache.check(there)


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
test_random_life = Machine.TestCase
