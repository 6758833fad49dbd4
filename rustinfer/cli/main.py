"""`rustinfer`: find the verb, run it, and turn a user's mistake into one line and an exit code."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from errno import ENOSPC, EPIPE

from ..errors import UserError
from ..version import __version__
from .commands import VERBS, Verb, built_in
from .parser import Parser, Usage, dashes

INTERRUPTED = 130  # 128 + SIGINT, as shells count

OVERVIEW = """\
usage: rustinfer VERB ...      rustinfer VERB --help      rustinfer --version

Language models assembled from registered operators.

{verbs}

examples:
  rustinfer serve smollm2                     http://127.0.0.1:8000 has a page to chat in and the OpenAI API
  rustinfer chat smollm2                      talk in the terminal
  rustinfer ops why smollm2 --op attention    which kernel runs where, and why each other one does not

Plugins may add verbs: `rustinfer plugins` lists them.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Exit codes: 1 for output that went nowhere, 2 wrong input, 3 a refusal, 130 Ctrl-C."""
    try:
        code = _dispatch(dashes(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # the terminal wrote ^C where the line stood
        return INTERRUPTED
    except OSError as error:
        if error.errno not in (EPIPE, ENOSPC) or error.filename:
            raise
        # The reader of our output went away (`rustinfer ops list | head`) or its disk is full.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == ENOSPC:
            print(f"error: the output could not be written: {error.strerror}", file=sys.stderr)
        return 1


def _dispatch(argv: list[str]) -> int:
    first = argv[0] if argv else "--help"
    if first in ("-V", "--version"):
        print(f"rustinfer {__version__}")
        return 0
    if first in ("-h", "--help"):
        print(_overview(), end="")
        return 0
    if first.startswith("-"):
        raise Usage(f"unknown flag {first} before a verb (try: rustinfer --help)")
    verb = built_in(first) if first in VERBS else _from_plugins(first)
    parser = Parser(prog=f"rustinfer {first}", description=verb.summary[0].upper() + verb.summary[1:] + ".")
    verb.configure(parser)
    try:
        args = parser.parse(argv[1:])
    except SystemExit as done:  # --help has printed
        return int(done.code or 0)
    return verb.run(args) or 0


def _overview() -> str:
    return OVERVIEW.format(verbs="\n".join(f"  {name:<10}{summary}" for name, summary in VERBS.items()))


def _from_plugins(name: str) -> Verb:
    from . import extensions

    added: dict[str, Verb] = {}
    if extensions.installed():
        from ..registry import load_plugins

        added = extensions.commands(load_plugins()).verbs
    if name in added:
        return added[name]
    near = difflib.get_close_matches(name, [*VERBS, *added], n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join([*VERBS, *added])}"
    raise Usage(f"no verb {name}: {hint}")


if __name__ == "__main__":
    raise SystemExit(main())
