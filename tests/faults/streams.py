"""Many streams at once, each told as its text and the time at which it ended."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Ended:
    """What one stream said to its end; `error` is the code in its last event, if that was one."""

    text: str
    at: float

    @property
    def events(self) -> list[str]:
        return [part.removeprefix("data: ") for part in self.text.split("\n\n") if part.startswith("data: ")]

    @property
    def done(self) -> bool:
        return self.events[-1:] == ["[DONE]"]

    @property
    def error(self) -> str | None:
        last: dict[str, Any] = json.loads(self.events[-2])
        return last["error"]["code"] if "error" in last else None

    @property
    def said(self) -> str:
        chunks = [json.loads(event) for event in self.events if event != "[DONE]"]
        return "".join(chunk["choices"][0]["text"] for chunk in chunks if chunk.get("choices"))


async def gather(
    url: str, bodies: list[Any], act: Callable[[], None] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[list[Ended], float]:
    """Every stream's end; `act` is called once all of them have said something, and its time returned."""
    begun, ready, acted = 0, asyncio.Event(), 0.0
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, headers=headers) as http:

        async def one(body: Any) -> Ended:
            nonlocal begun
            text = ""
            async with http.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
                async for part in answer.aiter_text():
                    begun += not text
                    text += part
                    if begun == len(bodies):
                        ready.set()
            return Ended(text, time.monotonic())

        tasks = [asyncio.create_task(one(body)) for body in bodies]
        if act is not None:
            await ready.wait()
            acted = time.monotonic()
            act()
        return list(await asyncio.gather(*tasks)), acted


def streams(
    url: str, bodies: list[Any], act: Callable[[], None] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[list[Ended], float]:
    """`gather`, from plain code."""
    return asyncio.run(gather(url, bodies, act, headers))
