"""A process that tries grammars out, so that one that takes too long or too much can be killed with it.

Reads one JSON value a line and answers each with one. First {"tokenizer", "vocab", "ends", "memory", "seconds"}, which
is answered with {}; then {"kind", "text"}, answered with {"grammar", "bytes"}, or with {"code", "error"} where it is
refused. It has one thread, gives way to the engine, and is ended by a grammar that takes `seconds` of processor time.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from llguidance import LLTokenizer

from ..protocol.structured import Structured
from ..text import Tokenizer
from . import guidance

NICE = 10
"""How far it stands back: enough that a step's threads get their cores at once, while it gets on beside busy ones."""


def used() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def answer(words: LLTokenizer, setup: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """What a grammar comes to. The kernel ends the process where it takes too long."""
    form, before = Structured(asked["kind"], asked["text"]), used()
    resource.setrlimit(resource.RLIMIT_AS, (before + setup["memory"], resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + setup["seconds"]), resource.RLIM_INFINITY))
    try:
        grammar = guidance.written(form)
        guidance.walk(guidance.matcher(words, form, grammar), form, setup["vocab"])
    except guidance.GrammarError as error:
        return {"code": error.code, "error": str(error)}
    return {"grammar": grammar, "bytes": max(used() - before, 0)}


def main() -> None:
    """Until the other end closes the pipe."""
    os.nice(NICE)
    setup = json.loads(sys.stdin.readline())
    words = guidance.vocabulary(Tokenizer(setup["tokenizer"]), setup["vocab"], setup["ends"])
    print("{}", flush=True)  # noqa: T201  (the pipe to the engine)
    for line in sys.stdin:
        print(json.dumps(answer(words, setup, json.loads(line))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
