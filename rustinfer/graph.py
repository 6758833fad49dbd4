"""A CUDA graph: what a call has the device do, recorded once, and replayed without the host's part of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Generic, TypeVar

import torch

R = TypeVar("R")
_recording: list[Graph[Any]] = []
Pool = tuple[int, int]
"""Memory that graphs share, as `torch.cuda.graph_pool_handle` names it."""


@cache
def side_stream() -> torch.cuda.Stream:
    """Where all graphs are recorded: never the default stream, which no graph can hold, and always the same one.

    torch keeps scratch for each stream on which it multiplies.
    """
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def cut() -> None:
    """What a call does from here on is a graph of its own, where it is being recorded.

    An idle device then begins with the first while the host launches the rest.
    """
    if _recording:
        _recording[-1].cut()


class Graph(Generic[R]):
    """A call recorded once and replayed; what it returned is written anew by each replay.

    It runs once before it is recorded, on a side stream, so that kernels are loaded and scratch exists. What it reads
    must be there, and stay there. Nothing else may use the device meanwhile.
    """

    def __init__(self, call: Callable[[], R], pool: Pool | None = None) -> None:
        stream = side_stream()
        stream.wait_stream(torch.cuda.current_stream())
        self._parts: list[torch.cuda.CUDAGraph] = []
        self._pool = pool or torch.cuda.graph_pool_handle()
        with torch.cuda.stream(stream):
            call()
            stream.synchronize()
            self._begin()
            _recording.append(self)
            try:
                self._result = call()
            finally:
                _recording.pop()
                self._parts[-1].capture_end()
        torch.cuda.current_stream().wait_stream(stream)

    def __call__(self) -> R:
        for part in self._parts:
            part.replay()
        return self._result

    def _begin(self) -> None:
        # Not `torch.cuda.graph`: that empties the allocator's cache each time, and there are dozens of graphs.
        self._parts.append(part := torch.cuda.CUDAGraph())
        part.capture_begin(pool=self._pool, capture_error_mode="thread_local")  # type: ignore[arg-type]

    def cut(self) -> None:
        """As the function, for this one, which is being recorded."""
        self._parts[-1].capture_end()
        self._begin()
