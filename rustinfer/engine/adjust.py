"""What changes logits before a token is drawn, each for the rows that ask for it: nobody else pays.

An adjustment is made once for as long as a batch stays the same, and writes to the logits [R, vocab] of its steps.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items

import torch
from torch import Tensor

from ..registry import Binder
from .counts import PROMPT, Counts
from .sequence import Sequence
from .staging import moved

Adjustment = Callable[[Tensor], None]


class Adjustments:
    """Makes the adjustments of a batch, in the order in which they are to run, with ops that were bound once."""

    def __init__(self, ops: Binder, vocab: int) -> None:
        self.device = ops.target.device
        self.counts = Counts(vocab, self.device)
        self.penalize, self.bias = ops.penalize(prompt=PROMPT), ops.bias_logits()
        self.mask, self.typical = ops.mask_logits(), ops.keep_typical()

    def biases(self, sequences: Items[Sequence]) -> Adjustment | None:
        """logit_bias: added to the model's logits, before all else."""
        found = [(i, t, b) for i, s in enumerate(sequences) for t, b in (s.request.sampling.logit_bias or {}).items()]
        if not found:
            return None
        rows, tokens, values = zip(*found, strict=True)
        flow = self.integers(rows), self.integers(tokens), self.floats(values)
        return lambda logits: self.bias(logits, *flow)

    def penalties(self, sequences: Items[Sequence], rows: Items[int]) -> Adjustment | None:
        """Presence, frequency and repetition, of these rows; `counts` must have followed them."""
        if not rows:
            return None
        asking = [sequences[i] for i in rows]
        params = [s.request.sampling for s in asking]
        flow = (
            self.integers(self.counts.lanes(asking)),
            *(
                self.floats([getattr(p, f"{name}_penalty") for p in params])
                for name in ("presence", "frequency", "repetition")
            ),
        )
        there = self.integers(rows)
        return lambda logits: self.penalize(logits, there, self.counts.table, *flow)

    def typicals(self, sequences: Items[Sequence]) -> Adjustment | None:
        """typical_p, of rows that are drawn at random."""
        params = [(i, s.request.sampling) for i, s in enumerate(sequences)]
        asking = [(i, p) for i, p in params if p.typical_p < 1 and p.temperature > 0]
        if not asking:
            return None
        rows = self.integers([i for i, _ in asking])
        flow = self.floats([p.temperature for _, p in asking]), self.floats([p.typical_p for _, p in asking])
        return lambda logits: self.typical(logits, rows, *flow)

    def forbid(self, logits: Tensor, pairs: Items[tuple[int, int]]) -> None:
        """Take these tokens from these rows; no pair twice."""
        rows, tokens = zip(*pairs, strict=True)
        never = torch.full((len(rows),), -torch.inf, device=self.device)
        self.bias(logits, self.integers(rows), self.integers(tokens), never)

    def integers(self, values: Items[int]) -> Tensor:
        """A device tensor of int64."""
        return moved(torch.tensor(values, dtype=torch.int64), self.device)

    def floats(self, values: Items[float]) -> Tensor:
        """A device tensor of float32."""
        return moved(torch.tensor(values, dtype=torch.float32), self.device)
