"""What the engine counts of itself, for metrics: cheap enough for every step."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from ..protocol.messages import FinishReason, Histogram
from .plan import Plan
from .sequence import Sequence

STEP = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5)
SPAN = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Meter:
    """Counts observations by the first bound that they do not exceed."""

    def __init__(self, bounds: Items[float]) -> None:
        self.bounds = tuple(map(float, bounds))
        self._counts = [0] * (len(self.bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self._sum += value

    def histogram(self) -> Histogram:
        """As it is sent to servers."""
        return Histogram(list(self.bounds), [float(count) for count in self._counts], self._sum)


@dataclass
class Totals:
    """Counts since the start. Prompt tokens are counted when they arrive, and as computed when they are.

    Each of `drafts` guessed some tokens ahead, of which those that the model would have drawn itself were accepted.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    computed_tokens: int = 0
    steps: int = 0
    drafts: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0


@dataclass
class Measures:
    """Times in seconds, from the engine's clock: of steps from launch to landing, of sequences that came to their end.

    A sequence waits in the queue, computes its prompt (`prefill`) until its first token, then decodes.
    """

    step: Meter = field(default_factory=lambda: Meter(STEP))
    step_tokens: Meter = field(default_factory=lambda: Meter(TOKENS))
    queue: Meter = field(default_factory=lambda: Meter(SPAN))
    prefill: Meter = field(default_factory=lambda: Meter(SPAN))
    decode: Meter = field(default_factory=lambda: Meter(SPAN))
    finished: Counter[FinishReason] = field(default_factory=Counter)
    refused: int = 0

    def launched(self, plan: Plan, now: float) -> None:
        """A step begins, and with it the prompts of some sequences."""
        self.step_tokens.observe(plan.tokens)
        for chunk in plan.chunks:
            if chunk.sequence.admitted is None:
                chunk.sequence.admitted = now
                self.queue.observe(now - chunk.sequence.arrived)

    def began(self, sequence: Sequence, now: float) -> None:
        """Its first token is there."""
        sequence.began = now
        if sequence.admitted is not None:
            self.prefill.observe(now - sequence.admitted)

    def ended(self, sequence: Sequence, reason: FinishReason, now: float) -> None:
        """It has come to its end, one way or another."""
        self.finished[reason] += 1
        if sequence.began is not None and reason in ("stop", "length"):
            self.decode.observe(now - sequence.began)
