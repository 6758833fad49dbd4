"""A runner whose cache holds tokens instead of keys: what it says next depends on all it reads back from the pages.

A page that was mixed up, freed too early or shared with the wrong prefix changes what a sequence says.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable
from collections.abc import Sequence as Items

from rustinfer.engine.admission import Admission
from rustinfer.engine.engine import Engine
from rustinfer.engine.flight import Done
from rustinfer.engine.kvcache import KVCache
from rustinfer.engine.plan import Chunk, Plan
from rustinfer.engine.sampled import Flight, Sampled
from rustinfer.engine.scheduler import Limits
from rustinfer.engine.sequence import Request, State
from rustinfer.protocol.messages import Failed, Output
from rustinfer.protocol.sampling import SamplingParams

VOCAB, EOS, PAGE = 1000, 0, 4


class FakeRunner:
    """Computes at launch, and knows what it drew as a device would: by the sequence's row."""

    def __init__(self, pages: int, depth: int = 0) -> None:
        self.depth = depth
        self.cells = [[-1] * PAGE for _ in range(pages)]
        self.broken: Callable[[Chunk], bool] = lambda chunk: False
        self.unsound: Callable[[Chunk], bool] = lambda chunk: False
        self.unreadable: Callable[[Plan], bool] = lambda plan: False
        self.cleared: list[int] = []
        self.steps: list[int] = []
        self._drawn: dict[int, tuple[int, int]] = {}
        self._talks: list[FakeTalk] = []

    def launch(self, plan: Plan) -> Flight:
        self.steps.append(plan.tokens)
        if plan.count > 1:
            return self._several(plan)
        self.catch_up()
        for source, target in plan.moves:
            self._drawn[target] = self._drawn.get(source, (-1, -1))
        plan.moves.clear()
        chunks = [Chunk(q, q.computed - 1, 1, True) for q in plan.decodes] + plan.chunks
        if any(self.broken(chunk) for chunk in chunks):
            raise RuntimeError("kernel failed")
        tokens = [self._one(chunk, fed=number < len(plan.decodes)) for number, chunk in enumerate(chunks)]
        sampling = [chunk for chunk in chunks if chunk.samples]
        unsound = [row for row, chunk in enumerate(sampling) if self.unsound(chunk)]
        return Lost() if self.unreadable(plan) else Done(Sampled([t for t in tokens if t is not None], unsound))

    def _several(self, plan: Plan) -> Flight:
        if any(self.broken(Chunk(q, q.computed - plan.count, plan.count, True)) for q in plan.decodes):
            raise RuntimeError("kernel failed")
        if plan.moves:
            self.catch_up()
            for source, target in plan.moves:
                self._drawn[target] = self._drawn.get(source, (-1, -1))
            plan.moves.clear()
        self._talks.append(FakeTalk(self, plan))
        return self._talks[-1]

    def catch_up(self, until: FakeTalk | None = None) -> None:
        """The device does what it was asked for first, to the end."""
        while self._talks and self._talks[0] is not until:
            while len(self._talks[0].told) < self._talks[0].count:
                self._talks[0].one()
            self._talks.pop(0)

    def relieve(self) -> None:
        pass

    def clear(self, pages: Items[int]) -> None:
        self.cleared += pages
        for page in pages:
            self.cells[page] = [-1] * PAGE

    def _one(
        self, chunk: Chunk, row: int | None = None, pages: Items[int] | None = None, *, fed: bool = False
    ) -> int | None:
        q, end = chunk.sequence, chunk.start + chunk.count
        row, pages = q.row if row is None else row, pages or q.pages
        for at in range(chunk.start, end):
            drawn_at, token = self._drawn.get(row, (-1, -1))
            if at < len(q.tokens) and not (fed and drawn_at == at):  # the row's own goes before the host's
                token = q.tokens[at]
            else:
                assert drawn_at == at
            self.cells[pages[at // PAGE]][at % PAGE] = token
        if not chunk.samples:
            self._drawn[row] = -1, -1
            return None
        read = [self.cells[pages[at // PAGE]][at % PAGE] for at in range(end)]
        token = says(read, q.seed if q.request.sampling.temperature else 0)
        self._drawn[row] = end, token
        return token


class FakeTalk(Flight):
    """A launch of several tokens, which are computed when somebody asks, or when something else is launched.

    It begins where the one before ended, unless it was told where it would end. `late` are those of which a token is
    computed although they were told to stop, `drawn` all other tokens of all.
    """

    late = drawn = 0

    def __init__(self, runner: FakeRunner, plan: Plan) -> None:
        self.told: list[Sampled] = []
        self.count, self.read, self.stopped = plan.count, 0, False
        self._runner, self._unreadable = runner, runner.unreadable(plan)
        self._rows = [(q, q.computed - plan.count, q.row, list(q.pages)) for q in plan.decodes]
        before = runner._talks[-1] if runner._talks else None
        self._before = before if before and before._decodes is plan.decodes and not plan.touched else None
        self._decodes = plan.decodes

    @property
    def missing(self) -> int:
        """How many tokens it, and those before it, were asked for and did not draw, when all is told."""
        return sum(bool(told.undrawn) for told in self.told) + (self._before.missing if self._before else 0)

    def one(self) -> None:
        """The next token of each row; after a stop only the first, for whoever is done of anything."""
        at = len(self.told)
        if not at and self._before:
            self._rows = [(q, start - self._before.missing, row, pages) for q, start, row, pages in self._rows]
        if self.stopped and at:
            self.told.append(Sampled([-2] * len(self._rows), undrawn=range(len(self._rows))))
            return
        if self.stopped and all(q.state is State.DONE for q, *_ in self._rows):
            FakeTalk.late += 1
            for _, start, _, pages in self._rows:
                self._runner.cells[pages[start // PAGE]][start % PAGE] = -7
            self.told.append(Sampled([7] * len(self._rows)))
            return
        FakeTalk.drawn += 1
        chunks = [Chunk(q, start + at, 1, True) for q, start, _, _ in self._rows]
        places = [(row, pages) for _, _, row, pages in self._rows]
        tokens = [self._runner._one(chunk, *place) for chunk, place in zip(chunks, places, strict=True)]
        unsound = [row for row, chunk in enumerate(chunks) if self._runner.unsound(chunk)]
        self.told.append(Sampled([t for t in tokens if t is not None], unsound))

    def result(self) -> Sampled:
        self._runner.catch_up(self)
        if len(self.told) == self.read:
            self.one()
        self.read += 1
        if self._unreadable:
            raise RuntimeError("lost on the way")
        return self.told[self.read - 1]

    def stop(self) -> None:
        self.stopped = True


class Lost(Flight):
    """A step that was launched and went wrong on its way."""

    def result(self) -> Sampled:
        raise RuntimeError("lost on the way")


def says(tokens: Items[int], seed: int = 0) -> int:
    """The fake model: any token but the end token, and that now and then."""
    value = zlib.crc32(array("q", [seed, *tokens]).tobytes())
    return EOS if value % 41 == 0 else 1 + value % (VOCAB - 1)


def alone(prompt: Items[int], max_tokens: int, seed: int = 0) -> list[int]:
    """What a prompt's continuation must be, by the definition of the fake model."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + max_tokens:
        tokens.append(says(tokens, seed))
        if tokens[-1] == EOS:
            break
    return tokens[len(prompt) :]


def engine(
    pages: int = 64,
    seqs: int = 4,
    tokens: int = 16,
    sharing: bool = True,
    context: int = 200,
    queue: int | None = None,
    depth: int = 0,
    several: int = 1,
) -> Engine:
    cache = KVCache(pages, PAGE, sharing)
    admission = Admission(VOCAB, context, pages * PAGE, (EOS,), queue)
    limits = Limits(seqs, tokens, several=several, few=8)
    return Engine(FakeRunner(pages, depth), cache, limits, admission, clock=lambda: 0.0)


def request(id: str, prompt: Items[int], owner: bytes = b"", streamed: bool = True, **params: object) -> Request:
    sampling = SamplingParams(**{"temperature": 0.0, **params})  # type: ignore[arg-type]
    return Request(id, list(prompt), sampling, owner=owner, streamed=streamed)


class Log:
    """Everything an engine said, by request and index; checks that each ends exactly once."""

    def __init__(self) -> None:
        self.tokens: dict[tuple[str, int], list[int]] = {}
        self.reasons: dict[tuple[str, int], str | None] = {}
        self.failed: dict[str, Failed] = {}
        self.outputs: list[Output] = []

    def read(self, engine: Engine) -> None:
        for _, news in engine.step():
            if isinstance(news, Failed):
                assert news.id not in self.failed
                self.failed[news.id] = news
                continue
            key = news.id, news.index
            assert self.reasons.get(key) is None, "an output after the end"
            assert news.id not in self.failed
            self.tokens.setdefault(key, []).extend(news.token_ids)
            self.reasons[key] = news.finish_reason
            self.outputs.append(news)

    def drain(self, engine: Engine, steps: int = 5000) -> Log:
        while steps > 0:
            if not engine.has_work:
                return self
            steps -= not engine.compiling  # which takes its time
            self.read(engine)
            engine.cache.check(list(engine.scheduler.sequences()))
        raise AssertionError("the engine does not come to an end")
