"""Drawing tokens for rows that ask for nothing but temperature, top-k, top-p, min-p and a seed."""

from __future__ import annotations

import torch
from torch import Tensor

from ..registry import Binder
from .threads import few


class Draw:
    """A few launches without a look at the host, so that a graph can hold them."""

    def __init__(self, ops: Binder) -> None:
        ops.site, before = "draw", len(ops.bindings)
        self.argmax, self.sample = ops.argmax(), ops.sample()
        self.bindings = ops.bindings[before:]

    def __call__(self, logits: Tensor, settings: tuple[Tensor, ...] | None, drawing: Tensor) -> tuple[Tensor, Tensor]:
        """The rows' tokens, int64 [R], and what the host is told: the same, or -1 where the logits are not finite.

        `settings` are temperature, top_k, top_p, min_p and seed of each row; None where all rows are greedy.
        """
        tokens: Tensor = self.sample(logits, *settings, drawing) if settings else self.argmax(logits)
        # Where there is nothing but NaN a kernel may name no token at all.
        tokens = tokens.clamp(0, logits.shape[1] - 1)
        with few(logits):
            # The token of a row where any is NaN or infinite stands there.
            sound = logits.gather(1, tokens[:, None])[:, 0].abs() < torch.inf
        return tokens, tokens.where(sound, -1)
