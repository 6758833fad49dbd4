"""`rustinfer complete`: continue a text."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from ..flags import word
from .parser import examples
from .speaker import add_speaker_arguments, speaker

COMPLETION_TOKENS = 128


def configure(parser: ArgumentParser) -> None:
    words = "a model (default: smollm2, or the server's)"
    parser.add_argument("model", nargs="?", type=word, metavar="MODEL", help=words)
    parser.add_argument("prompt", metavar="TEXT", help="the text to continue; - reads it from standard input")
    parser.add_argument("--echo", action="store_true", help="print the text itself first")
    add_speaker_arguments(parser)
    parser.epilog = examples(
        'rustinfer complete smollm2 "Once upon a time" --max-tokens 64',
        "rustinfer complete smollm2 - < start.txt",
        'rustinfer complete "Roses are red," --url http://127.0.0.1:8000',
    )


def run(args: Namespace) -> int:
    """Print the continuation as it comes."""
    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    who = speaker(args, max_tokens=COMPLETION_TOKENS)
    if args.echo:
        print(prompt, end="", flush=True)
    for piece in who.complete(prompt):
        print(piece, end="", flush=True)
    print()
    return 0
