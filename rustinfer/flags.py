"""The one table of flags, of engine and server: command lines, the environment and files all follow from it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

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


def count(text: str) -> int:
    """A whole number, or one as vLLM's users write it: 32k is 32,000, 1.5k 1,500, and 32K 32,768. Raises ValueError."""
    factor = SUFFIXES.get(text[-1:], 1)
    whole = text if factor == 1 else text[:-1]
    if factor % 1000:
        return int(whole) * factor
    number = float(whole) * factor
    if number % 1:
        raise ValueError(f"{text} is no whole number")
    return int(number)


ENGINE: Flags = (
    ("--device", {"choices": DEVICES, "help": "where to run (default: the GPU if there is one)"}),
    ("--dtype", {"choices": DTYPES, "help": "what to compute in (default: what suits model and machine)"}),
    (
        "--max-model-len",
        {"type": count, "metavar": "N", "help": "longest prompt and answer together, in tokens: 4096, 32k"},
    ),
    ("--max-num-seqs", {"type": int, "metavar": "N", "help": "most sequences in a step (default: 64, on a GPU 256)"}),
    (
        "--max-num-batched-tokens",
        {"type": count, "metavar": "N", "help": "most tokens in a step (default: 512, on a GPU 8192)"},
    ),
    (
        "--max-num-queued-reqs",
        {"type": int, "metavar": "N", "help": "refuse requests while so many wait (default: 1024)"},
    ),
    ("--kv-cache-tokens", {"type": count, "metavar": "N", "help": "tokens the cache holds, of all sequences together"}),
    (
        "--gpu-memory-utilization",
        {"type": float, "metavar": "F", "help": "share of the GPU's memory for weights, cache and all (default: 0.92)"},
    ),
    ("--enforce-eager", {"action": "store_true", "help": "record no CUDA graphs: starts sooner, runs slower"}),
    ("--block-size", {"type": int, "metavar": "N", "help": "tokens in one page of the cache (default: 16)"}),
    ("--no-enable-prefix-caching", {"action": "store_false", "help": "let requests share no prefixes"}),
    ("--prefer", {"action": "append", "metavar": "NAME", "help": "a back end to ask before the others"}),
    ("--pin", {"action": "append", "metavar": "OP=BACKEND", "help": "run this op by this back end, or refuse"}),
    ("--strict", {"action": "store_true", "help": "refuse to run a reference kernel on a GPU"}),
    (
        "--speculative-config",
        {"metavar": "JSON", "help": 'guess tokens ahead, as {"method": "ngram"}; says the same in fewer steps'},
    ),
    (
        "--deterministic",
        {"action": "store_true", "help": "the same tokens to the bit whatever else runs; slower, or refused"},
    ),
    ("--load-format", {"choices": LOAD_FORMATS, "help": "dummy: random weights of the model's shape"}),
    ("--quantization", {"choices": QUANTIZATIONS, "help": "pack dense weights so while loading (default: keep them)"}),
    ("--seed", {"type": int, "metavar": "N", "help": "seed for requests that bring none (default: 0)"}),
    ("--threads", {"type": int, "metavar": "N", "help": "threads to compute with (default: physical cores)"}),
    ("--served-model-name", {"metavar": "NAME", "help": "the model's name towards clients"}),
)

SERVER: Flags = (
    ("--host", {"default": "127.0.0.1", "help": "address to listen on (default: 127.0.0.1)"}),
    ("--port", {"type": int, "default": 8000, "help": "port to listen on, 0 for any free one (default: 8000)"}),
    ("--api-key", {"action": "append", "default": (), "metavar": "KEY", "help": "demand one of these keys"}),
    ("--api-key-file", {"metavar": "FILE", "help": "more keys, one a line; read again at SIGHUP"}),
    (
        "--requests-per-minute",
        {"type": int, "metavar": "N", "help": "generating requests that one key may send (default: any number)"},
    ),
    (
        "--tokens-per-minute",
        {"type": int, "metavar": "N", "help": "tokens that one key may use, prompts and answers (default: any number)"},
    ),
    (
        "--share-prefixes",
        {"action": "store_true", "help": "let keys share cached prefixes, which its timing gives away"},
    ),
    (
        "--metrics-compat",
        {"choices": METRICS, "help": "publish metrics under this server's names as well as under ours"},
    ),
    ("--any-model", {"action": "store_true", "help": "answer whatever model name a request has"}),
    (
        "--allow-origin",
        {"action": "append", "default": (), "metavar": "ORIGIN", "help": "let pages of this origin call"},
    ),
    (
        "--allow-host",
        {"action": "append", "default": (), "metavar": "NAME", "help": "a name that requests may ask for, * for any"},
    ),
    (
        "--middleware",
        {"action": "append", "default": (), "metavar": "NAME", "help": "let requests pass through this plugin"},
    ),
    ("--log-requests", {"action": "store_true", "help": "a line in the log for each request, without its text"}),
    ("--ssl-certfile", {"metavar": "FILE", "help": "serve HTTPS with this certificate chain"}),
    ("--ssl-keyfile", {"metavar": "FILE", "help": "its private key, where the chain's file has none"}),
    ("--max-body-mib", {"type": int, "default": 32, "metavar": "N", "help": "largest request body (default: 32)"}),
    (
        "--shutdown-timeout",
        {
            "type": float,
            "default": 10.0,
            "metavar": "S",
            "help": "seconds for running requests at the end (default: 10)",
        },
    ),
)

COMMON: Flags = (
    ("--config", {"metavar": "FILE", "help": "flags from a .toml or .yaml file; the command line goes first"}),
    ("--log-level", {"default": "info", "choices": LOG_LEVELS, "help": "how much to log (default: info)"}),
    ("--log-format", {"default": "text", "choices": LOG_FORMATS, "help": "json: one object a line (default: text)"}),
)
"""What both processes take."""

WIRE: Flags = (
    ("--wire-key-file", {"metavar": "FILE", "help": "the key that engine and servers share where they meet by TCP"}),
)
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
