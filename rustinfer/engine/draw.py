"""Drawing tokens for rows that ask for nothing but temperature, top-k, top-p, min-p and a seed."""

from __future__ import annotations

from torch import Tensor

from ..registry import Binder
from .threads import few


class Draw:
    """A few launches without a look at the host, so that a graph can hold them."""

    def __init__(self, ops: Binder) -> None:
        ops.site, before = "draw", len(ops.bindings)
        self.argmax, self.sample, self.sound = ops.argmax(), ops.sample(), ops.sound()
        self.bindings = ops.bindings[before:]

    def __call__(self, logits: Tensor, settings: tuple[Tensor, ...] | None, drawing: Tensor) -> tuple[Tensor, Tensor]:
        """The rows' tokens, int64 [R], and what the host is told: the same, or -1 where the logits are not finite.

        `settings` are temperature, top_k, top_p, min_p and seed of each row; None where all rows are greedy.
        """
        tokens: Tensor = self.sample(logits, *settings, drawing) if settings else self.argmax(logits)
        with few(logits):
            # The token of a row where any is NaN or infinite stands there.
            found: tuple[Tensor, Tensor] = self.sound(logits, tokens)
        return found
