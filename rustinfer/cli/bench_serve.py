"""`rustinfer bench serve`: a load over HTTP, on a server that it starts or on any that speaks the OpenAI dialect.

Each level of the load (so many clients, or so many requests a second) is put on every server in turn, and that again
for each round; of the rounds the one of median output counts. A machine that slows down thus slows all.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from ..errors import UserError
from ..flags import ENGINE, as_flags
from . import facts
from .chart import draw
from .client import Client
from .load import Load, Send, in_turn, on_time, sender
from .ratios import compared, names
from .spawned import Spawned
from .speaker import DEFAULT_MODEL
from .workload import arrivals, asks

OURS = "rustinfer"
RATES = ("requests/s", "output tokens/s", "first token, ms", "between tokens, ms")
COLUMNS = ("server", "load", "cached", "failed", *RATES)


def serve(args: Namespace) -> int:
    """Print a table or JSON; write the result and the chart where files are named."""
    levels = levels_of(args)
    with ExitStack() as stack:
        servers = {name: Client(url) for name, url in map(named, args.url or ())}
        if args.model or not servers:
            child = stack.enter_context(Spawned(args.model or DEFAULT_MODEL, as_flags(args, ENGINE)))
            servers = {OURS: Client(child.url), **servers}
        senders = {name: sender(client, client.model(), args.extra_body) for name, client in servers.items()}
        for send in senders.values():
            in_turn(send, asks("random", 2, 8, 2, args.seed or 0), 1)
        rows = [row for level in levels for row in measure(args, senders, *level)]
    report(args, rows)
    return int(any(row["failed"] for row in rows))


def named(text: str) -> tuple[str, str]:
    """`NAME=URL`, or a URL that names itself."""
    name, equals, url = text.partition("=")
    return (name, url) if equals and "/" not in name else (text, text)


def levels_of(args: Namespace) -> list[tuple[str, float]]:
    """The levels of the load. Raises UserError where both kinds are asked for."""
    if args.clients and args.request_rate:
        raise UserError("--clients and --request-rate are two kinds of load: give one of them")
    kind = "clients" if args.clients else "request_rate"
    return [(kind, value) for value in args.clients or args.request_rate or [4.0]]


def measure(args: Namespace, senders: dict[str, Send], kind: str, level: float) -> list[dict[str, Any]]:
    """One level of the load on every server in turn, round by round; for each server its median round."""
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in senders}
    for number in range(args.num_iters):
        # Other prompts at every level and in every round: no server may have them in its prefix cache.
        seed = f"{args.seed or 0} {kind} {level:g} {number}"
        load = asks(args.workload, args.num_prompts, args.input_len, args.output_len, seed)
        for name, send in senders.items():
            done: Load
            if kind == "clients":
                done = in_turn(send, load, int(level))
            else:
                done = on_time(send, load, arrivals(len(load), level, seed))
            rounds[name].append(done.summary())
    return [{"server": name, kind: level, **median(runs)} for name, runs in rounds.items()]


def median(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The run of median output."""
    return sorted(runs, key=lambda run: run["output_tokens_per_second"])[len(runs) // 2]


def report(args: Namespace, rows: list[dict[str, Any]]) -> None:
    kind = "clients" if args.clients else "request_rate"
    rows = compared(rows, kind)
    shape = {"workload": args.workload, "input_len": args.input_len, "output_len": args.output_len}
    result = {**shape, "num_prompts": args.num_prompts, "rounds": args.num_iters, "levels": rows}
    title = f"{args.num_prompts} x ({args.input_len} tokens in, {args.output_len} out), {args.workload}; p50 / p99"
    others = names(rows)
    columns = (*COLUMNS, *(f"x {name}" for name in others))
    facts.report(args, result, columns, [cells(row, kind, others) for row in rows], title=title)
    if args.plot:
        lines = {
            name: [(row[kind], row["output_tokens_per_second"]) for row in rows if row["server"] == name]
            for name in dict.fromkeys(row["server"] for row in rows)
        }
        label = "clients at once" if kind == "clients" else "requests a second"
        draw(args.plot, f"{args.workload}: {args.input_len} in, {args.output_len} out", label, "output tokens/s", lines)


def cells(row: dict[str, Any], kind: str, others: Sequence[str] = ()) -> tuple[str, ...]:
    unit = "clients" if kind == "clients" else "requests/s"
    rates = (f"{row['requests_per_second']:.2f}", f"{row['output_tokens_per_second']:.1f}")
    times = (pair(row[name]) for name in ("first_token_ms", "between_tokens_ms"))
    ratios = (f"{row['times'][name]:.2f}" if name in row["times"] else "-" for name in others)
    return (row["server"], f"{row[kind]:g} {unit}", cached(row), str(row["failed"]), *rates, *times, *ratios)


def cached(row: dict[str, Any]) -> str:
    """The share of the prompts' tokens that the server says it had in its cache."""
    return f"{row['cached_tokens'] / max(row['prompt_tokens'], 1):.0%}"


def pair(times: dict[str, float | None]) -> str:
    """`p50 / p99`."""
    return " / ".join("-" if times[key] is None else f"{times[key]:.1f}" for key in ("p50", "p99"))
