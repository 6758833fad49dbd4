"""`rustinfer chat`: a conversation in the terminal."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from contextlib import closing

from ..flags import word
from .parser import examples
from .speaker import CHAT_TOKENS, Message, Speaker, add_speaker_arguments, speaker

TEMPERATURE = 0.7
"""The page's: at 1, which the API has where nothing is said, a small model wanders off at its first words."""
HELP = "Type a message. /clear forgets the conversation, /exit or Ctrl-D ends it, Ctrl-C stops an answer."


def configure(parser: ArgumentParser) -> None:
    words = "a model (default: smollm2, or the server's)"
    parser.add_argument("model", nargs="?", type=word, metavar="MODEL", help=words)
    parser.add_argument("--system", metavar="TEXT", help="the system message")
    parser.add_argument("-m", "--message", metavar="TEXT", help="say this, print the answer, and end")
    add_speaker_arguments(parser, TEMPERATURE)
    parser.epilog = examples(
        "rustinfer chat smollm2",
        "rustinfer chat --url http://127.0.0.1:8000",
        'rustinfer chat smollm2 -m "Name the capital of France." --temperature 0',
    )


def run(args: Namespace) -> int:
    """Talk until the input ends."""
    who = speaker(args, max_tokens=CHAT_TOKENS)
    history: list[Message] = [{"role": "system", "content": args.system}] if args.system else []
    if args.message is not None:
        _answer(who, [*history, {"role": "user", "content": args.message}])
        return 0
    _converse(who, history, tty=sys.stdin.isatty())
    return 0


def _converse(who: Speaker, history: list[Message], *, tty: bool) -> None:
    """One message a line, from a terminal with a prompt, from a pipe without."""
    opening = list(history)
    if tty:
        import readline  # noqa: F401  # gives input() its line editing and history

        print(f"{who.name}. {HELP}")
    while True:
        try:
            text = input("> " if tty else "").strip()
        except EOFError:
            return
        if text == "/exit":
            return
        if text == "/clear":
            history = list(opening)
        elif text:
            history = _turn(who, history, text, tty=tty)


def _turn(who: Speaker, history: list[Message], text: str, *, tty: bool) -> list[Message]:
    """The history with this message and its answer; without either where Ctrl-C stopped the answer."""
    asked = [*history, {"role": "user", "content": text}]
    try:
        answer = _answer(who, asked)
    except KeyboardInterrupt:
        if not tty:
            raise
        print("\n(stopped)")
        return history
    return [*asked, {"role": "assistant", "content": answer}]


def _answer(who: Speaker, messages: list[Message]) -> str:
    parts: list[str] = []
    with closing(who.chat(messages)) as pieces:
        for piece in pieces:
            parts.append(piece)
            print(piece, end="", flush=True)
    print()
    return "".join(parts)
