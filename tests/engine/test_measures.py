"""What the engine counts, by a clock that only the test moves."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from rustinfer.engine.engine import Engine
from rustinfer.engine.errors import RequestRefused
from rustinfer.engine.measures import Meter
from rustinfer.protocol.structured import Structured

from .fakes import Log, engine, request


class Clock:
    """Goes on by one second each time somebody looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def counted() -> Engine:
    made = engine(seqs=1)
    made._clock = Clock()
    return made


def test_a_meter_counts_up_to_and_including_its_bounds() -> None:
    meter = Meter((1, 2))
    for value in (0.5, 1, 1.5, 2, 3):
        meter.observe(value)
    found = meter.histogram()
    assert (found.bounds, found.counts, found.sum) == ([1.0, 2.0], [2.0, 2.0, 1.0], 8.0)


def test_times_of_a_sequence(counted: Engine) -> None:
    for name in ("a", "b"):
        counted.add(request(name, [1, 2, 3], max_tokens=3, ignore_eos=True))
    Log().drain(counted)
    found = counted.measures
    # a: arrives at 1 and is admitted at 3; a step looks twice. b arrives at 2 and waits for a's three steps.
    assert found.queue.histogram().sum == (3 - 1) + (9 - 2)
    assert found.prefill.histogram().sum == 1 + 1
    assert found.decode.histogram().sum == 4 + 4
    assert (found.step.histogram().sum, sum(found.step.histogram().counts)) == (6, 6)
    assert found.step_tokens.histogram().sum == 2 * (3 + 1 + 1)
    assert found.finished == {"length": 2}


def test_ends_of_every_kind(counted: Engine) -> None:
    counted.add(request("aborted", [1, 2], n=2))
    counted.abort((b"", "aborted"), 0)
    counted.abort((b"", "aborted"))
    counted.abort((b"", "aborted"))
    assert counted.measures.finished == {"abort": 2}
    counted.runner.unsound = lambda chunk: True  # type: ignore[attr-defined]
    counted.add(request("bad", [1, 2], n=2))
    Log().drain(counted)
    assert counted.measures.finished == {"abort": 2, "error": 2}


def test_what_waits_and_why(counted: Engine) -> None:
    class Never:
        future: Future[object] = Future()

        def compile(self, form: Structured) -> Future[object]:
            return self.future

    counted.compiling.grammars = Never()  # type: ignore[assignment]
    counted.add(request("a", [1, 2], n=3))
    counted.add(request("b", [1, 2]))
    counted.add(request("c", [1, 2], n=2, structured_outputs=Structured("json_object")))
    assert counted.waiting == {"capacity": 2, "siblings": 2, "grammar": 2}
    Never.future.set_exception(RequestRefused("invalid_grammar", "no"))
    Log().drain(counted)
    assert counted.waiting == {"capacity": 0, "siblings": 0, "grammar": 0}
    assert counted.measures.refused == 1
