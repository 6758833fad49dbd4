"""The one table of flags, of engine and server: command lines, the environment and files all follow from it."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
Flag = tuple[str, dict[str, Any]]
"""A flag as written, and what argparse is told about it. A default stands in `default` and in the help's words."""
Flags = Sequence[Flag]

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16", "float16")
LOAD_FORMATS = ("auto", "safetensors", "gguf", "dummy")
QUANTIZATIONS = ("int8", "fp8", "fp8-block", "int4")
METRICS = ("none", "vllm")
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")

SUFFIXES = {"k": 10**3, "m": 10**6, "K": 1 << 10, "M": 1 << 20}


def wants(words: str, make: Callable[[str], T], holds: Callable[[T], object] = lambda made: True) -> Callable[[str], T]:
    """What argparse makes a value by, which says what is wanted where it is given something else."""

    def convert(text: str) -> T:
        with suppress(ValueError):
            if holds(value := make(text)):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {words}")

    return convert


def _count(text: str) -> int:
    factor = SUFFIXES.get(text[-1:], 1)
    digits = text if factor == 1 else text[:-1]
    if factor % 1000:
        return int(digits) * factor
    number = float(digits) * factor
    if number % 1:
        raise ValueError
    return int(number)


count = wants("a whole number such as 4096, 32k for 32000, or 32K for 32768", _count)
"""As vLLM's users write it."""
whole = wants("a whole number", int)
positive = wants("a whole number above 0", int, lambda number: number > 0)
port = wants("a port, a whole number from 0 to 65535", int, range(1 << 16).__contains__)
number = wants("a number", float, math.isfinite)
above_zero = wants("a number above 0", float, lambda number: number > 0)
seconds = wants("a number of seconds from 0 to 86400", float, lambda number: 0 <= number <= 86_400)

HOST_NAME = re.compile(r"[^\s/:]+|\[?[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*\]?", re.IGNORECASE)
host_name = wants("a host's name such as example.org, without http:// and port, or * for any", str, HOST_NAME.fullmatch)
"""One with more in it would match no request's Host header."""


def word(text: str) -> str:
    """A value that is a text. Raises ArgumentTypeError for an empty one, as a script's unset variable leaves it."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a value is empty: give one, or leave it out")
    return text


def api_key(text: str) -> str:
    """One API key. Raises ArgumentTypeError for one with a comma, which parts keys in the environment, and for none."""
    if "," in text:
        raise argparse.ArgumentTypeError("a key holds a comma: give each one by itself")
    return word(text)


def flag(name: str, words: str, **details: Any) -> Flag:
    """A flag with its help's words, and what else argparse is to know. One that says no more takes a word."""
    plain = {} if "choices" in details or details.get("action", "").startswith("store_") else {"type": word}
    return name, {**plain, **details, "help": words}


ENGINE: Flags = (
    flag("--device", "where to run (default: the GPU if there is one)", choices=DEVICES),
    flag("--dtype", "what to compute in (default: what suits model and machine)", choices=DTYPES),
    flag("--max-model-len", "longest prompt and answer together, in tokens: 4096, 32k", type=count, metavar="N"),
    flag("--max-num-seqs", "most sequences in a step (default: 64, on a GPU 256)", type=whole, metavar="N"),
    flag("--max-num-batched-tokens", "most tokens in a step (default: 512, on a GPU 8192)", type=count, metavar="N"),
    flag("--max-num-queued-reqs", "refuse requests while so many wait (default: 1024)", type=whole, metavar="N"),
    flag("--kv-cache-tokens", "tokens the cache holds, of all sequences together", type=count, metavar="N"),
    flag(
        "--gpu-memory-utilization",
        "share of the GPU's memory for weights, cache and all (default: 0.92)",
        type=number,
        metavar="F",
    ),
    flag("--enforce-eager", "record no CUDA graphs: starts sooner, runs slower", action="store_true"),
    flag("--block-size", "tokens in one page of the cache (default: 16)", type=whole, metavar="N"),
    flag("--no-enable-prefix-caching", "let requests share no prefixes", action="store_false"),
    flag("--prefer", "a back end to ask before the others", action="append", metavar="NAME"),
    flag("--pin", "run this op by this back end, or refuse", action="append", metavar="OP=BACKEND"),
    flag("--strict", "refuse to run a reference kernel on a GPU", action="store_true"),
    flag(
        "--speculative-config",
        'guess tokens ahead, as {"method": "ngram"}; says the same in fewer steps',
        metavar="JSON",
    ),
    flag("--deterministic", "the same tokens to the bit whatever else runs; slower, or refused", action="store_true"),
    flag("--load-format", "dummy: random weights of the model's shape", choices=LOAD_FORMATS),
    flag("--quantization", "pack dense weights so while loading (default: keep them)", choices=QUANTIZATIONS),
    flag("--seed", "seed for requests that bring none (default: 0)", type=whole, metavar="N"),
    flag("--threads", "threads to compute with (default: physical cores)", type=whole, metavar="N"),
    flag("--served-model-name", "the model's name towards clients", metavar="NAME"),
)

SERVER: Flags = (
    flag("--host", "address to listen on (default: 127.0.0.1)", default="127.0.0.1"),
    flag("--port", "port to listen on, 0 for any free one (default: 8000)", type=port, default=8000),
    flag("--api-key", "demand one of these keys", action="append", type=api_key, default=(), metavar="KEY"),
    flag("--api-key-file", "more keys, one a line; read again at SIGHUP", metavar="FILE"),
    flag(
        "--requests-per-minute",
        "generating requests that one key may send (default: any number)",
        type=positive,
        metavar="N",
    ),
    flag(
        "--tokens-per-minute",
        "tokens that one key may use, prompts and answers (default: any number)",
        type=positive,
        metavar="N",
    ),
    flag("--share-prefixes", "let keys share cached prefixes, which its timing gives away", action="store_true"),
    flag("--metrics-compat", "publish metrics under this server's names as well as under ours", choices=METRICS),
    flag("--any-model", "answer whatever model name a request has", action="store_true"),
    flag("--allow-origin", "let pages of this origin call", action="append", default=(), metavar="ORIGIN"),
    flag(
        "--allow-host",
        "a name that requests may ask for, * for any",
        action="append",
        type=host_name,
        default=(),
        metavar="NAME",
    ),
    flag("--middleware", "let requests pass through this plugin", action="append", default=(), metavar="NAME"),
    flag("--log-requests", "a line in the log for each request, without its text", action="store_true"),
    flag("--ssl-certfile", "serve HTTPS with this certificate chain", metavar="FILE"),
    flag("--ssl-keyfile", "its private key, where the chain's file has none", metavar="FILE"),
    flag("--max-body-mib", "largest request body (default: 32)", type=positive, default=32, metavar="N"),
    flag(
        "--shutdown-timeout",
        "seconds for running requests at the end (default: 10)",
        type=seconds,
        default=10.0,
        metavar="S",
    ),
)

COMMON: Flags = (
    flag("--config", "flags from a .toml or .yaml file; the command line goes first", metavar="FILE"),
    flag("--log-level", "how much to log (default: info)", default="info", choices=LOG_LEVELS),
    flag("--log-format", "json: one object a line (default: text)", default="text", choices=LOG_FORMATS),
)
"""What both processes take."""

WIRE: Flags = (flag("--wire-key-file", "the key that engine and servers share where they meet by TCP", metavar="FILE"),)
"""What engine and server take where each is started by itself."""


def destination(flag: str) -> str:
    """The flag's name in a namespace, in a file, and (in capitals, after RUSTINFER_) in the environment."""
    return flag.removeprefix("--").removeprefix("no-").replace("-", "_")


def add_arguments(parser: argparse.ArgumentParser, title: str, flags: Flags) -> None:
    """The flags, in a group of their own. One that is not given is None: `settings.settle` fills it in."""
    group = parser.add_argument_group(title)
    for flag, details in flags:
        group.add_argument(flag, dest=destination(flag), **{**details, "default": None})


def as_flags(args: argparse.Namespace, flags: Flags) -> list[str]:
    """The command line that makes a parser with these flags find the same values again."""
    found: list[str] = []
    for flag, details in flags:
        value = getattr(args, destination(flag), None)
        if details.get("action", "").startswith("store_"):
            found += [flag] if value is (details["action"] == "store_true") else []
        else:
            values = value if isinstance(value, (list, tuple)) else [value]
            found += [f"{flag}={each}" for each in values if each is not None]
    return found
