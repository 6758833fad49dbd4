"""A call that is cut while it is recorded is two graphs, one after the other; the device itself is a stand-in here."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rustinfer import graph


class Recorder:
    """Stands for torch's graph: what is done while it captures is what it replays."""

    done: list[str]
    capturing: Recorder | None = None

    def __init__(self) -> None:
        self.held: list[str] = []

    def capture_begin(self, **how: Any) -> None:
        assert Recorder.capturing is None
        assert how["pool"] == (1, 2)
        Recorder.capturing = self

    def capture_end(self) -> None:
        assert Recorder.capturing is self
        Recorder.capturing = None

    def replay(self) -> None:
        Recorder.done += [*self.held, "|"]


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SimpleNamespace(wait_stream=lambda other: None, synchronize=lambda: None)
    monkeypatch.setattr(graph, "side_stream", lambda: stream)
    monkeypatch.setattr(Recorder, "done", [], raising=False)
    fakes = {"CUDAGraph": Recorder, "current_stream": lambda: stream, "stream": lambda _: nullcontext(),
             "graph_pool_handle": lambda: (1, 2)}  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)


def launch(name: str) -> None:
    if Recorder.capturing:
        Recorder.capturing.held.append(name)


def test_what_comes_after_a_cut_is_a_graph_of_its_own() -> None:
    def call() -> int:
        launch("first")
        graph.cut()
        launch("second")
        return 3

    made = graph.Graph(call, (1, 2))
    assert made() == 3
    assert Recorder.done == ["first", "|", "second", "|"]


def test_a_cut_of_what_fails_leaves_nothing_open() -> None:
    def call() -> None:
        if Recorder.capturing:
            graph.cut()
            raise RuntimeError("short of memory")

    with pytest.raises(RuntimeError, match="short"):
        graph.Graph(call)
    assert Recorder.capturing is None
    graph.cut()  # nothing is being recorded
    assert graph.Graph(lambda: launch("one"))() is None
    assert Recorder.done == ["one", "|"]
