"""`LLM` over the real engine with graphs and kernels that cost nothing: what is left of a prompt is the host's part.

`python -m benchmarks.gpu.prompt_turns --model null` times it, on a CPU. Copies and events of a GPU are not in it.
"""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks import engine_steps
from rustinfer import LLM
from rustinfer.engine.graphs import Recorded
from rustinfer.engine.mixed import shapes

CONTEXT, TOKENS, VOCAB = 9216, 16384, 128256


class Null:
    """A graph that has been replayed already."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def __call__(self) -> Any:
        return self.result


def null(sequences: int) -> LLM:
    """For so many sequences, with all the shapes of a GPU and one step ahead as there."""
    torch.set_num_threads(1)
    engine = engine_steps.engine(sequences, CONTEXT, TOKENS, VOCAB, sharing=False)
    for shape in reversed(shapes(TOKENS, sequences, CONTEXT)):
        graph: Any = Null(torch.ones(shape.sequences, dtype=torch.int64))
        engine.runner.mixed._graphs[shape] = Recorded(graph, graph, graph)  # type: ignore[attr-defined]
    made: Any = SimpleNamespace(engine=engine, tokenizer=None, template=None, phases=SimpleNamespace(seconds={}))
    gc.collect()
    gc.freeze()
    return LLM.over(made)
