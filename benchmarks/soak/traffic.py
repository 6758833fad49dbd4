"""Clients of a soak: most ask for plain text, some hang up half-way, some are wrong, some want JSON."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import httpx

from tests.faults.world import GOLDEN

ABORTS, ERRORS, FORMED = 0.2, 0.05, 0.05
WORDS = 3000
"""Prompts that differ: few enough that all have been met by the end of the warm-up, since tokenizers remember words."""
CLIENTS = 32
"""Who ask without a pause while the capacity is measured."""
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {}}}}
WRONG: list[dict[str, Any]] = [{"temperature": 9}, {"model": "none"}, {"prompt": "x" * 9999}, {"n": -1}]


def body(luck: random.Random) -> dict[str, Any]:
    """A request."""
    kind = luck.random()
    made = {**GOLDEN, "prompt": f"{luck.randrange(WORDS)} abc", "max_tokens": luck.randrange(4, 60), "stream": True}
    if kind < ERRORS:
        return made | luck.choice(WRONG)
    if kind < ERRORS + FORMED:
        return made | {"response_format": SCHEMA, "stream": False}
    return made


class Traffic:
    """Rounds of load, each from clients of its own, which are gone when it ends; counts of what was answered."""

    def __init__(self, url: str, luck: random.Random) -> None:
        self.sent = self.done = self.aborted = self.refused = 0
        self.faults: list[str] = []
        self._url, self._luck = url, luck

    async def round(self, seconds: float, probe_seconds: float, share: float) -> float:
        """What the pair bears is measured first, then `share` of it asked for. Returns requests a second.

        Measured in each round: whoever shares the machine comes and goes.
        """
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        async with httpx.AsyncClient(base_url=self._url, timeout=60, limits=limits) as http:
            rate = share * await self._capacity(http, probe_seconds)
            await self._steady(http, rate, seconds - probe_seconds)
        return rate

    async def _one(self, http: httpx.AsyncClient) -> None:
        """One request, dropped half-way by chance."""
        leaves = self._luck.random() < ABORTS
        self.sent += 1
        try:
            async with http.stream("POST", "/v1/completions", json=body(self._luck)) as answer:
                if answer.status_code >= 500:
                    self.faults.append(f"{answer.status_code} {(await answer.aread())[:200]!r}")
                async for _ in answer.aiter_bytes():
                    if leaves:
                        break
            self.aborted += leaves
            self.refused += answer.status_code >= 400
            self.done += answer.status_code == 200 and not leaves
        except httpx.HTTPError as error:
            self.faults.append(repr(error))

    async def _capacity(self, http: httpx.AsyncClient, seconds: float) -> float:
        """Requests a second that clients without pauses get through."""
        began, before = time.monotonic(), self.sent

        async def client() -> None:
            while time.monotonic() < began + seconds:
                await self._one(http)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return (self.sent - before) / (time.monotonic() - began)

    async def _steady(self, http: httpx.AsyncClient, rate: float, seconds: float) -> None:
        """Requests at random times, `rate` a second on average, whatever the answers take."""
        end, tasks = time.monotonic() + seconds, set()
        while time.monotonic() < end:
            task = asyncio.create_task(self._one(http))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await asyncio.sleep(self._luck.expovariate(rate))
        await asyncio.gather(*tasks)
