"""From a prepared request to its answer: submit, watch the client, put the pieces together, clean up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Receive

from .answer import Counts, Finished
from .choice import Choice, Part
from .errors import ApiError
from .job import Job
from .large import INLINE
from .link import EngineLink
from .prepared import Prepared


class Run:
    """One submitted request. Use within `running`, which ends it however that is left."""

    def __init__(self, link: EngineLink, prepared: Prepared, job: Job) -> None:
        self.prepared, self._link, self.job = prepared, link, job
        tokenizer = prepared.answer.served.tokenizer
        self.choices = [Choice(tokenizer, prepared.sampling) for _ in range(len(job.ids) * job.n)]
        self._cached: dict[int, int] = {}

    @property
    def done(self) -> bool:
        return all(c.finished for c in self.choices)

    async def parts(self) -> list[tuple[int, Part]]:
        """What is new, by choice; empty where the job was poked.

        Raises ApiError where the engine failed, ClientGone where nobody listens.
        """
        found = []
        news = await self.job.news()
        self.prepared.answer.retried = self.job.retried
        for number, output in news:
            part = self.choices[number].take(output)
            if part.stopped_early:
                self._link.close(self.job, number)
            self._cached[number // self.job.n] = output.cached_tokens
            found.append((number, part))
        return found

    def counts(self) -> Counts:
        prompt = sum(map(len, self.prepared.prompts))
        completion = sum(c.completion_tokens for c in self.choices)
        return Counts(prompt, completion, sum(self._cached.values()))


@asynccontextmanager
async def running(link: EngineLink, prepared: Prepared, receive: Receive) -> AsyncIterator[Run]:
    """Submit, and abort what still runs in the end; at once when the client hangs up, streamed or not."""
    job = await link.submit(prepared)
    watcher = asyncio.create_task(_watch(receive, lambda: link.abandon(job)))
    run, outcome = Run(link, prepared, job), "aborted"
    try:
        yield run
        outcome = "finished" if run.done else "aborted"
    except ApiError as error:
        outcome = "failed"
        raise prepared.named(error) from None
    finally:
        watcher.cancel()
        link.ended(job, outcome)


async def collect(link: EngineLink, prepared: Prepared, receive: Receive) -> dict[str, Any]:
    """The whole answer. Raises ApiError and ClientGone."""
    async with running(link, prepared, receive) as run:
        finished = [Finished() for _ in run.choices]
        while not run.done:
            for number, part in await run.parts():
                finished[number].add(part)
        size, whole = sum(one.size for one in finished), prepared.answer.whole
        return (
            whole(finished, run.counts()) if size <= INLINE else await asyncio.to_thread(whole, finished, run.counts())
        )


async def _watch(receive: Receive, on_disconnect: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    on_disconnect()
