"""A CUDA graph: what a call has the device do, recorded once, and replayed without the host's part of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Generic, TypeVar

import torch

R = TypeVar("R")
Pool = tuple[int, int]
"""Memory that graphs share, as `torch.cuda.graph_pool_handle` names it."""


@cache
def side_stream() -> torch.cuda.Stream:
    """Where all graphs are recorded: never the default stream, which no graph can hold, and always the same one.

    torch keeps scratch for each stream on which it multiplies.
    """
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


class Graph(Generic[R]):
    """A call recorded once and replayed; what it returned is written anew by each replay.

    It runs once before it is recorded, on a side stream, so that kernels are loaded and scratch exists. What it reads
    must be there, and stay there. Nothing else may use the device meanwhile.
    """

    def __init__(self, call: Callable[[], R], pool: Pool | None = None) -> None:
        stream = side_stream()
        stream.wait_stream(torch.cuda.current_stream())
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            call()
            stream.synchronize()
            # Not `torch.cuda.graph`: that empties the allocator's cache each time, and there are dozens of graphs.
            self._graph.capture_begin(pool=pool, capture_error_mode="thread_local")  # type: ignore[arg-type]
            try:
                self._result = call()
            finally:
                self._graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)

    def __call__(self) -> R:
        self._graph.replay()
        return self._result
