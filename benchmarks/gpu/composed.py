"""Whole decode steps that the benchmarks compare: the same weights, keys and values by other kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rustinfer.registry import Policy, Target

from .world import DEVICE, caches, configuration, logits, registry, step, weights, wire

Step = Callable[[], tuple[Tensor, Tensor]]
BACKENDS = ("cuda", "triton", "cublas")


class Composed:
    """One token of each of `rows` sequences of a built-in shape, which have `context` positions then; in bfloat16."""

    def __init__(self, model: str, rows: int, context: int) -> None:
        self.config, dtype = configuration(model, 9216), torch.bfloat16
        self.weights = weights(self.config, dtype)
        self.step = step(self.config, [1] * rows, [context] * rows)
        self.caches = caches(self.config, self.step.pages.numel(), dtype)
        self.target = Target.of(DEVICE, dtype).decoding(rows)
        self.rows = torch.arange(rows, device=DEVICE)

    def bound(self, *backends: str, policy: Policy | None = None) -> Step:
        """Logits and the likeliest tokens, by what the policy picks of these back ends."""
        found = registry(*(backends or BACKENDS))
        model, binder = wire(self.config, found, self.target, self.weights, self.caches, policy)
        pick = binder.argmax()

        def run() -> tuple[Tensor, Tensor]:
            said = logits(model, self.step, self.rows)
            return said, pick(said)

        return run
