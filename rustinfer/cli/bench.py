"""`rustinfer bench`: one request, many together, a load over HTTP, start-up, and this CPU beside llama.cpp."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from ..engine.options import add_arguments
from ..flags import above_zero, positive, wants, word
from .parser import examples
from .speaker import DEFAULT_MODEL
from .workload import WORKLOADS

GPU_MODEL = "llama-3.2-1b"
PARTS = ("stream", "prefill", "batch", "offline")

ACTIONS = {
    "latency": "one request at a time: time to first token, time per token",
    "throughput": "many requests together: tokens per second",
    "serve": "a load over HTTP, on a server that is started or on any that speaks the OpenAI dialect",
    "startup": "seconds to ready and to a first token, memory, and recovery from kill -9",
    "gpu": "streams, prompts, batches and 256 requests at once, as other engines were measured",
    "cpu": "decode and prefill speed, beside llama-cpp-python where it is installed",
}
EXAMPLES = {
    "latency": ("smollm2", "smollm2 --input-len 1024 --output-len 32 --json"),
    "throughput": ("smollm2 --num-prompts 32 --input-len 256 --output-len 64",),
    "serve": (
        "smollm2 --clients 1,8,16 --plot load.svg",
        "--url http://127.0.0.1:8000 --request-rate 2,4,8 --workload mixed",
        "smollm2 --url other=http://127.0.0.1:9000 --clients 8 --num-iters 3",
    ),
    "startup": ("smollm2", "smollm2 --num-iters 5 --output startup.json"),
    "gpu": ("", "llama-3.1-8b --only batch,offline --output 8b.json"),
    "cpu": ("smollm2", "model.gguf --threads 4 --json"),
}


def configure(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="|".join(ACTIONS), required=True)
    made = {name: actions.add_parser(name, help=words) for name, words in ACTIONS.items()}
    words = "write the result with its command and the machine"
    for name, action in made.items():
        default = {"serve": None, "gpu": GPU_MODEL}.get(name, DEFAULT_MODEL)
        told = f"default: {default or 'none'}"
        action.add_argument("model", nargs="?", type=word, default=default, metavar="MODEL", help=told)
        action.add_argument("--json", action="store_true", help="print JSON instead of a table")
        action.add_argument("--output", type=new_file, metavar="FILE", help=words)
        add_arguments(action)
    _lengths(made["latency"], inputs=128, outputs=128)
    _lengths(made["throughput"], inputs=128, outputs=128)
    _lengths(made["serve"], inputs=128, outputs=64)
    _lengths(made["cpu"], inputs=512, outputs=128)
    _runs(made["latency"], 5)
    _runs(made["cpu"], 5)
    _runs(made["startup"], 3)
    _runs(made["serve"], 1)
    _runs(made["gpu"], 3)
    made["gpu"].add_argument("--only", type=parts, default=list(PARTS), metavar="PART,...", help=", ".join(PARTS))
    made["gpu"].set_defaults(load_format="dummy")
    _many(made["throughput"])
    _many(made["serve"])
    _load(made["serve"])
    for name, lines in EXAMPLES.items():
        made[name].epilog = examples(*(f"rustinfer bench {name} {line}".rstrip() for line in lines))
    parser.epilog = examples(
        "rustinfer bench latency smollm2",
        "rustinfer bench throughput smollm2 --num-prompts 32 --input-len 256 --output-len 64",
        "rustinfer bench serve smollm2 --request-rate 4 --workload shared-prefix",
        "rustinfer bench cpu smollm2 --json",
    )


json_object = wants("a JSON object", json.loads, lambda value: isinstance(value, dict))
parts = wants(f"some of {', '.join(PARTS)}", lambda text: text.split(","), lambda found: set(found) <= set(PARTS))


def new_file(text: str) -> str:
    """The name of a file that can be written, for argparse: measuring takes minutes, and comes first."""
    path = Path(text).resolve()
    place = path.parent if path.is_file() or not path.exists() else path
    if path.is_dir() or not os.access(place, os.W_OK):
        raise ArgumentTypeError(f"{text} cannot be written")
    return text


def several(one: Callable[[str], float]) -> Callable[[str], list[float]]:
    """Numbers with commas between them, for argparse."""
    return lambda text: [one(part) for part in text.split(",")]


def _lengths(parser: ArgumentParser, *, inputs: int, outputs: int) -> None:
    parser.add_argument(
        "--input-len", type=positive, default=inputs, metavar="N", help=f"tokens of a prompt ({inputs})"
    )
    parser.add_argument("--output-len", type=positive, default=outputs, metavar="N", help=f"tokens to make ({outputs})")


def _runs(parser: ArgumentParser, runs: int) -> None:
    parser.add_argument("--num-iters", type=positive, default=runs, metavar="N", help=f"measured runs ({runs})")


def _many(parser: ArgumentParser) -> None:
    parser.add_argument("--num-prompts", type=positive, default=64, metavar="N", help="requests (default: 64)")
    parser.add_argument("--plot", type=new_file, metavar="FILE", help="draw output tokens per second as SVG")


def _load(parser: ArgumentParser) -> None:
    url = "a running server, beside MODEL where that is given; may be repeated"
    parser.add_argument("--url", action="append", type=word, metavar="[NAME=]URL", help=url)
    parser.add_argument(
        "--clients", type=several(positive), metavar="N,...", help="so many clients, one level after another"
    )
    rate = "so many requests a second, at the times of a Poisson process (default: 4)"
    parser.add_argument("--request-rate", type=several(above_zero), metavar="R,...", help=rate)
    fields = "more fields of every request, for example to keep a server from ending early"
    parser.add_argument("--extra-body", type=json_object, metavar="JSON", help=fields)
    words = "random: nothing in common; shared-prefix: three quarters are; long-prompt: one in eight is 8 times as long"
    parser.add_argument("--workload", choices=WORKLOADS, default="random", help=words)


def run(args: Namespace) -> int:
    """Run one of the subcommands: the function of that name in its module."""
    action = getattr(import_module(f".bench_{args.action}", __package__), args.action)
    return int(action(args))
