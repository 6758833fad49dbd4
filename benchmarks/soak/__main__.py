"""A long load with aborts and errors, and what the processes hold after it: `python -m benchmarks.soak --minutes 20`.

A tiny model behind `rustinfer-engine` and `rustinfer-server`. After each round of load all clients go, and what both
processes hold is written down. Fails where memory grows, or a descriptor, thread, task or page more is held than at
the end of the warm-up. Not a measurement of speed: a busy machine will do.
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

from rustinfer.cli.chart import draw
from rustinfer.cli.facts import save
from tests.faults import model
from tests.faults.world import Engine, Server, wait_for

from .held import MOST_MIB_PER_MINUTE, Held, grown, held, most, settled, slope
from .traffic import Traffic

LOAD = 0.7
ROUND_SECONDS, PROBE_SECONDS = 30.0, 4.0
WARM_UP = 0.25
"""Share of the time in which growth does not count: pools fill, caches get warm."""


def soak(engine: Engine, server: Server, minutes: float, round_seconds: float = ROUND_SECONDS) -> dict[str, Any]:
    """The load, round by round, and what was held after each."""
    traffic = Traffic(server.url, random.Random(22))
    began, rates = time.monotonic(), []
    samples: list[tuple[float, Held]] = []
    warm: list[Held] = []
    while (gone := time.monotonic() - began) < minutes * 60:
        seconds = min(round_seconds, max(minutes * 60 - gone, PROBE_SECONDS + 1))
        rates.append(asyncio.run(traffic.round(seconds, PROBE_SECONDS, LOAD)))
        with suppress(AssertionError):  # pages that stay are seen in the sample
            wait_for(server.quiet, "all pages free")
        time.sleep(0.5)
        now = settled(lambda: held(engine, server), most(warm) if warm else {})
        samples.append((time.monotonic() - began, now))
        if gone < WARM_UP * minutes * 60:
            warm.append(now)
    judged = [each for each in samples if each[1] not in warm] or samples[-1:]
    return {
        "minutes": round((time.monotonic() - began) / 60, 1),
        "requests/s": round(sum(rates) / len(rates), 1),
        "sent": traffic.sent,
        "answered": traffic.done,
        "aborted": traffic.aborted,
        "refused": traffic.refused,
        "faults": traffic.faults[:5],
        "MiB a minute": {
            name: round(slope([(t, each[name]) for t, each in judged]), 3) for name in ("engine MiB", "server MiB")
        },
        "most at warm-up": _rounded(most(warm)),
        "most afterwards": _rounded(most([each for _, each in judged])),
        "last": _rounded(samples[-1][1]),
        "seconds": [round(t) for t, _ in samples],
        **{name: [round(each[name], 1) for _, each in samples] for name in ("engine MiB", "server MiB")},
    }


def problems(result: dict[str, Any]) -> list[str]:
    """What the result shows that must not be."""
    found = [f"requests failed: {fault}" for fault in result["faults"]]
    for name, value in result["MiB a minute"].items():
        if value > MOST_MIB_PER_MINUTE:
            found.append(f"{name} grow by {value} a minute")
    for name, more in grown(result["last"], result["most at warm-up"]).items():
        found.append(f"{more:g} more {name} than at warm-up")
    if result["last"]["pages"]:
        found.append(f"{result['last']['pages']:g} pages of the cache were not given back")
    return found


def _rounded(sample: Held) -> Held:
    return {name: round(value, 1) for name, value in sorted(sample.items())}


def _plot(result: dict[str, Any], file: Path) -> None:
    names = ("engine MiB", "server MiB")
    lines = {name: [(t / 60, y) for t, y in zip(result["seconds"], result[name], strict=True)] for name in names}
    title = f"Memory after each round of load, {result['sent']} requests"
    draw(str(file), title, "minutes", "MiB resident", lines)


def main() -> int:
    """Print the result, write it where --out says, and return 1 where it shows a leak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the load (default: 20)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the memory as SVG")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        engine = Engine(folder, model.save(folder / "tiny"))
        server = Server(folder, engine.address)
        try:
            engine.wait_ready()
            server.wait_ready()
            golden = server.golden()
            result = soak(engine, server, args.minutes)
            found = problems(result) + ([] if server.golden() == golden else ["the known answer has changed"])
        finally:
            server.kill()
            engine.kill()
    result = {"cores": os.cpu_count(), "problems": found, **result}
    print(json.dumps(result, indent=2))
    save(args.out, result)
    if args.plot:
        _plot(result, args.plot)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
