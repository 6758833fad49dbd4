"""A request that was understood: what goes to the engine, and how its answer is written."""

from __future__ import annotations

from dataclasses import dataclass

from rustinfer.protocol.sampling import SamplingParams

from .answer import Answer
from .generation import Generation

MAX_CHOICES = 512
"""Sequences of one request."""


@dataclass(frozen=True)
class Prepared:
    request: Generation
    prompts: list[list[int]]
    sampling: SamplingParams
    answer: Answer
    ignored: list[str]

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Ignored-Params": ", ".join(self.ignored)} if self.ignored else {}
