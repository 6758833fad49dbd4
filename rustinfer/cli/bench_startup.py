"""`rustinfer bench startup`: seconds to ready and to a first token, memory, and the way back after kill -9."""

from __future__ import annotations

import os
import re
import signal
import statistics
import time
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import bytecode
from ..engine.memory import measure
from ..errors import Refused
from ..flags import ENGINE as ENGINE_FLAGS
from ..flags import as_flags
from .client import Client
from .facts import report
from .load import Trace, sender
from .spawned import Spawned
from .workload import Ask

ENGINE = "rustinfer.engine.main"
PATIENCE = 120.0
PHASE = re.compile(r"([a-z-]+) (\d+\.\d) s")


def startup(args: Namespace) -> int:
    """Print medians of the runs, each from a process that does not exist yet to one that was killed and came back."""
    runs = [once(args) for _ in range(args.num_iters)]
    rows = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    compiled = "missing: each start compiles torch" if bytecode.lost("torch") else "kept"
    result: dict[str, Any] = {
        "model": args.model,
        "bytecode": compiled,
        "runs": len(runs),
        "median": rows,
        "each": runs,
    }
    shown = [(name, f"{value:.2f}") for name, value in rows.items()]
    report(args, result, ("", ""), shown, title=f"{args.model}: start-up, median of {len(runs)}")
    return 0


def once(args: Namespace) -> dict[str, float]:
    start = time.perf_counter()
    with Spawned(args.model, as_flags(args, ENGINE_FLAGS)) as child:
        ready = time.perf_counter() - start
        client = Client(child.url)
        send = sender(client, client.model())
        first = send(Ask("The capital of France is", 1))
        if first.error:
            raise Refused(first.error)
        send(Ask("word " * 400, 32))
        engine = child.child(ENGINE)
        memory = measure(statm=Path(f"/proc/{engine}/statm")).resident / 1e6
        os.kill(engine, signal.SIGKILL)
        killed = time.perf_counter()
        back = answered(lambda: send(Ask("The capital of France is", 1)))
        return {
            "ready, s": ready,
            "start to first token, s": ready + first.first,
            **phases(child.said),
            "engine memory, MB": memory,
            "kill -9 of the engine to the next answer, s": back - killed,
        }


def phases(said: Iterable[str]) -> dict[str, float]:
    """Seconds of the engine's start, part by part, as it logs them."""
    line = next((line for line in said if " ready in " in line), "")
    return {f"engine: {name}, s": float(seconds) for name, seconds in PHASE.findall(line.partition("(")[2])}


def answered(send: Any) -> float:
    """The time at which a request succeeds again. Raises Refused where none does for a long while."""
    limit = time.perf_counter() + PATIENCE
    while time.perf_counter() < limit:
        trace: Trace = send()
        if trace.error is None:
            return time.perf_counter()
        time.sleep(0.02)
    raise Refused(f"the engine did not come back within {PATIENCE:.0f} s")
