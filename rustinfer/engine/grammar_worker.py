"""A process that tries grammars out, so that one that takes too long or too much can be killed with it.

Reads one JSON value a line and answers each with one. First {"tokenizer", "vocab", "ends", "memory"}, which is answered
with {}; then {"kind", "text"}, answered with {"grammar", "bytes"}, or with {"code", "error"} where it is refused.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from llguidance import LLTokenizer

from ..protocol.structured import Structured
from ..text import Tokenizer
from . import guidance


def used() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def answer(words: LLTokenizer, vocab: int, memory: int, asked: dict[str, Any]) -> dict[str, Any]:
    """What a grammar comes to."""
    form, before = Structured(asked["kind"], asked["text"]), used()
    resource.setrlimit(resource.RLIMIT_AS, (before + memory, resource.RLIM_INFINITY))
    try:
        grammar = guidance.written(form)
        guidance.walk(guidance.matcher(words, form, grammar), form, vocab)
    except guidance.GrammarError as error:
        return {"code": error.code, "error": str(error)}
    return {"grammar": grammar, "bytes": max(used() - before, 0)}


def main() -> None:
    """Until the other end closes the pipe."""
    setup = json.loads(sys.stdin.readline())
    vocab = setup["vocab"]
    words = guidance.vocabulary(Tokenizer(setup["tokenizer"]), vocab, setup["ends"])
    print("{}", flush=True)  # noqa: T201  (the pipe to the engine)
    for line in sys.stdin:
        print(json.dumps(answer(words, vocab, setup["memory"], json.loads(line))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
