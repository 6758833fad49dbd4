"""The jobs that an engine has something of: what it is asked for each, and whose is what it says."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from rustinfer.protocol.messages import Abort, Failed, Generate, Message

from .errors import ApiError, engine_unavailable, from_engine
from .job import AT_ONCE, Job
from .room import Room


class Jobs:
    """Used from one event loop; as many as there are prompts of which the engine may still say something.

    `send` passes a message on to the engine and says whether one is there. Raises ApiError 400 for one that cannot be.
    """

    def __init__(self, send: Callable[[Message], bool], room: Room) -> None:
        self._send, self._room = send, room
        self._prompts: dict[str, tuple[Job, int]] = {}
        self._ids = itertools.count()

    def __len__(self) -> int:
        return len(self._prompts)

    def names(self, count: int) -> list[str]:
        """Ids for so many prompts, which no others have."""
        return [f"{next(self._ids):x}" for _ in range(count)]

    def find(self, id: str) -> tuple[Job | None, int]:
        """Whose prompt this is, and its number among that one's."""
        return self._prompts.get(id, (None, 0))

    async def ask(self, job: Job, asked: list[Generate]) -> None:
        """Send a job's messages, some at once. Raises ApiError 503 where the engine is not there any more."""
        job.later = deque(asked[job.share :])
        for number, message in enumerate(asked[: job.share]):
            if not self._send(message):
                raise engine_unavailable()
            self._prompts[message.id] = (job, number)
            if (number + 1) % AT_ONCE == 0:
                await asyncio.sleep(0)
            if job.failed:
                return
        job.asked = asked
        self.ask_later(job)

    def ask_later(self, job: Job) -> None:
        """Where prompts of a job have ended, their places are the next ones'."""
        while job.later and len(job.open) - len(job.later) < job.share:
            number, message = len(job.asked) - len(job.later), job.later.popleft()
            job.unheard.add(number)
            self._room.waiting += 1
            self._prompts[message.id] = (job, number)
            self._send(message)

    async def ask_again(self, job: Job) -> None:
        """Ask this engine what the last one died of, or died before; the client sees it by a header."""
        if not job.may_ask_again:  # its stream has begun meanwhile, without that header
            job.fail(engine_unavailable())
            return
        job.retried, job.ids = True, self.names(len(job.ids))
        try:
            await self.ask(job, [replace(asked, id=id) for asked, id in zip(job.asked, job.ids, strict=True)])
        except ApiError as error:
            job.fail(error)

    def heard(self, job: Job, choice: int) -> None:
        """The engine has said something of a choice: it waits no more."""
        if choice in job.unheard:
            job.unheard.discard(choice)
            self._room.waiting -= 1

    def failed(self, message: Failed) -> None:
        """The engine does not run a prompt: its job fails."""
        job, _ = self._prompts.pop(message.id, (None, 0))
        if job is not None:
            if message.code == "overloaded":
                self._room.refused(len(job.unheard))
            job.fail(from_engine(message.code, message.message))

    def close(self, job: Job, choice: int | None = None) -> bool:
        """Want nothing more of a job, or of one of its choices: what still runs is aborted. Idempotent.

        Whether nothing of it is wanted now.
        """
        if choice is not None and len(job.open - {choice}) > 0:
            if choice in job.open:
                self.heard(job, choice)
                job.open.discard(choice)
                self._send(Abort([job.ids[choice // job.n]], choice % job.n))
            return False
        unfinished = sorted({job.ids[c // job.n] for c in job.open} & self._prompts.keys())
        self._room.waiting -= len(job.unheard)
        job.unheard.clear()
        job.open.clear()
        job.later.clear()
        for id in job.ids:
            self._prompts.pop(id, None)
        if unfinished:
            self._send(Abort(unfinished))
        return True

    def leave(self, keep: Callable[[Job], bool] = lambda job: False) -> set[Job]:
        """The jobs that are not to be kept, which are none of the engine's any more."""
        left = {job for job, _ in self._prompts.values() if not keep(job)}
        self._prompts = {id: (job, number) for id, (job, number) in self._prompts.items() if job not in left}
        return left
