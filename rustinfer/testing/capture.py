"""Running a kernel inside a CUDA graph."""

from __future__ import annotations

from typing import Any

import torch

from rustinfer.graph import Graph
from rustinfer.registry.op import Function

from .values import copied, tensors


def replayed(call: Function, flow: tuple[Any, ...]) -> Any:
    """The result of a replay whose floating inputs were zero until the graph was captured; it writes to `flow`.

    So a kernel that reads its inputs on the host, or keeps what it saw, gives a wrong answer or fails to be captured.
    """
    wanted = copied(flow)
    for _, tensor in tensors(flow, ""):
        if tensor.is_floating_point():
            tensor.zero_()
    graph = Graph(lambda: call(*flow))
    for (_, tensor), (_, value) in zip(tensors(flow, ""), tensors(wanted, ""), strict=True):
        tensor.copy_(value)
    result = graph()
    torch.cuda.synchronize()
    return result
