"""A line in the log while the engine is busy, and silence while it is not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from .engine import Engine
from .measures import Totals

log = logging.getLogger("rustinfer.engine")
SECONDS = 10.0


class Report:
    """Knows when it last spoke, and the totals of that time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._at, self._before = clock, clock(), Totals()

    def maybe(self, engine: Engine) -> None:
        """Log rates and load if it is time and there was any work."""
        now = self._clock()
        span = now - self._at
        if span < SECONDS:
            return
        before, totals = self._before, replace(engine.totals)
        self._at, self._before = now, totals
        if totals.steps == before.steps:
            return
        s, cache = engine.scheduler, engine.cache
        log.info(
            "%d running, %d waiting, cache %.0f %% used, %.0f prompt and %.0f output tokens/s, %.0f %% cached",
            len(s.running),
            len(s) - len(s.running),
            100 * (1 - cache.available / cache.pool.total),
            (totals.computed_tokens - before.computed_tokens) / span,
            (totals.generated_tokens - before.generated_tokens) / span,
            100 * (totals.cached_tokens - before.cached_tokens) / max(totals.prompt_tokens - before.prompt_tokens, 1),
        )
