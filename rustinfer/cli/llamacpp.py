"""llama-cpp-python with a clock beside it, for the comparison in `rustinfer bench cpu`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .bench_cpu import SHORT, Speed


class LlamaCpp:
    """One model file in llama.cpp, evaluating with the given threads and one batch as long as the prompt."""

    def __init__(self, path: Path, threads: int, prompt: int, tokens: int) -> None:
        import llama_cpp

        context = max(prompt, SHORT + tokens) + 8
        self._model: Any = llama_cpp.Llama(
            model_path=str(path),
            n_ctx=context,
            n_batch=max(prompt, 512),
            n_ubatch=max(prompt, 512),
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )

    def measure(self, ids: Sequence[int], tokens: int) -> Speed:
        return Speed(self._decode(ids[:SHORT], tokens), len(ids) / self._evaluate(ids))

    def _evaluate(self, ids: Sequence[int]) -> float:
        self._model.reset()
        return self._time(ids)

    def _decode(self, ids: Sequence[int], tokens: int) -> float:
        self._evaluate(ids)
        return tokens / sum(self._time([ids[i % len(ids)]]) for i in range(tokens))

    def _time(self, ids: Sequence[int]) -> float:
        start = time.perf_counter()
        self._model.eval(list(ids))
        return time.perf_counter() - start
