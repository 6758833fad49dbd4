"""Who answers: a running server, or a model in this process. `chat` and `complete` cannot tell them apart."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, Protocol

from ..engine.options import Options, add_arguments
from ..errors import UserError
from ..flags import ENGINE, as_flags, number, whole, word

Message = dict[str, str]
Pieces = Generator[str, None, None]
DEFAULT_MODEL = "smollm2"
CHAT_TOKENS = 1024  # the default length of an answer; a text to continue gets 128
FLAGS = ("temperature", "top_p", "top_k", "min_p", "max_tokens")


class Speaker(Protocol):
    """Yields the text of an answer as it is made. Closing the iterator stops the work."""

    name: str

    def chat(self, messages: list[Message]) -> Pieces: ...

    def complete(self, prompt: str) -> Pieces: ...


def add_speaker_arguments(parser: ArgumentParser, temperature: float | None = None) -> None:
    """Where the answer comes from, and how it is sampled; without a `temperature` as the model says."""
    parser.add_argument("--url", type=word, help="talk to the server there instead of loading a model")
    parser.add_argument("--api-key", type=word, help="the server's key (default: RUSTINFER_API_KEY or OPENAI_API_KEY)")
    sampling = parser.add_argument_group("sampling")
    usual = "" if temperature is None else f" (default: {temperature:g})"
    words = f"0 always takes the likeliest token{usual}"
    sampling.add_argument("--temperature", type=number, default=temperature, help=words)
    sampling.add_argument("--top-p", type=number, help="keep the likeliest tokens up to this probability")
    sampling.add_argument("--top-k", type=whole, help="keep the K likeliest tokens (0: all)")
    sampling.add_argument("--min-p", type=number, help="drop tokens less likely than this share of the likeliest")
    sampling.add_argument("--max-tokens", type=whole, metavar="N", help="longest answer, in tokens")
    add_arguments(parser)


def speaker(args: Namespace, *, max_tokens: int) -> Speaker:
    """The speaker that the arguments ask for."""
    given = {flag: value for flag in FLAGS if (value := getattr(args, flag, None)) is not None}
    sampling = {"max_tokens": max_tokens, **given}
    if args.url:
        from .client import Client

        if changed := _engine_flags(args) - {"--seed"}:
            names = " and ".join(sorted(changed))
            verb = "is" if len(changed) == 1 else "are"
            raise UserError(f"{names} {verb} for a model loaded here: with --url, give them to the server")
        if "--seed" in _engine_flags(args):
            sampling["seed"] = args.seed
        client = Client(args.url, args.api_key)
        return Remote(client, args.model or client.model(), sampling)
    if args.api_key:
        raise UserError("--api-key goes with --url: a model in this process asks for no key")
    from .local import Local

    return Local(args.model or DEFAULT_MODEL, Options.of(args), sampling)


def _engine_flags(args: Namespace) -> set[str]:
    """The engine's flags that were given."""
    return {text.partition("=")[0] for text in as_flags(args, ENGINE)}


class Remote:
    """A model behind an OpenAI-dialect server."""

    def __init__(self, client: Any, name: str, sampling: dict[str, Any]) -> None:
        self.client, self.name, self.sampling = client, name, sampling

    def chat(self, messages: list[Message]) -> Pieces:
        for choice in self._choices("/v1/chat/completions", {"messages": messages}):
            yield (choice.get("delta") or {}).get("content") or ""

    def complete(self, prompt: str) -> Pieces:
        for choice in self._choices("/v1/completions", {"prompt": prompt}):
            yield choice.get("text") or ""

    def _choices(self, path: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        with closing(self.client.stream(path, {"model": self.name, **asked, **self.sampling})) as events:
            for event in events:
                yield from event.get("choices") or ()
