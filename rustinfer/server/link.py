"""The server's hold on the engine: who asked for what, and what becomes of it when the engine comes and goes."""

from __future__ import annotations

import asyncio
import logging
import os
import time

from rustinfer.protocol.codec import ProtocolError
from rustinfer.protocol.curve import WireKey
from rustinfer.protocol.dealer import ServerChannel
from rustinfer.protocol.messages import Delta, Drain, Failed, Generate, Message, Stats, Welcome
from rustinfer.version import __version__

from .caller import CALLER
from .errors import ApiError, bad_request, engine_unavailable, internal_error, shutting_down
from .job import ClientGone, Job
from .jobs import Jobs
from .limits import Limits
from .metrics import Metrics
from .orphans import Orphans
from .prepared import Prepared
from .room import Room
from .served import Served

log = logging.getLogger(__name__)

STALLED_SECONDS = 20.0
"""Without a word from the engine's loop for so long, /health says so, though a long step may yet end."""


class EngineLink:
    """Used from one event loop. `served` stays known when the engine is gone; `up` says whether it is there.

    Where `salted`, callers share no cached prefix.
    """

    def __init__(
        self, address: str, metrics: Metrics, limits: Limits, *, salted: bool, key: WireKey | None = None
    ) -> None:
        self.metrics, self._limits, self._salted = metrics, limits, salted
        self.served: Served | None = None
        self.room = Room()
        self.ready = asyncio.Event()
        self._channel = ServerChannel(address, self, build=__version__, server=f"server-{os.getpid()}", key=key)
        self._jobs = Jobs(self._send, self.room)
        self._orphans = Orphans()
        self._epoch: int | None = None
        self._draining = self._stopping = self._ended = False
        self._building: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        return self.ready.is_set() and self._channel.connected

    @property
    def busy(self) -> bool:
        """Whether any request runs."""
        return bool(self._jobs or self._orphans)

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the last word of the engine's loop."""
        return time.monotonic() - self._channel.heard

    @property
    def healthy(self) -> bool:
        return self.up and self.heartbeat_age < STALLED_SECONDS

    @property
    def ready_now(self) -> bool:
        """Healthy, and neither end is about to stop."""
        return self.healthy and not self._draining and not self._stopping

    async def run(self) -> None:
        await self._channel.run()

    def model(self) -> Served:
        """The model, for a request that is to run now. Raises ApiError 503 where it cannot."""
        if self.served is None or not self.up:
            raise engine_unavailable()
        if self._draining or self._ended:
            raise shutting_down()
        return self.served

    async def submit(self, prepared: Prepared) -> Job:
        """Hand the prompts to the engine, all or none; of many, some at once.

        Of prompts that become vectors a share of the queue is asked for, and the rest follow as those end.
        Raises ApiError 503 where it is not there any more, or has no room for all of them.
        """
        if self.model() is not prepared.answer.served:
            raise engine_unavailable()
        caller, prompts, sampling = CALLER.get(), prepared.prompts, prepared.sampling
        share = self.room.share if prepared.pool else None
        self.room.check(len(prompts[:share]) * sampling.sequences)
        salt = "/".join(filter(None, (caller if self._salted else "", prepared.salt)))
        job = Job(self._jobs.names(len(prompts)), sampling.sequences, caller, share)
        self.room.waiting += len(job.unheard)
        together, way = len(job.unheard), (prepared.priority, salt, prepared.pool)
        asked = [
            Generate(id, prompt, sampling, *way, together if id == job.ids[0] else -1)
            for id, prompt in zip(job.ids, prompts, strict=True)
        ]
        try:
            await self._jobs.ask(job, asked)
        except BaseException:
            self.close(job)
            raise
        self.metrics.active.inc()
        used = sum(map(len, prompts))
        self.metrics.prompt_tokens.inc(used)
        self._limits.charge(caller, used)
        return job

    def close(self, job: Job, choice: int | None = None) -> None:
        """Want nothing more of a job, or of one of its choices: what still runs is aborted. Idempotent."""
        if self._jobs.close(job, choice):
            self._orphans.leave(job)

    def ended(self, job: Job, outcome: str) -> None:
        """Called once per submitted job, however it ended."""
        self.close(job)
        self.metrics.active.dec()
        self.metrics.outcomes.labels(outcome).inc()
        self.metrics.whole.observe(time.monotonic() - job.started)

    def stop_serving(self) -> None:
        """Have load balancers send nobody any more: this server is about to stop. Who was let in is still served."""
        self._stopping = True

    def end(self) -> None:
        """Fail what runs, and refuse for good whatever still comes."""
        self._ended = True
        self.fail_all(shutting_down())

    def fail_all(self, error: ApiError) -> None:
        for job in self._jobs.leave() | self._orphans.adopted():
            job.fail(error)

    def abandon(self, job: Job) -> None:
        """The client hung up: free what the engine holds now, not when somebody next looks."""
        self.close(job)
        job.fail(ClientGone())

    # What the channel tells

    def engine_up(self, welcome: Welcome) -> None:
        if welcome.build != __version__:
            log.warning("the engine is version %s, this server %s", welcome.build, __version__)
        self._epoch, self._draining = welcome.epoch, False
        self._building = asyncio.create_task(self._build(welcome))

    async def _build(self, welcome: Welcome) -> None:
        try:
            served = await asyncio.to_thread(Served, welcome, self.served)
        except Exception:
            log.exception("the engine's model card cannot be used")
            return
        if welcome.epoch == self._epoch:
            same = self.served is not None and served.answers_as(self.served)
            self.served = served
            self.ready.set()
            self.metrics.up(served.card)
            self.room.engine(served.card.queue, served.card.sequences)
            log.info("engine connected: model %s, context %d", served.card.id, served.card.context)
            for job in self._orphans.adopted():
                await self._jobs.ask_again(job) if same else job.fail(engine_unavailable())

    def engine_down(self, reason: str) -> None:
        # At the end of this server's own life it is no news.
        level = logging.DEBUG if self._stopping and not self._jobs else logging.WARNING
        again = set() if self._stopping else self._jobs.leave(keep=lambda job: not job.may_ask_again)
        log.log(level, "%s: %d prompts wait for another, %d end with an error", reason, len(again), len(self._jobs))
        self._epoch = None
        self.ready.clear()
        self.metrics.down()
        self.fail_all(engine_unavailable())
        self._orphans.take(again)

    def received(self, message: Message) -> None:
        if isinstance(message, Delta):
            if message.epoch == self._epoch:
                self._deliver(message)
        elif isinstance(message, Failed):
            self._jobs.failed(message)
        elif isinstance(message, Stats):
            self.metrics.take(message)
        elif isinstance(message, Drain):
            self._draining = True

    def dropped(self) -> None:
        self.metrics.protocol_errors.inc()

    def _deliver(self, delta: Delta) -> None:
        now = time.monotonic()
        tokens = 0
        for output in delta.outputs:
            job, prompt = self._jobs.find(output.id)
            if job is None or not 0 <= output.index < job.n:
                continue
            if output.finish_reason in ("error", "abort"):
                job.fail(internal_error("engine_error"))
                continue
            if count := len(output.token_ids):
                tokens += count
                self._observe(job, now, count)
                self._limits.charge(job.caller, count)
            self._jobs.heard(job, choice := job.choice(prompt, output.index))
            job.take(choice, output)
            if job.asked:
                self._jobs.ask_later(job)
        self.metrics.generation_tokens.inc(tokens)

    def _observe(self, job: Job, now: float, count: int) -> None:
        if job.last_output == 0.0:
            self.metrics.first.observe(now - job.started)
        elif now > job.last_output:
            self.metrics.between.observe((now - job.last_output) / count)
        job.last_output = now

    def _send(self, message: Message) -> bool:
        try:
            return self._channel.send(message)
        except ProtocolError as e:
            raise bad_request(f"The request cannot be passed to the engine: {e}.") from None
