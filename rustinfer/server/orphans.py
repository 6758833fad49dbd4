"""Requests that an engine took along when it died, before it said a word of them: the next one is asked again, once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from .errors import engine_unavailable
from .job import Job

PATIENCE_SECONDS = 3.0
"""How long they wait for the next engine: as long as a small model takes to load. Others are refused meanwhile."""


class Orphans:
    """Used from one event loop."""

    def __init__(self) -> None:
        self._jobs: set[Job] = set()

    def __len__(self) -> int:
        return len(self._jobs)

    def take(self, jobs: Iterable[Job]) -> None:
        """Let these wait, and fail where no engine comes in time."""
        new = set(jobs)
        self._jobs |= new
        asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._give_up, new)

    def leave(self, job: Job) -> None:
        """This one is not wanted any more. Idempotent."""
        self._jobs.discard(job)

    def adopted(self) -> set[Job]:
        """All of them, none of whom waits any more: there is an engine, or there will be none."""
        jobs, self._jobs = self._jobs, set()
        return jobs

    def _give_up(self, jobs: set[Job]) -> None:
        for job in jobs & self._jobs:
            self._jobs.discard(job)
            job.fail(engine_unavailable())
