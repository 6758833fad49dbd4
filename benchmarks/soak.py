"""A long load with aborts and errors, and what the processes hold meanwhile: `python -m benchmarks.soak --minutes 20`.

A tiny model behind `rustinfer-engine` and `rustinfer-server`. The load is a share of what the pair was measured to
bear just before. Fails where memory grows, or where descriptors, threads, tasks or pages are left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tests.faults.model import save
from tests.faults.world import GOLDEN, Engine, Server, wait_for

LOAD, ABORTS, ERRORS, FORMED = 0.7, 0.2, 0.05, 0.05
SAMPLE_SECONDS = 5.0
WARM_UP = 0.25
"""Share of the time at whose end growth begins to count: pools fill, caches get warm."""
SLOPE = 1.0
"""MiB a minute that memory may grow."""
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {}}}}
Body = dict[str, Any]


def body(luck: random.Random) -> Body:
    """A request: most are plain, some are wrong, some want JSON."""
    kind = luck.random()
    made = {**GOLDEN, "prompt": f"{luck.randrange(10**6)} abc", "max_tokens": luck.randrange(4, 60), "stream": True}
    if kind < ERRORS:
        return made | luck.choice([{"temperature": 9}, {"model": "none"}, {"prompt": "x" * 9999}, {"n": -1}])
    if kind < ERRORS + FORMED:
        return made | {"response_format": SCHEMA, "stream": False}
    return made


class Traffic:
    """Counts of what was answered."""

    def __init__(self, server: Server, luck: random.Random) -> None:
        self.done = self.aborted = self.refused = 0
        self.faults: list[str] = []
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._http = httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits)
        self._luck = luck

    async def one(self) -> None:
        """One request, dropped half-way by chance."""
        leaves = self._luck.random() < ABORTS
        try:
            async with self._http.stream("POST", "/v1/completions", json=body(self._luck)) as answer:
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

    async def capacity(self, seconds: float) -> float:
        """Requests a second that 32 clients without pauses get through."""
        end, count = time.monotonic() + seconds, 0

        async def client() -> None:
            nonlocal count
            while time.monotonic() < end:
                await self.one()
                count += 1

        await asyncio.gather(*(client() for _ in range(32)))
        return count / seconds

    async def run(self, rate: float, seconds: float) -> None:
        """Requests at random times, `rate` a second on average, whatever the answers take."""
        end, tasks = time.monotonic() + seconds, set()
        while time.monotonic() < end:
            task = asyncio.create_task(self.one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await asyncio.sleep(self._luck.expovariate(rate))
        await asyncio.gather(*tasks)


def sample(engine: Engine, server: Server, tasks: float) -> dict[str, float]:
    """What both processes hold now; memory in MiB."""
    e, s = engine.usage(), server.usage()
    return {
        "engine MiB": e.kilobytes / 1024,
        "server MiB": s.kilobytes / 1024,
        "engine files": e.files,
        "server files": s.files,
        "engine threads": e.threads,
        "server threads": s.threads,
        "server tasks": tasks,
    }


def slope(samples: list[tuple[float, float]]) -> float:
    """Least squares, per minute."""
    n = len(samples)
    x, y = sum(t for t, _ in samples) / n, sum(v for _, v in samples) / n
    spread = sum((t - x) ** 2 for t, _ in samples)
    return 60 * sum((t - x) * (v - y) for t, v in samples) / spread if spread else 0.0


async def soak(engine: Engine, server: Server, minutes: float) -> dict[str, Any]:
    """The load, the samples, and what is left when it is over."""
    traffic = Traffic(server, random.Random(22))
    rate = LOAD * await traffic.capacity(min(10.0, minutes * 6))
    started, samples = time.monotonic(), []
    running = asyncio.create_task(traffic.run(rate, minutes * 60))
    while not running.done():
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(running), SAMPLE_SECONDS)
        tasks = (await asyncio.to_thread(server.metrics))["server_tasks"]
        samples.append((time.monotonic() - started, sample(engine, server, tasks)))
    await traffic._http.aclose()
    await asyncio.to_thread(wait_for, server.quiet, 5.0, "all pages free")
    warm = [each for each in samples if each[0] > WARM_UP * minutes * 60]
    slopes = {name: round(slope([(t, held[name]) for t, held in warm]), 3) for name in samples[0][1]}
    return {
        "minutes": minutes,
        "requests/s": round(rate, 1),
        "answered": traffic.done,
        "aborted": traffic.aborted,
        "refused": traffic.refused,
        "faults": traffic.faults[:5],
        "first": {name: round(value, 1) for name, value in warm[0][1].items()},
        "last": {name: round(value, 1) for name, value in warm[-1][1].items()},
        "per minute": slopes,
        "engine": {"alive": engine.alive, "pages used": server.metrics()["cache_pages_used"]},
    }


def problems(result: dict[str, Any]) -> list[str]:
    """What the result shows that must not be."""
    found = [f"{len(result['faults'])} requests failed: {result['faults'][0]}"] if result["faults"] else []
    for name, value in result["per minute"].items():
        # Of what is counted, a trend over the whole time must stay below one.
        most = SLOPE if name.endswith("MiB") else max(1.0 / max(result["minutes"], 1), 0.05)
        if name != "server tasks" and name != "server files" and value > most:
            found.append(f"{name} grow by {value} a minute")
    if result["engine"] != {"alive": True, "pages used": 0}:
        found.append(f"the engine afterwards: {result['engine']}")
    return found


def main() -> int:
    """Print the result, write it where --out says, and return 1 where it shows a leak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the load (default: 20)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the result there too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        engine = Engine(folder, save(folder / "tiny"))
        server = Server(folder, engine.address)
        try:
            engine.wait_ready()
            server.wait_ready()
            golden = server.golden()
            result = asyncio.run(soak(engine, server, args.minutes))
            found = problems(result) + ([] if server.golden() == golden else ["the known answer has changed"])
        finally:
            server.kill()
            engine.kill()
    result = {"command": f"python -m benchmarks.soak --minutes {args.minutes:g}", "cores": os.cpu_count(), **result}
    text = json.dumps({**result, "problems": found}, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
