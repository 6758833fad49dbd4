"""How one server is set up."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rustinfer.protocol.messages import ModelCard

FLAGS: Sequence[tuple[str, dict[str, Any]]] = (
    ("--host", {"default": "127.0.0.1", "help": "address to listen on (default: %(default)s)"}),
    ("--port", {"type": int, "default": 8000, "help": "port to listen on, 0 for any free one (default: %(default)s)"}),
    (
        "--api-key",
        {"action": "append", "default": [], "metavar": "KEY", "help": "demand it; also $RUSTINFER_API_KEY=K,K"},
    ),
    ("--any-model", {"action": "store_true", "help": "answer whatever model name a request has"}),
    (
        "--allow-origin",
        {"action": "append", "default": [], "metavar": "ORIGIN", "help": "let pages of this origin call"},
    ),
    ("--max-body-mib", {"type": int, "default": 32, "help": "largest request body (default: %(default)s)"}),
    ("--drain-seconds", {"type": float, "default": 10.0, "help": "time for running requests at the end (default: 10)"}),
    (
        "--log-level",
        {"default": "info", "choices": ("debug", "info", "warning", "error"), "help": "of the server's log"},
    ),
)


@dataclass(frozen=True)
class Options:
    """`max_body` in bytes. With `any_model` every model name is taken for the served one."""

    engine: str
    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    served_names: tuple[str, ...] = ()
    any_model: bool = False
    allow_origins: tuple[str, ...] = ()
    max_body: int = 32 << 20
    drain_seconds: float = 10.0

    def names(self, card: ModelCard) -> tuple[str, ...]:
        return self.served_names or (card.id,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that starts a server."""
    group = parser.add_argument_group("server")
    for flag, details in FLAGS:
        group.add_argument(flag, **details)
