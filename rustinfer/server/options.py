"""How one server is set up."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rustinfer.errors import UserError
from rustinfer.protocol.messages import ModelCard

from .origins import require_origin


@dataclass(frozen=True)
class Options:
    """By the names of the flags; `max_body` in bytes. With `any_model` every name is taken for the served model."""

    engine: str
    wire_key_file: str | Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: Sequence[str] = field(default=(), repr=False)
    api_key_file: str | Path | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    share_prefixes: bool = False
    served_model_name: Sequence[str] = ()
    also_named: str | None = None
    any_model: bool = False
    metrics_compat: str | None = None
    allow_origin: Sequence[str] = ()
    allow_host: Sequence[str] = ()
    middleware: Sequence[str] = ()
    log_requests: bool = False
    ssl_certfile: str | Path | None = None
    ssl_keyfile: str | Path | None = None
    max_body: int = 32 << 20
    shutdown_timeout: float = 10.0

    def __post_init__(self) -> None:
        if self.ssl_keyfile and not self.ssl_certfile:
            raise UserError("--ssl-keyfile goes with --ssl-certfile: name the certificate too")
        for origin in self.allow_origin:
            require_origin(origin)

    @classmethod
    def of(cls, args: argparse.Namespace) -> Options:
        """What the settled flags say."""
        given = {n: v for n in cls.__dataclass_fields__ if (v := getattr(args, n, None)) is not None}
        return cls(**given, max_body=args.max_body_mib << 20)

    def names(self, card: ModelCard) -> tuple[str, ...]:
        return tuple(self.served_model_name) or (card.id,)

    def answers_to(self, card: ModelCard) -> tuple[str, ...]:
        """The names that are told of, and the one that it was asked for by."""
        return self.names(card) + (() if self.also_named is None else (self.also_named,))
